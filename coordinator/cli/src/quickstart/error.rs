//! Why quickstart fails.

use std::path::PathBuf;

use warifu_api::ApiError;
use warifu_coordinator::document::DocumentError;
use warifu_protocol::{DocumentKind, NodeId};

use crate::files::FileError;
use crate::local_cluster::LocalClusterError;

/// What went wrong, after the steps that are shown.
#[derive(Debug, thiserror::Error)]
pub enum QuickstartError {
    /// A size that is no cluster.
    #[error("{reason}")]
    Size {
        /// What is wrong and what may be asked for.
        reason: String,
    },
    /// The program cannot find itself.
    #[error("the path of this program is not known")]
    Program(#[source] std::io::Error),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The document to sign.
    #[error("`{}` cannot be signed as a prescription", path.display())]
    Document {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// The dispensing cannot be made around the signed prescription.
    #[error("no dispensing can be made of the signed prescription")]
    Dispensing(#[source] DocumentError),
    /// The cluster.
    #[error(transparent)]
    Cluster(Box<LocalClusterError>),
    /// The coordinator.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A signed document that does not verify.
    #[error("the signed {kind} does not verify: {problem}")]
    Invalid {
        /// Which document.
        kind: DocumentKind,
        /// What is wrong with it.
        problem: String,
    },
    /// No leader to kill.
    #[error("no node says who leads")]
    NoLeader,
    /// Documents that were not signed while nodes were down.
    #[error("{failed} of {attempted} documents were not signed; the first: {first}")]
    LoadFailed {
        /// How many.
        failed: u64,
        /// Of how many.
        attempted: u64,
        /// Why the first one was not.
        first: String,
    },
    /// Nothing was signed during the outage.
    #[error("no document was signed while nodes were down")]
    NothingSigned,
    /// A node does not come back.
    #[error("node {node} was restarted but gave no signature share again: {state}")]
    NotBack {
        /// Which.
        node: NodeId,
        /// How it is.
        state: String,
    },
    /// The person stopped it.
    #[error("stopped: every process was ended")]
    Interrupted,
}

impl From<LocalClusterError> for QuickstartError {
    fn from(error: LocalClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}
