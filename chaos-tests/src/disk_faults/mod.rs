//! Real nodes on disks that forget what was not fsynced and that fail on purpose: all nodes lose their power at once while documents are signed and orders
//! carried out, again and again; then one node after the other meets a failing, full, torn or slow disk while the others sign on.
//!
//! The disks are those of [`crate::preload`]. A promise that is broken, or a document that is not signed while one disk fails, is a failure.

mod audit;
mod cuts;
mod faults;
mod kept;
mod options;
mod report;
mod run;

pub use options::Options;
pub use report::{Behaviour, CaseRow, CutRow, Report};
pub use run::run;
