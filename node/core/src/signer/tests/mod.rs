#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;
mod refusals;
mod signing;
