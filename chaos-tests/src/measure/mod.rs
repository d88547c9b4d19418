//! What every measurement needs: latencies, memory, the disk, and how busy the machine was.

mod disk;
mod latencies;
mod machine;
mod memory;

pub use disk::durable_writes;
pub(crate) use latencies::optional_seconds;
pub use latencies::{Latencies, Spread};
pub(crate) use machine::write_load_averages;
pub use machine::{LoadAverage, load_average, processors};
pub use memory::{Memory, MemoryError};
