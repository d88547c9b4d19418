//! A trial cluster whose every change goes through the registry's apply.

use ed25519_dalek::SigningKey;
use frost_ed25519::keys::{IdentifierList, PublicKeyPackage, generate_with_dealer};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{
    CredentialRecord, EntryOutcome, MemoryStore, Overlay, Registry, SessionRecord, apply, encode, found, key, state_root, table,
};
use warifu_protocol::limits::CRL_CHUNK_BYTES;
use warifu_protocol::wire::{Applied, CredentialState, Verdict};
use warifu_protocol::{
    AnchorKind, Approval, Binding, Blob, BootId, BoundCardApproval, CeremonyConfirm, CeremonyId, Challenge, ClusterId, Command, Consent,
    CoordinatorEntry, CredentialId, Enrolment, Genesis, GenesisBody, GenesisDocument, GenesisSignature, LogEntry, Name, NodeEntry, NodeId,
    NodeStarted, ObjectVersion, OfficerEntry, OfficerRole, Order, OrderBody, OrderCommand, OrderId, Policy, Purpose, Refusal, Round1,
    Round2Hashes, SessionId, SessionOpening, Sha256, SpkiHash, Statement, StoreId, SubjectFields, TerminalId, Threshold, UnixMillis,
};

use super::keys::{Card, Signer};
use super::pki::{Ca, HOUR, NOW};

pub(crate) const NODES: u8 = 5;
/// The terminal at the clinic.
pub(crate) const DESK: TerminalId = TerminalId::new([0xd1; 16]);
/// A terminal that was taken out of use.
pub(crate) const RETIRED: TerminalId = TerminalId::new([0xd2; 16]);
/// The terminal at the pharmacy.
pub(crate) const COUNTER: TerminalId = TerminalId::new([0xd3; 16]);

pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) now: UnixMillis,
    pub(crate) genesis: Genesis,
    pub(crate) signing_ca: Ca,
    pub(crate) card_ca: Ca,
    pub(crate) hpki_card_ca: Ca,
    /// Everything that was applied, refused or not.
    pub(crate) entries: Vec<Vec<u8>>,
    officers: Vec<(&'static str, Signer)>,
    fresh: u64,
}

