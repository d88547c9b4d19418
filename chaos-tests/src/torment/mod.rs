//! `torment`: the real daemons as processes behind [proxies](crate::proxy), tormented in combination while prescriptions keep coming; afterwards
//! every disk is read and the promises are checked across all of them.

mod checker;
mod desk;
mod lines;
mod namespaces;
mod nemesis;
mod options;
mod oracle;
mod plan;
mod report;
mod run;
mod sessions;
mod stage;
mod taken;

pub use checker::Checked;
pub(crate) use checker::{Evidence, check_stores};
pub(crate) use lines::lay;
pub use nemesis::Nemesis;
pub use options::Options;
pub use report::{Report, Round};
pub use run::run;
