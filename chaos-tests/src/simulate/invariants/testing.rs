//! Facts as they would look, for the breaches that invariants must see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use ed25519_dalek::SigningKey;
use frost_ed25519::SigningPackage;
use frost_ed25519::keys::{IdentifierList, KeyPackage, PublicKeyPackage, generate_with_dealer};
use frost_ed25519::{aggregate, round1, round2};
use warifu_core::registry::{
    AuthenticatorRecord, CertificateRecord, CredentialKey, CredentialRecord, MemoryStore, Registry as _, SessionRecord, encode, key, table,
};
use warifu_core::signer::identifier;
use warifu_protocol::wire::{CredentialState, SignItem, SignWork, SignerCommitments};
use warifu_protocol::{
    AuthenticatorKind, Blob, BootId, CeremonyId, CertificateHash, Challenge, ClusterId, Command, CredentialId, DocumentDigest,
    DocumentKind, Epoch, LogEntry, Name, NodeEntry, NodeId, NonceId, ObjectVersion, Order, OrderBody, OrderCommand, OrderId, Purpose,
    Request, SessionId, Sha256, SignedRequest, SpkiHash, Statement, StopId, StopKind, StopObject, StoreId, SubjectFields, TerminalId,
    UnixMillis,
};

use super::{Ground, Invariant};
use crate::simulate::fact::{CardLife, Checked, Fact, Released, ShareGiven, Unshown};
use crate::simulate::people::{public, sign};
use crate::simulate::seed::SeedTree;

pub(super) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
pub(super) const CREDENTIAL: CredentialId = CredentialId::new([0xcc; 16]);
pub(super) const MESSAGE: &[u8] = b"a message";
/// The card that opened the session.
pub(super) const CARD: CertificateHash = CertificateHash::new([1; 32]);
/// How long the certificate of the credential lasts.
pub(super) const CERTIFIED_MILLIS: u64 = 20_000;
/// A site that is not honest.
pub(super) const SUSPECT: u8 = 9;

pub(super) fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("a node id")
}

pub(super) fn nonce(number: u8) -> NonceId {
    NonceId::new([number; 16])
}

pub(super) fn coordinator() -> Name {
    "coordinator-1".parse().expect("a name")
}

pub(super) fn ground(truth: &MemoryStore) -> Ground<'_> {
    static SUSPECTS: OnceLock<BTreeSet<NodeId>> = OnceLock::new();
    static SECRETS: BTreeSet<[u8; 32]> = BTreeSet::new();
    static CARDS: BTreeMap<CertificateHash, CardLife> = BTreeMap::new();
    // A test's state lives as long as the test.
    let credentials = Box::leak(Box::new(truth.credentials(None, usize::MAX).expect("a map in memory does not fail")));
    let suspects = SUSPECTS.get_or_init(|| BTreeSet::from([node(SUSPECT)]));
    static SITES: OnceLock<BTreeSet<NodeId>> = OnceLock::new();
    let sites = SITES.get_or_init(|| (1..=5).map(node).collect());
    Ground { sites, threshold: 3, liars: 1, now: NOW, suspects, truth, secrets: &SECRETS, cards: &CARDS, credentials }
}

/// Feeds facts, over an empty state.
pub(super) fn check_all(mut invariant: impl Invariant, facts: &[Fact]) -> Result<(), String> {
    let truth = MemoryStore::default();
    facts.iter().try_for_each(|fact| invariant.check(fact, &ground(&truth)))
}

pub(super) fn committed(index: u64, kind: &'static str, void: Option<&'static str>, refused: Option<String>, bytes: Vec<u8>) -> Fact {
    Fact::Committed { index, kind, void, refused, settles: None, root: Sha256::new([0; 32]), bytes: Unshown(bytes) }
}

/// An order of officers.
pub(super) fn order(id: u8, order: OrderCommand) -> Command {
    let cluster = ClusterId::new([7; 32]);
    let body = OrderBody { cluster, id: OrderId::new([id; 16]), not_after: NOW.plus(1), object_version: ObjectVersion(0), order };
    Command::Order(Order { body, approvals: Vec::new(), consents: Vec::new() })
}

/// A command in the log, which took it.
pub(super) fn logged(index: u64, command: &Command) -> Fact {
    let bytes = LogEntry::new(NOW, command.clone()).encode().expect("a small entry");
    committed(index, command.kind(), None, None, bytes)
}

/// The same, and the log refused it.
pub(super) fn refused(index: u64, command: &Command) -> Fact {
    let mut fact = logged(index, command);
    if let Fact::Committed { refused, .. } = &mut fact {
        *refused = Some("no".to_owned());
    }
    fact
}

