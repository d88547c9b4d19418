//! What nodes tell the log when shares are refreshed, beside the messages that a refresh has in common with key generation.

use serde::{Deserialize, Serialize};

use crate::canonical::{TAG_EPOCH_RECEIPT, TAG_EPOCH_RETIRED, TAG_REFRESH_START};
use crate::{CeremonyId, CredentialId, NodeStatement};

/// A node opens a refresh that is due: the state says so of each of these credentials, and no order is needed for them any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefreshStart {
    /// Drawn for this refresh.
    pub ceremony: CeremonyId,
    /// 1 to [`crate::limits::CEREMONY_CREDENTIALS_MAX`] credentials, ascending, all held by the same nodes.
    pub credentials: Vec<CredentialId>,
}

impl NodeStatement for RefreshStart {
    const TAG: &'static str = TAG_REFRESH_START;
}

/// A participant has seen the new epoch come into use and signs in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpochReceipt {
    /// The refresh.
    pub ceremony: CeremonyId,
    /// Its attempt.
    pub attempt: u32,
}

impl NodeStatement for EpochReceipt {
    const TAG: &'static str = TAG_EPOCH_RECEIPT;
}

/// A participant asks that the old epoch end: all receipts are there, or the deadline has passed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpochRetired {
    /// The refresh.
    pub ceremony: CeremonyId,
    /// Its attempt.
    pub attempt: u32,
}

impl NodeStatement for EpochRetired {
    const TAG: &'static str = TAG_EPOCH_RETIRED;
}
