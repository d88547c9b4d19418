//! Whole nodes in one process: founding, confirmation, restarts, key generation, signing, stopping, and what corrupt members can do.

mod corrupt_members;
mod failing_disk;
mod kek;
mod membership;
mod old_disks;
mod pushed_snapshots;
mod repair;
mod roster;
mod signing;
mod stops;
mod support;
