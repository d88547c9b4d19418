//! Orders as people handle them: written to a file, approved by officers, submitted.

mod args;
mod file;
mod stop;
mod submit;

pub use args::{
    OrderArgs, OrderContext, approvals_text, check_cluster, check_officer, load_cluster, load_genesis, open_key, versioned_object,
};
pub use file::{OrderError, OrderFile};
pub use stop::{Proof, ReceiptsFile, StopArgs, follow, prove, verify_file};
pub use submit::{Submitted, submit};
