//! What one signature costs: the bare arithmetic, and the whole path from an HTTP request to signed XML on a real cluster of processes.
//!
//! Both are measured in one run on one machine, so that their ratio says what the cluster adds: QUIC, TLS, checks, rendering, and the fsync
//! of the audit entry at every site before its share leaves it.

mod bare;
mod options;
mod report;
mod run;
mod whole;

pub use bare::{Bare, bare};
pub use options::Options;
pub use report::{Daemons, Report};
pub use run::run;
pub use whole::{Sequential, Throughput};
