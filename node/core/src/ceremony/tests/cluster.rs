//! Nodes with the real registry each, one log, and a network that may delay, repeat and reorder.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use frost_ed25519::keys::{KeyPackage, PublicKeyPackage};
use frost_ed25519::{SigningPackage, aggregate, round1, round2};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use warifu_protocol::wire::{CeremonyReply, CredentialState, RepairScalars, Round2};
use warifu_protocol::{
    BootId, CeremonyAbort, CeremonyAccusation, CeremonyId, ClusterId, Command, CredentialId, Epoch, LogEntry, NodeEntry, NodeId,
    NodeSigned, ObjectVersion, OrderId, Origin, Policy, RetiredNode, SealingKey, SpkiHash, StoreId, SubjectFields, Threshold, UnixMillis,
};

use zeroize::Zeroizing;

use crate::ceremony::repair::Repairs;
use crate::ceremony::{CeremonyEffect, Dkg, Imports, OpenShare};
use crate::identity::NodeIdentity;
use crate::registry::{
    CeremonyKind, CeremonyRecord, CeremonyStep, ClusterRecord, CredentialRecord, EpochMade, MemoryStore, NodeRecord, Overlay, Registry,
    apply, encode, key, table,
};
use crate::signer::ShareRecord;

pub(in crate::ceremony) const CEREMONY: CeremonyId = CeremonyId::new([0xce; 16]);
pub(in crate::ceremony) const START: UnixMillis = UnixMillis(1_800_000_000_000);
pub(in crate::ceremony) const CLUSTER: ClusterId = ClusterId::new([1; 32]);
pub(in crate::ceremony) const CREDENTIALS: [CredentialId; 2] = [CredentialId::new([1; 16]), CredentialId::new([2; 16])];
pub(in crate::ceremony) const NODES: u8 = 5;
const TICK_MILLIS: u64 = 200;
const TICKS_MAX: usize = 600;

pub(in crate::ceremony) type Mischief = Box<dyn FnMut(&NodeIdentity, Vec<CeremonyEffect>) -> Vec<CeremonyEffect>>;

/// What a site has on its disk beside the registry.
pub(in crate::ceremony) type Shares = BTreeMap<(CredentialId, Epoch), ShareRecord>;

impl OpenShare for Shares {
    fn open_share(&self, credential: CredentialId, epoch: Epoch) -> Option<KeyPackage> {
        self.get(&(credential, epoch)).and_then(|record| record.key_package().ok())
    }
}

#[derive(Clone)]
pub(in crate::ceremony) enum Message {
    Round2(NodeSigned<Round2>),
    Repair(RepairScalars),
}

pub(in crate::ceremony) struct Site {
    pub(in crate::ceremony) dkg: Dkg,
    pub(in crate::ceremony) repairs: Repairs,
    pub(in crate::ceremony) imports: Imports,
    /// Both parts of its private sealing key, as its disk has them.
    pub(in crate::ceremony) sealing: [Zeroizing<Vec<u8>>; 2],
    pub(in crate::ceremony) identity: NodeIdentity,
    pub(in crate::ceremony) store: MemoryStore,
    pub(in crate::ceremony) applied: usize,
    pub(in crate::ceremony) shares: Shares,
    pub(in crate::ceremony) alive: bool,
    pub(in crate::ceremony) rng: ChaCha20Rng,
}

pub(in crate::ceremony) struct Cluster {
    pub(in crate::ceremony) now: UnixMillis,
    pub(in crate::ceremony) sites: BTreeMap<NodeId, Site>,
    pub(in crate::ceremony) log: Vec<Vec<u8>>,
    pub(in crate::ceremony) network: Vec<(NodeId, Message)>,
    pub(in crate::ceremony) mischief: Mischief,
    /// Messages and entries arrive late, twice and in another order.
    pub(in crate::ceremony) rough: bool,
    /// By how many milliseconds a node's clock is ahead of the leader's.
    pub(in crate::ceremony) ahead: BTreeMap<u8, u64>,
    rng: ChaCha20Rng,
}

pub(in crate::ceremony) fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(in crate::ceremony) fn identity(number: u8) -> NodeIdentity {
    NodeIdentity::new(node(number), CLUSTER, SigningKey::from_bytes(&[number; 32]))
}

