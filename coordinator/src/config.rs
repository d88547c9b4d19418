//! The configuration file. Every field has a unit, a default or none, and a consequence; unknown fields are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use warifu_protocol::{Name, NodeId, SpkiHash};

/// Largest configuration file that is read: a thousand clients with facilities fit.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Configuration of one coordinator. Relative paths count from the file's own directory.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This coordinator's identifier in the genesis.
    pub name: Name,
    /// Path of the signed `genesis.toml`.
    pub genesis: PathBuf,
    /// The orders that changed the roster since the genesis, as `warifu roster export` writes them. Default: none. Needed when so many nodes
    /// changed that f + 1 of the genesis' ones cannot be asked any more; otherwise the coordinator follows by itself.
    #[serde(default)]
    pub roster: Option<PathBuf>,
    /// The TLS identity that the nodes know by the roster.
    pub identity: TlsFiles,
    /// Addresses `host:port` of nodes where the genesis' ones do not work from here, by node id. Default: none. Who a node is follows from the
    /// genesis alone.
    #[serde(default)]
    pub node_addresses: BTreeMap<String, String>,
    /// What clients connect to.
    pub https: Https,
    /// Where `/metrics`, `/healthz` and `/readyz` are served, over plain HTTP: an address that only the operator's network reaches.
    pub metrics: SocketAddr,
    /// Who may connect. A client that is not named is refused in the TLS handshake.
    #[serde(default)]
    pub clients: Vec<ClientEntry>,
    /// Bounds that one coordinator may tune.
    #[serde(default)]
    pub limits: Limits,
    /// How long running requests are waited for when the process is told to stop. Default 10 s; after it they are cut off.
    #[serde(default = "default_shutdown", with = "humantime_serde")]
    pub shutdown_deadline: Duration,
    /// The log.
    #[serde(default)]
    pub log: Log,
}

/// A certificate and its private key, as paths of PEM files.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, or a chain that begins with it.
    pub certificate: PathBuf,
    /// The PKCS#8 private key; only its owner may be able to read it.
    pub key: PathBuf,
}

/// The HTTPS listener.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// Address and port. Port 0 takes a free one, which the log names.
    pub listen: SocketAddr,
    /// What clients verify: the certificate, or a chain that begins with it.
    pub certificate: PathBuf,
    /// The PKCS#8 private key; only its owner may be able to read it.
    pub key: PathBuf,
}

impl Https {
    /// Its certificate and key.
    #[must_use]
    pub fn tls(&self) -> TlsFiles {
        TlsFiles { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}

/// A client that may connect.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientEntry {
    /// For logs and metrics.
    pub name: Name,
    /// What it may do.
    pub role: ClientRole,
    /// SHA-256 of the DER SubjectPublicKeyInfo of its TLS certificate, hexadecimal. Names and dates in the certificate do not count.
    pub spki: SpkiHash,
    /// For a platform: the facilities whose sessions it may open, see, close and sign with. Default: none.
    #[serde(default)]
    pub facilities: BTreeSet<Name>,
}

/// What a client may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientRole {
    /// Open, see and close sessions of its facilities and have documents signed.
    Platform,
    /// Relay orders and CRLs, fetch CSRs, read.
    Ca,
    /// Read.
    Operations,
    /// Read.
    Auditor,
}

/// Bounds that one coordinator may tune.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Documents that are being signed at the same time, 128 to 65,536; default 1,024. Beyond it callers get status 503.
    pub documents_in_flight: u32,
    /// Calls per second of one client, 1 to 100,000; default 200. Beyond it, and beyond the burst, the client gets status 429.
    pub requests_per_second: u32,
    /// Calls that a client may make at once after a pause, at least 1; default 400.
    pub requests_burst: u32,
    /// Open connections of clients; default 1,024. Further ones are closed.
    pub connections: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { documents_in_flight: 1_024, requests_per_second: 200, requests_burst: 400, connections: 1_024 }
    }
}

/// The log, on standard error.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`; default `text`.
    pub format: LogFormat,
    /// Filter such as `info` or `info,warifu_coordinator=debug`; default `info`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

