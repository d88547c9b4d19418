//! A whole cluster on this machine: real processes on loopback, in a fresh directory, for trials and tests.
//!
//! [`LocalCluster::found`] makes all keys, the genesis and the configurations; [`LocalCluster::start`] starts the daemons, which are this
//! program re-executing itself as them. Every process ends when the cluster is dropped, and also when this process is killed: each watches
//! its standard input, whose other end goes away with its parent.

mod clients;
mod cluster;
mod coordinator;
mod desk;
mod error;
mod holder;
mod officers;
mod ports;
mod process;
mod sites;

pub use clients::{ClientFiles, ClientIdentity};
pub use cluster::{LocalCluster, LocalClusterOptions};
pub use coordinator::run_coordinator;
pub use desk::NewHolder;
pub use error::LocalClusterError;
pub use holder::{Holder, OpenSession};
pub use officers::Officers;
pub use process::Process;
pub use sites::status_at;

/// Hidden command of `warifu` that is the node daemon.
pub const NODE_COMMAND: &str = "__node";
/// Hidden command of `warifu` that is the coordinator daemon.
pub const COORDINATOR_COMMAND: &str = "__coordinator";
