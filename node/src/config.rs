//! The configuration file of a node: TOML, every unknown field refused, secrets by path only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use warifu_protocol::NodeId;
use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;

use crate::sealing::Pkcs11Settings;
use crate::state::MARKS_KEPT;

/// `warifu-node --config FILE`. Relative paths are taken from the file's own directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Who this node is and where its files are.
    pub node: NodeSection,
    /// Where it listens.
    pub listen: ListenSection,
    /// Addresses of peers that differ from those in the genesis, by node id: for NAT and proxies. Identity stays the SPKI of the genesis.
    #[serde(default)]
    pub peers: BTreeMap<String, String>,
    /// Sizes of the stores' caches.
    #[serde(default)]
    pub store: StoreSection,
    /// The key that seals shares at rest.
    #[serde(default)]
    pub kek: KekSection,
    /// Timing of consensus.
    #[serde(default)]
    pub raft: RaftSection,
    /// Repair and refresh of shares.
    #[serde(default)]
    pub background: BackgroundSection,
    /// Logging.
    #[serde(default)]
    pub log: LogSection,
}

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// Identifier in the genesis, 1 to 15.
    pub id: NodeId,
    /// The signed `genesis.toml`.
    pub genesis: PathBuf,
    /// The orders that changed the roster since the genesis, as `warifu roster export` writes them: for a site that is new, replaced or was
    /// away for long. Verified from the genesis; ignored once the node's own state has come further.
    #[serde(default)]
    pub roster: Option<PathBuf>,
    /// Directory with `tls.crt`, `tls.key`, `identity.key` and `sealing.key`, as `warifu-node init` made them.
    pub keys: PathBuf,
    /// A file with an id of this virtual machine's generation, where the hypervisor or kernel gives one; another id ends every nonce. Default: none. The
    /// kernel's uevents are heard in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_generation_id_file: Option<PathBuf>,
    /// Directory of the stores. Must be on a local disk that keeps what it has acknowledged; never copied while the node runs.
    pub data: PathBuf,
}

/// Where the node listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenSection {
    /// UDP address of the QUIC endpoint for peers and coordinators.
    pub quic: SocketAddr,
    /// TCP address of `/metrics`, `/healthz` and `/readyz`: plain HTTP, for the operator's network only.
    pub http: SocketAddr,
    /// Unix socket for the local administrator. Default: `admin.sock` in the data directory. Whoever may open it administers the node.
    #[serde(default)]
    pub admin: Option<PathBuf>,
}

/// Sizes of caches. The stores hold everything on disk; these bound the memory used for pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// Registry, in bytes. Default 128 MiB: the inner pages of 800,000 credentials.
    pub state_cache_bytes: usize,
    /// Raft log, in bytes. Default 32 MiB.
    pub log_cache_bytes: usize,
    /// Audit log and shares, in bytes. Default 64 MiB.
    pub local_cache_bytes: usize,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self { state_cache_bytes: 128 << 20, log_cache_bytes: 32 << 20, local_cache_bytes: 64 << 20 }
    }
}

/// Where the key-encryption key comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KekSection {
    /// `file` or `pkcs11`. Default `file`. It cannot be changed for a store that has shares.
    pub provider: KekProviderName,
    /// `file`: the directory of the key files. Default: `kek` in the keys directory.
    pub directory: Option<PathBuf>,
    /// `pkcs11`: the module, a shared library.
    pub module: Option<PathBuf>,
    /// `pkcs11`: label of the token.
    pub token: Option<String>,
    /// `pkcs11`: file with the user's PIN, mode 600.
    pub pin_file: Option<PathBuf>,
    /// Days after which a new generation is made, everything is sealed again and the old generations are destroyed, backups sealed under them with them.
    /// Default 0: only when the administrator asks and when credentials are destroyed.
    pub rotate_every_days: u32,
}

/// Which kind of KEK.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KekProviderName {
    /// Key files in a directory, readable by the node's user only. Cannot prove that a key was destroyed.
    #[default]
    File,
    /// Keys in a PKCS#11 token, made there and never outside of it.
    Pkcs11,
}

/// A KEK as it is to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KekSource {
    /// In this directory.
    File(PathBuf),
    /// In this token.
    Pkcs11(Pkcs11Settings),
}

