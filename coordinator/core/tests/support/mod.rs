//! Nodes with real FROST keys, a network with delays, and virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use frost_ed25519::keys::{IdentifierList, KeyPackage, generate_with_dealer};
use frost_ed25519::round1::{SigningCommitments, SigningNonces};
use frost_ed25519::{Identifier, SigningPackage, round2};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use warifu_coordinator_core::{Commitments, Effect, Fleet, GroupKey, Job, MonotonicMillis, NodeNote, Rules, SignFailure, Signed, Signing};
use warifu_protocol::wire::{FreshCommitments, NotYet, SignAnswer, SignItem};
use warifu_protocol::{CredentialId, Epoch, NodeId, NonceId, Refusal, Threshold};

pub const MESSAGE: &[u8] = b"the bytes that every node renders by itself";
const FIRST: MonotonicMillis = MonotonicMillis(10_000);

/// How a node behaves.
#[derive(Clone, PartialEq, Debug)]
pub enum Behaviour {
    Honest,
    /// Answers after this time.
    Slow(u64),
    /// Never answers.
    Silent,
    /// Calls to it fail at once.
    Down,
    /// Gives a share that is wrong.
    FalseShare,
    /// Gives bytes that are no scalar.
    Garbage,
    /// Does not know its nonces for this many times.
    Forgets(u32),
    Refuses(Refusal),
    NotYet(NotYet),
}

pub struct Node {
    pub behaviour: Behaviour,
    key: KeyPackage,
    nonces: BTreeMap<NonceId, SigningNonces>,
    made: u64,
}

pub struct World {
    pub rules: Rules,
    pub key: Arc<GroupKey>,
    pub nodes: BTreeMap<NodeId, Node>,
    pub fleet: Fleet,
    pub now: MonotonicMillis,
    pub notes: Vec<(NodeId, NodeNote)>,
    pub nonces_used: BTreeSet<(NodeId, NonceId)>,
    pub sent: Vec<NodeId>,
    rng: ChaCha20Rng,
}

pub fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("in range")
}

impl World {
    pub fn new(nodes: u8, threshold: u8, liars: u8, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (shares, package) =
            generate_with_dealer(u16::from(nodes), u16::from(threshold), IdentifierList::Default, &mut rng).expect("valid sizes");
        let key = GroupKey::parse(&package.serialize().expect("serializes"), Threshold(threshold)).expect("a valid package");
        let nodes: BTreeMap<_, _> = (1..=nodes)
            .map(|number| {
                let identifier = Identifier::try_from(u16::from(number)).expect("not zero");
                let key = KeyPackage::try_from(shares[&identifier].clone()).expect("dealt correctly");
                (node(number), Node { behaviour: Behaviour::Honest, key, nonces: BTreeMap::new(), made: 0 })
            })
            .collect();
        let rules = Rules { nodes: nodes.len(), threshold: Threshold(threshold), liars };
        let fleet = Fleet::new(nodes.keys().copied());
        let mut world = Self {
            rules,
            key: Arc::new(key),
            nodes,
            fleet,
            now: FIRST,
            notes: Vec::new(),
            nonces_used: BTreeSet::new(),
            sent: Vec::new(),
            rng,
        };
        world.refill();
        world
    }

    pub fn behave(&mut self, number: u8, behaviour: Behaviour) {
        self.nodes.get_mut(&node(number)).expect("a node").behaviour = behaviour;
    }

    pub fn behaviour(&self, number: u8) -> &Behaviour {
        &self.nodes[&node(number)].behaviour
    }

    /// Every reachable node sends the commitments that are wanted of it.
    pub fn refill(&mut self) {
        for (id, node) in &mut self.nodes {
            let wanted = self.fleet.commitments_wanted(*id, self.now);
            let fresh = match node.behaviour {
                Behaviour::Down | Behaviour::Silent => Vec::new(),
                _ => (0..wanted).map(|_| node.commit(*id, &mut self.rng)).collect(),
            };
            self.fleet.add_commitments(*id, self.now, wanted, fresh);
        }
    }

    pub fn job(&self) -> Job {
        Job::csr(CredentialId::new([1; 16]), MESSAGE.to_vec(), Epoch(1), Arc::clone(&self.key))
    }

    /// Runs one job to its end on virtual time.
    pub fn sign(&mut self) -> Result<Signed, SignFailure> {
        self.sign_job(self.job())
    }

