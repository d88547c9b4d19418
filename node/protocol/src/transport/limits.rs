//! Every bound of the transport. The bounds on frames and streams stand with their role, in [`Role`](super::Role).

use std::time::Duration;

/// Largest certificate accepted from a peer, in bytes. Ours are below 500; a larger one is refused before it is parsed.
pub const CERTIFICATE_BYTES_MAX: usize = 4096;

/// How often an idle connection shows that it lives. A quarter of [`IDLE_MAX`], so that three losses in a row do no harm.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Silence after which a connection is given up by either end.
pub const IDLE_MAX: Duration = Duration::from_secs(20);

/// Time for a whole handshake. Three round trips of an intercontinental path with losses; after it the attempt is dropped.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Handshakes that a server works on at the same time; further ones are refused. They are the only work that a stranger can cause.
pub const HANDSHAKES_MAX: usize = 64;

/// Handshakes in progress from which a newcomer must first prove its address, so that spoofed packets cost nothing.
pub const HANDSHAKES_BEFORE_RETRY: usize = 16;

/// Connections that a server keeps per peer: one per role, and as many again while a restarted peer's old ones run into [`IDLE_MAX`].
/// One more closes the oldest, so a peer can only shut out itself.
pub const CONNECTIONS_PER_PEER: usize = 8;

/// Time for a whole request frame, and for each chunk of a streamed body, to arrive. After it the stream is refused as too slow.
pub const REQUEST_READ_DEADLINE: Duration = Duration::from_secs(10);

/// Largest head of a streamed request, in bytes.
pub const STREAM_HEAD_MAX: usize = 64 * 1024;

/// Chunk in which a body is sent, in bytes: large enough to fill packets back to back, small enough not to matter in memory.
pub const STREAM_CHUNK: usize = 256 * 1024;

/// Bytes of explanation that a refusal carries; longer ones are cut.
pub const REFUSAL_DETAIL_MAX: usize = 512;

/// Largest frame that carries a refusal, in bytes: the explanation and its tags.
pub const REFUSAL_FRAME_MAX: usize = REFUSAL_DETAIL_MAX + 64;

/// Pause after the first failed connection attempt; doubled for each further one up to [`RECONNECT_BACKOFF_MAX`]. Calls within the pause fail at once.
pub const RECONNECT_BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Longest pause between connection attempts: a returning node is in use again within a second.
pub const RECONNECT_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Time without any packet from a peer, while calls to it fail, after which its connection is replaced. A peer that was killed cannot say goodbye,
/// and [`IDLE_MAX`] is too long to wait for it.
pub const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Time that a stopping endpoint gives its peers to hear of it.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

const _: () = assert!(KEEP_ALIVE.as_millis() * 4 <= IDLE_MAX.as_millis());
const _: () = assert!(HANDSHAKES_BEFORE_RETRY < HANDSHAKES_MAX);
const _: () = assert!(RECONNECT_BACKOFF_MIN.as_millis() < RECONNECT_BACKOFF_MAX.as_millis());
