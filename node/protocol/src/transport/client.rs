//! The calling end.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint, ReadExactError, ReadToEndError, RecvStream, SendStream, TransportErrorCode};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};

use super::directory::PeerDirectory;
use super::frame::{HEADER_LEN, KIND_STREAMED, KIND_UNARY, RpcRefusal, STATUS_OK, STATUS_REFUSED, close_code, header, parse_header};
use super::identity::TlsIdentity;
use super::limits::{
    CLOSE_DEADLINE, HANDSHAKE_DEADLINE, RECONNECT_BACKOFF_MAX, RECONNECT_BACKOFF_MIN, REFUSAL_FRAME_MAX, SILENCE_MAX, STREAM_CHUNK,
    STREAM_HEAD_MAX,
};
use super::role::{PeerId, Role};
use super::streams::read_rest;
use super::tls;
use crate::versions::{PROTOCOL_VERSION_OLDEST, protocol_version, speaks};
use crate::{NodeId, SpkiHash};

/// The caller's socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a UDP socket for outgoing connections")]
pub struct ClientError {
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// A call that gave no answer. Except for [`CallError::Refused`] the request may or may not have been carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The roster names no such node, or no address for it.
    #[error("node {node} is not in the roster, or has no address")]
    UnknownPeer {
        /// Who was called.
        node: NodeId,
    },
    /// There is no connection, and none could be made: the node is down or cut off, or is not who the roster says.
    #[error("node {node} cannot be reached: {reason}")]
    Unreachable {
        /// Who was called.
        node: NodeId,
        /// What was tried and what happened.
        reason: String,
    },
    /// The node closed the connection: this process may not call it, or not for this role. Waiting does not help.
    #[error("node {node} does not let us call it for {role}: {reason}")]
    NotAdmitted {
        /// Who was called.
        node: NodeId,
        /// What for.
        role: Role,
        /// The closing reason.
        reason: String,
    },
    /// The node, or somebody on the way to it, says that it is a member of another cluster: that is said before any keys are agreed on, so
    /// that nobody can be held to it.
    #[error("node {node} answers as a member of another cluster: compare this process's genesis file with the node's")]
    OtherCluster {
        /// Who was called.
        node: NodeId,
    },
    /// The connection was lost during the call.
    #[error("node {node} was lost during the call: {reason}")]
    Lost {
        /// Who was called.
        node: NodeId,
        /// What happened.
        reason: String,
    },
    /// No answer within the deadline.
    #[error("node {node} did not answer within {deadline:?}")]
    Deadline {
        /// Who was called.
        node: NodeId,
        /// How long was waited.
        deadline: Duration,
    },
    /// The node answered that it will not or cannot.
    #[error("node {node} refused: {refusal}")]
    Refused {
        /// Who was called.
        node: NodeId,
        /// Its answer.
        #[source]
        refusal: RpcRefusal,
    },
    /// The node speaks no version that this program does: one of them is too old. Nothing was carried out.
    #[error("node {node} speaks protocol version {theirs}, and this program {oldest} to {newest}; upgrade the older side")]
    WrongVersion {
        /// Who was called.
        node: NodeId,
        /// Newest version that it speaks.
        theirs: u8,
        /// Oldest version that this program speaks.
        oldest: u8,
        /// Newest version that this program speaks.
        newest: u8,
    },
    /// The request is larger than the role allows; it was not sent.
    #[error("the request has {size} bytes, and {role} allows {limit}")]
    TooLarge {
        /// What for.
        role: Role,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The body of a streamed request could not be read; the request was broken off.
    #[error("the body to be sent cannot be read: {reason}")]
    Body {
        /// What the reader said.
        reason: String,
    },
    /// The node's answer is no frame of ours, or too large.
    #[error("node {node} answered nonsense: {detail}")]
    BadReply {
        /// Who was called.
        node: NodeId,
        /// What is wrong with it.
        detail: String,
    },
}

/// Calls nodes. Connections are made when first needed, one per node and role, kept, and replaced when they break. Cheap to clone.
#[derive(Clone)]
pub struct PeerClient {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    identity: TlsIdentity,
    directory: Arc<dyn PeerDirectory>,
    slots: Mutex<HashMap<(NodeId, Role), Arc<Slot>>>,
}

/// The connection to one node for one role.
#[derive(Default)]
struct Slot {
    live: Mutex<Option<Live>>,
    /// Held by the one attempt to connect.
    attempts: Arc<tokio::sync::Mutex<Attempts>>,
}

struct Live {
    connection: Connection,
    spki: SpkiHash,
    /// What the node is spoken to in: the newest version until it says that it is older. Programs do not change on a connection.
    version: u8,
    /// Number of packets received when calls began to fail, and since when.
    failing: Option<(u64, Instant)>,
}

#[derive(Default)]
struct Attempts {
    failed: u32,
    last: Option<(Instant, CallError)>,
}

impl PeerClient {
    /// A client with a socket of its own that proves this identity.
    ///
    /// # Errors
    /// [`ClientError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(identity: &TlsIdentity, directory: Arc<dyn PeerDirectory>) -> Result<Self, ClientError> {
        // A machine without IPv6 refuses the first.
        let endpoint = Endpoint::client(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))
            .or_else(|_| Endpoint::client(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))
            .map_err(|source| ClientError { source })?;
        Ok(Self { inner: Arc::new(Inner { endpoint, identity: identity.clone(), directory, slots: Mutex::default() }) })
    }

    /// The key that the directory gives for a node now.
    #[must_use]
    pub fn spki_of(&self, node: NodeId) -> Option<SpkiHash> {
        self.inner.directory.entry(&PeerId::Node(node)).map(|entry| entry.spki)
    }

    /// Sends a request and waits for the answer. The node is proved to hold the key that the roster gives for exactly this id.
    ///
    /// # Errors
    /// [`CallError`]. Only [`CallError::Refused`] is an answer of the node.
    pub async fn call(&self, node: NodeId, role: Role, request: &[u8], deadline: Duration) -> Result<Vec<u8>, CallError> {
        if request.len() > role.frame_max() {
            return Err(CallError::TooLarge { role, size: request.len(), limit: role.frame_max() });
        }
        let started = Instant::now();
        match self.ask(node, role, request, deadline).await {
            // Not carried out, and the node's version is known by now.
            Err(CallError::Refused { refusal: RpcRefusal::WrongVersion { .. }, .. }) => {
                self.ask(node, role, request, deadline.saturating_sub(started.elapsed())).await
            }
            outcome => outcome,
        }
    }

    async fn ask(&self, node: NodeId, role: Role, request: &[u8], deadline: Duration) -> Result<Vec<u8>, CallError> {
        self.attempt(node, role, deadline, async |version, mut send, recv| {
            let sent = async {
                send.write_all(&header(version, KIND_UNARY)).await?;
                send.write_all(request).await
            };
            // A server that refuses early stops reading; its answer says why.
            if sent.await.is_ok() {
                let _ = send.finish();
            }
            read_reply(node, role, recv).await
        })
        .await
    }

    /// Sends a head of at most 64 KiB and then all of `body`, and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`]. One that a node of an older version refuses for the version is not sent again: the body is spent. The next one is of the node's version.
    pub async fn call_streaming<R: AsyncRead + Unpin>(
        &self,
        node: NodeId,
        role: Role,
        head: &[u8],
        body: &mut R,
        deadline: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let len = u32::try_from(head.len()).ok().filter(|_| head.len() <= STREAM_HEAD_MAX);
        let Some(len) = len else { return Err(CallError::TooLarge { role, size: head.len(), limit: STREAM_HEAD_MAX }) };
        self.attempt(node, role, deadline, async |version, mut send, recv| {
            let sent = async {
                send.write_all(&header(version, KIND_STREAMED)).await?;
                send.write_all(&len.to_be_bytes()).await?;
                send.write_all(head).await
            };
            let mut open = sent.await.is_ok();
            let mut chunk = vec![0; STREAM_CHUNK];
            while open {
                let read = body.read(&mut chunk).await.map_err(|error| CallError::Body { reason: error.to_string() })?;
                if read == 0 {
                    let _ = send.finish();
                    break;
                }
                open = send.write_all(&chunk[..read]).await.is_ok();
            }
            read_reply(node, role, recv).await
        })
        .await
    }

    /// Closes every connection.
    pub async fn shutdown(&self) {
        self.inner.endpoint.close(close_code::DONE.into(), b"stopping");
        // A peer that does not hear of it finds out by silence.
        let _ = timeout(CLOSE_DEADLINE, self.inner.endpoint.wait_idle()).await;
    }

    async fn attempt<F>(&self, node: NodeId, role: Role, deadline: Duration, exchange: F) -> Result<Vec<u8>, CallError>
    where
        F: AsyncFnOnce(u8, SendStream, RecvStream) -> Result<Vec<u8>, CallError>,
    {
        let slot = self.slot(node, role);
        let started = Instant::now();
        let connection = match timeout(deadline, self.connection(&slot, node, role)).await {
            Ok(connection) => connection?,
            Err(_) => return Err(CallError::Unreachable { node, reason: format!("no connection within {deadline:?}") }),
        };
        let version = slot.version(&connection);
        let call = async {
            let (send, recv) = connection.open_bi().await.map_err(|error| lost(node, role, &error))?;
            exchange(version, send, recv).await
        };
        let outcome =
            timeout(deadline.saturating_sub(started.elapsed()), call).await.unwrap_or(Err(CallError::Deadline { node, deadline }));
        // A stream broken by the end of its connection is reported by the reason of that end.
        let outcome = match (outcome, connection.close_reason()) {
            (Err(CallError::Lost { .. }), Some(reason)) => Err(lost(node, role, &reason)),
            (outcome, _) => outcome,
        };
        slot.note(&connection, &outcome);
        let Err(CallError::Refused { refusal: RpcRefusal::WrongVersion { version: theirs, .. }, .. }) = outcome else { return outcome };
        if speaks(theirs) {
            if theirs < version {
                slot.speak(&connection, theirs);
            }
            return outcome;
        }
        let (oldest, newest) = (PROTOCOL_VERSION_OLDEST, protocol_version());
        Err(CallError::WrongVersion { node, theirs, oldest, newest })
    }

    fn slot(&self, node: NodeId, role: Role) -> Arc<Slot> {
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry((node, role)).or_default())
    }

    async fn connection(&self, slot: &Arc<Slot>, node: NodeId, role: Role) -> Result<Connection, CallError> {
        let entry = self.inner.directory.entry(&PeerId::Node(node)).filter(|entry| !entry.address.is_empty());
        let entry = entry.ok_or(CallError::UnknownPeer { node })?;
        if let Some(connection) = slot.live(entry.spki) {
            return Ok(connection);
        }
        let mut attempts = Arc::clone(&slot.attempts).lock_owned().await;
        if let Some(connection) = slot.live(entry.spki) {
            return Ok(connection);
        }
        if let Some((at, error)) = &attempts.last
            && at.elapsed() < backoff(attempts.failed)
        {
            return Err(error.clone());
        }
        // In a task of its own: the handshake must go on although a caller with a short deadline gives up.
        let (inner, slot) = (Arc::clone(&self.inner), Arc::clone(slot));
        let task = tokio::spawn(async move {
            match inner.connect(node, role, entry.spki, &entry.address).await {
                Ok(connection) => {
                    *attempts = Attempts::default();
                    slot.set_live(Live { connection: connection.clone(), spki: entry.spki, version: protocol_version(), failing: None });
                    Ok(connection)
                }
                Err(error) => {
                    attempts.failed = attempts.failed.saturating_add(1);
                    attempts.last = Some((Instant::now(), error.clone()));
                    Err(error)
                }
            }
        });
        task.await.unwrap_or_else(|error| Err(CallError::Unreachable { node, reason: format!("the attempt was broken off: {error}") }))
    }
}

