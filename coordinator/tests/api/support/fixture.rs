//! A cluster of sites, a coordinator, its clients, and a session at a clinic.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use tempfile::TempDir;
use warifu_api::{ApiClient, ApiClientConfig, SignDocument};
use warifu_coordinator::config::Config;
use warifu_coordinator::document::{canonical_digest, sample};
use warifu_coordinator::{Running, start};
use warifu_protocol::transport::TlsIdentity;
use warifu_protocol::{
    AnchorEntry, AnchorKind, Challenge, ClusterRecord, CoordinatorEntry, CredentialId, DocumentKind, Genesis, GenesisBody, GenesisDocument,
    GenesisSignature, NodeEntry, NodeId, OfficerEntry, OfficerRole, Policy, PublicKey, Purpose, Request, SessionClosing, SessionOpening,
    SignedRequest, SpkiHash, Statement, TerminalId, Threshold, UnixMillis, closing_message,
};

use super::{Caller, Link, Sites};

pub const CREDENTIAL: CredentialId = CredentialId::new([0xcd; 16]);
const CERTIFICATE: &[u8] = b"a certificate that nobody here parses";
/// Clients, roles and facilities of the configuration.
const CLIENTS: &[(&str, &str, &str)] = &[
    ("clinic", "platform", "\"clinic-1\", \"clinic-2\""),
    ("rival", "platform", "\"clinic-9\""),
    ("authority", "ca", ""),
    ("watch", "operations", ""),
    ("auditor", "auditor", ""),
];

pub struct Fixture {
    pub sites: Arc<Sites>,
    pub genesis: Genesis,
    pub running: Option<Running>,
    pub session_key: SigningKey,
    pub statement: Statement,
    address: std::net::SocketAddr,
    metrics: std::net::SocketAddr,
    server_pem: Vec<u8>,
    files: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
    _directory: TempDir,
}

/// Five sites, three of which sign, one of which may lie.
pub async fn must_signing_fixture(extra: &str) -> Fixture {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let genesis = must_genesis(5, 3, 1);
    let sites = Sites::new(5, 3, genesis.cluster(), CREDENTIAL, CERTIFICATE);

    let server = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let server_pem = server.cert.pem().into_bytes();
    std::fs::write(path.join("server.pem"), &server_pem).expect("written");
    must_write_key(&path.join("server.key"), server.signing_key.serialize_pem().as_bytes());

    let mut files = BTreeMap::new();
    let mut clients = String::new();
    for (name, role, facilities) in CLIENTS {
        let (spki, pems) = must_client(path, name);
        clients += &format!("[[clients]]\nname = \"{name}\"\nrole = \"{role}\"\nspki = \"{spki}\"\nfacilities = [{facilities}]\n");
        files.insert((*name).to_owned(), pems);
    }
    files.insert("stranger".to_owned(), must_client(path, "stranger").1);
    let text = format!(
        "name = \"coordinator-1\"\ngenesis = \"unused.toml\"\nmetrics = \"127.0.0.1:0\"\nshutdown_deadline = \"5s\"\n\
         identity = {{ certificate = \"unused\", key = \"unused\" }}\n\
         https = {{ listen = \"127.0.0.1:0\", certificate = {certificate:?}, key = {key:?} }}\n{extra}\n{clients}",
        certificate = path.join("server.pem"),
        key = path.join("server.key"),
    );
    let config = Config::from_toml(&text).expect("a valid configuration");
    let running = start(config, ClusterRecord::founded(&genesis), Arc::new(Link(Arc::clone(&sites)))).await.expect("starts");
    let session_key = SigningKey::from_bytes(&[5; 32]);
    let statement = must_statement(&genesis, &session_key, "clinic-1");
    let (address, metrics) = (running.https, running.metrics);
    let fixture = Fixture {
        sites,
        genesis,
        running: Some(running),
        session_key,
        statement,
        address,
        metrics,
        server_pem,
        files,
        _directory: directory,
    };
    fixture.must_become_ready().await;
    fixture
}

impl Fixture {
    pub fn client(&self, name: &str) -> ApiClient {
        let (certificate_pem, key_pem) = self.files[name].clone();
        let config = ApiClientConfig {
            base: format!("https://localhost:{}", self.address.port()),
            ca_pem: self.server_pem.clone(),
            certificate_pem,
            key_pem,
            deadline: Duration::from_secs(20),
        };
        ApiClient::new(&config).expect("a client")
    }

    pub fn caller(&self, name: &str) -> Caller {
        let (certificate, key) = &self.files[name];
        Caller::new(self.address, &self.server_pem, Some((certificate, key)))
    }

    pub fn nobody(&self) -> Caller {
        Caller::new(self.address, &self.server_pem, None)
    }

