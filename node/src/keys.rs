//! The node's own keys: made on the node by `init`, never leaving its disk.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use warifu_protocol::transport::{IdentityError, TlsIdentity};
use warifu_protocol::{Blob, ClusterId, NodeEntry, NodeId, PacketError, PublicKey, SealingKey};
use zeroize::Zeroizing;

use crate::sealing::{FileKek, KekError};
use warifu_core::identity::NodeIdentity;

/// Everything secret that a node has besides its shares.
pub struct NodeKeys {
    /// TLS identity of the QUIC endpoint.
    pub tls: TlsIdentity,
    /// Opens packets that were sealed for this node.
    pub sealing: SealingKey,
    identity: SigningKey,
}

/// Why keys cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be made or read.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key file can be read by others than its owner.
    #[error("{path} must not be readable by group or others (mode 600)")]
    Permissions {
        /// Which file.
        path: PathBuf,
    },
    /// Not a key file of this program.
    #[error("{path} is not a key as `init` writes it")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The TLS identity.
    #[error("the TLS identity")]
    Tls(#[source] IdentityError),
    /// The key-encryption key.
    #[error("the key-encryption key")]
    Kek(#[source] KekError),
    /// The sealing key.
    #[error("the sealing key")]
    Sealing(#[source] PacketError),
}

const IDENTITY_HEADER: &str = "warifu-identity-key-v1";
const SEALING_HEADER: &str = "warifu-sealing-key-v1";

impl NodeKeys {
    /// Makes all keys in a new directory and returns what the genesis says of the node. Existing files are never overwritten.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub fn init(directory: &Path, id: NodeId, address: &str) -> Result<NodeEntry, KeysError> {
        std::fs::create_dir_all(directory).map_err(|source| file_error("create", directory, source))?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
            .map_err(|source| file_error("protect", directory, source))?;
        let tls = TlsIdentity::generate().map_err(KeysError::Tls)?;
        tls.save(&directory.join("tls.crt"), &directory.join("tls.key")).map_err(KeysError::Tls)?;
        let identity = SigningKey::generate(&mut rand_core::OsRng);
        let secret = Zeroizing::new(hex::encode(Zeroizing::new(identity.to_bytes())));
        write_secret(&directory.join("identity.key"), &[IDENTITY_HEADER, &secret])?;
        let sealing_key = make_sealing_key(&directory.join("sealing.key"))?;
        FileKek::init(&directory.join("kek")).map_err(KeysError::Kek)?;
        Ok(NodeEntry {
            id,
            address: address.to_owned(),
            tls_spki: tls.spki_hash(),
            identity: PublicKey::Ed25519(identity.verifying_key().to_bytes()),
            sealing_key,
        })
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub fn load(directory: &Path) -> Result<Self, KeysError> {
        let tls = TlsIdentity::load(&directory.join("tls.crt"), &directory.join("tls.key")).map_err(KeysError::Tls)?;
        let path = directory.join("identity.key");
        let malformed = || KeysError::Malformed { path: path.clone() };
        let text = read_secret(&path)?;
        let (header, digits) = text.trim_end().split_once('\n').ok_or_else(malformed)?;
        if header != IDENTITY_HEADER {
            return Err(malformed());
        }
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, seed.as_mut_slice()).map_err(|_| malformed())?;
        let sealing = load_sealing_key(&directory.join("sealing.key"))?;
        Ok(Self { tls, sealing, identity: SigningKey::from_bytes(&seed) })
    }

    /// The key that signs what the node says, for one cluster.
    #[must_use]
    pub fn identity(&self, node: NodeId, cluster: ClusterId) -> NodeIdentity {
        NodeIdentity::new(node, cluster, self.identity.clone())
    }
}

fn make_sealing_key(path: &Path) -> Result<Blob, KeysError> {
    let key = SealingKey::generate().map_err(KeysError::Sealing)?;
    let [x25519, ml_kem] = key.secret().map_err(KeysError::Sealing)?;
    let lines = [Zeroizing::new(hex::encode(&*x25519)), Zeroizing::new(hex::encode(&*ml_kem))];
    write_secret(path, &[SEALING_HEADER, &lines[0], &lines[1]])?;
    Ok(key.public().clone())
}

fn load_sealing_key(path: &Path) -> Result<SealingKey, KeysError> {
    let malformed = || KeysError::Malformed { path: path.to_owned() };
    let text = read_secret(path)?;
    let lines: Vec<&str> = text.trim_end().split('\n').collect();
    let &[SEALING_HEADER, x25519, ml_kem] = lines.as_slice() else { return Err(malformed()) };
    let decode = |digits: &str| hex::decode(digits).map(Zeroizing::new).map_err(|_| malformed());
    SealingKey::from_secret(&decode(x25519)?, &decode(ml_kem)?).map_err(KeysError::Sealing)
}

fn write_secret(path: &Path, lines: &[&str]) -> Result<(), KeysError> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| file_error("create", path, source))?;
    for line in lines {
        writeln!(file, "{line}").map_err(|source| file_error("write", path, source))?;
    }
    file.sync_all().map_err(|source| file_error("write", path, source))
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeysError> {
    let metadata = std::fs::metadata(path).map_err(|source| file_error("read", path, source))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(KeysError::Permissions { path: path.to_owned() });
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| file_error("read", path, source))
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> KeysError {
    KeysError::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_and_never_overwritten_or_world_readable() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let keys = dir.path().join("keys");
        let id = NodeId::new(1).expect("1 is a node id");
        let entry = NodeKeys::init(&keys, id, "site-1:7400").expect("makes keys");
        assert_eq!(entry.sealing_key.len(), 32 + 1184);
        let loaded = NodeKeys::load(&keys).expect("reads keys");
        assert_eq!(loaded.tls.spki_hash(), entry.tls_spki);
        assert_eq!(loaded.sealing.public(), &entry.sealing_key);
        assert_eq!(loaded.identity(id, ClusterId::new([0; 32])).public_key(), entry.identity);
        NodeKeys::init(&keys, id, "site-1:7400").expect_err("does not overwrite");
        for file in ["identity.key", "sealing.key"] {
            let path = keys.join(file);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changes the mode");
            assert!(matches!(NodeKeys::load(&keys), Err(KeysError::Permissions { .. })), "{file}");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changes the mode");
        }
        let path = keys.join("sealing.key");
        let text = std::fs::read_to_string(&path).expect("reads");
        for wrong in [text.replace("sealing", "other"), text[..text.len() - 3].to_owned(), format!("{text}00\n")] {
            std::fs::write(&path, wrong).expect("writes");
            assert!(matches!(NodeKeys::load(&keys), Err(KeysError::Malformed { .. } | KeysError::Sealing(_))));
        }
    }
}
