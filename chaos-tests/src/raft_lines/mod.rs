//! `raft-lines`: consensus alone, with the real raft, QUIC and stores. Five nodes in one process, on lines that lose, double, reorder, delay and cut in one
//! direction, and on disks that are slow or fail, while clients write; then everything heals, and all logs and states are held against what the clients
//! were told.

mod checks;
mod clients;
mod faults;
mod nodes;
mod options;
mod report;
mod run;

pub use faults::Fault;
pub use nodes::{NODES_COMMAND, run_nodes};
pub use options::Options;
pub use report::{Report, Round};
pub use run::run;
