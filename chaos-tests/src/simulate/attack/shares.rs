//! What a lying coordinator asks sites to sign.

use warifu_core::registry::{CredentialRecord, Registry as _};
use warifu_protocol::wire::{CredentialState, SignCall, SignItem, SignWork, SignerCommitments};
use warifu_protocol::{CertificateHash, CredentialId, DocumentDigest, Epoch, NodeId, Request as SigningRequest, SignedRequest, UnixMillis};

use super::{FRESH_MILLIS, Stolen};
use crate::simulate::event::{Party, Request, Then};
use crate::simulate::fact::{Fact, asked_for};
use crate::simulate::people::sign;
use crate::simulate::workload::{SESSION_SIGNATURES, SESSION_SIGNATURES_USED};
use crate::simulate::world::World;

/// Nobody waits longer for what it should not have asked for.
pub(super) const DEADLINE: u64 = 3_000;
/// Signer sets that a removed site may be in, of a thousand.
const SIGNERS_REMOVED: u32 = 200;
/// Commitments that are asked for at once.
const GATHERED: u16 = 6;

impl World {
    pub(super) fn ask_for_commitments(&mut self, liar: usize, site: NodeId) {
        let Some(coordinator) = self.coordinators.get(liar) else { return };
        let request = Request::Sign(coordinator.name.clone(), SignCall::Commitments { count: GATHERED });
        self.call(Party::Coordinator(liar), site, request, DEADLINE, Then::Hoard(site));
    }

    /// Asks one site for one thing that must not be given, or that it gives only once.
    pub(super) fn attack_site(&mut self, liar: usize) {
        let last = self.workload.seen.len().saturating_sub(12);
        let recent: Vec<_> = self.workload.seen.get(last..).unwrap_or_default().to_vec();
        let Some((credential, mut request)) = self.adversary.dice.pick(&recent).cloned() else { return };
        let Some(record) = self.truth().credential(credential).ok().flatten() else { return };
        let Some(certificate) = record.certificate.as_ref().map(|certificate| certificate.hash) else { return };
        let mut epoch = record.epoch;
        let uses_up = self.adversary.dice.permille(600);
        let mut signers = self.pick_signers(liar, &record, uses_up);
        let Some(target) = self.adversary.dice.pick(&signers).map(|signer| signer.node) else { return };
        let mut work = None;
        match self.adversary.dice.below(14) {
            // A valid request of somebody else, once more: it may be signed again, once for each nonce.
            0 => {}
            // Another document under the holder's signature.
            1 => request.request.digest = DocumentDigest::new(self.adversary.dice.bytes()),
            // Another document under the same number, by whoever stole the session's key.
            2 => {
                request.request.digest = DocumentDigest::new(self.adversary.dice.bytes());
                self.sign_with_stolen_key(&mut request);
            }
            // Beyond the session's last number, or at another time.
            3 => {
                request.request.seq = *self.adversary.dice.pick(&[0, SESSION_SIGNATURES + 1, 10_000]).unwrap_or(&0);
                self.sign_with_stolen_key(&mut request);
            }
            4 => {
                request.request.signing_time = UnixMillis(request.request.signing_time.0 + 3_600_000);
                self.sign_with_stolen_key(&mut request);
            }
            // A CSR of a key that has its certificate.
            5 => work = Some(SignWork::Csr { credential }),
            6 => {
                let certificate = CertificateHash::new(self.adversary.dice.bytes());
                work = Some(SignWork::Document { request: request.clone(), certificate });
            }
            // Too few signers, one twice, or the order changed.
            7 => drop(signers.pop()),
            8 => signers.extend(signers.first().cloned()),
            9 => signers.reverse(),
            // Without the site that is asked.
            10 => signers.retain(|signer| signer.node != target),
            // Another epoch.
            11 => epoch = Epoch(record.epoch.0.saturating_sub(1)),
            // Commitments that belong to another nonce.
            12 => {
                let other = signers.first().map(|signer| signer.commitments.clone()).unwrap_or_default();
                signers.iter_mut().for_each(|signer| signer.commitments = other.clone());
            }
            // The document of a pharmacist from a physician, or the other way round.
            _ => {
                request.request.kind = match request.request.kind {
                    warifu_protocol::DocumentKind::Prescription => warifu_protocol::DocumentKind::Dispensing,
                    warifu_protocol::DocumentKind::Dispensing => warifu_protocol::DocumentKind::Prescription,
                };
                request.request.seq = self.next_stolen_number();
                self.sign_with_stolen_key(&mut request);
            }
        }
        let work = work.unwrap_or(SignWork::Document { request, certificate });
        let item = SignItem { work, epoch, signers };
        let mut items = vec![item.clone()];
        // The same nonce for two documents.
        if self.adversary.dice.permille(300)
            && let Some((_, other)) = self.adversary.dice.pick(&recent).cloned()
        {
            items.push(SignItem { work: SignWork::Document { request: other, certificate }, ..item });
        }
        self.counters.injected("coordinator's attack", 1);
        self.ask_wrongly(liar, target, items);
    }

    /// Asks t sites for a document under a session that should sign no more, or that was stolen and still may.
    pub(super) fn attack_what_is_stopped(&mut self, liar: usize) {
        let stolen: Vec<Stolen> = self.adversary.stolen.iter().cloned().collect();
        let stopped: Vec<Stolen> = stolen.iter().filter(|stolen| self.is_stopped(stolen)).cloned().collect();
        let among = if stopped.is_empty() || self.adversary.dice.permille(150) { &stolen } else { &stopped };
        let Some(stolen) = self.adversary.dice.pick(among).cloned() else { return };
        let request = self.stolen_request(&stolen);
        let is_asked = self.ask_all(liar, stolen.credential, &request);
        self.counters.injected("request under a stolen session", u64::from(is_asked));
    }

