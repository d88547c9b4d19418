//! What bulk work costs: key generation, repair and refresh of many keys on a real cluster of processes while prescriptions keep coming.
//!
//! The arithmetic of the same work, without network, log and disk, is measured in the same run: the floor. So is signing without bulk work
//! beside it, so that what bulk work does to it is a ratio.

mod floor;
mod options;
mod report;
mod run;

pub use floor::{Floor, Floors, floors};
pub use options::Options;
pub use report::{Bulk, P99_RATIO_MAX, Report};
pub use run::run;