/// A site of a roster.
pub(super) fn entry(number: u8) -> NodeEntry {
    let identity = public(&SigningKey::from_bytes(&[number; 32]));
    let (address, sealing_key) = (format!("site-{number}:1"), Blob::default());
    NodeEntry { id: node(number), address, tls_spki: SpkiHash::new([number; 32]), identity, sealing_key }
}

/// The roster of these sites and nobody else.
pub(super) fn roster(sites: &[u8]) -> Command {
    let nodes = sites.iter().map(|site| entry(*site)).collect();
    order(0xee, OrderCommand::UpdateRoster { nodes, coordinators: Vec::new(), officers: Vec::new() })
}

/// A key that five sites hold, three of which sign.
pub(super) struct Dealt {
    shares: BTreeMap<NodeId, KeyPackage>,
    public: PublicKeyPackage,
}

/// What sites 1, 2 and 3 gave for one message, and what it comes to.
pub(super) struct Gathered {
    pub(super) signers: Vec<SignerCommitments>,
    pub(super) shares: BTreeMap<NodeId, [u8; 32]>,
    pub(super) signature: [u8; 64],
}

impl Dealt {
    pub(super) fn new() -> Self {
        let ids: Vec<_> = (1..=5).map(|site| identifier(node(site))).collect();
        let mut dice = SeedTree::new(1).rng("dealt", 0);
        let (shares, public) = generate_with_dealer(5, 3, IdentifierList::Custom(&ids), &mut dice.0).expect("a key");
        let share = |site| shares.get(&identifier(node(site))).cloned().expect("a share").try_into().expect("a share of the key");
        Self { shares: (1..=5).map(|site| (node(site), share(site))).collect(), public }
    }

