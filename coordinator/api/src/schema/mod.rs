//! The JSON forms of protocol objects, for the description at [`paths::OPENAPI`](crate::paths::OPENAPI).
//!
//! `warifu-protocol` is a part of every node and has nothing to do with HTTP, so its types are drawn here again, by the names that they have
//! there. Programs use the originals: no value is made of these. That the two agree, the coordinator's tests show.

mod orders;
mod registry;
mod sessions;
mod stops;
mod values;

pub use orders::*;
pub use registry::*;
pub use sessions::*;
pub use stops::*;
pub use values::*;
