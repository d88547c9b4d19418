//! The registry's apply: what every command changes, and that a refused one changes nothing, seen from outside the crate.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod bindings;
mod ceremonies;
mod certificates;
mod destruction;
mod determinism;
mod enrolment;
mod imports;
mod intermediates;
mod lists;
mod malformed;
mod nodes;
mod orders;
mod rebinding;
mod refresh;
mod refreshes_due;
mod roster;
mod sessions;
mod shares_lost;
mod states;
mod stops;
mod support;
mod versions;
mod words;
