//! Sites in memory: one registry, a FROST key share and nonces each, and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ed25519_dalek::Signer as _;
use frost_ed25519::keys::{IdentifierList, KeyPackage, PublicKeyPackage, generate_with_dealer};
use frost_ed25519::round1::{SigningCommitments, SigningNonces};
use frost_ed25519::{Identifier, SigningPackage, round2};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::RngCore;
use rand::rngs::OsRng;
use warifu_coordinator::{CallFailure, CallNode};
use warifu_core::pki::render_csr;
use warifu_prescription::{SignatureFields, render};
use warifu_protocol::transport::Role;
use warifu_protocol::wire::{
    Applied, CredentialState, CredentialView, FreshCommitments, NodeStatus, NotYet, OrderCall, OrderReply, PacketAnswer, Read, SessionView,
    SignAnswer, SignCall, SignItem, SignReply, SignWork, StopAnswer, StopReceipts, Verdict, View,
};
use warifu_protocol::{
    Blob, BootId, CeremonyId, CertificateHash, Checkpoint, ClusterId, ClusterRecord, Command, CredentialId, Epoch, NodeId, NodeSigned,
    NonceId, ObjectVersion, OrderCommand, OrderId, Origin, Receipt, Refusal, RequestHash, SessionId, Sha256, Statement, StopCommand,
    StopId, StoreId, SubjectFields, UnixMillis, canonical, closing_message,
};

/// What is wrong with a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Calls fail at once.
    Down,
    /// Calls never end.
    Hang,
    /// Its signature shares are wrong.
    FalseShare,
    /// Its commitments are no points.
    FalseCommitments,
    /// It answers reads with another credential's certificate and a higher version.
    LiesOnReads,
    /// It knows of no credential.
    KnowsNoCredential,
    /// It is not confirmed.
    Unconfirmed,
    /// It brings commands into the log and does not say so.
    LosesVerdicts,
    /// It brings commands into the log and never answers.
    SwallowsVerdicts,
    /// It says that commands were applied which it keeps to itself.
    InventsVerdicts,
}

struct Site {
    fault: Option<Fault>,
    key: KeyPackage,
    nonces: BTreeMap<NonceId, SigningNonces>,
    shares: u64,
    credential_reads: u64,
    stops: BTreeMap<StopId, StopReceipts>,
}

#[derive(Default)]
struct Registry {
    index: u64,
    credential: Option<CredentialView>,
    sessions: BTreeMap<SessionId, (Statement, bool)>,
    requests: BTreeMap<(SessionId, u32), RequestHash>,
    orders: BTreeSet<OrderId>,
    crl: Vec<u8>,
    crl_size: u64,
    role: Option<warifu_protocol::DocumentKind>,
}

pub struct Sites {
    cluster: ClusterId,
    sites: BTreeMap<NodeId, Mutex<Site>>,
    registry: Mutex<Registry>,
    public: PublicKeyPackage,
    pub delay: Mutex<Duration>,
}

impl Sites {
    pub fn new(nodes: u8, threshold: u8, cluster: ClusterId, credential: CredentialId, certificate: &[u8]) -> Arc<Self> {
        let (shares, public) =
            generate_with_dealer(u16::from(nodes), u16::from(threshold), IdentifierList::Default, OsRng).expect("valid sizes");
        let sites = (1..=nodes)
            .map(|number| {
                let identifier = Identifier::try_from(u16::from(number)).expect("not zero");
                let key = KeyPackage::try_from(shares[&identifier].clone()).expect("dealt correctly");
                let site = Site { fault: None, key, nonces: BTreeMap::new(), shares: 0, credential_reads: 0, stops: BTreeMap::new() };
                (NodeId::new(number).expect("in range"), Mutex::new(site))
            })
            .collect();
        let view = CredentialView {
            credential,
            holder: "holder-1".parse().expect("a name"),
            subject: SubjectFields::new("JP", None, "Hanako Ishi", "0001").expect("valid"),
            state: CredentialState::Active,
            version: ObjectVersion(4),
            epoch: Epoch(1),
            ceremony: CeremonyId::new([3; 16]),
            public_key_package: Some(public.serialize().expect("serializes").into()),
            certificate: Some(certificate.into()),
            authenticators: Vec::new(),
            pending: Vec::new(),
            destroy_at: None,
            holders: (1..=nodes).filter_map(NodeId::new).collect(),
            origin: Origin::Generated,
        };
        let registry = Registry { index: 100, credential: Some(view), ..Registry::default() };
        Arc::new(Self { cluster, sites, registry: Mutex::new(registry), public, delay: Mutex::new(Duration::ZERO) })
    }

