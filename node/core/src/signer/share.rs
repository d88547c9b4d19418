//! A key share as it is sealed at rest.

use std::fmt;

use frost_ed25519::keys::KeyPackage;
use warifu_protocol::{ClusterId, CredentialId, Epoch, NodeId};
use zeroize::Zeroizing;

/// Version of the plaintext's encoding.
const SHARE_RECORD_VERSION: u8 = 1;
/// Domain tag of the additional data that a share is sealed with.
const TAG_SHARE: &[u8] = b"warifu-share-v1\n";
/// Largest serialized key package; FROST(Ed25519, SHA-512) has 134 bytes.
const KEY_PACKAGE_BYTES_MAX: usize = 256;
const HEADER_BYTES: usize = 1 + CredentialId::LEN + 4;

/// The plaintext of a sealed share: one node's key package of one credential in one epoch.
///
/// # Security
/// It is wiped when dropped, not printed, and has no serde form: it leaves memory through [`Self::encode`] only, to be sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct ShareRecord {
    /// Whose key.
    pub credential: CredentialId,
    /// Generation of its shares.
    pub epoch: Epoch,
    key_package: Zeroizing<Vec<u8>>,
}

/// A record that cannot be read: it was sealed by another program, or the store is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareRecordError {
    /// Made by a newer version.
    #[error("share record version {version} is unknown to this program, which knows {SHARE_RECORD_VERSION}; upgrade this node")]
    UnknownVersion {
        /// Version found.
        version: u8,
    },
    /// Too short, too long, or no key package.
    #[error("the share record is damaged; have the node's shares repaired")]
    Malformed,
}

impl ShareRecord {
    /// Takes a key package in.
    ///
    /// # Panics
    /// Never: key packages serialize.
    #[must_use]
    pub fn new(credential: CredentialId, epoch: Epoch, key_package: &KeyPackage) -> Self {
        let key_package = Zeroizing::new(key_package.serialize().expect("key packages serialize"));
        Self { credential, epoch, key_package }
    }

    /// The key package, which wipes itself.
    ///
    /// # Errors
    /// When the bytes are no key package.
    pub fn key_package(&self) -> Result<KeyPackage, ShareRecordError> {
        KeyPackage::deserialize(&self.key_package).map_err(|_| ShareRecordError::Malformed)
    }

    /// The plaintext to seal: version, credential, epoch (big-endian), key package.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Reserved in full, so that no part is left behind in a buffer that was outgrown.
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + self.key_package.len()));
        bytes.push(SHARE_RECORD_VERSION);
        bytes.extend_from_slice(self.credential.as_bytes());
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&self.key_package);
        bytes
    }

    /// Reads an opened record.
    ///
    /// # Errors
    /// See [`ShareRecordError`]. The key package is checked when it is taken out.
    pub fn decode(plaintext: &[u8]) -> Result<Self, ShareRecordError> {
        let (&version, rest) = plaintext.split_first().ok_or(ShareRecordError::Malformed)?;
        if version != SHARE_RECORD_VERSION {
            return Err(ShareRecordError::UnknownVersion { version });
        }
        let (credential, rest) = rest.split_first_chunk::<{ CredentialId::LEN }>().ok_or(ShareRecordError::Malformed)?;
        let (epoch, key_package) = rest.split_first_chunk::<4>().ok_or(ShareRecordError::Malformed)?;
        if key_package.is_empty() || key_package.len() > KEY_PACKAGE_BYTES_MAX {
            return Err(ShareRecordError::Malformed);
        }
        Ok(Self {
            credential: CredentialId::new(*credential),
            epoch: Epoch(u32::from_be_bytes(*epoch)),
            key_package: Zeroizing::new(key_package.to_vec()),
        })
    }

    /// The additional data that a share is sealed with: a record moved to another node, credential or epoch does not open.
    #[must_use]
    pub fn aad(cluster: ClusterId, node: NodeId, credential: CredentialId, epoch: Epoch) -> Vec<u8> {
        [TAG_SHARE, cluster.as_ref(), &[node.get()], credential.as_ref(), &epoch.0.to_be_bytes()].concat()
    }
}

impl fmt::Debug for ShareRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareRecord({} epoch {}, <redacted>)", self.credential, self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frost_ed25519::keys::{IdentifierList, generate_with_dealer};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    fn must_record() -> ShareRecord {
        let (shares, _) =
            generate_with_dealer(3, 2, IdentifierList::Default, ChaCha20Rng::seed_from_u64(1)).expect("a dealer's key for the test");
        let package = KeyPackage::try_from(shares.into_values().next().expect("a share")).expect("a valid share");
        ShareRecord::new(CredentialId::new([3; 16]), Epoch(7), &package)
    }

    #[test]
    fn a_record_survives_its_encoding() {
        let record = must_record();
        let read = ShareRecord::decode(&record.encode()).expect("what was encoded");
        assert_eq!(read, record);
        assert_eq!(read.key_package(), record.key_package());
        assert!(read.key_package().is_ok());
    }

    #[test]
    fn damaged_records_are_refused() {
        let good = must_record().encode();
        for length in [0, 1, HEADER_BYTES - 1, HEADER_BYTES] {
            assert_eq!(ShareRecord::decode(&good[..length]), Err(ShareRecordError::Malformed), "{length} bytes");
        }
        let mut long = good.to_vec();
        long.resize(HEADER_BYTES + KEY_PACKAGE_BYTES_MAX + 1, 0);
        assert_eq!(ShareRecord::decode(&long), Err(ShareRecordError::Malformed));
        let mut newer = good.to_vec();
        newer[0] = 2;
        assert_eq!(ShareRecord::decode(&newer), Err(ShareRecordError::UnknownVersion { version: 2 }));
        let cut = ShareRecord::decode(&good[..good.len() - 1]).expect("the header is whole");
        assert_eq!(cut.key_package(), Err(ShareRecordError::Malformed));
    }

    #[test]
    fn the_additional_data_differs_with_each_of_its_parts() {
        let node = |number| NodeId::new(number).expect("a node id");
        let (cluster, credential) = (ClusterId::new([1; 32]), CredentialId::new([2; 16]));
        let aad = ShareRecord::aad(cluster, node(1), credential, Epoch(1));
        for other in [
            ShareRecord::aad(ClusterId::new([9; 32]), node(1), credential, Epoch(1)),
            ShareRecord::aad(cluster, node(2), credential, Epoch(1)),
            ShareRecord::aad(cluster, node(1), CredentialId::new([9; 16]), Epoch(1)),
            ShareRecord::aad(cluster, node(1), credential, Epoch(2)),
        ] {
            assert_ne!(aad, other);
        }
    }

    #[test]
    fn a_record_does_not_print_its_share() {
        assert!(format!("{:?}", must_record()).contains("<redacted>"));
    }
}