/// Form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const fn default_shutdown() -> Duration {
    Duration::from_secs(10)
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Larger than any configuration.
    #[error("{} has more than {CONFIG_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// Not TOML of the expected form.
    #[error("configuration: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// A value out of its range.
    #[error("configuration field `{field}` must be {allowed}")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// Two clients with one name or one key.
    #[error("client {name} stands twice, by its name or its key")]
    ClientTwice {
        /// The second one.
        name: Name,
    },
    /// An address for something that is no node id.
    #[error("`{id}` in `node_addresses` is no node id from 1 to 15")]
    NodeAddress {
        /// What was found.
        id: String,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = |source| ConfigError::File { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(file)?.len() > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(file)?;
        let mut config = Self::from_toml(&text)?;
        config.resolve(path.parent().unwrap_or_else(|| Path::new("")));
        Ok(config)
    }

    /// Reads and checks TOML; paths stay as they are written.
    ///
    /// # Errors
    /// [`ConfigError`], except those about files.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Malformed { reason: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    /// The addresses that stand in for the genesis' ones.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.node_addresses.iter().filter_map(|(id, address)| Some((parse_node(id)?, address.clone()))).collect()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        if !(128..=65_536).contains(&limits.documents_in_flight) {
            return Err(ConfigError::OutOfRange { field: "limits.documents_in_flight", allowed: "128 to 65536" });
        }
        if !(1..=100_000).contains(&limits.requests_per_second) {
            return Err(ConfigError::OutOfRange { field: "limits.requests_per_second", allowed: "1 to 100000" });
        }
        if limits.requests_burst == 0 {
            return Err(ConfigError::OutOfRange { field: "limits.requests_burst", allowed: "at least 1" });
        }
        if limits.connections == 0 {
            return Err(ConfigError::OutOfRange { field: "limits.connections", allowed: "at least 1" });
        }
        if let Some(id) = self.node_addresses.keys().find(|id| parse_node(id).is_none()) {
            return Err(ConfigError::NodeAddress { id: id.clone() });
        }
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for client in &self.clients {
            if !names.insert(&client.name) || !keys.insert(client.spki) {
                return Err(ConfigError::ClientTwice { name: client.name.clone() });
            }
        }
        Ok(())
    }

    fn resolve(&mut self, directory: &Path) {
        for path in
            [&mut self.genesis, &mut self.identity.certificate, &mut self.identity.key, &mut self.https.certificate, &mut self.https.key]
        {
            *path = directory.join(&*path);
        }
        if let Some(roster) = &mut self.roster {
            *roster = directory.join(&*roster);
        }
    }
}

fn parse_node(id: &str) -> Option<NodeId> {
    id.parse().ok().and_then(NodeId::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        name = "coordinator-1"
        genesis = "genesis.toml"
        metrics = "127.0.0.1:9100"
        identity = { certificate = "c.pem", key = "k.pem" }
        https = { listen = "127.0.0.1:8443", certificate = "s.pem", key = "sk.pem" }
    "#;

    #[test]
    fn a_minimal_file_has_safe_defaults() {
        let config = Config::from_toml(MINIMAL).expect("valid");
        assert_eq!(config.clients, []);
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.shutdown_deadline, Duration::from_secs(10));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let key = "00".repeat(32);
        let other = "11".repeat(32);
        let client = |name: &str, key: &str| format!("[[clients]]\nname = \"{name}\"\nrole = \"platform\"\nspki = \"{key}\"\n");
        let table = [
            (format!("{MINIMAL}\nunknown = 1"), "unknown field"),
            (MINIMAL.replace("metrics", "metric"), "unknown field"),
            (MINIMAL.replace("8443", "port"), "invalid socket address"),
            (MINIMAL.replace("coordinator-1", "Coordinator 1"), "a name is"),
            (format!("{MINIMAL}\n[limits]\ndocuments_in_flight = 1"), "documents_in_flight"),
            (format!("{MINIMAL}\n[limits]\nrequests_per_second = 0"), "requests_per_second"),
            (format!("{MINIMAL}\n[limits]\nrequests_burst = 0"), "requests_burst"),
            (format!("{MINIMAL}\n[limits]\nconnections = 0"), "connections"),
            (format!("{MINIMAL}\n[node_addresses]\n16 = \"h:1\""), "node_addresses"),
            (format!("{MINIMAL}\n[node_addresses]\nx = \"h:1\""), "node_addresses"),
            (format!("{MINIMAL}\n{}{}", client("a", &key), client("a", &other)), "client a stands twice"),
            (format!("{MINIMAL}\n{}{}", client("a", &key), client("b", &key)), "client b stands twice"),
            (format!("{MINIMAL}\n{}", client("a", &key).replace("platform", "admin")), "unknown variant"),
            (format!("{MINIMAL}\n{}", client("a", "xyz")), "hexadecimal"),
            (String::new(), "missing field"),
        ];
        for (text, wanted) in table {
            let error = Config::from_toml(&text).expect_err(&text).to_string();
            assert!(error.contains(wanted), "{wanted:?} not in {error:?}");
        }
    }

    #[test]
    fn relative_paths_count_from_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("coordinator.toml");
        std::fs::write(&path, MINIMAL).expect("written");
        let config = Config::load(&path).expect("valid");
        assert_eq!(config.genesis, directory.path().join("genesis.toml"));
        assert_eq!(config.https.key, directory.path().join("sk.pem"));
    }
}
