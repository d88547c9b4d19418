//! The listening end.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quinn::{Connection, Endpoint, SendStream};
use rustls::pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::connection_id::RandomConnectionIds;
use super::directory::PeerDirectory;
use super::frame::{RpcRefusal, STATUS_OK, STATUS_REFUSED, close_code, header};
use super::identity::TlsIdentity;
use super::limits::{CLOSE_DEADLINE, CONNECTIONS_PER_PEER, HANDSHAKE_DEADLINE, HANDSHAKES_BEFORE_RETRY, HANDSHAKES_MAX};
use super::role::{PeerId, Role};
use super::streams::{BodyStream, Incoming, read_request};
use super::{tls, verify};
use crate::SpkiHash;
use crate::mutants::{Mutant, is_on};

/// Answers requests of authenticated peers.
pub trait RpcHandler: Send + Sync + 'static {
    /// Answers one request. `peer` is proved by its key and may use `role`. The answer must not be larger than [`Role::frame_max`].
    ///
    /// Runs to its end even if the caller has gone away.
    fn handle(&self, peer: PeerId, role: Role, request: Bytes) -> impl Future<Output = Result<Vec<u8>, RpcRefusal>> + Send;

    /// Answers a request whose body is streamed. The handler says how much of it it takes, by [`BodyStream::allow`].
    fn handle_stream(
        &self,
        peer: PeerId,
        role: Role,
        head: Bytes,
        body: BodyStream,
    ) -> impl Future<Output = Result<Vec<u8>, RpcRefusal>> + Send {
        let _ = (peer, head, body);
        async move { Err(RpcRefusal::unsupported(format!("a streamed {role} request"))) }
    }

    /// Hears of everything that a peer of the roster was refused on this channel, its own refusals among them, after the peer was told: a connection
    /// for a role that it may not use, frames that cannot be read, and requests. Frames of another version are told once for each connection.
    /// `request` is the unary request, if it was read to its end. Refused handshakes have no peer and do not come here.
    fn refused(&self, peer: PeerId, role: Role, request: Option<Bytes>, refusal: RpcRefusal) -> impl Future<Output = ()> + Send {
        let _ = (peer, role, request, refusal);
        async {}
    }
}

/// A server that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket cannot be opened: the address is taken, or not this machine's.
    #[error("cannot listen on UDP {address}")]
    Socket {
        /// The address of the configuration.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// TLS refuses the identity or the settings.
    #[error("TLS settings")]
    Tls {
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
}

/// A listening endpoint and its connections. Dropping it closes all of them without waiting.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens on UDP `address` and serves these roles until [`Server::shutdown`].
    ///
    /// # Errors
    /// [`BindError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<H: RpcHandler>(
        address: SocketAddr,
        identity: &TlsIdentity,
        directory: Arc<dyn PeerDirectory>,
        roles: &[Role],
        handler: Arc<H>,
    ) -> Result<Self, BindError> {
        let config = tls::server_config(identity, Arc::clone(&directory), roles).map_err(|source| BindError::Tls { source })?;
        let bind = || {
            let socket = std::net::UdpSocket::bind(address)?;
            let mut endpoint_config = quinn::EndpointConfig::new(Arc::new(identity.reset_key()));
            endpoint_config.cid_generator(|| Box::new(RandomConnectionIds));
            let endpoint = Endpoint::new(endpoint_config, Some(config), socket, Arc::new(quinn::TokioRuntime))?;
            let local = endpoint.local_addr()?;
            Ok((endpoint, local))
        };
        let (endpoint, local) = bind().map_err(|source| BindError::Socket { address, source })?;
        let shared = Arc::new(Shared { directory, handler, connections: Mutex::default() });
        let accepting = tokio::spawn(accept_all(endpoint.clone(), shared));
        Ok(Self { endpoint, address: local, accepting })
    }

    /// The address that is listened on, with the port that the system chose if 0 was asked for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and tells the peers; requests in progress are abandoned.
    pub async fn shutdown(self) {
        self.accepting.abort();
        self.endpoint.close(close_code::DONE.into(), b"stopping");
        // A peer that does not hear of it finds out by silence.
        let _ = timeout(CLOSE_DEADLINE, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.endpoint.close(close_code::DONE.into(), b"stopping");
    }
}

struct Shared<H> {
    directory: Arc<dyn PeerDirectory>,
    handler: Arc<H>,
    connections: Mutex<BTreeMap<PeerId, VecDeque<Connection>>>,
}

async fn accept_all<H: RpcHandler>(endpoint: Endpoint, shared: Arc<Shared<H>>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let in_progress = HANDSHAKES_MAX - handshakes.available_permits();
        if in_progress > HANDSHAKES_BEFORE_RETRY && incoming.may_retry() && !incoming.remote_address_validated() {
            // It may retry, as was just asked.
            let _ = incoming.retry();
            continue;
        }
        let Ok(connecting) = incoming.accept() else { continue };
        tokio::spawn(serve_connection(connecting, permit, Arc::clone(&shared)));
    }
}

