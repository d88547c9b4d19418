//! Whole nodes in one process: founding, confirmation, restarts, key generation, signing, stopping, and what corrupt members can do.

mod clinic;
mod corrupt_members;
mod destruction;
mod failing_disk;
mod flooding;
mod generation;
mod imports;
mod kek;
mod lost_shares;
mod lying_coordinators;
mod membership;
mod old_disks;
mod pushed_snapshots;
mod refusals_audited;
mod repair;
mod roster;
mod sessions;
mod signing;
mod sites_change;
mod stops;
mod support;
#[path = "../support/thief.rs"]
#[expect(dead_code, reason = "known bytes are looked for elsewhere")]
mod thief;
mod wrong_starts;