    /// A request that a thief makes now, under a number that the holder does not use.
    pub(super) fn stolen_request(&mut self, stolen: &Stolen) -> SignedRequest {
        let seq = self.next_stolen_number();
        let digest = DocumentDigest::new(self.adversary.dice.bytes());
        let signing_time = UnixMillis(self.unix().as_secs() * 1_000);
        let document_id = format!("stolen-{seq}").parse().expect("an id in the closed set");
        let request = SigningRequest { session: stolen.session, seq, kind: stolen.kind, document_id, digest, signing_time };
        let key = self.people.session(stolen.key);
        SignedRequest { signature: sign(&key, &request.message()), request }
    }

    /// Asks a whole set of t sites for a document. Says whether there was anybody to ask.
    pub(super) fn ask_all(&mut self, liar: usize, credential: CredentialId, request: &SignedRequest) -> bool {
        let Some(record) = self.truth().credential(credential).ok().flatten() else { return false };
        let Some(certificate) = record.certificate.as_ref().map(|certificate| certificate.hash) else { return false };
        let signers = self.pick_signers(liar, &record, true);
        let work = SignWork::Document { request: request.clone(), certificate };
        let sites: Vec<NodeId> = signers.iter().map(|signer| signer.node).collect();
        let item = SignItem { work, epoch: record.epoch, signers };
        for site in &sites {
            self.ask_wrongly(liar, *site, vec![item.clone()]);
        }
        !sites.is_empty()
    }

    fn ask_wrongly(&mut self, liar: usize, target: NodeId, items: Vec<SignItem>) {
        for item in &items {
            if let SignWork::Document { request, .. } = &item.work {
                self.tell(Fact::Asked { request: asked_for(&request.request), by_client: false });
            }
        }
        let Some(coordinator) = self.coordinators.get(liar) else { return };
        let request = Request::Sign(coordinator.name.clone(), SignCall::SignBatch { items, refill: 2 });
        self.call(Party::Coordinator(liar), target, request, DEADLINE, Then::Hoard(target));
    }

    fn next_stolen_number(&mut self) -> u32 {
        self.adversary.numbers += 1;
        SESSION_SIGNATURES_USED + 1 + self.adversary.numbers % (SESSION_SIGNATURES - SESSION_SIGNATURES_USED)
    }

    fn sign_with_stolen_key(&self, request: &mut SignedRequest) {
        let stolen = self.adversary.stolen.iter().find(|stolen| stolen.session == request.request.session);
        if let Some(key) = stolen.map(|stolen| self.people.session(stolen.key)) {
            request.signature = sign(&key, &request.request.message());
        }
    }

    /// Whether the log says that nothing is to be signed under it any more.
    fn is_stopped(&self, stolen: &Stolen) -> bool {
        let truth = self.truth();
        let Ok(Some(session)) = truth.session(stolen.session) else { return false };
        let is_retired = || truth.terminal(session.statement.terminal).ok().flatten().is_none_or(|terminal| terminal.retired);
        let is_active = || truth.credential(stolen.credential).ok().flatten().is_some_and(|record| record.state == CredentialState::Active);
        session.closed || session.statement.not_after < self.unix() || is_retired() || !is_active()
    }

    /// Commitments of t sites that hold a share, as the coordinator was given them; `uses_up` takes them out of the hoard.
    fn pick_signers(&mut self, liar: usize, record: &CredentialRecord, uses_up: bool) -> Vec<SignerCommitments> {
        let (threshold, now) = (usize::from(self.plan.threshold), self.now);
        let mut holders = warifu_core::registry::StoreNumbers::of(self.log.cluster()).holders(&record.holders);
        if self.adversary.dice.permille(SIGNERS_REMOVED) {
            holders.extend(&self.gone);
        }
        let ambush = self.adversary.ambush.as_ref().filter(|ambush| now < ambush.until).map(|ambush| ambush.sites.clone());
        let dice = &mut self.adversary.dice;
        let is_patient = dice.permille(80);
        let Some(coordinator) = self.coordinators.get_mut(liar) else { return Vec::new() };
        let mut kept: Vec<NodeId> = coordinator.hoard.iter().filter(|(_, kept)| !kept.is_empty()).map(|(node, _)| *node).collect();
        kept.retain(|node| holders.contains(node) && ambush.as_ref().is_none_or(|sites| sites.contains(node)));
        while kept.len() > threshold {
            let place = dice.below(kept.len() as u64) as usize;
            kept.remove(place);
        }
        let mut signers = Vec::with_capacity(kept.len());
        for node in kept {
            let Some(hoard) = coordinator.hoard.get_mut(&node) else { continue };
            if !is_patient {
                while hoard.front().is_some_and(|(at, _)| now >= at + FRESH_MILLIS) {
                    hoard.pop_front();
                }
            }
            let one = if uses_up { hoard.pop_front() } else { hoard.front().cloned() };
            if let Some((_, fresh)) = one {
                signers.push(SignerCommitments { node, nonce: fresh.nonce, commitments: fresh.commitments });
            }
        }
        signers
    }
}
