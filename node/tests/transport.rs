//! The channel between nodes and coordinators: who gets in, and what becomes of everything else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::UdpSocket;
use warifu_protocol::transport::{
    BodyStream, CallError, IdentityError, PeerClient, PeerEntry, PeerId, PeerRoster, REFUSAL_DETAIL_MAX, Role, RpcHandler, RpcRefusal,
    STREAM_HEAD_MAX, SUITE_FROST_ED25519_SHA512, Server, TlsIdentity, server_name,
};
use warifu_protocol::versions::PROTOCOL_VERSION;
use warifu_protocol::{ClusterId, NodeId};

const PATIENCE: Duration = Duration::from_secs(30);

/// To whom, in which role, what, and why.
type Refused = (PeerId, Role, Option<Bytes>, RpcRefusal);

/// Answers `caller|role|request`, and remembers how often it was asked.
#[derive(Default)]
struct Echo {
    asked: AtomicU32,
    bodies: Mutex<Vec<usize>>,
    refused: Mutex<Vec<Refused>>,
}

impl RpcHandler for Echo {
    async fn handle(&self, peer: PeerId, role: Role, request: Bytes) -> Result<Vec<u8>, RpcRefusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match request.as_ref() {
            b"sleep" => tokio::time::sleep(PATIENCE).await,
            b"too large" => return Ok(vec![0; role.frame_max() + 1]),
            b"refuse" => return Err(RpcRefusal::Denied { detail: "x".repeat(10 * REFUSAL_DETAIL_MAX) }),
            _ => {}
        }
        Ok([format!("{peer}|{role}|").as_bytes(), &request].concat())
    }

    async fn handle_stream(&self, _: PeerId, _: Role, head: Bytes, mut body: BodyStream) -> Result<Vec<u8>, RpcRefusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        body.allow(1_000_000);
        let mut len = 0;
        while let Some(chunk) = body.next().await.map_err(|error| RpcRefusal::malformed(error.to_string()))? {
            len += chunk.len();
        }
        self.bodies.lock().unwrap().push(len);
        Ok(head.to_vec())
    }

    async fn refused(&self, peer: PeerId, role: Role, request: Option<Bytes>, refusal: RpcRefusal) {
        self.refused.lock().unwrap().push((peer, role, request, refusal));
    }
}

/// One server, node 1, and a roster with node 2 and the coordinator `c1`.
struct World {
    roster: Arc<PeerRoster>,
    echo: Arc<Echo>,
    server: Server,
    server_identity: TlsIdentity,
    node: TlsIdentity,
    coordinator: TlsIdentity,
}

const CLUSTER: ClusterId = ClusterId::new([0x11; 32]);

fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

fn coordinator() -> PeerId {
    PeerId::Coordinator("c1".parse().unwrap())
}

impl World {
    fn start() -> Self {
        let [server_identity, node_identity, coordinator_identity] = [(); 3].map(|()| TlsIdentity::generate().unwrap());
        let roster = Arc::new(PeerRoster::new(CLUSTER, BTreeMap::new()));
        let echo = Arc::new(Echo::default());
        let server =
            Server::start("127.0.0.1:0".parse().unwrap(), &server_identity, Arc::clone(&roster) as _, &Role::ALL, Arc::clone(&echo))
                .unwrap();
        let world = Self { roster, echo, server, server_identity, node: node_identity, coordinator: coordinator_identity };
        world.roster.replace(world.entries());
        world
    }

    fn entries(&self) -> BTreeMap<PeerId, PeerEntry> {
        let entry = |identity: &TlsIdentity, address: String| PeerEntry { spki: identity.spki_hash(), address };
        BTreeMap::from([
            (PeerId::Node(node(1)), entry(&self.server_identity, self.server.local_addr().to_string())),
            (PeerId::Node(node(2)), entry(&self.node, String::new())),
            (coordinator(), entry(&self.coordinator, String::new())),
        ])
    }

    fn client(&self, identity: &TlsIdentity) -> PeerClient {
        PeerClient::new(identity, Arc::clone(&self.roster) as _).unwrap()
    }

