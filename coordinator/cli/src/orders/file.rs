//! An order in a file.

use std::path::{Path, PathBuf};

use warifu_api::ApiError;
use warifu_protocol::cluster::RosterFileError;
use warifu_protocol::{
    ClusterId, GenesisError, Name, ObjectVersion, OfficerRole, Order, OrderBody, OrderCommand, OrderId, ReceiptError, UnixMillis, limits,
};

use crate::card::CardError;
use crate::connection::ConnectionError;
use crate::console::ConfirmError;
use crate::files::{self, FileError, MODE_PUBLIC};
use crate::keys::{LocalKeyError, OfficerKey, OfficerKeyError, PassphraseError};

/// Why an order cannot be written, approved or submitted.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The genesis.
    #[error("the genesis `{}` is refused", path.display())]
    Genesis {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: GenesisError,
    },
    /// The roster file.
    #[error("the roster `{}` is refused", path.display())]
    Roster {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RosterFileError,
    },
    /// The order is for another cluster than the genesis.
    #[error("the order is for cluster {found}, the genesis names cluster {expected}")]
    WrongCluster {
        /// Cluster of the order.
        found: ClusterId,
        /// Cluster of the genesis.
        expected: ClusterId,
    },
    /// Neither genesis nor roster names this officer with this key.
    #[error(
        "the roster known here does not name officer {officer} with this key and role; after a change give the current one with --roster"
    )]
    OfficerUnknown {
        /// Who.
        officer: Name,
    },
    /// The officer's role does not approve such an order: an approval of the wrong role makes the nodes refuse the whole order.
    #[error("officer {officer} has the role {role}; this order needs approvals by officers of the role {needed}")]
    OfficerRole {
        /// Who.
        officer: Name,
        /// Their role.
        role: OfficerRole,
        /// The role that approves it.
        needed: OfficerRole,
    },
    /// The officer has approved it already.
    #[error("officer {officer} has approved this order already; another officer must")]
    ApprovedAlready {
        /// Who.
        officer: Name,
    },
    /// The order is past its end.
    #[error("the order was valid until {not_after}; write it again")]
    Expired {
        /// Its end.
        not_after: UnixMillis,
    },
    /// An order may not be changed once it is approved.
    #[error("the order has approvals; it cannot be changed any more")]
    Approved,
    /// The command line asks for what such an order does not have.
    #[error("{reason}")]
    Unfit {
        /// What is wrong and what to do.
        reason: String,
    },
    /// The passphrase of a key.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// An officer's key.
    #[error(transparent)]
    OfficerKey(#[from] OfficerKeyError),
    /// Signing.
    #[error(transparent)]
    Key(#[from] LocalKeyError),
    /// A card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Nobody agreed.
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    /// The connection's arguments.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Nodes did not give their receipts in time.
    #[error("the stop is not complete: {}; it is pursued, and the log has it or will: look again with the same command", missing.join("; "))]
    StopIncomplete {
        /// Which nodes, and why.
        missing: Vec<String>,
    },
    /// The cluster has given an import up.
    #[error("the import has come to nothing ({}): its credential is forgotten and its shares are deleted; make it anew", reasons.join("; "))]
    ImportFailed {
        /// What nodes said.
        reasons: Vec<String>,
    },
    /// Not all nodes have confirmed an import in time.
    #[error("the import is not complete: {}; submit the same files again, or wait until the cluster gives it up", missing.join("; "))]
    ImportIncomplete {
        /// Which nodes, and why.
        missing: Vec<String>,
    },
    /// A receipt does not count.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The coordinator.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// An order with the rules of its file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderFile(pub Order);

impl OrderFile {
    /// Writes a new order, not approved yet, valid for `life_millis` from `now`.
    #[must_use]
    pub fn draft(cluster: ClusterId, command: OrderCommand, object_version: ObjectVersion, now: UnixMillis, life_millis: u64) -> Self {
        Self::draft_as(OrderId::new(rand::random()), cluster, command, object_version, now, life_millis)
    }

    /// As [`Self::draft`], with an identifier that was drawn before.
    #[must_use]
    pub fn draft_as(
        id: OrderId,
        cluster: ClusterId,
        command: OrderCommand,
        object_version: ObjectVersion,
        now: UnixMillis,
        life_millis: u64,
    ) -> Self {
        let body = OrderBody { cluster, id, not_after: now.plus(life_millis), object_version, order: command };
        Self(Order { body, approvals: Vec::new(), consents: Vec::new() })
    }

    /// Reads an order.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn load(path: &Path) -> Result<Self, FileError> {
        files::read_json(path, "order", ORDER_FILE_BYTES_MAX).map(Self)
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// [`FileError::System`], also when the file exists.
    pub fn save_new(&self, path: &Path) -> Result<(), FileError> {
        files::write_new(path, &files::json_bytes(&self.0), MODE_PUBLIC)
    }

    /// Puts the order in place of the file that it was read from.
    ///
    /// # Errors
    /// [`FileError::System`].
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        files::replace(path, &files::json_bytes(&self.0), MODE_PUBLIC)
    }

    /// Adds an officer's approval. What the officer approves must have been shown first, in words.
    ///
    /// # Errors
    /// [`OrderError::ApprovedAlready`], [`OrderError::Expired`] or [`OrderError::Key`].
    pub fn approve(&mut self, officer: &OfficerKey, now: UnixMillis) -> Result<(), OrderError> {
        let id = &officer.officer().id;
        if self.0.approvals.iter().any(|approval| approval.officer == *id) {
            return Err(OrderError::ApprovedAlready { officer: id.clone() });
        }
        if self.0.body.not_after < now {
            return Err(OrderError::Expired { not_after: self.0.body.not_after });
        }
        self.0.approvals.push(officer.approve(&self.0.body)?);
        Ok(())
    }
}

/// Largest order file: the largest log entry in base64, and room for indentation.
const ORDER_FILE_BYTES_MAX: usize = 2 * limits::LOG_ENTRY_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{OfficerKeyFile, Passphrase};

    #[test]
    fn an_order_comes_back_from_its_file_and_takes_each_officer_once_and_in_time() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let passphrase = Passphrase::new("correct horse".to_owned()).expect("long enough");
        let key =
            OfficerKeyFile::create(&directory.path().join("o1.key"), "o1".parse().expect("a name"), OfficerRole::Operator, &passphrase)
                .expect("makes a key")
                .open(&passphrase)
                .expect("opens");
        let command = OrderCommand::EnrolFacility { facility: "1310000001".parse().expect("a name") };
        let now = UnixMillis(1_000_000);
        let mut order = OrderFile::draft(ClusterId::new([1; 32]), command, ObjectVersion(0), now, 1000);
        let path = directory.path().join("order.json");
        order.save_new(&path).expect("writes");
        assert!(order.save_new(&path).is_err(), "nothing is overwritten");
        assert!(matches!(order.approve(&key, now.plus(1001)), Err(OrderError::Expired { .. })));
        order.approve(&key, now).expect("approves");
        assert!(matches!(order.approve(&key, now), Err(OrderError::ApprovedAlready { .. })));
        order.save(&path).expect("replaces");
        let back = OrderFile::load(&path).expect("reads");
        assert_eq!(back, order);
        let approval = back.0.approvals.first().expect("one approval");
        key.officer().key.verify(&back.0.body.message(), approval.signature.as_slice()).expect("holds");
    }
}
