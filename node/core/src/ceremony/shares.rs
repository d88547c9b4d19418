//! Where a ceremony gets this node's own shares from.

use frost_ed25519::keys::KeyPackage;
use warifu_protocol::{CredentialId, Epoch};

/// The node's sealed shares.
pub trait OpenShare {
    /// Opens this node's share. `None` when it has none that can be used: the ceremony then goes on without this node, and what is wrong
    /// with the share is for the implementation to report.
    fn open_share(&self, credential: CredentialId, epoch: Epoch) -> Option<KeyPackage>;
}
