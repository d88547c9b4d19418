#![expect(clippy::unwrap_used, reason = "tests")]

mod cluster;
mod key_generation;
mod messages;
mod refresh;
mod repair;

pub(super) use cluster::{CREDENTIALS, Cluster, START, node};