/// Timing of consensus. Must be equal on all nodes of a cluster to be of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaftSection {
    /// How often the leader shows itself. Default 150 ms. Should be several round trips between the furthest sites.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Shortest silence after which a follower stands for election. Default 600 ms.
    #[serde(with = "humantime_serde")]
    pub election_min: Duration,
    /// Longest such silence. Default 1200 ms.
    #[serde(with = "humantime_serde")]
    pub election_max: Duration,
    /// Entries after which a snapshot is taken and the log before it may be dropped, but for a quarter as many. Default 20,000, at most 32,768: a
    /// node that is sent a snapshot asks the others for their state at its position, which they remember for twice as long.
    pub snapshot_entries: u64,
}

impl Default for RaftSection {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1200),
            snapshot_entries: 20_000,
        }
    }
}

/// How much repair and refresh of shares may take of a node that signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackgroundSection {
    /// Credentials in one ceremony, 1 to 256. Default 64: larger ones are a little quicker as a whole and hold up the log for longer.
    pub batch: usize,
    /// Ceremonies and repairs take less time when signature shares take longer than this here. Default 30 ms. It counts only until the node has timed
    /// some dozens of shares without such work; from then on the limit is a third more than the slowest hundredth of those.
    #[serde(with = "humantime_serde")]
    pub sign_latency_max: Duration,
}

impl Default for BackgroundSection {
    fn default() -> Self {
        Self { batch: 64, sign_latency_max: Duration::from_millis(30) }
    }
}

/// Logging to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `text` or `json`. Default `text`.
    pub format: LogFormat,
    /// Filter such as `info` or `warifu_node=debug,info`. Default `info`. No level shows a secret.
    pub filter: String,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Largest configuration file that is read.
const CONFIG_BYTES_MAX: u64 = 256 * 1024;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a configuration's size.
    #[error("the configuration {path} has more than {CONFIG_BYTES_MAX} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The file is not a configuration.
    #[error("the configuration {path} is wrong: {reason}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Line and reason.
        reason: String,
    },
    /// A field has a value that cannot work.
    #[error("configuration field `{field}` is wrong: {reason}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
}

