//! Reading and writing frames on QUIC streams.

use bytes::Bytes;
use quinn::{ReadExactError, ReadToEndError, RecvStream};
use tokio::time::timeout;

use super::frame::{HEADER_LEN, KIND_STREAMED, KIND_UNARY, RpcRefusal, SUITE_FROST_ED25519_SHA512, parse_header};
use super::limits::{REQUEST_READ_DEADLINE, STREAM_CHUNK, STREAM_HEAD_MAX};
use super::role::Role;
use crate::versions::protocol_version;

/// The body of a streamed request, read by the handler at its own pace.
#[derive(Debug)]
pub struct BodyStream {
    recv: RecvStream,
    remaining: u64,
}

/// A body that ended wrongly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The sender went on past what the handler allows.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// No chunk arrived in time.
    #[error("the body stopped arriving")]
    TooSlow,
    /// The connection or the sender broke off.
    #[error("the body broke off")]
    BrokenOff,
}

impl BodyStream {
    /// Allows this many bytes in all, from here on. Nothing is allowed before this is called.
    pub const fn allow(&mut self, bytes: u64) {
        self.remaining = bytes;
    }

    /// The next chunk, at most 256 KiB, or nothing after the last.
    ///
    /// # Errors
    /// [`BodyError`]; the body is then useless.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let chunk = timeout(REQUEST_READ_DEADLINE, self.recv.read_chunk(STREAM_CHUNK, true)).await.map_err(|_| BodyError::TooSlow)?;
        let Some(chunk) = chunk.map_err(|_| BodyError::BrokenOff)? else { return Ok(None) };
        let len = chunk.bytes.len() as u64;
        self.remaining = self.remaining.checked_sub(len).ok_or(BodyError::TooLarge)?;
        Ok(Some(chunk.bytes))
    }
}

/// A request as it came from the stream.
pub(super) enum Incoming {
    Unary(Bytes),
    Streamed { head: Bytes, body: BodyStream },
}

/// Reads one request; gives the version that its answer is to have. The deadline covers all of it but a streamed body.
pub(super) async fn read_request(recv: RecvStream, role: Role) -> (u8, Result<Incoming, RpcRefusal>) {
    let mut version = protocol_version();
    let request = timeout(REQUEST_READ_DEADLINE, read_parts(recv, role, &mut version)).await.unwrap_or(Err(RpcRefusal::TooSlow));
    (version, request)
}

async fn read_parts(mut recv: RecvStream, role: Role, version: &mut u8) -> Result<Incoming, RpcRefusal> {
    let mut header = [0; HEADER_LEN];
    recv.read_exact(&mut header).await.map_err(|error| broken_header(&error))?;
    let (spoken, kind) =
        parse_header(header).map_err(|_| RpcRefusal::WrongVersion { version: protocol_version(), suite: SUITE_FROST_ED25519_SHA512 })?;
    *version = spoken;
    match kind {
        KIND_UNARY => match read_rest(&mut recv, role.frame_max()).await {
            Ok(body) => Ok(Incoming::Unary(body.into())),
            Err(ReadToEndError::TooLong) => Err(RpcRefusal::TooLarge { limit: role.frame_max() as u64 }),
            Err(ReadToEndError::Read(_)) => Err(broken_off()),
        },
        KIND_STREAMED => {
            let mut len = [0; 4];
            recv.read_exact(&mut len).await.map_err(|error| broken_header(&error))?;
            let len = u32::from_be_bytes(len) as usize;
            if len > STREAM_HEAD_MAX {
                return Err(RpcRefusal::TooLarge { limit: STREAM_HEAD_MAX as u64 });
            }
            let mut head = vec![0; len];
            recv.read_exact(&mut head).await.map_err(|error| broken_header(&error))?;
            Ok(Incoming::Streamed { head: head.into(), body: BodyStream { recv, remaining: 0 } })
        }
        other => Err(RpcRefusal::malformed(format!("frame kind {other}"))),
    }
}

/// Reads a stream, whose beginning was read already, to its end.
///
/// In order, as the beginning was: bytes that were sent again may wait in the stream twice, and a change to reading out of order (as
/// [`RecvStream::read_to_end`] does it) then gives the beginning a second time and never comes to the end.
pub(super) async fn read_rest(recv: &mut RecvStream, limit: usize) -> Result<Vec<u8>, ReadToEndError> {
    let mut rest = Vec::new();
    while let Some(chunk) = recv.read_chunk(STREAM_CHUNK, true).await.map_err(ReadToEndError::Read)? {
        if chunk.bytes.len() > limit - rest.len() {
            return Err(ReadToEndError::TooLong);
        }
        rest.extend_from_slice(&chunk.bytes);
    }
    Ok(rest)
}

/// What the caller sent may have been right: it took it back, or the line went.
fn broken_off() -> RpcRefusal {
    RpcRefusal::failed("the stream broke off")
}

fn broken_header(error: &ReadExactError) -> RpcRefusal {
    match error {
        ReadExactError::FinishedEarly(read) => RpcRefusal::malformed(format!("the stream ends {read} bytes into a fixed part")),
        ReadExactError::ReadError(_) => broken_off(),
    }
}
