//! Orders as people handle them: written to a file, approved by officers, submitted.

mod args;
mod file;
mod import;
mod receipts;
mod stop;
mod submit;

pub use args::{
    OrderArgs, OrderContext, approvals_text, check_cluster, check_officer, load_cluster, load_genesis, open_key, versioned_object,
};
pub use file::{OrderError, OrderFile};
pub use import::{read_packets, submit_import};
pub use receipts::{Proof, ProofLevel, ReceiptsCommand, ReceiptsFile, prove, run as run_receipts};
pub use stop::{StopArgs, follow};
pub use submit::{Enclosed, Submitted, submit, submit_enclosed};
