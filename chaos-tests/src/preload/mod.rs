//! A disk that forgets what was not fsynced, and that fails on purpose, under an unchanged program.
//!
//! [`Shim::build`] compiles `preload/disk.c`. A process that is started with [`Disk::environment`] writes down, before every change of a file under the disk's
//! root, what was there. [`Disk::cut_power`] takes back what was not durable when the process was killed: all of it, or by a seed whatever pieces of it a
//! real disk might not have written. [`Disk::arm`] has an fsync or the writes before it fail, in a process that runs.

mod control;
mod disk;
mod names;
mod shim;
mod undo;
mod writer;

pub use control::{Counts, Fault, Occasion};
pub use disk::{Disk, Loss, Lost};
pub use shim::Shim;
pub use writer::{WRITER_COMMAND, numbers, run_writer};