impl std::fmt::Debug for PeerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerClient").field("identity", &self.inner.identity).finish_non_exhaustive()
    }
}

impl Inner {
    async fn connect(&self, node: NodeId, role: Role, spki: SpkiHash, address: &str) -> Result<Connection, CallError> {
        let unreachable = |reason: String| CallError::Unreachable { node, reason };
        let work = async {
            let mut addresses = tokio::net::lookup_host(address).await.map_err(|error| unreachable(format!("{address}: {error}")))?;
            let socket = addresses.next().ok_or_else(|| unreachable(format!("{address} has no address")))?;
            let config = tls::client_config(&self.identity, spki, role).map_err(|error| unreachable(format!("TLS settings: {error}")))?;
            let name = tls::server_name(self.directory.cluster());
            let connecting =
                self.endpoint.connect_with(config, socket, &name).map_err(|error| unreachable(format!("{socket}: {error}")))?;
            connecting.await.map_err(|error| match error {
                ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::crypto(ALERT_ACCESS_DENIED) => {
                    CallError::OtherCluster { node }
                }
                error => unreachable(format!("{socket}: {error}")),
            })
        };
        timeout(HANDSHAKE_DEADLINE, work)
            .await
            .unwrap_or_else(|_| Err(unreachable(format!("{address}: no handshake within {HANDSHAKE_DEADLINE:?}"))))
    }
}

