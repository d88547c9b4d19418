//! What the simulator knows by itself of commands and cards, whatever the registry makes of them.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::{MemoryStore, Registry as _};
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{CertificateHash, Command, OrderId, SessionId, StopId, StopKind, StopObject, UnixMillis};

use super::attack::digest;
use super::fact::CardLife;
use super::people::version_of;
use super::world::World;

/// See the module.
#[derive(Default)]
pub(super) struct Knowledge {
    /// Every card that was ever made.
    pub(super) cards: BTreeMap<CertificateHash, CardLife>,
    /// Serials of cards on each list that was made, by the list's hash.
    pub(super) lists: BTreeMap<[u8; 32], Vec<u64>>,
    /// Orders that took effect.
    pub(super) orders: BTreeSet<OrderId>,
    /// Logins that took effect.
    sessions: BTreeSet<SessionId>,
    /// What sites said of their shares and took effect, by digest.
    shares_words: BTreeSet<[u8; 32]>,
    /// Stops that took effect, or were refused for the sake of what they stop.
    pub(super) settled: BTreeSet<StopId>,
}

/// Whether the log says of what is stopped that it never signs again: then a stop of it has nothing left to do.
pub(super) fn is_over_for_good(truth: &MemoryStore, object: StopObject, kind: StopKind) -> bool {
    match object {
        StopObject::Session(session) => truth.session(session).ok().flatten().is_some_and(|session| session.closed),
        StopObject::Credential(credential) | StopObject::Card { credential, .. } => {
            let state = truth.credential(credential).ok().flatten().map(|record| record.state);
            state == Some(CredentialState::Destroyed) || (state == Some(CredentialState::Revoked) && kind != StopKind::Destroy)
        }
    }
}

impl World {
    /// Why a command that comes into the log now must not take effect; `None` when it may.
    pub(super) fn why_void(&self, command: &Command, at: UnixMillis) -> Option<&'static str> {
        if self.adversary.has_forged(command) {
            return Some("nobody who may say it has said it");
        }
        let truth = self.truth();
        let now = at.max(truth.time().unwrap_or_default());
        match command {
            Command::Order(order) => {
                let body = &order.body;
                if self.known.orders.contains(&body.id) {
                    return Some("it took effect before");
                }
                if body.not_after < now {
                    return Some("it is past its end");
                }
                let is_outdated = !body.order.is_stopping() && version_of(truth, &body.order).is_ok_and(|now| now != body.object_version);
                is_outdated.then_some("its object has changed since it was written")
            }
            Command::SessionOpened(opening) => {
                if self.known.sessions.contains(&opening.statement.session()) {
                    return Some("it took effect before");
                }
                let card = CertificateHash::new(sha256(opening.card_certificate.as_slice()));
                match self.known.cards.get(&card) {
                    None => Some("its card was never made"),
                    // A certificate's last second is whole.
                    Some(life) if life.ends.as_secs() < now.as_secs() => Some("its card is past its end"),
                    Some(life) if life.listed_at.is_some() => Some("its card is revoked"),
                    Some(_) if truth.terminal(opening.statement.terminal).is_ok_and(|known| known.is_none_or(|known| known.retired)) => {
                        Some("its terminal is not enrolled")
                    }
                    Some(_) => None,
                }
            }
            Command::NodeStarted(signed) => {
                let record = truth.node(signed.node).ok().flatten().filter(|record| record.has_started())?;
                if record.store != signed.body.store {
                    return Some("it is of another store");
                }
                let is_old = signed.body.incarnation <= record.incarnation || !signed.body.earlier.contains(&record.boot);
                is_old.then_some("its store does not know of the last start")
            }
            Command::SharesLost(_) | Command::SharesFound(_) => {
                self.known.shares_words.contains(&digest(command)).then_some("it took effect before")
            }
            _ => None,
        }
    }

    /// An entry took effect at an index.
    pub(super) fn learn(&mut self, command: &Command, index: u64) {
        match command {
            Command::Order(order) => {
                self.known.orders.insert(order.body.id);
            }
            Command::SessionOpened(opening) => {
                self.known.sessions.insert(opening.statement.session());
            }
            Command::SharesLost(_) | Command::SharesFound(_) => {
                self.known.shares_words.insert(digest(command));
            }
            Command::CrlChunk { .. } => {
                let active: Vec<[u8; 32]> = self.truth().crls().unwrap_or_default().iter().map(|crl| *crl.hash.as_bytes()).collect();
                let listed: BTreeSet<u64> = active.iter().filter_map(|hash| self.known.lists.get(hash)).flatten().copied().collect();
                for life in self.known.cards.values_mut().filter(|life| listed.contains(&life.serial)) {
                    life.listed_at.get_or_insert(index);
                }
            }
            _ => {}
        }
    }
}