    pub fn opening(&self, statement: &Statement) -> SessionOpening {
        SessionOpening {
            statement: statement.clone(),
            card_certificate: vec![1].into(),
            intermediates: Vec::new(),
            card_signature: vec![2].into(),
            terminal_signature: vec![3].into(),
            possession: vec![4].into(),
            ocsp: None,
        }
    }

    pub fn closing(&self) -> SessionClosing {
        let session = self.statement.session();
        SessionClosing { session, signature: self.session_key.sign(&closing_message(session)).to_bytes().as_slice().into() }
    }

    pub async fn must_open(&self) {
        self.client("clinic").open_session(&self.opening(&self.statement)).await.expect("opens");
    }

    /// A prescription with the request for it.
    pub fn document(&self, seq: u32) -> SignDocument {
        let id = format!("prescription-{seq}");
        let xml = sample::prescription(&id);
        let digest = canonical_digest(xml.as_bytes(), DocumentKind::Prescription).expect("canonicalizes");
        let request = Request {
            session: self.statement.session(),
            seq,
            kind: DocumentKind::Prescription,
            document_id: id.parse().expect("an id"),
            digest,
            signing_time: UnixMillis(1_800_000_000_000),
        };
        SignDocument { xml, request: self.sign(request) }
    }

    pub fn sign(&self, request: Request) -> SignedRequest {
        let signature = self.session_key.sign(&request.message()).to_bytes();
        SignedRequest { request, signature: signature.as_slice().into() }
    }

    /// A page of the operator: status and text.
    pub async fn page(&self, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.metrics).await.expect("listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer)
    }

    pub async fn must_become_ready(&self) {
        for _ in 0..100 {
            if self.page("/readyz").await.0 == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not ready: {}", self.page("/readyz").await.1);
    }
}

pub fn must_statement(genesis: &Genesis, session_key: &SigningKey, facility: &str) -> Statement {
    Statement {
        cluster: genesis.cluster(),
        credential: CREDENTIAL,
        session_key: PublicKey::ed25519(session_key.verifying_key().to_bytes()).expect("a key"),
        facility: facility.parse().expect("a name"),
        terminal: TerminalId::new([8; 16]),
        purpose: Purpose::EPrescription,
        not_before: UnixMillis(1_800_000_000_000),
        not_after: UnixMillis(1_800_000_600_000),
        max_signatures: 1_000,
        nonce: Challenge::new([9; 32]),
    }
}

const OFFICERS: [(&str, OfficerRole, u8); 4] = [
    ("one", OfficerRole::Operator, 101),
    ("two", OfficerRole::Operator, 102),
    ("three", OfficerRole::SecurityOfficer, 103),
    ("four", OfficerRole::SecurityOfficer, 104),
];

fn must_genesis(nodes: u8, threshold: u8, liars: u8) -> Genesis {
    let key = |seed: u8| SigningKey::from_bytes(&[seed; 32]);
    let public = |seed: u8| PublicKey::ed25519(key(seed).verifying_key().to_bytes()).expect("a key");
    let anchor = |kind| AnchorEntry { kind, certificate: vec![1].into(), policies: vec!["1.2.3".to_owned()] };
    let body = GenesisBody {
        format: 1,
        name: "test".parse().expect("a name"),
        created: UnixMillis(0),
        threshold: Threshold(threshold),
        liars,
        minority_threshold: false,
        policy: Policy::default(),
        nodes: (1..=nodes)
            .map(|number| NodeEntry {
                id: NodeId::new(number).expect("in range"),
                address: "localhost:1".to_owned(),
                tls_spki: SpkiHash::new([number; 32]),
                identity: public(number),
                sealing_key: Vec::new().into(),
            })
            .collect(),
        coordinators: vec![CoordinatorEntry {
            id: "coordinator-1".parse().expect("a name"),
            tls_spki: SpkiHash::new([100; 32]),
            identity: public(100),
        }],
        officers: OFFICERS.map(|(name, role, seed)| OfficerEntry { id: name.parse().expect("a name"), role, key: public(seed) }).into(),
        anchors: vec![anchor(AnchorKind::HpkiSigning), anchor(AnchorKind::JpkiUserAuthentication)],
    };
    let message = body.message();
    let signatures = OFFICERS
        .map(|(name, _, seed)| GenesisSignature {
            officer: name.parse().expect("a name"),
            signature: key(seed).sign(&message).to_bytes().as_slice().into(),
        })
        .into();
    Genesis::new(GenesisDocument { genesis: body, signatures }).expect("a valid genesis")
}

fn must_client(directory: &Path, name: &str) -> (SpkiHash, (Vec<u8>, Vec<u8>)) {
    let identity = TlsIdentity::generate().expect("generated");
    let (certificate, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    identity.save(&certificate, &key).expect("saved");
    (identity.spki_hash(), (std::fs::read(certificate).expect("read"), std::fs::read(key).expect("read")))
}

fn must_write_key(path: &Path, pem: &[u8]) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("created");
    file.write_all(pem).expect("written");
}
