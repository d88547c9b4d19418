//! `simulate`: whole clusters of the production cores on virtual time, virtual disks and a virtual network, from one seed.

mod attack;
mod cards;
mod coordinator;
mod cost;
mod counters;
mod disk;
mod errands;
mod event;
mod fact;
mod faults;
mod forgery;
mod imports;
pub mod invariants;
mod knowledge;
mod log;
mod mischief;
mod options;
mod people;
mod pki;
mod plan;
mod replay;
mod report;
mod roster;
mod run;
#[cfg(test)]
mod scenarios;
mod sealing;
mod seed;
mod site;
mod timeline;
mod trace;
mod workload;
mod world;

pub use cost::Cost;
pub use counters::Counters;
pub use fact::{AskedFor, CardLife, Checked, Fact, Released, RepairOf, Sent, ShareGiven, Unshown};
pub use options::Options;
pub use plan::{Faults, Focus, Mischief, Plan, SAFETY_MILLIS};
pub use replay::{ReplayError, ReplayOptions, replay};
pub use report::{Report, UnderFault};
pub use run::{Outcome, run, run_focused, run_seed};
pub use seed::{Dice, SeedTree};
