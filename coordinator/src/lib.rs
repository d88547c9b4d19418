//! Shell of the coordinator: HTTPS for platforms and the CA, QUIC client of the nodes, metrics.
//!
//! Read in this order: [`config`], `daemon` (what runs), `http` (what is offered to whom), `signing` (a document's way), `nodes` (calls, batches,
//! reads and proposals). The coordinator holds no secret of a credential and decides nothing that a node does not decide again.

mod clock;
pub mod config;
mod daemon;
pub mod document;
mod http;
pub mod limits;
mod metrics;
mod nodes;
mod signing;

pub use daemon::{Args, RunError, Running, run, run_daemon, start};
pub use nodes::{CallFailure, CallNode};
