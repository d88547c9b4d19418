//! `warifu quickstart`: the whole story on one machine, with real processes, and an outage under load.

mod args;
mod error;
mod keep;
mod load;
mod outage;
mod report;
mod shell;
mod story;

pub use args::{QuickstartArgs, run};
pub use error::QuickstartError;
pub use load::{Load, LoadSummary};
pub use report::{QuickstartReport, Step};