async fn serve_connection<H: RpcHandler>(connecting: quinn::Connecting, permit: OwnedSemaphorePermit, shared: Arc<Shared<H>>) {
    let remote = connecting.remote_address();
    let connection = match timeout(HANDSHAKE_DEADLINE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::info!(%remote, %error, "refused a handshake"),
        Err(_) => return tracing::info!(%remote, "gave up a handshake that took too long"),
    };
    drop(permit);
    let Some((peer, spki, role)) = identify(&connection, shared.directory.as_ref()) else {
        connection.close(close_code::PEER_REMOVED.into(), b"unknown peer");
        return;
    };
    if !role.admits(&peer) && !is_on(Mutant::AcceptAnyRole) {
        tracing::warn!(%remote, %peer, %role, "closed a connection for a role that the peer may not use");
        connection.close(close_code::ROLE_NOT_ALLOWED.into(), b"role not allowed");
        let refusal = RpcRefusal::denied(format!("{peer} may not use {role}"));
        shared.handler.refused(peer, role, None, refusal).await;
        return;
    }
    shared.keep(&peer, &connection);
    connection.set_max_concurrent_bi_streams(role.streams_max().into());
    let told = Arc::new(AtomicBool::new(false));
    let mut requests = JoinSet::new();
    while let Ok((send, recv)) = connection.accept_bi().await {
        while requests.try_join_next().is_some() {}
        if shared.directory.by_spki(&spki).as_ref() != Some(&peer) {
            tracing::warn!(%remote, %peer, "closed the connection of a peer that left the roster");
            connection.close(close_code::PEER_REMOVED.into(), b"not in the roster");
            break;
        }
        let (peer, handler, told) = (peer.clone(), Arc::clone(&shared.handler), Arc::clone(&told));
        requests.spawn(async move {
            let (version, request) = read_request(recv, role).await;
            let (request, outcome) = match request {
                Ok(Incoming::Unary(request)) => (Some(request.clone()), handler.handle(peer.clone(), role, request).await),
                Ok(Incoming::Streamed { head, body }) => (None, handler.handle_stream(peer.clone(), role, head, body).await),
                Err(refusal) => (None, Err(refusal)),
            };
            let outcome = outcome.map_err(RpcRefusal::bounded);
            let refusal = match &outcome {
                Err(refusal @ RpcRefusal::WrongVersion { .. }) => {
                    // Once for each connection: every frame of such a peer may be of that version.
                    let is_first = !told.swap(true, Ordering::Relaxed);
                    if is_first {
                        tracing::warn!(%peer, %role, %refusal, "a peer speaks a version that this program does not");
                    }
                    is_first.then(|| refusal.clone())
                }
                Err(refusal) => {
                    tracing::debug!(%peer, %role, %refusal, "refused a request");
                    Some(refusal.clone())
                }
                Ok(_) => None,
            };
            // A caller that has gone away misses its answer.
            let _ = reply(send, role, version, outcome).await;
            if let Some(refusal) = refusal {
                handler.refused(peer, role, request, refusal).await;
            }
        });
    }
    shared.forget(&peer, &connection);
    requests.detach_all();
}

/// Who connected, and what for.
fn identify(connection: &Connection, directory: &dyn PeerDirectory) -> Option<(PeerId, SpkiHash, Role)> {
    let certificates = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let spki = verify::spki_hash(certificates.first()?).ok()?;
    let handshake = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    let role = Role::from_alpn(handshake.protocol.as_deref()?)?;
    Some((directory.by_spki(&spki)?, spki, role))
}

async fn reply(mut send: SendStream, role: Role, version: u8, outcome: Result<Vec<u8>, RpcRefusal>) -> Result<(), quinn::WriteError> {
    let outcome = match outcome {
        Ok(answer) if answer.len() > role.frame_max() => Err(RpcRefusal::failed(format!("the answer has {} bytes", answer.len()))),
        other => other,
    };
    match outcome {
        Ok(answer) => {
            send.write_all(&header(version, STATUS_OK)).await?;
            send.write_all(&answer).await?;
        }
        Err(refusal) => {
            let bytes = postcard::to_stdvec(&refusal).expect("a refusal has no map and no float");
            send.write_all(&header(version, STATUS_REFUSED)).await?;
            send.write_all(&bytes).await?;
        }
    }
    // Fails only if the stream was closed, and then nobody is waiting.
    let _ = send.finish();
    Ok(())
}

impl<H> Shared<H> {
    fn keep(&self, peer: &PeerId, connection: &Connection) {
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = all.entry(peer.clone()).or_default();
        of_peer.retain(|other| other.close_reason().is_none());
        if of_peer.len() == CONNECTIONS_PER_PEER
            && let Some(oldest) = of_peer.pop_front()
        {
            oldest.close(close_code::TOO_MANY_CONNECTIONS.into(), b"too many connections");
        }
        of_peer.push_back(connection.clone());
    }

    fn forget(&self, peer: &PeerId, connection: &Connection) {
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_peer) = all.get_mut(peer) {
            of_peer.retain(|other| other.stable_id() != connection.stable_id());
        }
    }
}
