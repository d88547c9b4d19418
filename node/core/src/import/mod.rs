//! Import of a key that exists already: what the officer's tool does with its seed, and what every node checks of it.

mod deal;
mod prepare;
mod seed;
mod terms;
mod weak;

pub use deal::{DealError, DealtKey, deal};
pub use prepare::{PrepareError, prepare};
pub use seed::{ImportSeed, SeedError};
pub(crate) use terms::check_packet;
pub use terms::{OpenPacket, check_import, open_packet, packet_plaintext};
pub use weak::is_published_key;