/// A holder as far as the cluster has come with them.
pub(crate) struct Holder {
    pub(crate) credential: CredentialId,
    pub(crate) subject: SubjectFields,
    pub(crate) role: &'static str,
    pub(crate) card: Card,
    /// Serial of the signing certificate.
    pub(crate) serial: u64,
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn bytes16(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

pub(crate) fn identity(cluster: ClusterId, number: u8) -> NodeIdentity {
    NodeIdentity::new(node(number), cluster, SigningKey::from_bytes(&[0xa0 + number; 32]))
}

pub(crate) fn desk_key() -> Signer {
    Signer::ed25519(0xd1)
}

pub(crate) fn session_key() -> Signer {
    Signer::ed25519(0x5e)
}

impl World {
    /// A cluster with nothing but its genesis.
    pub(crate) fn founded() -> Self {
        Self::founded_with(|_| {})
    }

    /// With another genesis.
    pub(crate) fn founded_with(edit: impl FnOnce(&mut GenesisBody)) -> Self {
        let operator = |id, signer| (id, OfficerRole::Operator, signer);
        let officers = vec![
            operator("op-1", Signer::ed25519(0x01)),
            operator("op-2", Signer::p256()),
            operator("op-3", Signer::p384()),
            ("so-1", OfficerRole::SecurityOfficer, Signer::ed25519(0x04)),
            ("so-2", OfficerRole::SecurityOfficer, Signer::ed25519(0x05)),
        ];
        let signing_ca = Ca::new(AnchorKind::HpkiSigning, "Trial HPKI Signing CA");
        let card_ca = Ca::new(AnchorKind::JpkiUserAuthentication, "Trial JPKI CA");
        let hpki_card_ca = Ca::new(AnchorKind::HpkiAuthentication, "Trial HPKI Authentication CA");
        let mut body = GenesisBody {
            format: 1,
            name: name("trial"),
            created: NOW,
            threshold: Threshold(3),
            liars: 1,
            minority_threshold: false,
            policy: Policy::default(),
            nodes: (1..=NODES).map(node_entry).collect(),
            coordinators: vec![CoordinatorEntry {
                id: name("coordinator-1"),
                tls_spki: SpkiHash::new([0xc1; 32]),
                identity: Signer::ed25519(0xc1).public(),
            }],
            officers: officers.iter().map(|(id, role, key)| OfficerEntry { id: name(id), role: *role, key: key.public() }).collect(),
            anchors: vec![signing_ca.anchor(), card_ca.anchor(), hpki_card_ca.anchor()],
        };
        edit(&mut body);
        let message = body.message();
        let signatures =
            officers.iter().map(|(id, _, key)| GenesisSignature { officer: name(id), signature: key.sign(&message) }).collect();
        let genesis = Genesis::new(GenesisDocument { genesis: body, signatures }).unwrap();
        let mut store = MemoryStore::default();
        let mut overlay = Overlay::new(&store);
        found(&mut overlay, &genesis).unwrap();
        let changes = overlay.into_changes();
        store.write(&changes);
        let officers = officers.into_iter().map(|(id, _, key)| (id, key)).collect();
        Self { store, now: NOW, genesis, signing_ca, card_ca, hpki_card_ca, entries: Vec::new(), officers, fresh: 0 }
    }

    /// With an active list of every CA, a clinic and a pharmacy with their terminals.
    pub(crate) fn equipped() -> Self {
        Self::founded().equip()
    }

    fn equip(mut self) -> Self {
        let world = &mut self;
        world.renew_lists(1);
        for (terminal, facility, key) in [(DESK, "clinic-1", 0xd1), (RETIRED, "clinic-1", 0xd2), (COUNTER, "pharmacy-1", 0xd3)] {
            let facility = name(facility);
            if world.store.facility(&facility).unwrap().is_none() {
                world.must_order(OrderCommand::EnrolFacility { facility: facility.clone() });
            }
            world.must_order(OrderCommand::EnrolTerminal { terminal, facility, key: Signer::ed25519(key).public() });
        }
        world.must_order(OrderCommand::RetireTerminal { terminal: RETIRED });
        self
    }

    /// With a physician and a pharmacist whose keys are generated.
    pub(crate) fn generated() -> (Self, [Holder; 2]) {
        Self::generated_in(Self::founded())
    }

    /// The same in a cluster with another genesis.
    pub(crate) fn generated_in(founded: Self) -> (Self, [Holder; 2]) {
        let mut world = founded.equip();
        let subject = |common: &str, number: &str| SubjectFields::new("JP", Some("Trial Clinic".to_owned()), common, number).unwrap();
        let holders = [
            Holder {
                credential: CredentialId::new(bytes16(world.fresh())),
                subject: subject("Hanako Iryo", "TRIAL-0001"),
                role: "Medical Doctor",
                card: Card::rsa(&world.card_ca, 1001, |_| {}),
                serial: 2001,
            },
            Holder {
                credential: CredentialId::new(bytes16(world.fresh())),
                subject: subject("Taro Yakuzai", "TRIAL-0002"),
                role: "Pharmacist",
                card: Card::p384(&world.card_ca, 1002, |_| {}),
                serial: 2002,
            },
        ];
        let enrolments = holders.iter().map(|holder| holder.enrolment()).collect();
        let Applied::CeremonyStarted(ceremony) = world.must_order(OrderCommand::Enrol { enrolments }) else { panic!("no ceremony") };
        world.run_ceremony(ceremony);
        (world, holders)
    }

    /// With certificates installed.
    pub(crate) fn certified() -> (Self, [Holder; 2]) {
        let (mut world, holders) = Self::generated();
        for holder in &holders {
            let order = world.installation(holder, |_| {});
            world.must_order(order);
        }
        (world, holders)
    }

    /// With cards bound: sessions can be opened.
    pub(crate) fn ready() -> (Self, [Holder; 2]) {
        let (mut world, holders) = Self::certified();
        for holder in &holders {
            let order = world.binding(holder.credential, &holder.card, None);
            world.must_order(order);
            assert_eq!(world.credential(holder.credential).state, CredentialState::Active);
        }
        (world, holders)
    }

    pub(crate) fn cluster(&self) -> ClusterId {
        self.genesis.cluster()
    }

    /// A number that was not used before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }

    /// Applies bytes as the next entry.
    pub(crate) fn apply_bytes(&mut self, bytes: Vec<u8>) -> EntryOutcome {
        let index = self.entries.len() as u64 + 1;
        let mut overlay = Overlay::new(&self.store);
        let outcome = apply(&mut overlay, index, &bytes).unwrap();
        let changes = overlay.into_changes();
        self.store.write(&changes);
        self.entries.push(bytes);
        outcome
    }

    pub(crate) fn apply(&mut self, command: Command) -> Verdict {
        self.apply_bytes(LogEntry::new(self.now, command).encode().unwrap()).verdict
    }

    #[track_caller]
    pub(crate) fn must(&mut self, command: Command) -> Applied {
        let kind = command.kind();
        match self.apply(command).outcome {
            Ok(applied) => applied,
            Err(refusal) => panic!("{kind} was refused: {refusal}"),
        }
    }

    /// Applies a command that must be refused with `code` and leave nothing behind but the entry's time.
    #[track_caller]
    pub(crate) fn refuses(&mut self, case: &str, code: &str, command: Command) -> Refusal {
        self.refuses_bytes(case, code, LogEntry::new(self.now, command).encode().unwrap(), true)
    }

    #[track_caller]
    pub(crate) fn refuses_order(&mut self, case: &str, code: &str, order: OrderCommand) -> Refusal {
        let order = self.order(order);
        self.refuses(case, code, Command::Order(order))
    }

    #[track_caller]
    pub(crate) fn refuses_bytes(&mut self, case: &str, code: &str, bytes: Vec<u8>, readable: bool) -> Refusal {
        let mut expected = self.store.clone();
        if readable {
            let time = expected.time().unwrap().max(self.now);
            expected.0.insert(key(table::TIME, &[]), encode(&time));
        }
        let outcome = self.apply_bytes(bytes);
        let refusal = match outcome.verdict.outcome {
            Ok(applied) => panic!("{case}: not refused but {applied:?}"),
            Err(refusal) => refusal,
        };
        assert_eq!(refusal.code(), code, "{case}: {refusal}");
        let content = |store: &MemoryStore| {
            let kept = |key: &[u8]| key[0] >= table::HASHED_FROM || key[0] == table::ROOT;
            store.0.iter().filter(|(key, _)| kept(key)).map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        assert_eq!(content(&self.store), content(&expected), "{case}: a refused command changed the state");
        assert_eq!(outcome.root, rebuilt_root(&expected), "{case}: the state root is not that of the state before");
        refusal
    }

    /// An order for the object's present version, valid for an hour.
    pub(crate) fn order_body(&mut self, order: OrderCommand) -> OrderBody {
        OrderBody {
            cluster: self.cluster(),
            id: OrderId::new(bytes16(self.fresh())),
            not_after: self.now.plus(HOUR),
            object_version: self.version_of(&order),
            order,
        }
    }

    pub(crate) fn approve(&self, body: OrderBody, officers: &[&str]) -> Order {
        let message = body.message();
        let approval = |id: &&str| {
            let (_, key) = self.officers.iter().find(|(officer, _)| officer == id).unwrap();
            Approval { officer: name(id), signature: key.sign(&message) }
        };
        let approvals = officers.iter().map(approval).collect();
        Order { body, approvals, consents: Vec::new() }
    }

    /// An order with exactly the approvals that it needs.
    pub(crate) fn order(&mut self, order: OrderCommand) -> Order {
        let class = order.class();
        let rules = Policy::default().rules_for(class);
        let body = self.order_body(order);
        let of_role = |role| match role {
            OfficerRole::Operator => &["op-1", "op-2"],
            OfficerRole::SecurityOfficer => &["so-1", "so-2"],
            OfficerRole::Administrator | OfficerRole::Auditor => panic!("there are none"),
        };
        let officers: Vec<&str> = rules.iter().flat_map(|rule| of_role(rule.role).iter().take(usize::from(rule.count)).copied()).collect();
        let order = self.approve(body, &officers);
        if class.needs_consent() { self.consent(order, &[1, 2, 3]) } else { order }
    }

    /// With the consents of these sites.
    pub(crate) fn consent(&self, mut order: Order, nodes: &[u8]) -> Order {
        let consent = Consent { order: order.body.digest() };
        order.consents.extend(nodes.iter().map(|number| identity(self.cluster(), *number).sign(consent.clone())));
        order
    }

    #[track_caller]
    pub(crate) fn must_order(&mut self, order: OrderCommand) -> Applied {
        let order = self.order(order);
        self.must(Command::Order(order))
    }

    fn version_of(&self, order: &OrderCommand) -> ObjectVersion {
        let credential = |id: &CredentialId| self.store.credential(*id).unwrap().map(|record| record.version).unwrap_or_default();
        match order {
            OrderCommand::InstallCertificate { credential: id, .. }
            | OrderCommand::UnbindAuthenticator { credential: id, .. }
            | OrderCommand::ResumeBinding { credential: id, .. }
            | OrderCommand::Resume { credential: id } => credential(id),
            OrderCommand::BindAuthenticator { binding, .. } | OrderCommand::BindWithNotice { binding, .. } => {
                credential(&binding.credential)
            }
            OrderCommand::EnrolFacility { facility } => {
                self.store.facility(facility).unwrap().map(|record| record.version).unwrap_or_default()
            }
            OrderCommand::EnrolTerminal { terminal, .. } | OrderCommand::RetireTerminal { terminal } => {
                self.store.terminal(*terminal).unwrap().map(|record| record.version).unwrap_or_default()
            }
            OrderCommand::Enrol { .. }
            | OrderCommand::Import { .. }
            | OrderCommand::UpdateCrl { .. }
            | OrderCommand::Suspend { .. }
            | OrderCommand::SuspendBinding { .. }
            | OrderCommand::Destroy { .. }
            | OrderCommand::Revoke { .. }
            | OrderCommand::Refresh { .. }
            | OrderCommand::RefreshAll { .. }
            | OrderCommand::CloseSession { .. } => ObjectVersion(0),
            OrderCommand::UpdateRoster { .. }
            | OrderCommand::ReplaceStore { .. }
            | OrderCommand::UpdatePolicy { .. }
            | OrderCommand::UpdateAnchors { .. } => self.store.cluster().unwrap().version_for(order).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn credential(&self, id: CredentialId) -> CredentialRecord {
        self.store.credential(id).unwrap().unwrap()
    }

    #[track_caller]
    /// As if a log that nobody knows had led to this record.
    pub(crate) fn put_credential(&mut self, id: CredentialId, record: &CredentialRecord) {
        self.put(table::CREDENTIAL, id.as_ref(), encode(record));
    }

    /// Puts any record in its place.
    pub(crate) fn put(&mut self, table: u8, id: &[u8], value: Vec<u8>) {
        let mut overlay = Overlay::new(&self.store);
        overlay.put(key(table, &[id]), value);
        let changes = overlay.into_changes();
        self.store.write(&changes);
        self.store = reload(&self.store);
    }

    /// A node starts on its store.
    pub(crate) fn must_start(&mut self, number: u8) {
        let body = NodeStarted {
            store: StoreId::new([number; 16]),
            incarnation: 1,
            boot: BootId::new([number; 16]),
            audit_size: 1,
            raft_index: 1,
            earlier: Vec::new(),
            log_version: 1,
        };
        self.must(Command::NodeStarted(identity(self.cluster(), number).sign(body)));
    }

    pub(crate) fn session(&self, id: SessionId) -> SessionRecord {
        self.store.session(id).unwrap().unwrap()
    }

    /// Brings a list into the log and returns what came of its last piece.
    pub(crate) fn load_list(&mut self, der: &[u8], number: u64) -> Verdict {
        let commands = self.list_commands(der, number);
        commands.into_iter().map(|command| self.apply(command)).last().unwrap()
    }

    /// The order that announces a list, and its pieces.
    pub(crate) fn list_commands(&mut self, der: &[u8], number: u64) -> Vec<Command> {
        self.list_commands_of(der, number, None)
    }

    /// As [`Self::list_commands`], for the list of a CA that is not pinned itself.
    pub(crate) fn list_commands_of(&mut self, der: &[u8], number: u64, issuer: Option<Blob>) -> Vec<Command> {
        let announcement = OrderCommand::update_crl(der, number, issuer);
        let announcement = self.order(announcement);
        let order = announcement.body.id;
        let pieces = der.chunks(CRL_CHUNK_BYTES).zip(0..).map(|(piece, index)| Command::CrlChunk { order, index, bytes: piece.into() });
        std::iter::once(Command::Order(announcement)).chain(pieces).collect()
    }

    #[track_caller]
    pub(crate) fn must_load_list(&mut self, der: &[u8], number: u64) {
        assert_eq!(self.load_list(der, number).outcome, Ok(Applied::CrlActive));
    }

    /// Fresh lists of all CAs, without entries.
    #[track_caller]
    pub(crate) fn renew_lists(&mut self, number: u64) {
        for der in [&self.signing_ca, &self.card_ca, &self.hpki_card_ca].map(|ca| ca.crl(number, self.now, &[])) {
            self.must_load_list(&der, number);
        }
    }

    pub(crate) fn installation(&self, holder: &Holder, edit: impl FnOnce(&mut rcgen::CertificateParams)) -> OrderCommand {
        let certificate = self.signing_ca.certify(holder.serial, &self.group_key(holder.credential), &holder.subject, holder.role, edit);
        OrderCommand::InstallCertificate { credential: holder.credential, certificate, intermediates: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn group_key(&self, id: CredentialId) -> [u8; 32] {
        self.credential(id).key.unwrap().group_key
    }

    /// An order that binds a card to a credential, agreed to by a card that is bound already where there is one.
    pub(crate) fn binding(&mut self, credential: CredentialId, card: &Card, bound: Option<&Card>) -> OrderCommand {
        let binding = Binding { cluster: self.cluster(), credential, kind: card.kind, card: card.hash(), nonce: Challenge::new([7; 32]) };
        let message = binding.message();
        OrderCommand::BindAuthenticator {
            certificate: card.der.clone(),
            intermediates: Vec::new(),
            card_signature: card.sign(&message),
            bound_card: bound.map(|bound| BoundCardApproval { certificate: bound.der.clone(), signature: bound.sign(&message) }),
            binding,
        }
    }

    /// An order that binds a card without a bound one's word.
    pub(crate) fn binding_with_notice(&mut self, credential: CredentialId, card: &Card) -> OrderCommand {
        match self.binding(credential, card, None) {
            OrderCommand::BindAuthenticator { binding, certificate, intermediates, card_signature, .. } => {
                OrderCommand::BindWithNotice { binding, certificate, intermediates, card_signature }
            }
            other => other,
        }
    }

    /// A statement for a session of eight hours at the clinic's terminal.
    pub(crate) fn statement(&mut self, credential: CredentialId) -> Statement {
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.fresh().to_be_bytes());
        Statement {
            cluster: self.cluster(),
            credential,
            session_key: session_key().public(),
            facility: name("clinic-1"),
            terminal: DESK,
            purpose: Purpose::EPrescription,
            not_before: self.now,
            not_after: self.now.plus(8 * HOUR),
            max_signatures: 100,
            nonce: Challenge::new(nonce),
        }
    }

    /// Signed by the card, the clinic's terminal and the usual session key.
    pub(crate) fn opening(&self, statement: Statement, card: &Card) -> SessionOpening {
        SessionOpening {
            card_certificate: card.der.clone(),
            intermediates: Vec::new(),
            card_signature: card.sign(&statement.message()),
            terminal_signature: desk_key().sign(&statement.terminal_message()),
            possession: session_key().sign(&statement.possession_message()),
            ocsp: None,
            statement,
        }
    }

    #[track_caller]
    pub(crate) fn must_open(&mut self, credential: CredentialId, card: &Card) -> SessionId {
        let statement = self.statement(credential);
        let opening = self.opening(statement, card);
        match self.must(Command::SessionOpened(opening)) {
            Applied::SessionOpened(session) => session,
            applied => panic!("no session but {applied:?}"),
        }
    }

    /// All participants go through a ceremony and confirm a dealer's packages: the registry cannot tell them from those of a real run.
    pub(crate) fn run_ceremony(&mut self, ceremony: CeremonyId) {
        self.run_ceremony_as(ceremony, |fresh| Blob(dealt(fresh).serialize().unwrap()));
    }

    /// As [`Self::run_ceremony`] with these packages.
    pub(crate) fn run_ceremony_as(&mut self, ceremony: CeremonyId, package: impl Fn(u64) -> Blob) {
        let record = self.store.ceremony(ceremony).unwrap().unwrap();
        let (attempt, cluster) = (record.attempt, self.cluster());
        let packages: Vec<Blob> = record.credentials.iter().map(|_| package(self.fresh())).collect();
        for node in &record.participants {
            let packages = vec![Blob(vec![1]); record.credentials.len()];
            let signed = identity(cluster, node.get()).sign(Round1 { ceremony, attempt, packages });
            self.must(Command::CeremonyRound1(signed));
        }
        for node in &record.participants {
            let hashes = hashes_for(&record.participants, *node);
            let signed = identity(cluster, node.get()).sign(Round2Hashes { ceremony, attempt, hashes });
            self.must(Command::CeremonyRound2Hash(signed));
        }
        for node in &record.participants {
            let confirmation =
                CeremonyConfirm { ceremony, attempt, transcript: Sha256::new([3; 32]), public_key_packages: packages.clone() };
            self.must(Command::CeremonyConfirm(identity(cluster, node.get()).sign(confirmation)));
        }
    }
}

impl Holder {
    pub(crate) fn enrolment(&self) -> Enrolment {
        let holder = name(&self.subject.serial_number().to_lowercase());
        Enrolment { credential: self.credential, holder, subject: self.subject.clone() }
    }
}

/// The root of a state's content, built from nothing.
pub(crate) fn rebuilt_root(store: &MemoryStore) -> Sha256 {
    state_root::root(&reload(store)).unwrap()
}

/// The public half of a 3-of-5 key.
pub(crate) fn dealt(seed: u64) -> PublicKeyPackage {
    generate_with_dealer(u16::from(NODES), 3, IdentifierList::Default, ChaCha20Rng::seed_from_u64(seed)).unwrap().1
}

pub(crate) fn hashes_for(participants: &[NodeId], from: NodeId) -> Vec<(NodeId, Sha256)> {
    participants.iter().filter(|node| **node != from).map(|node| (*node, Sha256::new([node.get(); 32]))).collect()
}

pub(crate) fn node_entry(number: u8) -> NodeEntry {
    NodeEntry {
        id: node(number),
        address: format!("node-{number}.trial.invalid:7001"),
        tls_spki: SpkiHash::new([number; 32]),
        identity: Signer::ed25519(0xa0 + number).public(),
        sealing_key: Blob(vec![number; 1216]),
    }
}

/// A store of the same content with a hash tree of its own, for contents that no log would lead to.
pub(crate) fn reload(store: &MemoryStore) -> MemoryStore {
    let pairs = store.0.iter().filter(|(key, _)| key[0] >= table::HASHED_FROM).map(|(key, value)| (key.clone(), value.clone()));
    let mut loaded = MemoryStore::default();
    let mut overlay = Overlay::new(&loaded);
    state_root::load(&mut overlay, pairs.collect()).unwrap();
    let changes = overlay.into_changes();
    loaded.write(&changes);
    loaded
}
