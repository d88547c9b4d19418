//! `warifu officer`: keys of officers, and what they do with orders.

mod args;

pub use args::{OfficerCommand, run};
