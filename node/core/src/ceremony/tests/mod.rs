#![expect(clippy::unwrap_used, reason = "tests")]

mod cluster;
mod key_generation;
mod messages;
