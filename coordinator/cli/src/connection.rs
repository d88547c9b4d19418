//! How commands reach a coordinator.

use std::path::PathBuf;
use std::time::Duration;

use warifu_api::{ApiClient, ApiClientConfig, ApiError};

use crate::files::{self, FileError};

/// Which coordinator to call, and as whom.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Base URL of the coordinator, https://host:port
    #[arg(long, value_name = "URL", env = "WARIFU_API")]
    pub api: Option<String>,

    /// PEM file of the CA that certified the coordinator
    #[arg(long, value_name = "FILE", env = "WARIFU_CA")]
    pub ca: Option<PathBuf>,

    /// PEM file of the client certificate
    #[arg(long, value_name = "FILE", env = "WARIFU_CERT")]
    pub cert: Option<PathBuf>,

    /// PEM file of the client's private key, readable by its owner only
    #[arg(long, value_name = "FILE", env = "WARIFU_KEY")]
    pub key: Option<PathBuf>,

    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = DEADLINE_SECONDS, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout: u64,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// An argument is missing.
    #[error("`--{argument}` or {environment} is needed to reach the coordinator")]
    Missing {
        /// Which argument.
        argument: &'static str,
        /// The environment variable that may stand for it.
        environment: &'static str,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// URL, certificates or key.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl ConnectionArgs {
    /// Makes the client; nothing is sent.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub fn client(&self) -> Result<ApiClient, ConnectionError> {
        let missing = |argument, environment| ConnectionError::Missing { argument, environment };
        let base = self.api.clone().ok_or_else(|| missing("api", "WARIFU_API"))?;
        let ca = self.ca.as_ref().ok_or_else(|| missing("ca", "WARIFU_CA"))?;
        let certificate = self.cert.as_ref().ok_or_else(|| missing("cert", "WARIFU_CERT"))?;
        let key = self.key.as_ref().ok_or_else(|| missing("key", "WARIFU_KEY"))?;
        let config = ApiClientConfig {
            base,
            ca_pem: files::read(ca, "CA certificate", PEM_BYTES_MAX)?,
            certificate_pem: files::read(certificate, "client certificate", PEM_BYTES_MAX)?,
            key_pem: files::read_secret(key, "client key", PEM_BYTES_MAX)?.to_vec(),
            deadline: Duration::from_secs(self.timeout),
        };
        Ok(ApiClient::new(&config)?)
    }
}

/// Long enough for a call that has to wait for an election.
const DEADLINE_SECONDS: u64 = 15;

/// Largest PEM file; a chain of real certificates has under 10 KiB.
const PEM_BYTES_MAX: usize = 256 * 1024;
