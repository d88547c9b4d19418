//! `warifu terminal`: the clinic's or pharmacy's machine.
//!
//! The terminal trusts nobody with what is signed: it renders the statement for the card itself, computes each document's digest itself,
//! and rebuilds the signed document from its own parts before it takes an answer for one.

mod answer;
mod args;
mod error;
mod login;
mod session_file;
mod sign;

pub use answer::check_answer;
pub use args::{TerminalCommand, run, trust_anchors};
pub use error::TerminalError;
pub use login::{LoginTerms, close, prepare};
pub use session_file::{Numbering, SessionFile, SessionSecret};
pub use sign::{Prepared, SignedDocument};
