//! TLS towards clients: 1.3 only, and only with a certificate whose key stands in the configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};
use warifu_protocol::transport::{Chain, PinnedClients};

use super::clients::Clients;
use crate::config::TlsFiles;

/// Server certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No PEM certificate, or no PEM private key, can be read from the file.
    #[error("{} holds no usable PEM {what}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What the reader says.
        reason: String,
    },
    /// The key file can be read by others.
    #[error("key file {} has mode {mode:03o}; make a new key, or set 0600 if nobody else could read it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Certificate and key do not belong together, or are of a kind that TLS 1.3 does not know.
    #[error("the server's certificate and key cannot be used: {source}")]
    Unusable {
        /// What rustls says.
        #[source]
        source: Error,
    },
}

/// Reads the server's files.
pub(crate) fn server_config(files: &TlsFiles, clients: Arc<Clients>) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate)?;
    let mode = std::fs::metadata(&files.key).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        return Err(TlsError::Exposed { path: files.key.clone(), mode });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| TlsError::File {
        path: files.key.clone(),
        what: "private key",
        reason: error.to_string(),
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = PinnedClients::new(clients, Chain::Ignored, &provider);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_client_cert_verifier(Arc::new(verifier)).with_single_cert(chain, key))
        .map_err(|source| TlsError::Unusable { source })?;
    // A resumed session would skip the look at the client's certificate.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |reason: String| TlsError::File { path: path.to_owned(), what: "certificate", reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| file(error.to_string()))?.collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(file("no certificate in it".to_owned())),
        Err(error) => Err(file(error.to_string())),
    }
}
