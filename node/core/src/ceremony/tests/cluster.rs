//! Nodes with the real registry each, one log, and a network that may delay, repeat and reorder.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use warifu_protocol::wire::{CeremonyReply, CredentialState, Round2};
use warifu_protocol::{
    Blob, CeremonyAbort, CeremonyAccusation, CeremonyId, ClusterId, Command, CredentialId, Epoch, LogEntry, NodeEntry, NodeId, NodeSigned,
    ObjectVersion, OrderId, Policy, SpkiHash, SubjectFields, Threshold, UnixMillis,
};

use crate::ceremony::{CeremonyEffect, Dkg};
use crate::identity::NodeIdentity;
use crate::registry::{
    CeremonyRecord, CeremonyStep, ClusterRecord, CredentialRecord, MemoryStore, Overlay, Registry, apply, encode, key, table,
};
use crate::signer::ShareRecord;

pub(super) const CEREMONY: CeremonyId = CeremonyId::new([0xce; 16]);
pub(super) const START: UnixMillis = UnixMillis(1_800_000_000_000);
pub(super) const CLUSTER: ClusterId = ClusterId::new([1; 32]);
pub(super) const CREDENTIALS: [CredentialId; 2] = [CredentialId::new([1; 16]), CredentialId::new([2; 16])];
pub(super) const NODES: u8 = 5;
const TICK_MILLIS: u64 = 200;
const TICKS_MAX: usize = 600;

pub(super) type Mischief = Box<dyn FnMut(&NodeIdentity, Vec<CeremonyEffect>) -> Vec<CeremonyEffect>>;

pub(super) struct Site {
    pub(super) dkg: Dkg,
    pub(super) identity: NodeIdentity,
    pub(super) store: MemoryStore,
    pub(super) applied: usize,
    pub(super) pending: Vec<ShareRecord>,
    pub(super) alive: bool,
    rng: ChaCha20Rng,
}

