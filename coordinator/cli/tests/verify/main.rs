//! `warifu verify` accepts what was signed, refuses everything else, and agrees with verifiers that share no code with it.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking and says on the terminal when it is skipped")]

mod bad_input;
mod command_line;
mod independent;
mod roles_and_trust;
mod sample;
mod support;
mod tampering;

#[path = "../support/independent.rs"]
mod independent_verifiers;
