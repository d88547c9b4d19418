//! How much memory and disk one node's registry and shares need.
//!
//! The program makes a cluster's log for any number of credentials and gives it to a process of its own, which holds what a node holds: the
//! registry under the real apply, the audit log and the sealed shares. That process's memory is what is measured; what makes the log is not
//! in it. Two further processes open the same stores again and install a snapshot of them, for a node does that too.

mod dealt;
mod feed;
mod founding;
mod generator;
mod holder;
mod options;
mod report;
mod run;

pub use dealt::DealtKeys;
pub use feed::Feed;
pub use founding::Founding;
pub use generator::Generator;
pub use options::{Options, Phase};
pub use report::{HolderReport, MEMORY_MAX_BYTES, Reads, Report, StoreSizes};
pub use run::{run, run_phase};
