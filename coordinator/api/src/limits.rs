//! Bounds of the HTTP interface.

use warifu_protocol::limits::{CRL_BYTES_MAX, SIGN_BATCH_MAX};

/// Largest request body in bytes. A larger one is answered with status 413.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Documents in one call; the nodes' own bound on a batch, so that a call is one frame for each of them.
pub const DOCUMENTS_MAX: usize = SIGN_BATCH_MAX;
/// Credentials on one page.
pub const CREDENTIALS_PAGE_MAX: u16 = 1_000;
/// Credentials on a page when the caller does not say.
pub const CREDENTIALS_PAGE_DEFAULT: u16 = 100;
/// Largest answer that the client reads: a batch of the largest documents with their signatures and JSON's escapes.
pub const ANSWER_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;

const _: () = assert!(CRL_BYTES_MAX <= BODY_BYTES_MAX as u64);
/// Orders about the cluster's changes that a client reads; a cluster is changed a few times a year.
pub const ROSTER_ORDERS_MAX: usize = 10_000;