impl Slot {
    /// The connection, if it is open and to the holder of this key.
    fn live(&self, spki: SpkiHash) -> Option<Connection> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().filter(|live| live.spki == spki && live.connection.close_reason().is_none()).map(|live| live.connection.clone())
    }

    fn set_live(&self, new: Live) {
        let old = self.live.lock().unwrap_or_else(PoisonError::into_inner).replace(new);
        if let Some(old) = old {
            old.connection.close(close_code::REPLACED.into(), b"replaced");
        }
    }

    /// What the node is spoken to in.
    fn version(&self, connection: &Connection) -> u8 {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let live = live.as_ref().filter(|live| live.connection.stable_id() == connection.stable_id());
        live.map_or_else(protocol_version, |live| live.version)
    }

    /// The node is of an older version.
    fn speak(&self, connection: &Connection, version: u8) {
        let mut guard = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = guard.as_mut().filter(|live| live.connection.stable_id() == connection.stable_id()) {
            live.version = version;
        }
    }

    /// Watches for a peer that has fallen silent, see [`SILENCE_MAX`].
    fn note(&self, connection: &Connection, outcome: &Result<Vec<u8>, CallError>) {
        let mut guard = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(live) = guard.as_mut().filter(|live| live.connection.stable_id() == connection.stable_id()) else { return };
        if !matches!(outcome, Err(CallError::Deadline { .. })) {
            live.failing = None;
            return;
        }
        let received = connection.stats().udp_rx.datagrams;
        match live.failing {
            Some((before, since)) if before == received => {
                if since.elapsed() >= SILENCE_MAX {
                    connection.close(close_code::REPLACED.into(), b"silent");
                    *guard = None;
                }
            }
            _ => live.failing = Some((received, Instant::now())),
        }
    }
}

