//! A client of the coordinator over HTTPS, with a TLS client certificate.

mod calls;
mod error;
mod tls;
mod transport;

pub use error::ApiError;
pub use transport::{ApiClient, ApiClientConfig};
