//! What a lying coordinator asks sites for, with everything that it has seen.

use warifu_core::registry::Registry as _;
use warifu_protocol::wire::{FreshCommitments, SignCall, SignItem, SignWork, SignerCommitments};
use warifu_protocol::{CertificateHash, Command, DocumentDigest, Epoch, NodeId, UnixMillis};

use super::event::{Party, Request, Then};
use super::people::sign;
use super::world::World;

/// Nobody waits longer for what it should not have asked for.
const DEADLINE: u64 = 3_000;

impl World {
    /// Asks for one thing that must not be given, or brings in somebody else's command once more.
    pub(super) fn attack(&mut self) {
        let Some(number) = self.coordinators.iter().position(|one| one.lies && one.is_up) else { return };
        self.counters.injected("coordinator's attack", 1);
        if self.dice.permille(150) {
            return self.replay_command(number);
        }
        let last = self.workload.seen.len().saturating_sub(12);
        let recent: Vec<_> = self.workload.seen.get(last..).unwrap_or_default().to_vec();
        let Some((credential, mut request)) = self.dice.pick(&recent).cloned() else { return };
        let Some(record) = self.truth().credential(credential).ok().flatten() else { return };
        let Some(certificate) = record.certificate.as_ref().map(|certificate| certificate.hash) else { return };
        let mut epoch = record.epoch;
        let mut signers = self.pick_signers(number);
        let target = self.dice.pick(&signers).map(|signer| signer.node);
        let Some(target) = target else { return };
        let mut work = SignWork::Document { request: request.clone(), certificate };
        match self.dice.below(13) {
            // A valid request of somebody else, once more: it may be signed again, once.
            0 => {}
            // Another document under the holder's signature.
            1 => request.request.digest = DocumentDigest::new(self.dice.bytes()),
            // Another document under the same number, by whoever stole the session key.
            2 => {
                request.request.digest = DocumentDigest::new(self.dice.bytes());
                let key = self
                    .workload
                    .holders
                    .iter()
                    .filter_map(|holder| holder.session.as_ref())
                    .find(|open| open.id == request.request.session);
                if let Some(key) = key.map(|open| self.people.session(open.key)) {
                    request.signature = sign(&key, &request.request.message());
                }
            }
            // Beyond the session's last number, or at another time.
            3 => request.request.seq = 10_000,
            4 => request.request.signing_time = UnixMillis(request.request.signing_time.0 + 3_600_000),
            // A CSR of a key that has its certificate.
            5 => work = SignWork::Csr { credential },
            6 => work = SignWork::Document { request: request.clone(), certificate: CertificateHash::new(self.dice.bytes()) },
            // Too few signers, one twice, or the order changed.
            7 => drop(signers.pop()),
            8 => signers.extend(signers.first().cloned()),
            9 => signers.reverse(),
            // Another epoch.
            10 => epoch = Epoch(record.epoch.0.saturating_sub(1)),
            // Commitments that belong to another nonce.
            11 => {
                let other = signers.first().map(|signer| signer.commitments.clone()).unwrap_or_default();
                signers.iter_mut().for_each(|signer| signer.commitments = other.clone());
            }
            // The same nonce for two documents, below.
            _ => {}
        }
        if let SignWork::Document { request: inside, .. } = &mut work {
            *inside = request;
        }
        let item = SignItem { work, epoch, signers };
        let mut items = vec![item.clone()];
        if self.dice.permille(300)
            && let Some((_, other)) = self.dice.pick(&recent).cloned()
        {
            items.push(SignItem { work: SignWork::Document { request: other, certificate }, ..item });
        }
        self.ask_wrongly(number, target, items);
    }

    fn ask_wrongly(&mut self, number: usize, target: NodeId, items: Vec<SignItem>) {
        let Some(coordinator) = self.coordinators.get(number) else { return };
        let request = Request::Sign(coordinator.name.clone(), SignCall::SignBatch { items, refill: 0 });
        self.call(Party::Coordinator(number), target, request, DEADLINE, Then::Nothing);
    }

    /// Commitments of t sites, as the coordinator was given them.
    fn pick_signers(&mut self, number: usize) -> Vec<SignerCommitments> {
        let threshold = usize::from(self.plan.threshold);
        let Some(coordinator) = self.coordinators.get_mut(number) else { return Vec::new() };
        let mut kept: Vec<(NodeId, FreshCommitments)> = Vec::new();
        for (node, fresh) in &mut coordinator.hoard {
            if let Some(one) = if self.dice.permille(500) { fresh.pop() } else { fresh.last().cloned() } {
                kept.push((*node, one));
            }
        }
        while kept.len() > threshold {
            let place = self.dice.below(kept.len() as u64) as usize;
            kept.remove(place);
        }
        kept.into_iter().map(|(node, fresh)| SignerCommitments { node, nonce: fresh.nonce, commitments: fresh.commitments }).collect()
    }

    /// A command from the log, once more.
    fn replay_command(&mut self, number: usize) {
        let last = self.log.last();
        let index = 1 + self.dice.below(last.max(1));
        let Some(super::log::Payload::Command(bytes)) = self.log.payload(index).cloned() else { return };
        let Ok(entry) = warifu_protocol::LogEntry::decode(&bytes) else { return };
        let places: Vec<NodeId> = self.reached.keys().copied().collect();
        let Some(node) = self.dice.pick(&places).copied() else { return };
        let command: Command = entry.command;
        let request = Request::Order(warifu_protocol::wire::OrderCall::Propose(Box::new(command)));
        self.call(Party::Coordinator(number), node, request, DEADLINE, Then::Nothing);
    }
}