pub(super) struct Cluster {
    pub(super) now: UnixMillis,
    pub(super) sites: BTreeMap<NodeId, Site>,
    pub(super) log: Vec<Vec<u8>>,
    pub(super) network: Vec<(NodeId, NodeSigned<Round2>)>,
    pub(super) mischief: Mischief,
    /// Messages and entries arrive late, twice and in another order.
    pub(super) rough: bool,
    /// By how many milliseconds a node's clock is ahead of the leader's.
    pub(super) ahead: BTreeMap<u8, u64>,
    rng: ChaCha20Rng,
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(super) fn identity(number: u8) -> NodeIdentity {
    NodeIdentity::new(node(number), CLUSTER, SigningKey::from_bytes(&[number; 32]))
}

impl Cluster {
    pub(super) fn new(seed: u64) -> Self {
        let store = founded();
        let sites = (1..=NODES)
            .map(|number| {
                let identity = identity(number);
                let rng = ChaCha20Rng::seed_from_u64(seed * 100 + u64::from(number));
                let dkg = Dkg::new(identity.clone());
                (node(number), Site { dkg, identity, store: store.clone(), applied: 0, pending: Vec::new(), alive: true, rng })
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

    pub(super) fn site(&mut self, number: u8) -> &mut Site {
        self.sites.get_mut(&node(number)).unwrap()
    }

    pub(super) fn record(&self, number: u8) -> CeremonyRecord {
        self.sites[&node(number)].store.ceremony(CEREMONY).unwrap().unwrap()
    }

    pub(super) fn credential(&self, number: u8, id: CredentialId) -> CredentialRecord {
        self.sites[&node(number)].store.credential(id).unwrap().unwrap()
    }

    /// Opens a ceremony at every node.
    pub(super) fn put_ceremony(&mut self, id: CeremonyId, record: &CeremonyRecord) {
        for site in self.sites.values_mut() {
            site.store.0.insert(key(table::CEREMONY, &[id.as_ref()]), encode(record));
            site.store.0.insert(key(table::CEREMONY_OPEN, &[id.as_ref()]), Vec::new());
        }
    }

    pub(super) fn aborts(&self) -> Vec<NodeSigned<CeremonyAbort>> {
        let commands = self.log.iter().map(|bytes| LogEntry::decode(bytes).unwrap().command);
        commands.filter_map(|command| if let Command::CeremonyAbort(abort) = command { Some(abort) } else { None }).collect()
    }

    pub(super) fn accusations(&self) -> Vec<NodeSigned<CeremonyAccusation>> {
        let commands = self.log.iter().map(|bytes| LogEntry::decode(bytes).unwrap().command);
        commands.filter_map(|command| if let Command::CeremonyAccused(accusation) = command { Some(accusation) } else { None }).collect()
    }

    /// Nodes that said that a deadline has passed.
    pub(super) fn overdue(&self) -> Vec<NodeId> {
        let commands = self.log.iter().map(|bytes| LogEntry::decode(bytes).unwrap().command);
        commands.filter_map(|command| if let Command::CeremonyOverdue(said) = command { Some(said.node) } else { None }).collect()
    }

    /// A new process with the same disk.
    pub(super) fn restart(&mut self, number: u8) {
        let site = self.site(number);
        site.dkg = Dkg::new(site.identity.clone());
    }

    /// Runs until every living node sees the ceremony at `step` of `attempt`, or panics.
    #[track_caller]
    pub(super) fn run_until(&mut self, attempt: u32, step: CeremonyStep) {
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
    pub(super) fn tick(&mut self) {
        self.now = self.now.plus(TICK_MILLIS);
        let alive: Vec<u8> = self.sites.iter().filter(|(_, site)| site.alive).map(|(node, _)| node.get()).collect();
        for number in &alive {
            let effects = self.step(*number);
            self.carry_out(*number, effects);
        }
        self.deliver();
        alive.iter().for_each(|number| self.catch_up(*number));
    }

    pub(super) fn catch_up(&mut self, number: u8) {
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

    pub(super) fn step(&mut self, number: u8) -> Vec<CeremonyEffect> {
        let now = self.now.plus(self.ahead.get(&number).copied().unwrap_or(0));
        let site = self.site(number);
        let effects = site.dkg.step(now, &site.store, &mut site.rng).unwrap();
        let identity = site.identity.clone();
        (self.mischief)(&identity, effects)
    }

    pub(super) fn carry_out(&mut self, number: u8, effects: Vec<CeremonyEffect>) {
        let mut stored = false;
        for effect in effects {
            match effect {
                CeremonyEffect::Propose(command) => {
                    assert!(stored || !matches!(command, Command::CeremonyConfirm(_)), "confirmed before the shares were stored");
                    self.log.push(LogEntry::new(self.now, command).encode().unwrap());
                }
                CeremonyEffect::SendRound2 { to, message } => self.network.push((to, message)),
                CeremonyEffect::StorePending { shares, .. } => {
                    stored = true;
                    self.site(number).pending = shares;
                }
            }
        }
    }

    fn deliver(&mut self) {
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
            let (from, ceremony, attempt) = (message.node, message.body.ceremony, message.body.attempt);
            let Some(site) = self.sites.get_mut(&to).filter(|site| site.alive) else { continue };
            if site.dkg.handle_round2(from, message, &site.store).unwrap() == CeremonyReply::Taken {
                self.sites.get_mut(&from).unwrap().dkg.round2_acknowledged(ceremony, attempt, to);
            }
        }
    }
}

/// The state in which an enrolment of two credentials has just been applied.
fn founded() -> MemoryStore {
    let nodes = (1..=NODES)
        .map(|number| NodeEntry {
            id: node(number),
            address: format!("node-{number}:7001"),
            tls_spki: SpkiHash::new([number; 32]),
            identity: identity(number).public_key(),
            sealing_key: Blob::default(),
        })
        .collect();
    let policy = Policy::default();
    let mut store = MemoryStore::default();
    let ceremony = CeremonyRecord {
        attempt: 1,
        credentials: CREDENTIALS.to_vec(),
        participants: (1..=NODES).map(node).collect(),
        deadline: START.plus(policy.ceremony_millis_max),
        step: CeremonyStep::Round1,
        round1: Vec::new(),
        round2: Vec::new(),
        confirmed: Vec::new(),
        outcomes: Vec::new(),
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
    store.0.insert(key(table::CEREMONY, &[CEREMONY.as_ref()]), encode(&ceremony));
    store.0.insert(key(table::CEREMONY_OPEN, &[CEREMONY.as_ref()]), Vec::new());
    for id in CREDENTIALS {
        let credential = CredentialRecord {
            holder: format!("holder-{}", id.as_bytes()[0]).parse().unwrap(),
            subject: SubjectFields::new("JP", None, "Taro Shinryo", "HPKI-1").unwrap(),
            state: CredentialState::Generating,
            suspended_by_order: false,
            certificate_listed: false,
            version: ObjectVersion(1),
            epoch: Epoch(1),
            enrolled_by: OrderId::new([1; 16]),
            ceremony: CEREMONY,
            holders: Vec::new(),
            key: None,
            certificate: None,
            authenticators: Vec::new(),
            ever_bound: false,
            pending: Vec::new(),
        };
        store.0.insert(key(table::CREDENTIAL, &[id.as_ref()]), encode(&credential));
    }
    store
}
