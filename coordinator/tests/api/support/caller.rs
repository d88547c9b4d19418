//! HTTP/1.1 by hand, for what a well-behaved client cannot send.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use warifu_api::Problem;

/// Connects with a certificate, or without one.
#[derive(Clone)]
pub struct Caller {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// A status and a body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn must_problem(&self) -> Problem {
        let problem: Problem = serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no problem document: {self:?}"));
        assert_eq!(problem.status, self.status);
        assert!(self.head.to_ascii_lowercase().contains("content-type: application/problem+json"), "{}", self.head);
        problem
    }
}

impl Caller {
    pub fn new(address: SocketAddr, ca_pem: &[u8], identity: Option<(&[u8], &[u8])>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem).expect("a certificate")).expect("usable");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("supported")
            .with_root_certificates(roots);
        let tls = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate).expect("a certificate")],
                    PrivateKeyDer::from_pem_slice(key).expect("a key"),
                )
                .expect("usable"),
        };
        Self { address, tls: Arc::new(tls) }
    }

    pub async fn call(&self, method: &str, path: &str, content_type: Option<&str>, body: &[u8]) -> std::io::Result<Answer> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?;
        let content_type = content_type.map(|media| format!("content-type: {media}\r\n")).unwrap_or_default();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{content_type}content-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(|| std::io::Error::other("no answer"))?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| std::io::Error::other("no status"))?;
        Ok(Answer { status, head, body: answer[end + 4..].to_vec() })
    }

    pub async fn post_json(&self, path: &str, body: &[u8]) -> Answer {
        self.call("POST", path, Some("application/json"), body).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None, &[]).await.expect("an answer")
    }
}
