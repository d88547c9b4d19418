//! A 3-of-5 cluster with one physician and one open session.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};
use frost_ed25519::keys::{IdentifierList, KeyPackage, PublicKeyPackage, generate_with_dealer};
use frost_ed25519::round2::SignatureShare;
use frost_ed25519::{Identifier, Signature, SigningPackage, aggregate, round1::SigningCommitments};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::{CredentialState, SignAnswer, SignItem, SignWork, SignerCommitments};
use warifu_protocol::{
    Blob, CeremonyId, CertificateHash, Challenge, ClusterId, CredentialId, DocumentDigest, DocumentKind, Epoch, Name, NodeEntry, NodeId,
    ObjectVersion, OrderId, Origin, Policy, PublicKey, Purpose, Request, RetiredNode, SessionId, Sha256, SignedRequest, SpkiHash,
    Statement, SubjectFields, TerminalId, Threshold, UnixMillis,
};

use crate::pki::CrlScope;
use crate::registry::{
    CertificateRecord, ClusterRecord, CredentialKey, CredentialRecord, CrlRecord, EpochMade, Holding, MemoryStore, Registry as _,
    SessionRecord, TerminalRecord, encode, key, table,
};
use crate::signer::{CheckContext, CheckError, CheckedWork, MonotonicMillis, NoncePools, check, identifier};

pub(super) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
pub(super) const MONOTONIC: MonotonicMillis = MonotonicMillis(77);
pub(super) const CREDENTIAL: CredentialId = CredentialId::new([0xcd; 16]);
pub(super) const THRESHOLD: u8 = 3;
pub(super) const HOUR: u64 = 3_600_000;
/// Key of the CA that certified the credential.
pub(super) const CERTIFICATE_ISSUER: SpkiHash = SpkiHash::new([0x15; 32]);

