//! Bounds that are equal everywhere in a cluster. Bounds that one process may tune are in its configuration.

/// Longest session: from the statement's not-before to its not-after. The practice of the deployed service is one PIN per working day.
pub const SESSION_MILLIS_MAX: u64 = 18 * 60 * 60 * 1000;
/// Most signatures that one session may ask for; a busy clinic writes some hundred prescriptions a day.
pub const SESSION_SIGNATURES_MAX: u32 = 10_000;
/// A nonce older than this is dropped unused: it bounds how long a share can be completed after a stop, and what a memory image can hold.
pub const NONCE_LIFE_MILLIS: u64 = 30_000;
/// Unused nonces that one node keeps for one coordinator (about 300 bytes each); at the bound the oldest is dropped.
pub const NONCE_POOL_MAX: usize = 4096;
/// Commitments that one reply may carry; a coordinator that wants more asks again.
pub const COMMITMENTS_PER_REPLY_MAX: usize = 512;
/// Documents in one frame to a node; larger batches are split.
pub const SIGN_BATCH_MAX: usize = 128;
/// Credentials in one ceremony: keeps a round-1 entry under [`LOG_ENTRY_BYTES_MAX`] at 15 nodes.
pub const CEREMONY_CREDENTIALS_MAX: usize = 256;
/// Largest encoded log entry. A larger command is refused before it is proposed.
pub const LOG_ENTRY_BYTES_MAX: usize = 512 * 1024;
/// Size of one piece of a CRL in the log.
pub const CRL_CHUNK_BYTES: usize = 256 * 1024;
/// Largest CRL. The real HPKI lists have kilobytes; a national list of cards has megabytes.
pub const CRL_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// CRLs that may be on their way into the log at once; a further one is refused until one ends or expires.
pub const CRL_UPLOADS_MAX: usize = 4;
/// Oldest statement that still opens a session: time to type a PIN, not to keep a statement in a drawer.
pub const STATEMENT_AGE_MILLIS_MAX: u64 = 10 * 60 * 1000;
/// A CRL whose pieces do not all arrive in this time is forgotten.
pub const CRL_UPLOAD_MILLIS_MAX: u64 = 10 * 60 * 1000;
/// Largest certificate, as DER.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;
/// Intermediate certificates beside an end-entity certificate.
pub const INTERMEDIATES_MAX: usize = 2;
/// Approvals on one order; more are refused unread.
pub const APPROVALS_MAX: usize = 16;
/// Orders in one reply about the cluster's changes: each may be as large as a log entry, and together they must fit a frame of 4 MiB.
pub const ROSTER_ORDERS_PER_REPLY_MAX: usize = 4;
/// Signature that fits every allowed algorithm (RSA-4096).
pub const SIGNATURE_BYTES_MAX: usize = 512;
/// Longest life of an order, from its check to its not-after: an order that lies in a drawer for longer must be written again.
pub const ORDER_MILLIS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// Starts in a row that end before a confirmation; a node that fails more often must be looked at.
pub const EARLIER_BOOTS_MAX: usize = 256;
/// Cards bound to one credential at once.
pub const AUTHENTICATORS_MAX: usize = 4;
/// Sessions of one credential that are open at once; a holder who works at more terminals closes one.
pub const SESSIONS_OPEN_MAX: usize = 16;
/// Stops of objects that a node does not know yet, which it holds all the same (about 1 KiB each): room for what an officer may order while
/// a node is behind. Known objects bound themselves.
pub const HOLDS_UNKNOWN_MAX: usize = 10_000;
/// Intermediate states that a ceremony may be restarted in before its credentials fall back to needing a new order.
pub const CEREMONY_ATTEMPTS_MAX: u32 = 8;
/// Imports that are open at once; a further one is refused until one ends. Each has a handful of nodes waiting for a packet.
pub const IMPORTS_OPEN_MAX: usize = 32;
/// Largest sealed packet of an import; one of version 1 has 1,170 bytes.
pub const IMPORT_PACKET_BYTES_MAX: usize = 4 * 1024;
/// Attempts at one repair before it is given up; the node that lacks the shares asks again later.
pub const REPAIR_ATTEMPTS_MAX: u32 = 8;
/// Repairs of one node that are open at once: one that is worked on and one whose messages travel. A further one is refused.
pub const REPAIRS_OPEN_MAX: usize = 2;
/// Refreshes without an order that are open at once in the cluster: one that is worked on and one whose messages travel. A further one is
/// refused, so that nobody can open so many that key generations wait.
pub const DUE_REFRESHES_OPEN_MAX: usize = 2;

const _: () = assert!(CRL_CHUNK_BYTES < LOG_ENTRY_BYTES_MAX);
// A helper commits to one point of 32 bytes for each helper, and there are at most 14 of them.
const _: () = assert!(CEREMONY_CREDENTIALS_MAX * (14 * 32 + 8) <= LOG_ENTRY_BYTES_MAX);
// A round-1 package is about 40 bytes and 33 for each coefficient; with base and signature it stays below 1 KiB at t = 14.
const _: () = assert!(CEREMONY_CREDENTIALS_MAX * 1024 <= LOG_ENTRY_BYTES_MAX);