    pub fn fault(&self, number: u8, fault: Option<Fault>) {
        self.site(NodeId::new(number).expect("in range")).lock().fault = fault;
    }

    pub fn group_key(&self) -> [u8; 32] {
        self.public.verifying_key().serialize().expect("serializes").try_into().expect("32 bytes")
    }

    pub fn certificate(&self) -> Vec<u8> {
        let registry = self.registry.lock();
        registry.credential.as_ref().and_then(|view| view.certificate.clone()).expect("installed").0
    }

    pub fn install(&self, certificate: &[u8]) {
        let mut registry = self.registry.lock();
        let view = registry.credential.as_mut().expect("a credential");
        view.certificate = Some(certificate.into());
        view.version.0 += 1;
    }

    /// Only these nodes have their shares.
    pub fn set_holders(&self, numbers: &[u8]) {
        let holders = numbers.iter().filter_map(|number| NodeId::new(*number)).collect();
        self.registry.lock().credential.as_mut().expect("a credential").holders = holders;
    }

    /// Only this kind of document may be signed.
    pub fn set_role(&self, kind: warifu_protocol::DocumentKind) {
        self.registry.lock().role = Some(kind);
    }

    pub fn crl(&self) -> Vec<u8> {
        self.registry.lock().crl.clone()
    }

    pub fn shares(&self, number: u8) -> u64 {
        self.site(NodeId::new(number).expect("in range")).lock().shares
    }

    /// How often a node was asked for a credential.
    pub fn credential_reads(&self, number: u8) -> u64 {
        self.site(NodeId::new(number).expect("in range")).lock().credential_reads
    }

    fn site(&self, node: NodeId) -> &Mutex<Site> {
        &self.sites[&node]
    }

    fn handle(&self, node: NodeId, role: Role, request: &[u8]) -> Result<Vec<u8>, CallFailure> {
        let fault = self.site(node).lock().fault;
        if fault == Some(Fault::Down) {
            return Err(CallFailure { reason: format!("node {node} cannot be reached") });
        }
        let reply = match role {
            Role::Sign => postcard::to_stdvec(&self.handle_sign(node, postcard::from_bytes(request).expect("a sign call"))),
            Role::Order => postcard::to_stdvec(&self.handle_order(node, fault, postcard::from_bytes(request).expect("an order call"))?),
            Role::Raft | Role::Ceremony => panic!("a coordinator may not call {role}"),
        };
        Ok(reply.expect("serializes"))
    }

    fn handle_sign(&self, node: NodeId, call: SignCall) -> SignReply {
        let (items, count) = match call {
            SignCall::Commitments { count } => (Vec::new(), count),
            SignCall::SignBatch { items, refill } => (items, refill),
        };
        let answers = items.iter().map(|item| self.sign(node, item)).collect();
        let mut site = self.site(node).lock();
        let commitments = (0..count)
            .map(|_| {
                let (nonces, commitments) = frost_ed25519::round1::commit(site.key.signing_share(), &mut OsRng);
                let mut name = [0; 16];
                OsRng.fill_bytes(&mut name);
                let nonce = NonceId::new(name);
                site.nonces.insert(nonce, nonces);
                let bytes =
                    if site.fault == Some(Fault::FalseCommitments) { vec![7; 69] } else { commitments.serialize().expect("serializes") };
                FreshCommitments { nonce, commitments: bytes.into() }
            })
            .collect();
        SignReply { answers, commitments }
    }