    fn asked(&self) -> u32 {
        self.echo.asked.load(Ordering::SeqCst)
    }

    /// What the handler heard of refusals, which it does after the peer, once there are so many.
    async fn refused(&self, count: usize) -> Vec<Refused> {
        let heard = async {
            loop {
                let refused = self.echo.refused.lock().unwrap().clone();
                if refused.len() >= count {
                    return refused;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap()
    }
}

#[tokio::test]
async fn a_request_arrives_with_the_proved_name_of_its_caller() {
    let world = World::start();
    let from_node = world.client(&world.node).call(node(1), Role::Raft, b"hello", PATIENCE).await.unwrap();
    assert_eq!(from_node, b"node 2|raft|hello");
    let from_coordinator = world.client(&world.coordinator).call(node(1), Role::Sign, b"", PATIENCE).await.unwrap();
    assert_eq!(from_coordinator, b"coordinator c1|sign|");
    let large = vec![7; Role::Sign.frame_max() - 100];
    assert_eq!(world.client(&world.coordinator).call(node(1), Role::Sign, &large, PATIENCE).await.unwrap().len(), large.len() + 20);
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_known_key_that_means_another_cluster_cannot_open_a_stream() {
    let world = World::start();
    for role in Role::ALL {
        let elsewhere = PeerRoster::new(ClusterId::new([0xfe; 32]), world.entries());
        let client = PeerClient::new(&world.node, Arc::new(elsewhere)).unwrap();
        let answer = client.call(node(1), role, b"hello", PATIENCE).await;
        assert_eq!(answer, Err(CallError::OtherCluster { node: node(1) }));
    }
    assert_eq!(world.asked(), 0);
    world.client(&world.node).call(node(1), Role::Raft, b"hello", PATIENCE).await.unwrap();
}

#[tokio::test]
async fn an_unknown_key_cannot_open_a_stream() {
    let world = World::start();
    for role in Role::ALL {
        let stranger = TlsIdentity::generate().unwrap();
        let answer = world.client(&stranger).call(node(1), role, b"hello", PATIENCE).await;
        // By TLS itself, before the server looks at anything else.
        assert!(matches!(&answer, Err(CallError::NotAdmitted { reason, .. }) if reason.contains("certificate")), "{answer:?}");
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn a_known_peer_is_turned_away_from_a_role_that_is_not_its_own() {
    let world = World::start();
    let me = &world.coordinator;
    let table = [(&world.node, PeerId::Node(node(2)), Role::Sign), (me, coordinator(), Role::Raft), (me, coordinator(), Role::Ceremony)];
    let mut told = Vec::new();
    for (identity, peer, role) in table {
        let answer = world.client(identity).call(node(1), role, b"hello", PATIENCE).await;
        assert!(matches!(&answer, Err(CallError::NotAdmitted { reason, .. }) if reason == "role not allowed"), "{role}: {answer:?}");
        let refusal = RpcRefusal::denied(format!("{peer} may not use {role}"));
        told.push((peer, role, None, refusal));
        assert_eq!(world.refused(told.len()).await, told, "the handler hears of it");
    }
    assert_eq!(world.asked(), 0);
    world.client(&world.coordinator).call(node(1), Role::Order, b"hello", PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_server_must_hold_the_key_of_exactly_the_node_that_is_called() {
    let world = World::start();
    let mut entries = world.entries();
    // Node 2 is a member, but it is node 1 that answers at this address.
    entries.get_mut(&PeerId::Node(node(2))).unwrap().address = world.server.local_addr().to_string();
    world.roster.replace(entries);
    let client = world.client(&world.node);
    let answer = client.call(node(2), Role::Raft, b"hello", PATIENCE).await;
    assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
    assert_eq!(client.call(node(3), Role::Raft, b"hello", PATIENCE).await, Err(CallError::UnknownPeer { node: node(3) }));
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn a_peer_that_leaves_the_roster_loses_its_open_connection() {
    let world = World::start();
    let client = world.client(&world.node);
    client.call(node(1), Role::Raft, b"hello", PATIENCE).await.unwrap();
    let mut entries = world.entries();
    entries.remove(&PeerId::Node(node(2)));
    world.roster.replace(entries);
    let answer = client.call(node(1), Role::Raft, b"hello", PATIENCE).await;
    assert!(matches!(answer, Err(CallError::NotAdmitted { .. })), "{answer:?}");
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn slow_large_and_refused_answers_are_told_apart() {
    let world = World::start();
    let client = world.client(&world.coordinator);
    let call = async |request: &'static [u8], deadline| client.call(node(1), Role::Sign, request, deadline).await;
    assert!(matches!(call(b"sleep", Duration::from_millis(300)).await, Err(CallError::Deadline { .. })));
    assert!(matches!(call(b"too large", PATIENCE).await, Err(CallError::Refused { refusal: RpcRefusal::Failed { .. }, .. })));
    let refused = call(b"refuse", PATIENCE).await;
    assert_eq!(refused, Err(CallError::Refused { node: node(1), refusal: RpcRefusal::Denied { detail: "x".repeat(REFUSAL_DETAIL_MAX) } }));
    let oversized = vec![0; Role::Sign.frame_max() + 1];
    let asked = world.asked();
    assert!(matches!(client.call(node(1), Role::Sign, &oversized, PATIENCE).await, Err(CallError::TooLarge { .. })));
    assert_eq!(world.asked(), asked);
    assert!(call(b"hello", PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_streamed_body_is_taken_up_to_what_the_handler_allows() {
    let world = World::start();
    let client = world.client(&world.node);
    let call =
        async |head: &[u8], len: usize| client.call_streaming(node(1), Role::Raft, head, &mut vec![1; len].as_slice(), PATIENCE).await;
    assert_eq!(call(b"head", 1_000_000).await.unwrap(), b"head");
    assert!(matches!(call(b"head", 1_000_001).await, Err(CallError::Refused { refusal: RpcRefusal::Malformed { .. }, .. })));
    assert!(matches!(call(&vec![0; STREAM_HEAD_MAX + 1], 1).await, Err(CallError::TooLarge { .. })));
    assert_eq!(*world.echo.bodies.lock().unwrap(), [1_000_000]);
}

#[tokio::test]
async fn a_server_that_restarts_is_called_again_without_waiting_for_silence() {
    let world = World::start();
    let client = world.client(&world.node);
    client.call(node(1), Role::Raft, b"hello", PATIENCE).await.unwrap();
    let address = world.server.local_addr();
    world.server.shutdown().await;
    let answer = client.call(node(1), Role::Raft, b"hello", Duration::from_secs(2)).await;
    assert!(matches!(answer, Err(CallError::Unreachable { .. } | CallError::Lost { .. })), "{answer:?}");
    let _server =
        Server::start(address, &world.server_identity, Arc::clone(&world.roster) as _, &Role::ALL, Arc::clone(&world.echo)).unwrap();
    let started = std::time::Instant::now();
    while client.call(node(1), Role::Raft, b"hello", Duration::from_secs(2)).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(15), "it must be found again soon");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Passes datagrams between one client and the server at `target`, and swallows them while there is none.
async fn relay(target: Arc<Mutex<Option<SocketAddr>>>) -> SocketAddr {
    let (front, back) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut up, mut down) = ([0; 65_536], [0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((len, from)) = front.recv_from(&mut up) => {
                    client = Some(from);
                    let to = *target.lock().unwrap();
                    if let Some(to) = to {
                        back.send_to(&up[..len], to).await.unwrap();
                    }
                }
                Ok((len, from)) = back.recv_from(&mut down) => {
                    let to = client.filter(|_| *target.lock().unwrap() == Some(from));
                    if let Some(to) = to {
                        front.send_to(&down[..len], to).await.unwrap();
                    }
                }
            }
        }
    });
    address
}

impl World {
    /// A client of node 1 whose packets go through a relay to wherever the target is set, at first to the server.
    async fn relayed(&self) -> (PeerClient, Arc<Mutex<Option<SocketAddr>>>) {
        let target = Arc::new(Mutex::new(Some(self.server.local_addr())));
        let mut entries = self.entries();
        entries.get_mut(&PeerId::Node(node(1))).unwrap().address = relay(Arc::clone(&target)).await.to_string();
        self.roster.replace(entries);
        let client = self.client(&self.node);
        client.call(node(1), Role::Raft, b"hello", PATIENCE).await.unwrap();
        (client, target)
    }
}

#[tokio::test]
async fn a_server_that_was_killed_and_restarted_disowns_the_old_connection_at_once() {
    let world = World::start();
    let (client, target) = world.relayed().await;
    let restarted = Server::start(
        "127.0.0.1:0".parse().unwrap(),
        &world.server_identity,
        Arc::clone(&world.roster) as _,
        &Role::ALL,
        Arc::clone(&world.echo),
    )
    .unwrap();
    *target.lock().unwrap() = Some(restarted.local_addr());
    let answer = client.call(node(1), Role::Raft, b"hello", Duration::from_secs(10)).await;
    assert!(matches!(answer, Err(CallError::Lost { .. })), "{answer:?}");
    assert_eq!(client.call(node(1), Role::Raft, b"hello", PATIENCE).await.unwrap(), b"node 2|raft|hello");
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_back_is_given_up_within_seconds() {
    let world = World::start();
    let (client, target) = world.relayed().await;
    *target.lock().unwrap() = None;
    let started = std::time::Instant::now();
    // As long as the connection is thought to live the deadline is what ends a call.
    loop {
        match client.call(node(1), Role::Raft, b"hello", Duration::from_millis(400)).await {
            Err(CallError::Deadline { .. }) => assert!(started.elapsed() < Duration::from_secs(10), "it is never given up"),
            Err(CallError::Unreachable { .. }) => break,
            other => panic!("{other:?}"),
        }
    }
    *target.lock().unwrap() = Some(world.server.local_addr());
    while client.call(node(1), Role::Raft, b"hello", Duration::from_secs(2)).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "it must be found again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Passes datagrams between one client and a server, but keeps those of a size that only one request has until two of them have come, and then
/// sends both in one go.
async fn relay_twice_at_once(server: SocketAddr, kept_sizes: std::ops::Range<usize>) -> SocketAddr {
    let (front, back) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut up, mut down) = ([0; 65_536], [0; 65_536]);
        let (mut client, mut kept) = (None, Vec::new());
        loop {
            tokio::select! {
                Ok((len, from)) = front.recv_from(&mut up) => {
                    client = Some(from);
                    if kept.len() < 2 && kept_sizes.contains(&len) {
                        kept.push(up[..len].to_vec());
                        if let [first, second] = kept.as_slice() {
                            back.try_send_to(first, server).unwrap();
                            back.try_send_to(second, server).unwrap();
                        }
                    } else {
                        back.send_to(&up[..len], server).await.unwrap();
                    }
                }
                Ok((len, _)) = back.recv_from(&mut down) => {
                    front.send_to(&down[..len], client.unwrap()).await.unwrap();
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_request_that_arrives_twice_before_it_is_read_is_answered_once() {
    let world = World::start();
    let (large, mut entries) = ([7; 700], world.entries());
    entries.get_mut(&PeerId::Node(node(1))).unwrap().address =
        relay_twice_at_once(world.server.local_addr(), large.len()..large.len() + 300).await.to_string();
    world.roster.replace(entries);
    let client = world.client(&world.node);
    client.call(node(1), Role::Raft, b"hello", PATIENCE).await.unwrap();
    let calling = {
        let client = client.clone();
        tokio::spawn(async move { client.call(node(1), Role::Raft, &large, PATIENCE).await })
    };
    // What is sent and answered after it shows the client that it is lost, so that the client sends it again.
    let mut calls = 1;
    while !calling.is_finished() {
        client.call(node(1), Role::Raft, b"hello", PATIENCE).await.unwrap();
        calls += 1;
    }
    assert_eq!(calling.await.unwrap().unwrap(), [b"node 2|raft|".as_slice(), &large].concat());
    assert_eq!(world.asked(), calls + 1);
}

/// Accepts any server: the tests below are about what the server does with a client that is not ours.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A QUIC connection with settings of its own; `key` signs, `certificate` is shown.
async fn raw(
    world: &World,
    certificate: &TlsIdentity,
    key: Option<&TlsIdentity>,
    alpn: &[u8],
    group: &'static dyn rustls::crypto::SupportedKxGroup,
) -> Result<quinn::Connection, String> {
    let mut crypto = provider::default_provider();
    crypto.kx_groups = vec![group];
    let crypto = Arc::new(crypto);
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&crypto))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(crypto)));
    let mut tls = match key {
        Some(key) => {
            let dir = tempfile::tempdir().unwrap();
            key.save(&dir.path().join("c"), &dir.path().join("k")).unwrap();
            let key = PrivateKeyDer::from_pem_file(dir.path().join("k")).unwrap();
            let chain = vec![CertificateDer::from_pem_slice(certificate.certificate_pem().as_bytes()).unwrap()];
            let signer = provider::sign::any_supported_type(&key).unwrap();
            let certified = rustls::sign::CertifiedKey::new(chain, signer);
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let quic = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(quic));
    endpoint.connect_with(config, world.server.local_addr(), &server_name(CLUSTER)).unwrap().await.map_err(|error| error.to_string())
}

/// Sends bytes as they are and gives the answer's status and refusal.
async fn send_raw(connection: &quinn::Connection, bytes: &[u8]) -> Result<(u8, Option<RpcRefusal>), String> {
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await.map_err(|error| error.to_string())?;
        // The server may stop reading.
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        let answer = recv.read_to_end(64 * 1024).await.map_err(|error| error.to_string())?;
        assert_eq!(answer[..2], [PROTOCOL_VERSION, SUITE_FROST_ED25519_SHA512]);
        Ok((answer[2], postcard::from_bytes(&answer[3..]).ok()))
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap()
}

#[tokio::test]
async fn malformed_frames_get_a_typed_refusal_and_disturb_nobody() {
    let world = World::start();
    let connection =
        raw(&world, &world.coordinator, Some(&world.coordinator), Role::Sign.alpn(), provider::kx_group::X25519MLKEM768).await.unwrap();
    let wrong_version = RpcRefusal::WrongVersion { version: PROTOCOL_VERSION, suite: SUITE_FROST_ED25519_SHA512 };
    type Expected = fn(&RpcRefusal) -> bool;
    let table: Vec<(&str, Vec<u8>, Expected)> = vec![
        ("empty", vec![], |refusal| matches!(refusal, RpcRefusal::Malformed { .. })),
        ("cut header", vec![1, 1], |refusal| matches!(refusal, RpcRefusal::Malformed { .. })),
        ("unknown kind", vec![1, 1, 7], |refusal| matches!(refusal, RpcRefusal::Malformed { .. })),
        ("cut head", vec![1, 1, 1, 0, 0, 0, 9, 1], |refusal| matches!(refusal, RpcRefusal::Malformed { .. })),
        ("oversized head", vec![1, 1, 1, 0xff, 0xff, 0xff, 0xff], |refusal| matches!(refusal, RpcRefusal::TooLarge { .. })),
        ("oversized", [vec![1, 1, 0], vec![0; Role::Sign.frame_max() + 1]].concat(), |refusal| {
            matches!(refusal, RpcRefusal::TooLarge { .. })
        }),
    ];
    let mut told = Vec::new();
    for (what, bytes, expected) in table {
        let (status, refusal) = send_raw(&connection, &bytes).await.unwrap();
        assert!(status == 1 && refusal.as_ref().is_some_and(expected), "{what}: {refusal:?}");
        told.push((coordinator(), Role::Sign, None, refusal.unwrap()));
        assert_eq!(world.refused(told.len()).await, told, "{what}: the handler hears of it");
    }
    // Once for the connection, however many frames are of that version.
    told.push((coordinator(), Role::Sign, None, wrong_version.clone()));
    for header in [[2, 1, 0], [1, 2, 0]] {
        assert_eq!(send_raw(&connection, &header).await, Ok((1, Some(wrong_version.clone()))), "{header:?}");
        assert_eq!(world.refused(told.len()).await, told, "{header:?}: the handler hears of it");
    }
    assert_eq!(world.asked(), 0);
    assert_eq!(send_raw(&connection, &[1, 1, 0]).await.unwrap().0, 0);

    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&[1]).await.unwrap();
    send.reset(0_u32.into()).unwrap();
    let answer = recv.read_to_end(64 * 1024).await.unwrap();
    let taken_back = postcard::from_bytes::<RpcRefusal>(&answer[3..]).unwrap();
    assert!(matches!(taken_back, RpcRefusal::Failed { .. }), "what the caller takes back is nobody's fault: {taken_back:?}");
    let refused = [&[1, 1, 0], b"refuse".as_slice()].concat();
    let (_, refusal) = send_raw(&connection, &refused).await.unwrap();
    told.push((coordinator(), Role::Sign, None, taken_back));
    told.push((coordinator(), Role::Sign, Some(Bytes::from_static(b"refuse")), refusal.unwrap()));
    assert_eq!(world.refused(told.len()).await, told, "the handler hears of its own refusals too");
}

#[tokio::test]
async fn a_certificate_without_its_key_or_no_certificate_at_all_is_refused() {
    let world = World::start();
    let group = provider::kx_group::X25519MLKEM768;
    let stranger = TlsIdentity::generate().unwrap();
    // It shows the coordinator's certificate but can sign only with another key.
    let thief = raw(&world, &world.coordinator, Some(&stranger), Role::Sign.alpn(), group).await;
    let nobody = raw(&world, &world.coordinator, None, Role::Sign.alpn(), group).await;
    for connection in [thief, nobody].into_iter().flatten() {
        assert!(send_raw(&connection, &[1, 1, 0]).await.is_err());
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn the_hybrid_exchange_is_offered_and_old_curves_and_foreign_protocols_are_not() {
    let world = World::start();
    let me = &world.coordinator;
    let table: [(&'static dyn rustls::crypto::SupportedKxGroup, &[u8], bool); 4] = [
        (provider::kx_group::X25519MLKEM768, Role::Sign.alpn(), true),
        (provider::kx_group::SECP256R1, Role::Sign.alpn(), false),
        (provider::kx_group::X25519MLKEM768, b"warifu-sign/2", false),
        (provider::kx_group::X25519MLKEM768, b"h3", false),
    ];
    for (group, alpn, accepted) in table {
        let connection = raw(&world, me, Some(me), alpn, group).await;
        assert_eq!(connection.is_ok(), accepted, "{:?} {alpn:?}: {connection:?}", group.name());
    }
}

#[test]
fn an_identity_is_saved_privately_and_loads_only_whole() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    let identity = TlsIdentity::generate().unwrap();
    identity.save(&certificate, &key).unwrap();
    assert!(matches!(identity.save(&certificate, &key), Err(IdentityError::File { .. })));
    assert_eq!(TlsIdentity::load(&certificate, &key).unwrap().spki_hash(), identity.spki_hash());
    let key_pem = std::fs::read_to_string(&key).unwrap();
    assert!(!format!("{identity:?}").contains(key_pem.lines().nth(1).unwrap()));

    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(matches!(TlsIdentity::load(&certificate, &key), Err(IdentityError::Exposed { mode: 0o644, .. })));
    let other = TlsIdentity::generate().unwrap();
    assert!(matches!(TlsIdentity::from_pem(other.certificate_pem().as_bytes(), key_pem.as_bytes()), Err(IdentityError::Mismatch)));
    assert!(matches!(TlsIdentity::from_pem(b"", key_pem.as_bytes()), Err(IdentityError::Unusable { .. })));
    assert!(matches!(TlsIdentity::from_pem(identity.certificate_pem().as_bytes(), b"junk"), Err(IdentityError::Unusable { .. })));
}
