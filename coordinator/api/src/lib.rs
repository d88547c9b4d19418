//! The coordinator's HTTP interface: paths, bodies, problem documents, and a client.
//!
//! Bodies are JSON in UTF-8 with closed sets of fields. Failures are problem documents (RFC 9457). Who may call what is said at each path in
//! [`paths`]; callers prove themselves by a TLS client certificate.

mod client;
pub mod limits;
mod messages;
pub mod paths;
mod problem;
mod refusal_problem;
pub mod schema;

pub use client::{ApiClient, ApiClientConfig, ApiError};
pub use messages::*;
pub use problem::{PROBLEM_CONTENT_TYPE, PROBLEM_TYPE_PREFIX, Problem};
