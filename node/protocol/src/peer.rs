//! The two kinds of members that talk to nodes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Name, NodeId};

/// An authenticated end of a connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum PeerId {
    /// A site's node.
    Node(NodeId),
    /// A coordinator of the roster.
    Coordinator(Name),
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "node {id}"),
            Self::Coordinator(name) => write!(f, "coordinator {name}"),
        }
    }
}
