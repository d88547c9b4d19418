//! CRLs from where their CAs publish them.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use warifu_core::pki::{Crl, CrlError};
use warifu_protocol::limits::CRL_BYTES_MAX;

use crate::files::{self, FileError};

/// A list as it was fetched. Only its form was looked at: that its CA signed it, every node checks.
pub struct FetchedCrl {
    /// Its DER.
    pub der: Vec<u8>,
    /// What it says.
    pub crl: Crl,
}

/// Why a CRL cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Neither a file nor an address that CRLs are published at.
    #[error("`{source_name}` is no http:// address; a CRL is signed, so https:// adds nothing here: give its http:// address or a file")]
    Address {
        /// What was given.
        source_name: String,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// No answer, or one that broke off or is too large.
    #[error("{address} cannot be fetched: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// An answer other than 200. Redirects are not followed.
    #[error("{address} answers {status}")]
    Status {
        /// Where.
        address: String,
        /// HTTP status.
        status: u16,
    },
    /// Not in time.
    #[error("{address} has not answered in full within {FETCH_DEADLINE:?}")]
    Deadline {
        /// Where.
        address: String,
    },
    /// What came is no CRL.
    #[error("what {source_name} gives is refused")]
    Crl {
        /// Where from.
        source_name: String,
        /// Why.
        #[source]
        source: CrlError,
    },
}

/// Reads a list, DER or PEM, from a file or an `http://` address.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch_crl(source_name: &str) -> Result<FetchedCrl, FetchError> {
    let bytes = if source_name.contains("://") {
        let address: Uri = source_name.parse().map_err(|_| FetchError::Address { source_name: source_name.to_owned() })?;
        if address.scheme_str() != Some("http") || address.host().is_none() {
            return Err(FetchError::Address { source_name: source_name.to_owned() });
        }
        let fetched = tokio::time::timeout(FETCH_DEADLINE, get(&address)).await;
        fetched.map_err(|_| FetchError::Deadline { address: address.to_string() })??
    } else {
        files::read_der(Path::new(source_name), "CRL", PEM_LABEL, FILE_BYTES_MAX)?
    };
    let der = match pem::parse(&bytes) {
        Ok(found) if found.tag() == PEM_LABEL => found.into_contents(),
        Ok(_) | Err(_) => bytes,
    };
    let crl = Crl::parse(&der).map_err(|source| FetchError::Crl { source_name: source_name.to_owned(), source })?;
    Ok(FetchedCrl { der, crl })
}

async fn get(address: &Uri) -> Result<Vec<u8>, FetchError> {
    let unreachable = |reason: String| FetchError::Unreachable { address: address.to_string(), reason };
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(address.clone()).body(Empty::new()).map_err(|error| unreachable(error.to_string()))?;
    let response = client.request(request).await.map_err(|error| unreachable(error.to_string()))?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(FetchError::Status { address: address.to_string(), status });
    }
    let body = Limited::new(response.into_body(), FILE_BYTES_MAX).collect().await.map_err(|error| unreachable(error.to_string()))?;
    Ok(body.to_bytes().to_vec())
}

/// A list of the largest size over a slow line; a timer tries again.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);
/// The largest CRL as PEM.
const FILE_BYTES_MAX: usize = 2 * CRL_BYTES_MAX as usize;
const PEM_LABEL: &str = "X509 CRL";

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::now;
    use crate::trial_command::list_times;
    use crate::trial_pki::TrialJpki;

    /// Serves one answer to one caller.
    async fn must_serve(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
        });
        format!("http://{address}/list.crl")
    }

    fn response(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    fn list() -> Vec<u8> {
        let (from, until) = list_times(now());
        TrialJpki::new(now()).and_then(|ca| ca.crl(7, &[], from, until)).expect("a list")
    }

    #[tokio::test]
    async fn a_list_comes_over_http_or_from_a_file_as_der_or_pem() {
        let der = list();
        let text = pem::encode(&pem::Pem::new(PEM_LABEL, der.clone()));
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("list.crl");
        std::fs::write(&path, &der).expect("writes");
        let file = path.to_str().expect("a path in Unicode").to_owned();
        for source in [must_serve(response("200 OK", &der)).await, must_serve(response("200 OK", text.as_bytes())).await, file] {
            let fetched = fetch_crl(&source).await.expect("a list");
            assert_eq!((fetched.der, fetched.crl.number()), (der.clone(), 7), "{source}");
        }
    }

    #[tokio::test]
    async fn whatever_is_no_list_is_refused_with_its_reason() {
        type Refused = fn(&FetchError) -> bool;
        let mut cut = response("200 OK", &list());
        cut.truncate(cut.len() - 9);
        let cases: [(String, Refused); 8] = [
            ("https://ca.example/list.crl".to_owned(), |error| matches!(error, FetchError::Address { .. })),
            ("ftp://ca.example/list.crl".to_owned(), |error| matches!(error, FetchError::Address { .. })),
            ("http://".to_owned(), |error| matches!(error, FetchError::Address { .. })),
            ("/nowhere/list.crl".to_owned(), |error| matches!(error, FetchError::File(_))),
            (must_serve(response("404 Not Found", b"")).await, |error| matches!(error, FetchError::Status { status: 404, .. })),
            (must_serve(response("302 Found", b"")).await, |error| matches!(error, FetchError::Status { status: 302, .. })),
            (must_serve(response("200 OK", b"<html>")).await, |error| matches!(error, FetchError::Crl { .. })),
            (must_serve(cut).await, |error| matches!(error, FetchError::Unreachable { .. })),
        ];
        for (source, expected) in cases {
            let Err(error) = fetch_crl(&source).await else { panic!("{source} was taken") };
            assert!(expected(&error), "{source}: {error}");
        }
        let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", FILE_BYTES_MAX + 1);
        let source = must_serve(large.into_bytes()).await;
        assert!(matches!(fetch_crl(&source).await, Err(FetchError::Unreachable { .. })), "too large");
    }
}