    fn sign(&self, node: NodeId, item: &SignItem) -> SignAnswer {
        let message = match self.message(item) {
            Ok(message) => message,
            Err(refusal) => return SignAnswer::Refused(refusal),
        };
        let mut site = self.site(node).lock();
        let own = item.signers.iter().find(|signer| signer.node == node).expect("this node is among the signers");
        let Some(nonces) = site.nonces.remove(&own.nonce) else {
            return SignAnswer::NotYet { reason: NotYet::NonceUnknown, retry_after_millis: 0 };
        };
        let commitments = item
            .signers
            .iter()
            .map(|signer| {
                let identifier = Identifier::try_from(u16::from(signer.node.get())).expect("not zero");
                (identifier, SigningCommitments::deserialize(signer.commitments.as_slice()).expect("well-formed"))
            })
            .collect();
        let message = if site.fault == Some(Fault::FalseShare) { b"another message".to_vec() } else { message };
        let share = round2::sign(&SigningPackage::new(commitments, &message), &nonces, &site.key).expect("a share");
        site.shares += 1;
        SignAnswer::Share(share.serialize().try_into().expect("32 bytes"))
    }

    fn message(&self, item: &SignItem) -> Result<Vec<u8>, Refusal> {
        let mut registry = self.registry.lock();
        let view = registry.credential.clone().expect("a credential");
        match &item.work {
            SignWork::Csr { .. } => Ok(render_csr(&view.subject, &self.group_key()).info),
            SignWork::Document { request, certificate } => {
                let asked = &request.request;
                let (statement, is_closed) = registry.sessions.get(&asked.session).ok_or(Refusal::SessionUnknown)?;
                if *is_closed {
                    return Err(Refusal::SessionClosed);
                }
                statement
                    .session_key
                    .verify(&asked.message(), request.signature.as_slice())
                    .map_err(|_| Refusal::RequestSignatureInvalid)?;
                if registry.role.is_some_and(|role| role != asked.kind) {
                    return Err(Refusal::RoleMissing { kind: asked.kind });
                }
                let installed = view.certificate.expect("installed").0;
                if CertificateHash::new(canonical::sha256(&installed)) != *certificate {
                    return Err(Refusal::CertificateMoved);
                }
                if *registry.requests.entry((asked.session, asked.seq)).or_insert_with(|| asked.hash()) != asked.hash() {
                    return Err(Refusal::SeqUsed);
                }
                let fields = SignatureFields {
                    kind: asked.kind,
                    request: asked.hash(),
                    document: asked.digest,
                    signing_time: asked.signing_time,
                    certificate: &installed,
                };
                Ok(render(&fields).expect("renders").signed_info)
            }
        }
    }