    pub(super) fn key(&self) -> CredentialKey {
        let group_key = self.public.verifying_key().serialize().expect("a key").try_into().expect("32 bytes");
        CredentialKey { group_key, public_key_package: Blob(self.public.serialize().expect("a package")) }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Gathered {
        let mut dice = SeedTree::new(1).rng("nonces", 0);
        let signers: Vec<NodeId> = (1..=3).map(node).collect();
        let drawn: BTreeMap<_, _> =
            signers.iter().map(|site| (*site, round1::commit(self.shares[site].signing_share(), &mut dice.0))).collect();
        let commitments = drawn.iter().map(|(site, (_, commitments))| (identifier(*site), *commitments)).collect();
        let package = SigningPackage::new(commitments, message);
        let shares: BTreeMap<_, _> = drawn
            .iter()
            .map(|(site, (nonces, _))| (*site, round2::sign(&package, nonces, &self.shares[site]).expect("a signature share")))
            .collect();
        let of_identifiers = shares.iter().map(|(site, share)| (identifier(*site), *share)).collect();
        let signature = aggregate(&package, &of_identifiers, &self.public).expect("a signature").serialize().expect("bytes");
        let told = |(site, (_, commitments)): (&NodeId, &(_, round1::SigningCommitments))| SignerCommitments {
            node: *site,
            nonce: nonce(site.get()),
            commitments: Blob(commitments.serialize().expect("bytes")),
        };
        Gathered {
            signers: drawn.iter().map(told).collect(),
            shares: shares.into_iter().map(|(site, share)| (site, share.serialize().try_into().expect("32 bytes"))).collect(),
            signature: signature.try_into().expect("64 bytes"),
        }
    }
}

/// The receipt of a site for a stop that the log takes until [`NOW`].
pub(super) fn receipted(site: u8, stop: StopId, object: StopObject, kind: StopKind) -> Fact {
    let (boot, not_after) = (BootId::new([site; 16]), Some(NOW));
    Fact::ReceiptGiven { site: node(site), store: store(site), boot, stop, object, kind, not_after }
}

/// The first store of a site.
pub(super) fn store(site: u8) -> StoreId {
    StoreId::new([site; 16])
}

pub(super) fn durable(site: u8, pair: u8, rendered: u8) -> Fact {
    Fact::AuditDurable { site: node(site), nonce: nonce(pair), rendered: Sha256::new([rendered; 32]) }
}

/// The share of a document that a site gives with a nonce.
pub(super) fn given(site: u8, pair: u8, change: impl FnOnce(&mut ShareGiven)) -> Fact {
    let signer = |number: u8, pair: u8| SignerCommitments { node: node(number), nonce: nonce(pair), commitments: Blob(vec![number]) };
    let signers = vec![signer(site, pair)];
    let mut given = ShareGiven {
        site: node(site),
        store: StoreId::new([1; 16]),
        boot: BootId::new([1; 16]),
        coordinator: coordinator(),
        item: SignItem {
            work: SignWork::Document { request: request(), certificate: CertificateHash::new([2; 32]) },
            epoch: Epoch(1),
            signers,
        },
        share: [0; 32],
        applied: 0,
        session_closed: Some(false),
        credential_state: Some(CredentialState::Active),
        checked: Checked {
            clock: NOW,
            applied: 0,
            session_closed: Some(false),
            credential_state: Some(CredentialState::Active),
            terminal_retired: false,
        },
    };
    change(&mut given);
    Fact::ShareGiven(Box::new(given))
}

/// Makes a share one of the session in [`with_session`], of one signer set of sites 1, 2 and 3.
pub(super) fn in_session(given: &mut ShareGiven, change: &dyn Fn(&mut ShareGiven)) {
    let SignWork::Document { request, .. } = &mut given.item.work else { return };
    request.request.session = session_id();
    request.signature = sign(&session_key(), &request.request.message());
    given.item.signers =
        (1..=3).map(|number| SignerCommitments { node: node(number), nonce: nonce(number), commitments: Blob(vec![number]) }).collect();
    change(given);
}

pub(super) fn signed(signers: &[u8]) -> Fact {
    let request = request().request;
    Fact::Signed(Box::new(Released {
        coordinator: coordinator(),
        credential: CREDENTIAL,
        request: Some((request.session, request.seq, request.hash())),
        message: Unshown(MESSAGE.to_vec()),
        signature: [0; 64],
        signers: signers.iter().map(|site| node(*site)).collect(),
    }))
}

fn request() -> SignedRequest {
    let request = Request {
        session: SessionId::new([1; 32]),
        seq: 1,
        kind: DocumentKind::Prescription,
        document_id: "a".parse().expect("an id"),
        digest: DocumentDigest::new([2; 32]),
        signing_time: NOW,
    };
    SignedRequest { request, signature: Blob(vec![0; 64]) }
}

fn session_key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn statement() -> Statement {
    Statement {
        cluster: ClusterId::new([7; 32]),
        credential: CREDENTIAL,
        session_key: public(&session_key()),
        facility: "clinic-1".parse().expect("a name"),
        terminal: TerminalId::new([1; 16]),
        purpose: Purpose::EPrescription,
        not_before: NOW,
        not_after: NOW.plus(3_600_000),
        max_signatures: 10,
        nonce: Challenge::new([1; 32]),
    }
}

pub(super) fn session_id() -> SessionId {
    statement().session()
}

/// A state with one open session.
pub(super) fn with_session() -> MemoryStore {
    let mut truth = with_credential(|record| {
        record.certificate = Some(CertificateRecord {
            der: Blob(vec![0x30; 8]),
            hash: CertificateHash::new([2; 32]),
            not_before: NOW,
            not_after: NOW.plus(CERTIFIED_MILLIS),
            roles: Vec::new(),
            issuer: SpkiHash::new([5; 32]),
        });
        record.authenticators.push(AuthenticatorRecord {
            card: CARD,
            kind: AuthenticatorKind::MyNumberCard,
            serial_digest: Sha256::new([6; 32]),
            spki: SpkiHash::new([7; 32]),
            issuer: SpkiHash::new([8; 32]),
            suspended: false,
        });
    });
    let record = SessionRecord { statement: statement(), card: CARD, closed: false };
    truth.0.insert(key(table::SESSION, &[session_id().as_ref()]), encode(&record));
    truth
}

/// The same state at another time of its log.
pub(super) fn with_time(mut truth: MemoryStore, time: UnixMillis) -> MemoryStore {
    truth.0.insert(key(table::TIME, &[]), encode(&time));
    truth
}

/// A state with one active credential.
pub(super) fn with_credential(change: impl FnOnce(&mut CredentialRecord)) -> MemoryStore {
    let mut truth = MemoryStore::default();
    add_credential(&mut truth, CREDENTIAL, change);
    truth
}

pub(super) fn add_credential(truth: &mut MemoryStore, id: CredentialId, change: impl FnOnce(&mut CredentialRecord)) {
    let mut record = CredentialRecord {
        holder: "holder-1".parse().expect("a name"),
        subject: SubjectFields::new("JP", None, "Trial Holder", "TRIAL-1").expect("a subject"),
        state: CredentialState::Active,
        suspended_by_order: false,
        certificate_listed: false,
        certificate_ended: false,
        version: ObjectVersion(1),
        epoch: Epoch(1),
        epoch_made: warifu_core::registry::EpochMade { index: 1, at: NOW, given: Vec::new() },
        enrolled_by: OrderId::new([1; 16]),
        ceremony: CeremonyId::new([1; 16]),
        holders: Vec::new(),
        previous: None,
        key: None,
        certificate: None,
        authenticators: Vec::new(),
        ever_bound: true,
        pending: Vec::new(),
        origin: warifu_protocol::Origin::Generated,
        destroy_at: None,
    };
    change(&mut record);
    truth.0.insert(key(table::CREDENTIAL, &[id.as_ref()]), encode(&record));
}
