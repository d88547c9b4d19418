//! One value of everything that calls and answers are made of, with every optional part there.

use warifu_protocol::wire::{
    Applied, AuthenticatorView, CeremonyView, CredentialState, CredentialView, CrlView, NodeStatus, PendingView, SessionView,
};
use warifu_protocol::{
    AnchorEntry, AnchorKind, Approval, AuthenticatorKind, Binding, Blob, BootId, BoundCardApproval, CeremonyId, CertificateHash, Challenge,
    Checkpoint, ClusterId, CommandClass, Consent, CoordinatorEntry, CredentialChange, CredentialEvent, CredentialId, DocumentDigest,
    DocumentKind, EncodedPoint, Enrolment, Epoch, Gone, ImportPacket, KeyImport, Name, NodeEntry, NodeId, NodeSigned, ObjectVersion,
    OfficerEntry, OfficerRole, Order, OrderBody, OrderCommand, OrderId, Origin, Policy, PublicKey, Purpose, Receipt, Request,
    SessionClosing, SessionId, SessionOpening, Sha256, SignedRequest, SpkiHash, Statement, StopId, StopKind, StopObject, StoreId,
    SubjectFields, TerminalId, UnixMillis,
};

pub const AT: UnixMillis = UnixMillis(1_767_225_600_000);
pub const CLUSTER: ClusterId = ClusterId::new([0x0c; 32]);
pub const CREDENTIAL: CredentialId = CredentialId::new([0xcd; 16]);
pub const SESSION: SessionId = SessionId::new([0x5e; 32]);
pub const STOP: StopId = StopId::new([0x53; 32]);
const ORDER: OrderId = OrderId::new([0x0d; 16]);
const CEREMONY: CeremonyId = CeremonyId::new([0xce; 16]);
const CARD: CertificateHash = CertificateHash::new([0xca; 32]);
const TERMINAL: TerminalId = TerminalId::new([0x7e; 16]);
const HASH: Sha256 = Sha256::new([0x4a; 32]);
const STORE: StoreId = StoreId::new([0x57; 16]);
const BOOT: BootId = BootId::new([0xb1; 16]);

pub fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("a node id")
}

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub fn blob(length: usize) -> Blob {
    vec![0xfb; length].into()
}

pub fn signed<T>(body: T) -> NodeSigned<T> {
    NodeSigned { node: node(3), body, signature: blob(64) }
}

fn key() -> PublicKey {
    // The base point of the curve is as good a key as any.
    format!("ed25519:58{}", "66".repeat(31)).parse().expect("a key")
}

fn binding() -> Binding {
    let kind = AuthenticatorKind::MyNumberCard;
    Binding { cluster: CLUSTER, credential: CREDENTIAL, kind, card: CARD, nonce: Challenge::new([7; 32]) }
}

fn enrolment() -> Enrolment {
    let subject = SubjectFields::new("JP", Some("Trial Clinic".to_owned()), "Hanako Iryo", "TRIAL-0001").expect("a subject");
    Enrolment { credential: CREDENTIAL, holder: name("holder-1"), subject }
}

fn node_entry() -> NodeEntry {
    let tls_spki = SpkiHash::new([0x15; 32]);
    NodeEntry { id: node(3), address: "site-3.invalid:7400".to_owned(), tls_spki, identity: key(), sealing_key: blob(7) }
}

fn policy() -> Policy {
    let approvals = CommandClass::ALL.into_iter().map(|class| (class, class.default_approvals())).collect();
    Policy { destroy_after_revocation_millis: Some(0), approvals, ..Policy::default() }
}

