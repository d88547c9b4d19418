//! Bounds of the coordinator's core. Those that the whole cluster shares are in `warifu_protocol::limits`.

use warifu_protocol::limits::{COMMITMENTS_PER_REPLY_MAX, NONCE_LIFE_MILLIS, NONCE_POOL_MAX};

/// Time for one document, from its start to its signature or failure. A person waits for it at a terminal.
pub const SIGNING_DEADLINE_MILLIS: u64 = 5_000;
/// Signer sets that are tried for one document, hedges included; each costs a nonce at t nodes. Enough to meet every node of the largest cluster
/// that may be down at once, since a set that failed tells which ones to avoid.
pub const ATTEMPTS_MAX: u32 = 8;
/// Sets that are started for one document because an earlier one is slow; more would add load to what is slow already.
pub const HEDGES_MAX: u32 = 2;
/// A set is not called slow before this: below it the hedge costs more than the wait.
pub const HEDGE_MILLIS_MIN: u64 = 40;
/// A set is called slow after this at the latest, also while answers are expected late: when a site dies then, all that asked it wait this long, and a
/// clinic is not to wait for a second.
pub const HEDGE_MILLIS_MAX: u64 = 800;
/// Pause before signers are looked for again when there were too few.
pub const SIGNERS_RETRY_MILLIS: u64 = 20;

/// Part of a nonce's life that is not used, for the way to the node and its queue.
pub const COMMITMENT_MARGIN_MILLIS: u64 = 3_000;
/// Commitments kept of a node without any demand: the first requests after an idle time find them.
pub const POOL_FLOOR: usize = 16;
/// Commitments kept of one node at most; beyond it a reply's rest is dropped.
pub const POOL_MAX: usize = 2_048;
/// Time over which demand is measured. The pool is filled for the demand of as much time to come.
pub const DEMAND_WINDOW_MILLIS: u64 = 1_000;
/// Part of the pool's life after which an idle pool is renewed.
pub const COMMITMENT_RENEW_MILLIS: u64 = 8_000;

/// Pause after a node's first failed call; doubled for each further one.
pub const BACKOFF_MILLIS_MIN: u64 = 100;
/// Longest pause: a returning node is in use again soon after.
pub const BACKOFF_MILLIS_MAX: u64 = 2_000;
/// A node that said that it cannot sign (not confirmed, clock, audit log) is left alone for this long.
pub const UNREADY_MILLIS: u64 = 1_000;
/// A node that made a hedge necessary is taken only when there is no other for this long, or until it answers.
pub const SUSPECT_MILLIS: u64 = 2_000;
/// A node that gave a false signature share is not asked again for this long. An operator has to look at it; one that was repaired is back without
/// a restart of the coordinator.
pub const EXCLUSION_MILLIS: u64 = 10 * 60 * 1_000;
/// A credential of which nodes lack their shares is read anew after this: a node whose shares were repaired is asked for signature shares again, so
/// that others may be away.
pub const LACKING_VIEW_LIFE_MILLIS: u64 = 3_000;
/// What one item in a node's queue adds to the time that is expected of it, in microseconds: checks, rendering and arithmetic on a slow machine.
pub const ITEM_MICROS: u64 = 3_000;
/// Longest latency that enters the estimate, in microseconds; longer ones are failures of their own kind.
pub const LATENCY_MICROS_MAX: u64 = 5_000_000;

const _: () = assert!(COMMITMENT_RENEW_MILLIS + COMMITMENT_MARGIN_MILLIS < NONCE_LIFE_MILLIS);
const _: () = assert!(POOL_FLOOR < POOL_MAX && POOL_MAX <= NONCE_POOL_MAX);
const _: () = assert!(POOL_FLOOR <= COMMITMENTS_PER_REPLY_MAX);
const _: () = assert!(HEDGE_MILLIS_MIN < HEDGE_MILLIS_MAX && HEDGE_MILLIS_MAX < SIGNING_DEADLINE_MILLIS);
const _: () = assert!(BACKOFF_MILLIS_MAX < SIGNING_DEADLINE_MILLIS);
