//! Sending calls and reading answers.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::tls;
use crate::Problem;
use crate::limits::ANSWER_BYTES_MAX;

/// How to reach a coordinator and who calls.
///
/// # Security
/// Holds the client's private key; `Debug` does not show it.
#[derive(Clone)]
pub struct ApiClientConfig {
    /// `https://host:port`.
    pub base: String,
    /// PEM of the CA certificates that the server's certificate must chain to. Public CAs do not count.
    pub ca_pem: Vec<u8>,
    /// PEM of the client's certificate.
    pub certificate_pem: Vec<u8>,
    /// PEM of its private key.
    pub key_pem: Vec<u8>,
    /// Time for one call, from its start to the end of the answer.
    pub deadline: Duration,
}

impl fmt::Debug for ApiClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClientConfig")
            .field("base", &self.base)
            .field("deadline", &self.deadline)
            .field("key_pem", &"<redacted>")
            .finish_non_exhaustive()
    }
}

/// Calls a coordinator. Connections are kept and reused; cheap to clone.
#[derive(Clone)]
pub struct ApiClient {
    base: String,
    deadline: Duration,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClient").field("base", &self.base).finish_non_exhaustive()
    }
}

impl ApiClient {
    /// Reads the settings; nothing is sent.
    ///
    /// # Errors
    /// [`ApiError::Url`], [`ApiError::Tls`].
    pub fn new(config: &ApiClientConfig) -> Result<Self, ApiError> {
        let bad_url = || ApiError::Url { url: config.base.clone() };
        let uri: Uri = config.base.parse().map_err(|_| bad_url())?;
        let is_base = uri.scheme_str() == Some("https") && uri.host().is_some() && matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !is_base {
            return Err(bad_url());
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(config.deadline));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls::client_config(config)?).https_only().enable_http1().wrap_connector(http);
        Ok(Self {
            base: config.base.trim_end_matches('/').to_owned(),
            deadline: config.deadline,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    pub(super) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ApiError> {
        self.call(Method::GET, path, None, Bytes::new()).await
    }

    pub(super) async fn post<B: Serialize + Sync, A: DeserializeOwned>(&self, path: &str, body: &B) -> Result<A, ApiError> {
        let bytes = serde_json::to_vec(body).expect("bodies of calls serialize to JSON");
        self.call(Method::POST, path, Some("application/json"), bytes.into()).await
    }

    /// Sends a call as it is given and reads a JSON answer.
    pub(super) async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<A, ApiError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base)).header(ACCEPT, "application/json");
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let request = request.body(Full::new(body)).map_err(|_| ApiError::Url { url: format!("{}{path}", self.base) })?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| self.unreachable(error.as_ref()))?.to_bytes();
            Ok((status, body))
        };
        let (status, body) = tokio::time::timeout(self.deadline, exchange)
            .await
            .map_err(|_| ApiError::Deadline { url: self.base.clone(), deadline: self.deadline })??;
        let unexpected = |error: serde_json::Error| ApiError::Unexpected { status: status.as_u16(), reason: error.to_string() };
        if status.is_success() {
            serde_json::from_slice(&body).map_err(unexpected)
        } else {
            let problem: Problem = serde_json::from_slice(&body).map_err(unexpected)?;
            Err(ApiError::Problem(Box::new(problem)))
        }
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> ApiError {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let reason = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        ApiError::Unreachable { url: self.base.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_https_and_has_no_path() {
        for base in ["", "localhost", "http://localhost", "https://localhost/v1", "https://", "https://localhost?x=1"] {
            let config = ApiClientConfig {
                base: base.to_owned(),
                ca_pem: Vec::new(),
                certificate_pem: Vec::new(),
                key_pem: b"secret".to_vec(),
                deadline: Duration::from_secs(1),
            };
            assert!(matches!(ApiClient::new(&config), Err(ApiError::Url { .. })), "{base}");
            assert!(!format!("{config:?}").contains("115"), "the key is not shown");
        }
    }
}
