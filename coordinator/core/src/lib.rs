//! The coordinator's decisions without its sockets: which nodes sign, with which commitments, what their answers amount to, whom to blame, when to
//! try again.
//!
//! Read in this order: [`Job`] (what is to be signed, under which [`GroupKey`]), [`Fleet`] (what is known of the nodes), [`Signing`] (one document
//! on its way). Time and randomness are arguments, and what is to be done leaves as [`Effect`]s.

#![warn(clippy::wildcard_enum_match_arm, clippy::indexing_slicing)]

mod attempt;
mod commitments;
mod fleet;
mod health;
mod job;
mod key;
pub mod limits;
mod refusals;
mod signing;
mod stop;
mod time;
mod view;

pub use commitments::{Commitments, CommitmentsMalformed};
pub use fleet::{Fleet, NodeNote, NodeView, TooFewSigners};
pub use job::{DocumentJob, Job, JobError};
pub use key::{GroupKey, GroupKeyError};
pub use signing::{AttemptId, Effect, Rules, SignFailure, Signed, Signing};
pub use stop::{StopProgress, StopRules, StopState};
pub use time::MonotonicMillis;
pub use view::is_view_due;