pub(super) struct Fixture {
    pub(super) store: MemoryStore,
    pub(super) rng: ChaCha20Rng,
    pub(super) shares: BTreeMap<NodeId, KeyPackage>,
    pub(super) public: PublicKeyPackage,
    pub(super) pools: BTreeMap<NodeId, NoncePools>,
    pub(super) session_key: SigningKey,
    pub(super) session: SessionId,
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(super) fn coordinator() -> Name {
    "coordinator-1".parse().unwrap()
}

pub(super) fn certificate_der() -> Vec<u8> {
    vec![0x30, 0x03, 0x02, 0x01, 0x07]
}

pub(super) fn certificate_hash() -> CertificateHash {
    CertificateHash::new(sha256(&certificate_der()))
}

/// Shares on each node's first store.
pub(super) fn holdings(numbers: &[u8]) -> Vec<Holding> {
    numbers.iter().map(|number| Holding { node: node(*number), store_number: 0 }).collect()
}

fn node_entry(number: u8) -> NodeEntry {
    NodeEntry {
        id: node(number),
        address: format!("node-{number}:7001"),
        tls_spki: SpkiHash::new([number; 32]),
        identity: PublicKey::Ed25519(SigningKey::from_bytes(&[number; 32]).verifying_key().to_bytes()),
        sealing_key: Blob::default(),
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let (secrets, public) = generate_with_dealer(5, u16::from(THRESHOLD), IdentifierList::Default, &mut rng).unwrap();
        let nodes: Vec<NodeId> = (1..=5).map(node).collect();
        let shares = nodes.iter().map(|node| (*node, KeyPackage::try_from(secrets[&identifier(*node)].clone()).unwrap())).collect();
        let pools = nodes.iter().map(|node| (*node, NoncePools::new(&mut rng))).collect();
        let session_key = SigningKey::from_bytes(&[5; 32]);
        let statement = statement(&session_key);
        let session = statement.session();
        let mut fixture = Self { store: MemoryStore::default(), rng, shares, public, pools, session_key, session };
        fixture.put_cluster();
        fixture.put_credential(|_| {});
        fixture.put_session(|_| {});
        fixture.put_terminal(false);
        fixture.put_list(CERTIFICATE_ISSUER, NOW.minus(HOUR), None);
        fixture
    }

    /// The list of the CA with this key, of that instant.
    pub(super) fn put_list(&mut self, issuer: SpkiHash, this_update: UnixMillis, vouched_by: Option<SpkiHash>) {
        let record = CrlRecord {
            issuer: format!("CN={issuer}"),
            hash: Sha256::new([1; 32]),
            number: 1,
            scope: CrlScope::default(),
            vouched_by,
            this_update,
            next_update: this_update.plus(100 * 24 * HOUR),
            revoked: 0,
        };
        self.store.0.insert(key(table::CRL, &[issuer.as_ref(), &[9; 32]]), encode(&record));
    }

    pub(super) fn put_terminal(&mut self, retired: bool) {
        let statement = statement(&self.session_key);
        let record = TerminalRecord { version: ObjectVersion(1), facility: statement.facility, key: statement.session_key, retired };
        self.store.0.insert(key(table::TERMINAL, &[statement.terminal.as_ref()]), encode(&record));
    }

    fn put_cluster(&mut self) {
        let cluster = ClusterRecord {
            cluster: ClusterId::new([1; 32]),
            threshold: Threshold(THRESHOLD),
            liars: 1,
            minority_threshold: false,
            policy: Policy::default(),
            nodes: (1..=5).map(node_entry).collect(),
            coordinators: Vec::new(),
            officers: Vec::new(),
            anchors: Vec::new(),
            roster_version: ObjectVersion(1),
            policy_version: ObjectVersion(1),
            anchors_version: ObjectVersion(1),
            retired: Vec::new(),
        };
        self.store.0.insert(key(table::CLUSTER, &[]), encode(&cluster));
        self.put_time(UnixMillis(NOW.0 - 5));
    }

    /// As if a node had been admitted on a new store in place of a lost one.
    pub(super) fn put_new_store(&mut self, number: u8) {
        let mut cluster = self.store.cluster().unwrap();
        let NodeEntry { id, tls_spki, identity, .. } = node_entry(number);
        cluster.retired.push(RetiredNode { id, tls_spki, identity });
        self.store.0.insert(key(table::CLUSTER, &[]), encode(&cluster));
    }

    pub(super) fn put_time(&mut self, time: UnixMillis) {
        self.store.0.insert(key(table::TIME, &[]), encode(&time));
    }

    pub(super) fn put_credential(&mut self, change: impl FnOnce(&mut CredentialRecord)) {
        let mut record = CredentialRecord {
            holder: "holder-1".parse().unwrap(),
            subject: SubjectFields::new("JP", None, "Taro Shinryo", "HPKI-1").unwrap(),
            state: CredentialState::Active,
            suspended_by_order: false,
            certificate_listed: false,
            certificate_ended: false,
            version: ObjectVersion(4),
            epoch: Epoch(2),
            epoch_made: EpochMade::default(),
            enrolled_by: OrderId::new([1; 16]),
            ceremony: CeremonyId::new([1; 16]),
            holders: holdings(&[1, 2, 3, 4, 5]),
            previous: None,
            key: Some(CredentialKey {
                group_key: self.public.verifying_key().serialize().unwrap().try_into().unwrap(),
                public_key_package: Blob(self.public.serialize().unwrap()),
            }),
            certificate: Some(CertificateRecord {
                der: Blob(certificate_der()),
                hash: certificate_hash(),
                not_before: NOW.minus(24 * HOUR),
                not_after: NOW.plus(24 * HOUR),
                roles: vec!["Medical Doctor".to_owned()],
                issuer: CERTIFICATE_ISSUER,
            }),
            authenticators: Vec::new(),
            ever_bound: false,
            pending: Vec::new(),
            origin: Origin::Generated,
            destroy_at: None,
        };
        change(&mut record);
        self.store.0.insert(key(table::CREDENTIAL, &[CREDENTIAL.as_ref()]), encode(&record));
    }

    pub(super) fn put_session(&mut self, change: impl FnOnce(&mut SessionRecord)) {
        let mut record = SessionRecord { statement: statement(&self.session_key), card: CertificateHash::new([2; 32]), closed: false };
        change(&mut record);
        self.store.0.insert(key(table::SESSION, &[self.session.as_ref()]), encode(&record));
    }

    pub(super) fn request(&self, change: impl FnOnce(&mut Request)) -> SignedRequest {
        let mut request = Request {
            session: self.session,
            seq: 1,
            kind: DocumentKind::Prescription,
            document_id: "doc-1".parse().unwrap(),
            digest: DocumentDigest::new([0xdd; 32]),
            signing_time: NOW,
        };
        change(&mut request);
        let signature = Blob(self.session_key.sign(&request.message()).to_bytes().to_vec());
        SignedRequest { request, signature }
    }

    /// Fresh commitments of these nodes.
    pub(super) fn signers(&mut self, nodes: &[u8]) -> Vec<SignerCommitments> {
        nodes
            .iter()
            .map(|number| {
                let node = node(*number);
                let fresh = self.pools.get_mut(&node).unwrap().make(MONOTONIC, &coordinator(), 1, &mut self.rng).remove(0);
                SignerCommitments { node, nonce: fresh.nonce, commitments: fresh.commitments }
            })
            .collect()
    }

    pub(super) fn item(&mut self, request: SignedRequest) -> SignItem {
        let signers = self.signers(&[1, 3, 4]);
        SignItem { work: SignWork::Document { request, certificate: certificate_hash() }, epoch: Epoch(2), signers }
    }

    pub(super) fn good_item(&mut self) -> SignItem {
        let request = self.request(|_| {});
        self.item(request)
    }

    pub(super) fn check_at(&self, number: u8, now: UnixMillis, item: &SignItem) -> Result<CheckedWork, CheckError> {
        check(&self.store, &CheckContext::read(&self.store, node(number), now)?, item)
    }

    /// The whole way on one node.
    pub(super) fn share(&mut self, number: u8, now: MonotonicMillis, item: &SignItem) -> SignAnswer {
        let work = match self.check_at(number, NOW, item) {
            Ok(work) => work,
            Err(error) => return error.into(),
        };
        let Some(nonces) = self.pools.get_mut(&node(number)).unwrap().take(now, &coordinator(), work.own_nonce()) else {
            return CheckError::nonce_unknown().into();
        };
        match work.take(nonces) {
            Ok(prepared) => prepared.sign(now, &self.shares[&node(number)]).unwrap_or_else(SignAnswer::from),
            Err(refusal) => SignAnswer::Refused(refusal),
        }
    }

    /// What a coordinator makes of the shares.
    pub(super) fn aggregate(&self, item: &SignItem, message: &[u8], shares: &[(u8, [u8; 32])]) -> Result<Signature, frost_ed25519::Error> {
        let commitments: BTreeMap<Identifier, SigningCommitments> = item
            .signers
            .iter()
            .map(|signer| (identifier(signer.node), SigningCommitments::deserialize(signer.commitments.as_slice()).unwrap()))
            .collect();
        let shares =
            shares.iter().map(|(number, share)| (identifier(node(*number)), SignatureShare::deserialize(share).unwrap())).collect();
        aggregate(&SigningPackage::new(commitments, message), &shares, &self.public)
    }
}

fn statement(session_key: &SigningKey) -> Statement {
    Statement {
        cluster: ClusterId::new([1; 32]),
        credential: CREDENTIAL,
        session_key: PublicKey::Ed25519(session_key.verifying_key().to_bytes()),
        facility: "clinic-1".parse().unwrap(),
        terminal: TerminalId::new([4; 16]),
        purpose: Purpose::EPrescription,
        not_before: NOW.minus(HOUR),
        not_after: NOW.plus(8 * HOUR),
        max_signatures: 100,
        nonce: Challenge::new([6; 32]),
    }
}
