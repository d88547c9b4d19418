//! Receipts of what was stopped: in a file, completed from the cluster, and checked without it.

mod args;
mod proof;
#[cfg(test)]
mod tests;

pub use args::{ReceiptsCommand, run};
pub use proof::{Proof, ProofLevel, ReceiptsFile, prove};
