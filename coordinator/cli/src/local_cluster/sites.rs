//! Sites that come and go after the founding.

use std::path::{Path, PathBuf};
use std::time::Duration;

use warifu_node::admin::{self, AdminReply, AdminRequest};
use warifu_protocol::NodeId;
use warifu_protocol::wire::NodeStatus;

use super::cluster::{LocalCluster, make_node, write_toml};
use super::error::LocalClusterError;
use super::ports::free_addresses;
use crate::files;

impl LocalCluster {
    /// Where `warifu roster export` is to write for sites that come later, and where their configurations look for it.
    #[must_use]
    pub fn roster_file(&self) -> PathBuf {
        self.directory().join(ROSTER_FILE)
    }

    /// Directory of a node's configuration, keys and stores.
    #[must_use]
    pub fn node_directory(&self, id: NodeId) -> PathBuf {
        self.directory().join(format!("node-{id}"))
    }

    /// Where a node's administrator reaches it.
    #[must_use]
    pub fn admin_socket(&self, id: NodeId) -> PathBuf {
        self.node_directory(id).join("data").join("admin.sock")
    }

    /// How a node says that it is, at its administrator's socket; nothing when it does not answer.
    pub async fn node_status(&self, id: NodeId) -> Option<NodeStatus> {
        status_at(&self.admin_socket(id)).await
    }

    /// Makes keys and configuration of one more site. Returns the file of its entry, for `warifu roster add-node`; it is started once the order is
    /// applied and the roster exported to [`Self::roster_file`].
    ///
    /// # Errors
    /// See [`LocalClusterError`]; [`LocalClusterError::File`] when the site is there.
    pub fn add_site(&mut self, id: NodeId) -> Result<PathBuf, LocalClusterError> {
        let directory = self.node_directory(id);
        let &[quic, http] = free_addresses(2)?.as_slice() else { unreachable!("as many addresses as were asked for") };
        files::make_directory(&directory)?;
        let entry = make_node(&directory, id, quic, http, Some(Path::new("..").join(ROSTER_FILE)))?;
        let file = directory.join("entry.toml");
        write_toml(&file, &entry)?;
        self.insert_node(id, directory, http);
        Ok(file)
    }

    /// Kills a site that was removed by order and forgets it; its files stay.
    pub fn forget_node(&mut self, id: NodeId) {
        self.kill_node(id);
        self.take_node(id);
    }
}

/// How the node behind an administrator's socket says that it is; nothing when it does not answer within 2 s.
pub async fn status_at(socket: &Path) -> Option<NodeStatus> {
    let asked = tokio::time::timeout(LOOK_DEADLINE, admin::ask(socket, &AdminRequest::Status)).await;
    match asked.ok()?.ok()? {
        AdminReply::Status(status) => Some(*status),
        _ => None,
    }
}

const ROSTER_FILE: &str = "roster.json";
/// Time for one look at a node.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);