    fn handle_order(&self, node: NodeId, fault: Option<Fault>, call: OrderCall) -> Result<OrderReply, CallFailure> {
        match call {
            OrderCall::Stop(stop) if fault == Some(Fault::Unconfirmed) => {
                drop(stop);
                Ok(OrderReply::Stop(StopAnswer::Unconfirmed))
            }
            OrderCall::Stop(stop) => Ok(OrderReply::Stop(match self.check_stop(&stop) {
                Ok(()) => StopAnswer::Obeyed(self.obey(node, *stop)),
                Err(refusal) => StopAnswer::Refused(refusal),
            })),
            OrderCall::Receipts(stop) => Ok(OrderReply::Receipts(self.site(node).lock().stops.get(&stop).cloned().map(Box::new))),
            OrderCall::ImportPacket(packet) => Ok(OrderReply::ImportPacket(match fault {
                Some(Fault::Unconfirmed) => PacketAnswer::NotYet,
                _ if packet.node != node => {
                    PacketAnswer::Refused(Refusal::PacketRefused { node: packet.node, reason: "it is another's".to_owned() })
                }
                _ if packet.sealed.is_empty() => PacketAnswer::Refused(Refusal::CeremonyStep),
                _ => PacketAnswer::Taken,
            })),
            OrderCall::Status => Ok(OrderReply::Status(Box::new(self.status(node, fault)))),
            OrderCall::Read(read) => {
                let mut view = self.read(&read);
                if matches!(read, Read::Credential(_)) {
                    self.site(node).lock().credential_reads += 1;
                    view = view.filter(|_| fault != Some(Fault::KnowsNoCredential));
                }
                if let (Some(Fault::LiesOnReads), Some(View::Credential(view))) = (fault, &mut view) {
                    view.certificate = Some(vec![6; 6].into());
                    view.version.0 += 50;
                }
                Ok(OrderReply::View(view))
            }
            OrderCall::Propose(command) => {
                let mut registry = self.registry.lock();
                if fault == Some(Fault::InventsVerdicts) {
                    return Ok(OrderReply::Verdict(Verdict { index: registry.index + 1, outcome: Ok(Applied::Done) }));
                }
                registry.index += 1;
                let verdict = Verdict { index: registry.index, outcome: registry.apply(*command) };
                if fault == Some(Fault::LosesVerdicts) {
                    return Ok(OrderReply::Unknown { reason: "the leader went away".to_owned() });
                }
                Ok(OrderReply::Verdict(verdict))
            }
        }
    }

    fn check_stop(&self, stop: &StopCommand) -> Result<(), Refusal> {
        let StopCommand::SessionClosing(closing) = stop else { return Ok(()) };
        let registry = self.registry.lock();
        let (statement, _) = registry.sessions.get(&closing.session).ok_or(Refusal::SessionUnknown)?;
        let verified = statement.session_key.verify(&closing_message(closing.session), closing.signature.as_slice());
        verified.map_err(|_| Refusal::SignatureInvalid { signer: "the session key".to_owned() })
    }

    /// Gives the receipt that it gave before, or a new one.
    fn obey(&self, node: NodeId, stop: StopCommand) -> NodeSigned<Receipt> {
        let mut site = self.site(node).lock();
        if let Some(receipt) = site.stops.get(&stop.id()).and_then(|kept| kept.receipt.clone()) {
            return receipt;
        }
        let (object, kind) = stop.target().expect("a stop");
        let held_since = UnixMillis(u64::try_from(UNIX_EPOCH.elapsed().expect("after 1970").as_millis()).expect("in range"));
        let (store, boot) = (StoreId::new([1; 16]), BootId::new([1; 16]));
        let body = Receipt { stop: stop.id(), object, kind, held_since, store, boot };
        let message = NodeSigned::<Receipt>::message(self.cluster, node, &body);
        let signature = ed25519_dalek::SigningKey::from_bytes(&[node.get(); 32]).sign(&message).to_bytes().as_slice().into();
        let receipt = NodeSigned { node, body, signature };
        site.stops.insert(stop.id(), StopReceipts { stop, receipt: Some(receipt.clone()), logged: None, gone: None });
        receipt
    }

    fn read(&self, read: &Read) -> Option<View> {
        let registry = self.registry.lock();
        let credential = registry.credential.clone().expect("a credential");
        match read {
            Read::Credential(id) => (credential.credential == *id).then(|| View::Credential(Box::new(credential))),
            Read::Credentials { after, .. } => Some(View::Credentials(if after.is_some() { Vec::new() } else { vec![credential] })),
            Read::Session(session) => registry.sessions.get(session).map(|(statement, closed)| {
                View::Session(Box::new(SessionView { session: *session, statement: statement.clone(), closed: *closed }))
            }),
            Read::ObjectVersion(_) => Some(View::ObjectVersion(credential.version)),
            Read::Ceremony(_) | Read::History(_) => None,
            Read::Crls => Some(View::Crls(Vec::new())),
            Read::OrderApplied(id) => registry.orders.contains(id).then_some(View::OrderApplied(*id)),
            Read::RosterOrders { .. } => Some(View::RosterOrders(Vec::new())),
        }
    }