    pub fn sign_job(&mut self, job: Job) -> Result<Signed, SignFailure> {
        enum Event {
            Answer(SignAnswer),
            Failure,
        }
        let mut signing = Signing::new(job, self.rules, self.now);
        let mut queue = BTreeMap::new();
        loop {
            if signing.wants_signers(self.now) {
                signing.launch(&mut self.fleet, self.now, &mut self.rng);
            }
            while let Some(effect) = signing.poll_effect() {
                match effect {
                    Effect::Send { attempt, node, item } => {
                        self.sent.push(node);
                        for signer in item.signers.iter().filter(|signer| signer.node == node) {
                            assert!(self.nonces_used.insert((node, signer.nonce)), "a nonce was asked for twice");
                        }
                        let mut after = 2 + u64::from(self.rng.next_u32() % 4);
                        let event = match self.nodes[&node].behaviour {
                            Behaviour::Silent => continue,
                            Behaviour::Down => Event::Failure,
                            Behaviour::Slow(millis) => {
                                after += millis;
                                Event::Answer(self.nodes.get_mut(&node).expect("a node").answer(node, &item))
                            }
                            _ => Event::Answer(self.nodes.get_mut(&node).expect("a node").answer(node, &item)),
                        };
                        queue.insert((self.now.plus(after), self.rng.next_u64()), (attempt, node, event));
                    }
                    Effect::Note { node, note } => {
                        self.notes.push((node, note));
                        self.fleet.note(node, self.now, note);
                    }
                    Effect::Done(outcome) => {
                        assert_eq!(signing.poll_effect(), None, "nothing follows the end");
                        assert_eq!(signing.poll_timeout(), None);
                        return outcome;
                    }
                }
            }
            let timeout = signing.poll_timeout().expect("not done");
            match queue.first_key_value().map(|((at, _), _)| *at) {
                Some(at) if at <= timeout => {
                    let (_, (attempt, node, event)) = queue.pop_first().expect("not empty");
                    self.now = self.now.max(at);
                    match event {
                        Event::Answer(answer) => {
                            self.fleet.call_answered(node, 1, 3_000);
                            // Whatever comes twice counts once.
                            signing.handle_answer(attempt, node, answer.clone(), self.now);
                            signing.handle_answer(attempt, node, answer, self.now);
                        }
                        Event::Failure => {
                            self.fleet.call_failed(node, 1, self.now);
                            signing.handle_failure(attempt, node, self.now);
                        }
                    }
                }
                _ => {
                    self.now = self.now.max(timeout);
                    self.refill();
                    signing.handle_timeout(self.now);
                }
            }
        }
    }

    /// Starts so many jobs before any node has answered, and says who is asked.
    pub fn must_launch(&mut self, jobs: usize) -> Vec<NodeId> {
        let mut asked = Vec::new();
        for _ in 0..jobs {
            let mut signing = Signing::new(self.job(), self.rules, self.now);
            signing.launch(&mut self.fleet, self.now, &mut self.rng);
            while let Some(Effect::Send { node, .. }) = signing.poll_effect() {
                asked.push(node);
            }
        }
        asked
    }

    pub fn must_sign(&mut self) -> Signed {
        let signed = self.sign().expect("a signature");
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.key.to_bytes()).expect("a key");
        key.verify_strict(MESSAGE, &ed25519_dalek::Signature::from_bytes(&signed.signature)).expect("it verifies");
        signed
    }
}

impl Node {
    fn commit(&mut self, id: NodeId, rng: &mut ChaCha20Rng) -> Commitments {
        let (nonces, commitments) = frost_ed25519::round1::commit(self.key.signing_share(), rng);
        self.made += 1;
        let mut name = [0; 16];
        name[0] = id.get();
        name[8..].copy_from_slice(&self.made.to_be_bytes());
        let nonce = NonceId::new(name);
        self.nonces.insert(nonce, nonces);
        let commitments = commitments.serialize().expect("serializes").into();
        Commitments::parse(FreshCommitments { nonce, commitments }).expect("well-formed")
    }

    fn answer(&mut self, id: NodeId, item: &SignItem) -> SignAnswer {
        match &mut self.behaviour {
            Behaviour::Refuses(refusal) => return SignAnswer::Refused(refusal.clone()),
            Behaviour::NotYet(reason) => return SignAnswer::NotYet { reason: *reason, retry_after_millis: 50 },
            Behaviour::Forgets(times) if *times > 0 => {
                *times -= 1;
                self.nonces.clear();
                return SignAnswer::NotYet { reason: NotYet::NonceUnknown, retry_after_millis: 0 };
            }
            Behaviour::Garbage => return SignAnswer::Share([0xff; 32]),
            _ => {}
        }
        let own = item.signers.iter().find(|signer| signer.node == id).expect("this node is among the signers");
        let Some(nonces) = self.nonces.remove(&own.nonce) else {
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
        let message: &[u8] = if self.behaviour == Behaviour::FalseShare { b"something else" } else { MESSAGE };
        let share = round2::sign(&SigningPackage::new(commitments, message), &nonces, &self.key).expect("a share");
        SignAnswer::Share(share.serialize().try_into().expect("32 bytes"))
    }
}