/// Every command that an order can have.
pub fn commands() -> Vec<OrderCommand> {
    let (credential, card, session, terminal) = (CREDENTIAL, CARD, SESSION, TERMINAL);
    let (certificate, intermediates, card_signature) = (blob(1), vec![blob(2)], blob(64));
    let bound_card = Some(BoundCardApproval { certificate: blob(4), signature: blob(64) });
    let anchor = AnchorEntry { kind: AnchorKind::HpkiSigning, certificate: blob(1), policies: vec!["1.2.3".to_owned()] };
    let coordinator = CoordinatorEntry { id: name("coordinator-1"), tls_spki: SpkiHash::new([0xc1; 32]), identity: key() };
    let officer = OfficerEntry { id: name("so-1"), role: OfficerRole::SecurityOfficer, key: key() };
    let commitment = vec![EncodedPoint::new([0x58; 32]), EncodedPoint::new([0x59; 32])];
    vec![
        OrderCommand::Enrol { enrolments: vec![enrolment()] },
        OrderCommand::InstallCertificate { credential, certificate: certificate.clone(), intermediates: intermediates.clone() },
        OrderCommand::BindAuthenticator {
            binding: binding(),
            certificate: certificate.clone(),
            intermediates: intermediates.clone(),
            card_signature: card_signature.clone(),
            bound_card,
        },
        OrderCommand::UnbindAuthenticator { credential, card },
        OrderCommand::EnrolFacility { facility: name("clinic-1") },
        OrderCommand::EnrolTerminal { terminal, facility: name("clinic-1"), key: key() },
        OrderCommand::RetireTerminal { terminal },
        OrderCommand::Suspend { credential },
        OrderCommand::Resume { credential },
        OrderCommand::Revoke { credential },
        OrderCommand::CloseSession { session },
        OrderCommand::UpdateCrl { hash: HASH, number: 9, size: 400, pieces: vec![HASH], issuer: Some(blob(2)) },
        OrderCommand::UpdatePolicy { policy: policy() },
        OrderCommand::UpdateAnchors { anchors: vec![anchor] },
        OrderCommand::UpdateRoster { nodes: vec![node_entry()], coordinators: vec![coordinator], officers: vec![officer] },
        OrderCommand::ReplaceStore { node: node_entry(), store: STORE },
        OrderCommand::BindWithNotice { binding: binding(), certificate, intermediates, card_signature },
        OrderCommand::SuspendBinding { credential, card },
        OrderCommand::ResumeBinding { credential, card },
        OrderCommand::Refresh { credentials: vec![credential] },
        OrderCommand::Destroy { credential },
        OrderCommand::RefreshAll { held_by: Some(node(3)) },
        OrderCommand::Import { import: KeyImport { enrolment: enrolment(), commitment, packets: vec![(node(1), HASH), (node(3), HASH)] } },
    ]
}

pub fn order(order: OrderCommand) -> Order {
    let body = OrderBody { cluster: CLUSTER, id: ORDER, not_after: AT, object_version: ObjectVersion(7), order };
    let approvals = vec![Approval { officer: name("op-1"), signature: blob(64) }];
    Order { body, approvals, consents: vec![signed(Consent { order: HASH })] }
}

fn statement() -> Statement {
    Statement {
        cluster: CLUSTER,
        credential: CREDENTIAL,
        session_key: key(),
        facility: name("clinic-1"),
        terminal: TERMINAL,
        purpose: Purpose::EPrescription,
        not_before: AT,
        not_after: AT.plus(3_600_000),
        max_signatures: 300,
        nonce: Challenge::new([9; 32]),
    }
}

pub fn opening() -> SessionOpening {
    SessionOpening {
        statement: statement(),
        card_certificate: blob(1),
        intermediates: vec![blob(2)],
        card_signature: blob(3),
        terminal_signature: blob(4),
        possession: blob(5),
        ocsp: Some(blob(6)),
    }
}

pub fn closing() -> SessionClosing {
    SessionClosing { session: SESSION, signature: blob(64) }
}

pub fn session() -> SessionView {
    SessionView { session: SESSION, statement: statement(), closed: false }
}

pub fn request() -> SignedRequest {
    let request = Request {
        session: SESSION,
        seq: 17,
        kind: DocumentKind::Dispensing,
        document_id: "doc-1".parse().expect("a document id"),
        digest: DocumentDigest::new([0xdd; 32]),
        signing_time: AT,
    };
    SignedRequest { request, signature: blob(64) }
}

