//! Everything that takes bytes from outside a process, fed with anything.
//!
//! Each target says whether it took its input; it must never panic, and what it takes must mean the same when it is written and read again. Every run
//! replays the inputs that are kept under `__fuzz__` and draws some at random; `cargo bolero test` searches for new ones.

mod answers;
mod ceremony;
mod cluster;
mod corpus;
mod neighbours;
mod seeds;
mod targets;
