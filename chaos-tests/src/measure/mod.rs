//! What every measurement needs: latencies, memory, the disk, and how busy the machine was.

mod disk;
mod latencies;
mod machine;
mod memory;

pub use disk::durable_writes;
pub use latencies::{Latencies, Spread};
pub use machine::{LoadAverage, load_average};
pub use memory::{Memory, MemoryError};