    fn status(&self, node: NodeId, fault: Option<Fault>) -> NodeStatus {
        let confirmed = fault != Some(Fault::Unconfirmed);
        let index = self.registry.lock().index;
        NodeStatus {
            node,
            cluster: self.cluster,
            boot: BootId::new([1; 16]),
            confirmed,
            reasons: if confirmed { Vec::new() } else { vec!["not confirmed".to_owned()] },
            leader: NodeId::new(1),
            term: 1,
            applied: index,
            last_log: index,
            now: UnixMillis(0),
            audit: Checkpoint { size: 0, root: Sha256::new([0; 32]) },
            shares_given: 0,
            version: "test".to_owned(),
        }
    }
}

impl Registry {
    fn apply(&mut self, command: Command) -> Result<Applied, Refusal> {
        match command {
            Command::SessionOpened(opening) => {
                let session = opening.statement.session();
                if self.sessions.contains_key(&session) {
                    return Err(Refusal::StatementUsed);
                }
                self.sessions.insert(session, (opening.statement, false));
                Ok(Applied::SessionOpened(session))
            }
            Command::SessionClosed(closing) => {
                let (statement, is_closed) = self.sessions.get_mut(&closing.session).ok_or(Refusal::SessionUnknown)?;
                if *is_closed {
                    return Err(Refusal::SessionClosed);
                }
                let key = statement.session_key;
                key.verify(&closing_message(closing.session), closing.signature.as_slice())
                    .map_err(|_| Refusal::SignatureInvalid { signer: "the session key".to_owned() })?;
                *is_closed = true;
                Ok(Applied::Done)
            }
            Command::Order(order) => {
                if !self.orders.insert(order.body.id) {
                    return Err(Refusal::OrderReplayed);
                }
                match order.body.order {
                    OrderCommand::UpdateCrl { size, .. } => {
                        self.crl_size = size;
                        Ok(Applied::CrlExpected { order: order.body.id, next: 0 })
                    }
                    OrderCommand::Suspend { .. } => Err(Refusal::OfficerUnknown { officer: "nobody".parse().expect("a name") }),
                    _ => Ok(Applied::Done),
                }
            }
            Command::CrlChunk { order, index, bytes } => {
                let expected = self.crl.len().div_ceil(warifu_protocol::limits::CRL_CHUNK_BYTES);
                if u32::try_from(expected) != Ok(index) {
                    return Err(Refusal::CrlChunkUnexpected { index });
                }
                let Blob(bytes) = bytes;
                self.crl.extend(bytes);
                let is_whole = self.crl.len() as u64 == self.crl_size;
                Ok(if is_whole { Applied::CrlActive } else { Applied::CrlExpected { order, next: index + 1 } })
            }
            other => panic!("a coordinator does not propose {other:?}"),
        }
    }
}

/// The way from the coordinator to the sites.
pub struct Link(pub Arc<Sites>);

impl CallNode for Link {
    fn follow(&self, _: &ClusterRecord) {}

    fn call_node(
        &self,
        node: NodeId,
        role: Role,
        request: Vec<u8>,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, CallFailure>> {
        let sites = Arc::clone(&self.0);
        async move {
            let answer = async {
                if sites.site(node).lock().fault == Some(Fault::Hang) {
                    std::future::pending::<()>().await;
                }
                let delay = *sites.delay.lock();
                tokio::time::sleep(delay).await;
                let is_proposal = role == Role::Order && matches!(postcard::from_bytes(&request), Ok(OrderCall::Propose(_)));
                let is_swallowed = is_proposal && sites.site(node).lock().fault == Some(Fault::SwallowsVerdicts);
                let sites = Arc::clone(&sites);
                let answer =
                    tokio::task::spawn_blocking(move || sites.handle(node, role, &request)).await.expect("the site does not panic");
                if is_swallowed {
                    std::future::pending::<()>().await;
                }
                answer
            };
            tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| Err(CallFailure { reason: "no answer".to_owned() }))
        }
        .boxed()
    }
}
