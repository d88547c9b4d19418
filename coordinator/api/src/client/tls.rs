//! TLS settings of the client.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::error::ApiError;
use super::transport::ApiClientConfig;

/// TLS 1.3 only; the server must chain to one of the given certificates and carry the host's name, no public CA counts.
pub(super) fn client_config(config: &ApiClientConfig) -> Result<ClientConfig, ApiError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&config.ca_pem, "CA certificate")? {
        roots.add(certificate).map_err(|error| tls(format!("CA certificate: {error}")))?;
    }
    let chain = certificates(&config.certificate_pem, "client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&config.key_pem).map_err(|error| tls(format!("client key: {error}")))?;
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| tls(format!("client certificate and key: {error}")))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, ApiError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(tls(format!("{what}: no PEM certificate found"))),
        Err(error) => Err(tls(format!("{what}: {error}"))),
    }
}

const fn tls(reason: String) -> ApiError {
    ApiError::Tls { reason }
}
