//! `mutants`: weakens the program on purpose, one check at a time, and sees to it that seeds of the simulator or a test notice.

mod catalogue;
mod options;
mod programs;
mod report;
mod run;
mod seeds;

pub use options::{By, Options};
pub use report::Report;
pub use run::run;
