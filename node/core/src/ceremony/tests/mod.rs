#![expect(clippy::unwrap_used, reason = "tests")]

mod begins;
mod cluster;
mod import;
mod key_generation;
mod messages;
mod mischief;
mod refresh;
mod repair;

pub(super) use cluster::{CREDENTIALS, Cluster, START, identity, node};