/// Everything that an applied command can have made.
pub fn applied() -> Vec<Applied> {
    vec![
        Applied::Done,
        Applied::CeremonyStarted(CEREMONY),
        Applied::SessionOpened(SESSION),
        Applied::CrlExpected { order: ORDER, next: 1 },
        Applied::CrlActive,
    ]
}

/// Everything that can be stopped.
pub fn stopped() -> Vec<StopObject> {
    vec![StopObject::Credential(CREDENTIAL), StopObject::Session(SESSION), StopObject::Card { credential: CREDENTIAL, card: CARD }]
}

pub fn receipt(object: StopObject) -> NodeSigned<Receipt> {
    signed(Receipt { stop: STOP, object, kind: StopKind::Revoke, held_since: AT, store: STORE, boot: BOOT })
}

pub fn gone() -> NodeSigned<Gone> {
    signed(Gone { credential: CREDENTIAL, store: STORE, destroyed: vec![1, 2], proves_destruction: true, at: AT })
}

pub fn packet() -> ImportPacket {
    ImportPacket { order: ORDER, node: node(3), sealed: blob(8) }
}

/// A credential of each origin.
pub fn credentials() -> Vec<CredentialView> {
    let origins = [Origin::Generated, Origin::Imported { order: ORDER, officers: vec![name("so-1"), name("so-2")] }];
    let kind = AuthenticatorKind::HpkiCard;
    origins
        .map(|origin| CredentialView {
            credential: CREDENTIAL,
            holder: name("holder-1"),
            subject: enrolment().subject,
            state: CredentialState::Active,
            version: ObjectVersion(4),
            epoch: Epoch(1),
            ceremony: CEREMONY,
            public_key_package: Some(blob(9)),
            certificate: Some(blob(10)),
            authenticators: vec![AuthenticatorView { card: CARD, kind, suspended: false }],
            pending: vec![PendingView { card: CARD, kind, effective_at: AT, order: ORDER }],
            holders: vec![node(1), node(15)],
            origin,
            destroy_at: Some(AT),
        })
        .into()
}

/// Everything that can happen to a credential.
pub fn events() -> Vec<CredentialEvent> {
    let holders = vec![node(1), node(2)];
    let changes = [
        CredentialChange::Enrolled,
        CredentialChange::KeyMade { ceremony: CEREMONY, holders: holders.clone() },
        CredentialChange::Certified { certificate: CARD },
        CredentialChange::Bound { card: CARD, kind: AuthenticatorKind::MyNumberCard },
        CredentialChange::Unbound { card: CARD },
        CredentialChange::State { state: CredentialState::Revoked },
        CredentialChange::Refreshed { epoch: Epoch(2), holders: holders.clone() },
        CredentialChange::Holders { holders: holders.clone() },
        CredentialChange::KeyImported { order: ORDER, officers: vec![name("so-1")], holders },
    ];
    changes.map(|change| CredentialEvent { index: 5, at: AT, change, order: Some(ORDER), officers: vec![name("op-1")] }).into()
}

pub fn ceremony() -> CeremonyView {
    let (participants, round1, confirmed) = (vec![node(1), node(2)], vec![node(1)], vec![]);
    CeremonyView { ceremony: CEREMONY, attempt: 1, participants, round1, confirmed, done: false, failed: false }
}

pub fn crl() -> CrlView {
    let (issuer, number) = ("CN=Trial CA".to_owned(), "17".to_owned());
    CrlView { issuer, number, this_update: AT, next_update: AT.plus(86_400_000), revoked: 3 }
}

pub fn status() -> NodeStatus {
    NodeStatus {
        node: node(3),
        cluster: CLUSTER,
        boot: BOOT,
        confirmed: false,
        reasons: vec!["not confirmed".to_owned()],
        leader: Some(node(1)),
        term: 2,
        applied: 9,
        last_log: 10,
        now: AT,
        audit: Checkpoint { size: 300, root: HASH },
        shares_given: 4,
        version: "0.1.0".to_owned(),
    }
}