impl NodeConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(read)?.len() > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let mut config = Self::from_toml(&text).map_err(|error| match error {
            ConfigError::Parse { reason, .. } => ConfigError::Parse { path: path.to_owned(), reason },
            other => other,
        })?;
        config.resolve(path.parent().unwrap_or_else(|| Path::new(".")));
        Ok(config)
    }

    /// Parses and checks text; paths stay as they are written.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Parse { path: PathBuf::new(), reason: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    /// Where the admin socket is.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.listen.admin.clone().unwrap_or_else(|| self.node.data.join("admin.sock"))
    }

    /// Where the file KEK is, if it is one.
    #[must_use]
    pub fn kek_directory(&self) -> PathBuf {
        self.kek.directory.clone().unwrap_or_else(|| self.node.keys.join("kek"))
    }

    /// Where the KEK is.
    ///
    /// # Errors
    /// [`ConfigError::Field`] if a field of the provider is missing, or one of another provider is given.
    pub fn kek_source(&self) -> Result<KekSource, ConfigError> {
        let kek = &self.kek;
        let needed = |field, value: bool| {
            if value { Ok(()) } else { Err(ConfigError::Field { field, reason: "is needed by provider `pkcs11`".into() }) }
        };
        let foreign = |field, value: bool| {
            if value { Err(ConfigError::Field { field, reason: "belongs to another provider".into() }) } else { Ok(()) }
        };
        match kek.provider {
            KekProviderName::File => {
                foreign("kek.module", kek.module.is_some())?;
                foreign("kek.token", kek.token.is_some())?;
                foreign("kek.pin_file", kek.pin_file.is_some())?;
                Ok(KekSource::File(self.kek_directory()))
            }
            KekProviderName::Pkcs11 => {
                foreign("kek.directory", kek.directory.is_some())?;
                needed("kek.module", kek.module.is_some())?;
                needed("kek.token", kek.token.as_ref().is_some_and(|token| !token.is_empty()))?;
                needed("kek.pin_file", kek.pin_file.is_some())?;
                Ok(KekSource::Pkcs11(Pkcs11Settings {
                    module: kek.module.clone().unwrap_or_default(),
                    token: kek.token.clone().unwrap_or_default(),
                    pin_file: kek.pin_file.clone().unwrap_or_default(),
                }))
            }
        }
    }

    /// Overridden addresses by node.
    #[must_use]
    pub fn peer_addresses(&self) -> BTreeMap<NodeId, String> {
        self.peers.iter().filter_map(|(id, address)| Some((NodeId::new(id.parse().ok()?)?, address.clone()))).collect()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field, reason: &str| Err(ConfigError::Field { field, reason: reason.to_owned() });
        if self.peers.keys().any(|id| id.parse().ok().and_then(NodeId::new).is_none()) {
            return wrong("peers", "keys are node ids, 1 to 15");
        }
        let raft = &self.raft;
        if raft.heartbeat.is_zero() || raft.election_min < raft.heartbeat * 2 {
            return wrong("raft.election_min", "must be at least twice raft.heartbeat, or every delay costs an election");
        }
        if raft.election_max <= raft.election_min {
            return wrong("raft.election_max", "must be above raft.election_min, or votes split");
        }
        if self.background.batch == 0 || self.background.batch > CEREMONY_CREDENTIALS_MAX {
            return wrong("background.batch", "must be 1 to 256, the most credentials of one ceremony");
        }
        if raft.snapshot_entries == 0 {
            return wrong("raft.snapshot_entries", "must be above 0");
        }
        self.kek_source()?;
        if raft.snapshot_entries > MARKS_KEPT / 2 {
            return wrong("raft.snapshot_entries", "must be at most 32768, or other nodes cannot vouch for a snapshot");
        }
        Ok(())
    }

    fn resolve(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        resolve(&mut self.node.genesis);
        self.node.roster.as_mut().map(resolve);
        self.node.vm_generation_id_file.as_mut().map(resolve);
        resolve(&mut self.node.keys);
        resolve(&mut self.node.data);
        self.listen.admin.as_mut().map(resolve);
        for path in [&mut self.kek.directory, &mut self.kek.module, &mut self.kek.pin_file] {
            path.as_mut().map(resolve);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        [node]
        id = 3
        genesis = "genesis.toml"
        keys = "keys"
        data = "data"
        [listen]
        quic = "127.0.0.1:7403"
        http = "127.0.0.1:7503"
    "#;

    #[test]
    fn a_minimal_configuration_gets_the_defaults() {
        let config = NodeConfig::from_toml(MINIMAL).expect("parses");
        assert_eq!(config.raft, RaftSection::default());
        assert_eq!(config.admin_socket(), Path::new("data/admin.sock"));
    }

    #[test]
    fn wrong_configurations_are_refused_with_the_field_that_is_wrong() {
        for (change, named) in [
            ("[node]\nid = 0", "id"),
            ("", "missing field"),
            ("[node", "TOML"),
            ("PLUS [surprise]", "surprise"),
            ("PLUS [peers]\n\"sixteen\" = \"h:1\"", "peers"),
            ("PLUS [raft]\nheartbeat = \"500ms\"", "raft.election_min"),
            ("PLUS [raft]\nelection_max = \"600ms\"", "raft.election_max"),
            ("PLUS [raft]\nsnapshot_entries = 0", "raft.snapshot_entries"),
            ("PLUS [background]\nbatch = 0", "background.batch"),
            ("PLUS [background]\nbatch = 257", "background.batch"),
            ("PLUS [raft]\nsnapshot_entries = 32769", "raft.snapshot_entries"),
            ("PLUS [kek]\nprovider = \"paper\"", "paper"),
            ("PLUS [kek]\nprovider = \"pkcs11\"\ntoken = \"t\"\npin_file = \"p\"", "kek.module"),
            ("PLUS [kek]\nprovider = \"pkcs11\"\nmodule = \"m\"\npin_file = \"p\"", "kek.token"),
            ("PLUS [kek]\nprovider = \"pkcs11\"\nmodule = \"m\"\ntoken = \"t\"", "kek.pin_file"),
            ("PLUS [kek]\nprovider = \"pkcs11\"\ndirectory = \"d\"", "kek.directory"),
            ("PLUS [kek]\ntoken = \"t\"", "kek.token"),
            ("PLUS [kek]\npin = \"4711\"", "pin"),
            ("PLUS [log]\nformat = \"xml\"", "xml"),
        ] {
            let text = change.strip_prefix("PLUS").map_or_else(|| change.to_owned(), |more| format!("{MINIMAL}\n{more}"));
            let error = NodeConfig::from_toml(&text).expect_err(change).to_string();
            assert!(error.contains(named), "{change}: {error}");
        }
    }
}
