//! UDP proxies between the parties of a cluster, with seeded faults on each directed pair of them.
//!
//! Every caller has a socket of its own for every node that it calls ([`Link`]), named to it by the configuration (`[peers]`,
//! `[node_addresses]`), so that a datagram's sender and receiver are known without looking into it. A connection has both directions in one
//! link; faults go by who sends and who receives, whoever began the connection.

mod faults;
mod lane;
mod link;
mod mesh;
mod weather;

pub use faults::{Faults, Flapping};
pub use lane::{Lane, Sent};
pub use link::{Link, Route};
pub use mesh::{Mesh, MeshError};
pub use weather::{Injected, Party, Weather};
