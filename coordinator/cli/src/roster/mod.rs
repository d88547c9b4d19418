//! `warifu roster`, `warifu policy`, `warifu anchors`: the cluster as it stands, and orders that change it.

mod args;
mod change;
mod show;

pub use args::{AnchorsCommand, PolicyCommand, RosterCommand, run, run_anchors, run_policy};
