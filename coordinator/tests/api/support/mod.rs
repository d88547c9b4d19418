//! A coordinator over real TLS in front of simulated sites with real FROST keys.

mod caller;
pub mod examples;
mod fixture;
mod schema;
mod sites;

pub use caller::Caller;
pub use fixture::{CREDENTIAL, Fixture, must_signing_fixture};
pub use schema::{Description, Side};
pub use sites::{Fault, Link, Sites};