impl Cluster {
    pub(in crate::ceremony) fn new(seed: u64) -> Self {
        let sealing: Vec<SealingKey> = (1..=NODES).map(|_| SealingKey::generate().unwrap()).collect();
        let store = founded(&sealing);
        let sites = (1..=NODES)
            .zip(sealing)
            .map(|(number, key)| {
                let identity = identity(number);
                let sealing = key.secret().unwrap();
                let imports = Imports::new(identity.clone(), key);
                let rng = ChaCha20Rng::seed_from_u64(seed * 100 + u64::from(number));
                let (dkg, repairs) = (Dkg::new(identity.clone()), Repairs::new(identity.clone()));
                let (store, shares) = (store.clone(), Shares::new());
                (node(number), Site { dkg, repairs, imports, sealing, identity, store, applied: 0, shares, alive: true, rng })
            })
            .collect();
        Self {
            now: START,
            sites,
            log: Vec::new(),
            network: Vec::new(),
            mischief: Box::new(|_, effects| effects),
            rough: false,
            ahead: BTreeMap::new(),
            rng: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    pub(in crate::ceremony) fn site(&mut self, number: u8) -> &mut Site {
        self.sites.get_mut(&node(number)).unwrap()
    }

    pub(in crate::ceremony) fn record(&self, number: u8) -> CeremonyRecord {
        self.sites[&node(number)].store.ceremony(CEREMONY).unwrap().unwrap()
    }

    pub(in crate::ceremony) fn credential(&self, number: u8, id: CredentialId) -> CredentialRecord {
        self.sites[&node(number)].store.credential(id).unwrap().unwrap()
    }

    /// Opens a ceremony at every node.
    pub(in crate::ceremony) fn put_ceremony(&mut self, id: CeremonyId, record: &CeremonyRecord) {
        for site in self.sites.values_mut() {
            site.store.0.insert(key(table::CEREMONY, &[id.as_ref()]), encode(record));
            site.store.0.insert(key(table::CEREMONY_OPEN, &[id.as_ref()]), Vec::new());
        }
    }

    /// The nodes that hold a share of a credential now, as a node knows it.
    pub(in crate::ceremony) fn holders(&self, number: u8, id: CredentialId) -> Vec<NodeId> {
        let stores = self.sites[&node(number)].store.store_numbers().unwrap();
        stores.holders(&self.credential(number, id).holders)
    }

    /// Puts the shares that these nodes have of these epochs together to a signature, and has another library verify it.
    pub(in crate::ceremony) fn try_sign(&self, credential: CredentialId, signers: &[(u8, Epoch)]) -> Result<(), String> {
        let shares: Vec<KeyPackage> = signers
            .iter()
            .map(|(number, epoch)| self.sites[&node(*number)].shares.open_share(credential, *epoch).ok_or("a share is missing"))
            .collect::<Result<_, _>>()?;
        let record = self.credential(signers[0].0, credential);
        let key = record.key.ok_or("no key")?;
        let public = PublicKeyPackage::deserialize(key.public_key_package.as_slice()).map_err(|error| error.to_string())?;
        let mut rng = ChaCha20Rng::seed_from_u64(99);
        let nonces: Vec<_> = shares.iter().map(|share| round1::commit(share.signing_share(), &mut rng)).collect();
        let commitments = shares.iter().zip(&nonces).map(|(share, (_, commitments))| (*share.identifier(), *commitments)).collect();
        let package = SigningPackage::new(commitments, b"trial");
        let signature_shares = shares
            .iter()
            .zip(&nonces)
            .map(|(share, (nonces, _))| (*share.identifier(), round2::sign(&package, nonces, share).unwrap()))
            .collect();
        let signature = aggregate(&package, &signature_shares, &public).map_err(|error| error.to_string())?;
        let signature = ed25519_dalek::Signature::from_slice(&signature.serialize().unwrap()).unwrap();
        let group_key = ed25519_dalek::VerifyingKey::from_bytes(&key.group_key).unwrap();
        group_key.verify_strict(b"trial", &signature).map_err(|error| error.to_string())
    }

    #[track_caller]
    pub(in crate::ceremony) fn assert_signs(&self, signers: [u8; 3]) {
        for credential in CREDENTIALS {
            let record = self.credential(signers[0], credential);
            assert_eq!(record.state, CredentialState::Generated);
            assert_eq!(self.try_sign(credential, &signers.map(|number| (number, record.epoch))), Ok(()));
        }
    }

    /// Proposes a command as whoever signed it.
    pub(in crate::ceremony) fn propose(&mut self, command: Command) {
        self.log.push(LogEntry::new(self.now, command).encode().unwrap());
    }

    /// A disk is lost, and an order has admitted the node on a new one.
    pub(in crate::ceremony) fn replace_store(&mut self, number: u8) {
        for site in self.sites.values_mut() {
            let mut cluster = site.store.cluster().unwrap();
            let NodeEntry { id, tls_spki, identity, .. } = cluster.node(node(number)).unwrap().clone();
            cluster.retired.push(RetiredNode { id, tls_spki, identity });
            site.store.0.insert(key(table::CLUSTER, &[]), encode(&cluster));
        }
        self.site(number).shares.clear();
        self.restart(number);
    }

    /// Ticks until it is so, or panics.
    #[track_caller]
    pub(in crate::ceremony) fn run_while(&mut self, goes_on: impl Fn(&Self) -> bool) {
        for _ in 0..3 * TICKS_MAX {
            if !goes_on(self) {
                return;
            }
            self.tick();
        }
        panic!("it never ends");
    }

    /// As if an order had opened a refresh of both credentials at every node.
    pub(in crate::ceremony) fn open_refresh(&mut self, id: CeremonyId) {
        self.open_refresh_of(id, &CREDENTIALS);
    }

    pub(in crate::ceremony) fn open_refresh_of(&mut self, id: CeremonyId, credentials: &[CredentialId]) {
        let candidates = self.holders(1, credentials[0]);
        let record = CeremonyRecord {
            kind: CeremonyKind::Refresh,
            opened_by: None,
            participants: candidates.clone(),
            candidates,
            attempt: 1,
            deadline: self.now.plus(Policy::default().ceremony_millis_max),
            step: CeremonyStep::Round1,
            credentials: credentials.to_vec(),
            round1: Vec::new(),
            round2: Vec::new(),
            confirmed: Vec::new(),
            outcomes: Vec::new(),
            receipts: Vec::new(),
        };
        self.put_ceremony(id, &record);
        for site in self.sites.values_mut() {
            for credential in credentials {
                site.store.0.insert(key(table::CREDENTIAL_CEREMONY, &[credential.as_ref()]), encode(&id));
            }
        }
    }

    pub(in crate::ceremony) fn aborts(&self) -> Vec<NodeSigned<CeremonyAbort>> {
        let commands = self.log.iter().map(|bytes| LogEntry::decode(bytes).unwrap().command);
        commands.filter_map(|command| if let Command::CeremonyAbort(abort) = command { Some(abort) } else { None }).collect()
    }

    pub(in crate::ceremony) fn accusations(&self) -> Vec<NodeSigned<CeremonyAccusation>> {
        let commands = self.log.iter().map(|bytes| LogEntry::decode(bytes).unwrap().command);
        commands.filter_map(|command| if let Command::CeremonyAccused(accusation) = command { Some(accusation) } else { None }).collect()
    }

    /// Nodes that said that a deadline has passed.
    pub(in crate::ceremony) fn overdue(&self) -> Vec<NodeId> {
        let commands = self.log.iter().map(|bytes| LogEntry::decode(bytes).unwrap().command);
        commands.filter_map(|command| if let Command::CeremonyOverdue(said) = command { Some(said.node) } else { None }).collect()
    }

    /// A new process with the same disk.
    pub(in crate::ceremony) fn restart(&mut self, number: u8) {
        let site = self.site(number);
        site.dkg = Dkg::new(site.identity.clone());
        site.repairs = Repairs::new(site.identity.clone());
        let [x25519, ml_kem] = &site.sealing;
        site.imports = Imports::new(site.identity.clone(), SealingKey::from_secret(x25519, ml_kem).unwrap());
    }

    /// Runs until every living node sees the ceremony at `step` of `attempt`, or panics.
    #[track_caller]
    pub(in crate::ceremony) fn run_until(&mut self, attempt: u32, step: CeremonyStep) {
        for _ in 0..TICKS_MAX {
            let there = |site: &Site| {
                let record = site.store.ceremony(CEREMONY).unwrap().unwrap();
                (record.attempt, record.step) == (attempt, step)
            };
            if self.sites.values().filter(|site| site.alive).all(there) {
                return;
            }
            self.tick();
        }
        panic!("never at {step:?} of attempt {attempt}: {:?}", self.record(1));
    }

    /// All step, then messages arrive, then all apply what is in the log.
    pub(in crate::ceremony) fn tick(&mut self) {
        self.tick_without_delivery();
        self.deliver();
        let alive: Vec<u8> = self.sites.iter().filter(|(_, site)| site.alive).map(|(node, _)| node.get()).collect();
        alive.iter().for_each(|number| self.catch_up(*number));
    }

    pub(in crate::ceremony) fn tick_without_delivery(&mut self) {
        self.now = self.now.plus(TICK_MILLIS);
        let alive: Vec<u8> = self.sites.iter().filter(|(_, site)| site.alive).map(|(node, _)| node.get()).collect();
        for number in alive {
            let effects = self.step(number);
            self.carry_out(number, effects);
        }
    }

    pub(in crate::ceremony) fn catch_up(&mut self, number: u8) {
        let lag = if self.rough { (self.rng.next_u32() % 3) as usize } else { 0 };
        let to = self.log.len().saturating_sub(lag);
        let log = self.log.clone();
        let site = self.site(number);
        for (index, entry) in log.iter().enumerate().take(to).skip(site.applied) {
            let mut overlay = Overlay::new(&site.store);
            apply(&mut overlay, index as u64, entry).unwrap();
            let changes = overlay.into_changes();
            site.store.write(&changes);
            site.applied = index + 1;
        }
    }

    pub(in crate::ceremony) fn step(&mut self, number: u8) -> Vec<CeremonyEffect> {
        let now = self.now.plus(self.ahead.get(&number).copied().unwrap_or(0));
        let site = self.site(number);
        let mut effects = site.dkg.step(now, &site.store, &site.shares, &mut site.rng).unwrap();
        effects.extend(site.repairs.step(now, &site.store, &site.shares, &mut site.rng).unwrap());
        effects.extend(site.imports.step(now, &site.store).unwrap());
        let identity = site.identity.clone();
        (self.mischief)(&identity, effects)
    }

    pub(in crate::ceremony) fn carry_out(&mut self, number: u8, effects: Vec<CeremonyEffect>) {
        let mut stored = false;
        for effect in effects {
            match effect {
                CeremonyEffect::Propose(command) => {
                    let confirms =
                        matches!(command, Command::CeremonyConfirm(_) | Command::RepairConfirmed(_) | Command::ImportConfirmed(_));
                    assert!(stored || !confirms, "confirmed before the shares were stored");
                    self.log.push(LogEntry::new(self.now, command).encode().unwrap());
                }
                CeremonyEffect::SendRound2 { to, message } => self.network.push((to, Message::Round2(message))),
                CeremonyEffect::SendRepair { to, message } => self.network.push((to, Message::Repair(message))),
                CeremonyEffect::StorePending { shares, .. } => {
                    stored = true;
                    let stored = shares.into_iter().map(|share| ((share.credential, share.epoch), share));
                    self.site(number).shares.extend(stored);
                }
            }
        }
    }

    pub(in crate::ceremony) fn deliver(&mut self) {
        let mut network = std::mem::take(&mut self.network);
        if self.rough {
            for place in (1..network.len()).rev() {
                network.swap(place, self.rng.next_u32() as usize % (place + 1));
            }
        }
        for (to, message) in network {
            if self.rough && self.rng.next_u32().is_multiple_of(3) {
                self.network.push((to, message.clone()));
            }
            if self.rough && self.rng.next_u32().is_multiple_of(3) {
                continue;
            }
            let Some(site) = self.sites.get_mut(&to).filter(|site| site.alive) else { continue };
            match message {
                Message::Round2(message) => {
                    let (from, ceremony, attempt) = (message.node, message.body.ceremony, message.body.attempt);
                    if site.dkg.handle_round2(from, message, &site.store).unwrap() == CeremonyReply::Taken {
                        self.sites.get_mut(&from).unwrap().dkg.round2_acknowledged(ceremony, attempt, to);
                    }
                }
                Message::Repair(message) => {
                    let (from, part) = (message.part.node, message.part.body.clone());
                    if site.repairs.handle(from, message, &site.store).unwrap() == CeremonyReply::Taken {
                        self.sites.get_mut(&from).unwrap().repairs.acknowledged(part.ceremony, part.attempt, part.kind, to);
                    }
                }
            }
        }
    }
}

impl MemoryStore {
    /// Number of records in a table.
    pub(in crate::ceremony) fn scan_table(&self, table: u8) -> usize {
        self.0.range(vec![table]..vec![table + 1]).count()
    }
}

/// The state in which an enrolment of two credentials has just been applied.
fn founded(sealing: &[SealingKey]) -> MemoryStore {
    let nodes = (1..=NODES)
        .zip(sealing)
        .map(|(number, key)| NodeEntry {
            id: node(number),
            address: format!("node-{number}:7001"),
            tls_spki: SpkiHash::new([number; 32]),
            identity: identity(number).public_key(),
            sealing_key: key.public().clone(),
        })
        .collect();
    let policy = Policy::default();
    let mut store = MemoryStore::default();
    let ceremony = CeremonyRecord {
        kind: CeremonyKind::Generate,
        opened_by: None,
        candidates: (1..=NODES).map(node).collect(),
        attempt: 1,
        credentials: CREDENTIALS.to_vec(),
        participants: (1..=NODES).map(node).collect(),
        deadline: START.plus(policy.ceremony_millis_max),
        step: CeremonyStep::Round1,
        round1: Vec::new(),
        round2: Vec::new(),
        confirmed: Vec::new(),
        outcomes: Vec::new(),
        receipts: Vec::new(),
    };
    let cluster = ClusterRecord {
        cluster: CLUSTER,
        threshold: Threshold(3),
        liars: 1,
        minority_threshold: false,
        policy,
        nodes,
        coordinators: Vec::new(),
        officers: Vec::new(),
        anchors: Vec::new(),
        roster_version: ObjectVersion(1),
        policy_version: ObjectVersion(1),
        anchors_version: ObjectVersion(1),
        retired: Vec::new(),
    };
    store.0.insert(key(table::CLUSTER, &[]), encode(&cluster));
    store.0.insert(key(table::TIME, &[]), encode(&START));
    (1..=NODES).for_each(|number| put_node(&mut store, number));
    store.0.insert(key(table::CEREMONY, &[CEREMONY.as_ref()]), encode(&ceremony));
    store.0.insert(key(table::CEREMONY_OPEN, &[CEREMONY.as_ref()]), Vec::new());
    for id in CREDENTIALS {
        let credential = CredentialRecord {
            holder: format!("holder-{}", id.as_bytes()[0]).parse().unwrap(),
            subject: SubjectFields::new("JP", None, "Taro Shinryo", "HPKI-1").unwrap(),
            state: CredentialState::Generating,
            suspended_by_order: false,
            certificate_listed: false,
            certificate_ended: false,
            version: ObjectVersion(1),
            epoch: Epoch(1),
            epoch_made: EpochMade::default(),
            enrolled_by: OrderId::new([1; 16]),
            ceremony: CEREMONY,
            holders: Vec::new(),
            previous: None,
            key: None,
            certificate: None,
            authenticators: Vec::new(),
            ever_bound: false,
            pending: Vec::new(),
            origin: Origin::Generated,
            destroy_at: None,
        };
        store.0.insert(key(table::CREDENTIAL, &[id.as_ref()]), encode(&credential));
    }
    store
}

fn put_node(store: &mut MemoryStore, number: u8) {
    let record = NodeRecord {
        store: StoreId::new([number; 16]),
        store_number: 0,
        incarnation: 1,
        boot: BootId::new([number; 16]),
        started_at: 1,
        raft_index: 1,
        audit_size: 1,
        audit_root: None,
        shares_word: 1,
    };
    store.0.insert(key(table::NODE, &[&[number]]), encode(&record));
}
