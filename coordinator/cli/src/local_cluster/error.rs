//! What can go wrong with a cluster on this machine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use warifu_api::ApiError;
use warifu_protocol::{CredentialId, GenesisError, NodeId};

use crate::card::CardError;
use crate::card_command::CardCommandError;
use crate::credential::CredentialError;
use crate::files::FileError;
use crate::genesis::GenesisCommandError;
use crate::keys::{LocalKeyError, OfficerKeyError, PassphraseError};
use crate::orders::OrderError;
use crate::terminal::TerminalError;
use crate::trial_pki::TrialPkiError;

/// Why a local cluster cannot be founded, started or used.
#[derive(Debug, thiserror::Error)]
pub enum LocalClusterError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory holds something already.
    #[error("`{}` is not empty: give a new directory", path.display())]
    NotEmpty {
        /// Which.
        path: PathBuf,
    },
    /// A node's keys.
    #[error("the keys of node {node} cannot be made")]
    NodeKeys {
        /// Which node.
        node: NodeId,
        /// Why.
        #[source]
        source: warifu_node::keys::KeysError,
    },
    /// An officer's passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// An officer's key.
    #[error(transparent)]
    OfficerKey(#[from] OfficerKeyError),
    /// A key.
    #[error(transparent)]
    Key(#[from] LocalKeyError),
    /// A trial CA.
    #[error(transparent)]
    TrialPki(#[from] TrialPkiError),
    /// A TLS certificate.
    #[error("a TLS certificate for {whom} cannot be made")]
    Certificate {
        /// For whom.
        whom: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The founding terms.
    #[error(transparent)]
    Draft(#[from] GenesisCommandError),
    /// The signed genesis.
    #[error("the genesis is refused")]
    Genesis(#[from] GenesisError),
    /// No free port.
    #[error("no {wanted} free ports on loopback between {from} and {to}")]
    Ports {
        /// How many were wanted.
        wanted: usize,
        /// First port tried.
        from: u16,
        /// Last port tried.
        to: u16,
    },
    /// A process cannot be started.
    #[error("`{}` cannot be started as {process}", program.display())]
    Spawn {
        /// Which process.
        process: String,
        /// Which program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A process ended by itself.
    #[error("{process} ended by itself ({status}); the end of its log {}:\n{tail}", log.display())]
    Ended {
        /// Which process.
        process: String,
        /// How.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The cluster does not get ready.
    #[error("the cluster was not ready within {deadline:?}: {reason}; logs are in {}", logs.display())]
    NotReady {
        /// How long was waited.
        deadline: Duration,
        /// What was missing at last.
        reason: String,
        /// Where logs are.
        logs: PathBuf,
    },
    /// No such node.
    #[error("there is no node {node}")]
    NoNode {
        /// Which.
        node: NodeId,
    },
    /// The coordinator.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The CA's desk.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Making a trial card.
    #[error(transparent)]
    CardCommand(#[from] CardCommandError),
    /// Using a card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// A terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// A key ceremony does not end.
    #[error("the key ceremony of credential {credential} did not end within {deadline:?}")]
    Ceremony {
        /// Whose key.
        credential: CredentialId,
        /// How long was waited.
        deadline: Duration,
    },
}
