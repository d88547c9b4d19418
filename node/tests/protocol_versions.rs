//! Callers and servers that speak frames of different versions: they agree on the older one, or each is told what the other speaks.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use warifu_protocol::transport::{CallError, PeerClient, PeerEntry, PeerId, PeerRoster, Role, RpcRefusal, TlsIdentity};
use warifu_protocol::versions::{PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST, VARIABLE, is_next, protocol_version};
use warifu_protocol::{ClusterId, NodeId};

const PATIENCE: Duration = Duration::from_secs(30);
const STATUS_REFUSED: u8 = 1;

/// A server of one version, as another release has it. Answers every frame of its version with what it was asked; notes the version of each frame.
struct OtherRelease {
    identity: TlsIdentity,
    endpoint: quinn::Endpoint,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl OtherRelease {
    fn start(version: u8) -> Self {
        let identity = TlsIdentity::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        identity.save(&directory.path().join("c"), &directory.path().join("k")).unwrap();
        let key = PrivateKeyDer::from_pem_file(directory.path().join("k")).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem().as_bytes()).unwrap()];
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![Role::Raft.alpn().to_vec()];
        let quic = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(quic));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(endpoint.clone(), version, Arc::clone(&heard)));
        Self { identity, endpoint, heard }
    }

    /// A client that knows this server as node 1.
    fn caller(&self) -> PeerClient {
        let entry = PeerEntry { spki: self.identity.spki_hash(), address: self.endpoint.local_addr().unwrap().to_string() };
        let roster = PeerRoster::new(ClusterId::new([1; 32]), BTreeMap::from([(PeerId::Node(node()), entry)]));
        PeerClient::new(&TlsIdentity::generate().unwrap(), Arc::new(roster)).unwrap()
    }
}

async fn serve(endpoint: quinn::Endpoint, version: u8, heard: Arc<Mutex<Vec<u8>>>) {
    let connection = endpoint.accept().await.unwrap().await.unwrap();
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let frame = recv.read_to_end(64 * 1024).await.unwrap();
        heard.lock().unwrap().push(frame[0]);
        if frame[0] == version {
            send.write_all(&[&[version, 1, 0], &frame[3..]].concat()).await.unwrap();
        } else {
            let refusal = postcard::to_stdvec(&RpcRefusal::WrongVersion { version, suite: 1 }).unwrap();
            send.write_all(&[&[version, 1, STATUS_REFUSED], refusal.as_slice()].concat()).await.unwrap();
        }
        send.finish().unwrap();
    }
}

fn node() -> NodeId {
    NodeId::new(1).unwrap()
}

#[tokio::test]
async fn a_server_that_speaks_no_version_of_its_caller_is_named_with_the_versions_of_both() {
    let server = OtherRelease::start(99);
    let error = server.caller().call(node(), Role::Raft, b"hello", PATIENCE).await.unwrap_err();
    let (oldest, newest) = (PROTOCOL_VERSION_OLDEST, protocol_version());
    assert_eq!(error, CallError::WrongVersion { node: node(), theirs: 99, oldest, newest });
    let words = error.to_string();
    assert!(words.contains("node 1 speaks protocol version 99, and this program 1 to 1"), "{words}");
    assert_eq!(*server.heard.lock().unwrap(), [newest], "it is not asked twice");
}

/// Runs once more, in a process that is the program of the next version.
#[tokio::test]
async fn a_newer_caller_falls_back_to_an_older_server_once_for_each_connection() {
    if !is_next() {
        let name = "a_newer_caller_falls_back_to_an_older_server_once_for_each_connection";
        let run = std::process::Command::new(std::env::current_exe().unwrap()).args([name, "--exact"]).env(VARIABLE, "next").output();
        let out = String::from_utf8(run.unwrap().stdout).unwrap();
        assert!(out.contains("1 passed"), "{out}");
        return;
    }
    let server = OtherRelease::start(PROTOCOL_VERSION);
    let client = server.caller();
    let mut body = [b"body".as_slice(); 3];
    let streamed = client.call_streaming(node(), Role::Raft, b"head", &mut body[0], PATIENCE).await.unwrap_err();
    assert!(matches!(streamed, CallError::Refused { refusal: RpcRefusal::WrongVersion { .. }, .. }), "{streamed}: its body is spent");
    client.call_streaming(node(), Role::Raft, b"head", &mut body[1], PATIENCE).await.unwrap();
    for text in [b"one", b"two"] {
        assert_eq!(client.call(node(), Role::Raft, text, PATIENCE).await.unwrap(), text);
    }
    assert_eq!(*server.heard.lock().unwrap(), [2, 1, 1, 1]);
    let again = OtherRelease::start(PROTOCOL_VERSION);
    assert_eq!(again.caller().call(node(), Role::Raft, b"unary", PATIENCE).await.unwrap(), b"unary", "a unary call is sent again");
    assert_eq!(*again.heard.lock().unwrap(), [2, 1]);
}