async fn read_reply(node: NodeId, role: Role, mut recv: RecvStream) -> Result<Vec<u8>, CallError> {
    let bad = |detail: String| CallError::BadReply { node, detail };
    let mut bytes = [0; HEADER_LEN];
    recv.read_exact(&mut bytes).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(read) => bad(format!("it ends after {read} bytes")),
        ReadExactError::ReadError(error) => CallError::Lost { node, reason: error.to_string() },
    })?;
    let status = match (parse_header(bytes), bytes) {
        (Ok((_, status)), _) => Ok(status),
        // Said in a version that is not spoken here: that of the version itself is written alike in all.
        (Err(_), [_, _, STATUS_REFUSED]) => Ok(STATUS_REFUSED),
        (Err((version, suite)), _) => Err(bad(format!("protocol version {version}, suite {suite}"))),
    }?;
    let limit = match status {
        STATUS_OK => role.frame_max(),
        STATUS_REFUSED => REFUSAL_FRAME_MAX,
        other => return Err(bad(format!("status {other}"))),
    };
    let body = read_rest(&mut recv, limit).await.map_err(|error| match error {
        ReadToEndError::TooLong => bad(format!("it is larger than {limit} bytes")),
        ReadToEndError::Read(error) => CallError::Lost { node, reason: error.to_string() },
    })?;
    if status == STATUS_OK {
        return Ok(body);
    }
    match postcard::from_bytes(&body) {
        Ok(refusal) => Err(CallError::Refused { node, refusal }),
        Err(error) => Err(bad(format!("a refusal that cannot be read: {error}"))),
    }
}

fn lost(node: NodeId, role: Role, error: &ConnectionError) -> CallError {
    match error {
        ConnectionError::ApplicationClosed(close)
            if [close_code::ROLE_NOT_ALLOWED, close_code::PEER_REMOVED].map(quinn::VarInt::from).contains(&close.error_code) =>
        {
            CallError::NotAdmitted { node, role, reason: String::from_utf8_lossy(&close.reason).into_owned() }
        }
        // TLS 1.3: the server judges our certificate after our side of the handshake is over.
        ConnectionError::ConnectionClosed(_) => CallError::NotAdmitted { node, role, reason: error.to_string() },
        _ => CallError::Lost { node, reason: error.to_string() },
    }
}

/// TLS alert of a server that is not of the cluster whose name it was called by (RFC 8446, section 6).
const ALERT_ACCESS_DENIED: u8 = 49;

fn backoff(failed: u32) -> Duration {
    let doublings = failed.saturating_sub(1).min(16);
    RECONNECT_BACKOFF_MIN.saturating_mul(1 << doublings).min(RECONNECT_BACKOFF_MAX)
}
