//! Cards: bound, lost and listed by their CA, replaced with notice, and a second one that ends soon.

use warifu_core::registry::{CredentialRecord, Registry as _};
use warifu_protocol::canonical::sha256;
use warifu_protocol::{
    AuthenticatorKind, Binding, BoundCardApproval, Challenge, CredentialId, OrderCommand, Purpose, SessionOpening, Statement, UnixMillis,
};

use super::attack::Stolen;
use super::fact::CardLife;
use super::people::{CLINIC, desk, public, sign};
use super::pki::{Card, EPOCH, TrialPki};
use super::workload::{SESSION_SIGNATURES, WantedList};
use super::world::World;

const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;
/// A second card lives so long.
const BRIEF_MILLIS: (u64, u64) = (5_000, 30_000);
/// A session lasts this long, or so long that a run sees its end.
const SESSION_MILLIS: u64 = 8 * 60 * 60 * 1000;
const SESSION_MILLIS_BRIEF: (u64, u64) = (4_000, 20_000);

impl World {
    /// A card that nobody had before, with its end a whole second.
    pub(super) fn new_card(&mut self, ends: UnixMillis) -> Option<Card> {
        let serial = 100_000 + self.workload.next();
        let card = TrialPki::get().card(serial, UnixMillis(ends.as_secs() * 1_000)).ok()?;
        self.know_card(&card);
        Some(card)
    }

    /// Remembers a card for what may be done with it.
    pub(super) fn know_card(&mut self, card: &Card) {
        self.known.cards.insert(card.hash(), CardLife { serial: card.serial, ends: card.ends, listed_at: None });
    }

    /// Binds a card: a first one, a further one with the word of a bound one, or one with notice.
    pub(super) fn bind(&mut self, number: usize, card: &Card, how: How) {
        let Some(holder) = self.workload.holders.get(number) else { return };
        let (credential, bound) = (holder.credential, holder.card.clone());
        let nonce = Challenge::new(self.workload.dice.bytes());
        let binding =
            Binding { cluster: self.people.cluster(), credential, kind: AuthenticatorKind::MyNumberCard, card: card.hash(), nonce };
        let card_signature = TrialPki::get().card_sign(&binding.message());
        let (certificate, intermediates) = (card.der.clone(), Vec::new());
        let order = match how {
            How::First => OrderCommand::BindAuthenticator { binding, certificate, intermediates, card_signature, bound_card: None },
            How::Further => {
                let signature = TrialPki::get().card_sign(&binding.message());
                let bound_card = Some(BoundCardApproval { certificate: bound.der, signature });
                OrderCommand::BindAuthenticator { binding, certificate, intermediates, card_signature, bound_card }
            }
            How::WithNotice => OrderCommand::BindWithNotice { binding, certificate, intermediates, card_signature },
        };
        self.order(Some(number), order);
    }

    /// The holder's card is lost: its CA lists it, and the holder gets another.
    pub(super) fn lose_card(&mut self, number: usize) {
        let Some(card) = self.new_card(EPOCH.plus(YEAR)) else { return };
        let Some(holder) = self.workload.holders.get_mut(number) else { return };
        let lost = std::mem::replace(&mut holder.card, card);
        holder.brief = None;
        self.workload.lost.push(lost.clone());
        self.workload.revoked.push(lost.serial);
        let revoked = self.workload.revoked.clone();
        self.workload.lists_wanted.push(WantedList { of_cards: true, number: 1 + revoked.len() as u64, revoked });
        self.counters.injected("card revoked", 1);
    }

    /// The holder gets a second card that ends soon.
    pub(super) fn take_brief_card(&mut self, number: usize) {
        let (least, most) = BRIEF_MILLIS;
        let ends = self.unix().plus(self.workload.dice.between(least, most));
        let Some(card) = self.new_card(ends) else { return };
        if let Some(holder) = self.workload.holders.get_mut(number) {
            holder.brief = Some(card.clone());
        }
        self.workload.lost.push(card.clone());
        self.bind(number, &card, How::Further);
    }

    /// Whether the holder's card opens sessions; if it is not bound and not announced, binds it with notice.
    pub(super) fn has_card(&mut self, number: usize, record: &CredentialRecord) -> bool {
        let Some(card) = self.workload.holders.get(number).map(|holder| holder.card.clone()) else { return false };
        let hash = card.hash();
        if record.authenticators.iter().any(|bound| bound.card == hash && !bound.suspended) {
            return true;
        }
        let is_known = record.authenticators.iter().any(|bound| bound.card == hash);
        if !is_known && !record.pending.iter().any(|pending| pending.authenticator.card == hash) {
            let how = if record.ever_bound { How::WithNotice } else { How::First };
            self.bind(number, &card, how);
        }
        false
    }

    /// What the terminal and the card say to open a session with a key of its own.
    pub(super) fn login(&mut self, credential: CredentialId, card: &Card, terminal: u8, key_number: u64) -> Option<SessionOpening> {
        let (now, nonce) = (self.unix(), Challenge::new(self.workload.dice.bytes()));
        let (least, most) = SESSION_MILLIS_BRIEF;
        let millis =
            if !self.is_quiet && self.workload.dice.permille(200) { self.workload.dice.between(least, most) } else { SESSION_MILLIS };
        let key = self.people.session(key_number);
        let statement = Statement {
            cluster: self.people.cluster(),
            credential,
            session_key: public(&key),
            facility: CLINIC.parse().ok()?,
            terminal: desk(terminal),
            purpose: Purpose::EPrescription,
            not_before: now,
            not_after: now.plus(millis),
            max_signatures: SESSION_SIGNATURES,
            nonce,
        };
        Some(SessionOpening {
            card_certificate: card.der.clone(),
            intermediates: Vec::new(),
            card_signature: TrialPki::get().card_sign(&statement.message()),
            terminal_signature: sign(&self.people.desk(desk(terminal)), &statement.terminal_message()),
            possession: sign(&key, &statement.possession_message()),
            ocsp: None,
            statement,
        })
    }

    /// A login that must be refused, with all that the adversary has for it: a card that was lost or ended, a terminal that was stolen and retired.
    pub(super) fn dead_login(&mut self) -> Option<SessionOpening> {
        let dead: Vec<Card> = self.workload.lost.iter().filter(|card| self.is_dead(card)).cloned().collect();
        let retired = self.workload.desk.checked_sub(1);
        let (card, terminal) = match (self.workload.dice.pick(&dead).cloned(), retired) {
            (Some(card), Some(_)) if self.workload.dice.permille(600) => (Some(card), self.workload.desk),
            (Some(card), None) => (Some(card), self.workload.desk),
            (_, Some(retired)) => (None, retired),
            (None, None) => return None,
        };
        // The owner of a lost card is the one whose credential it is bound to; the adversary knows whom it took it from.
        let owner = |world: &Self, card: &Card| {
            let hash = card.hash();
            let of = |id: &CredentialId| world.truth().credential(*id).ok().flatten();
            let bound = |id: &CredentialId| of(id).is_some_and(|record| record.authenticators.iter().any(|bound| bound.card == hash));
            world.workload.holders.iter().map(|holder| holder.credential).find(bound)
        };
        let (credential, card) = match card {
            Some(card) => (owner(self, &card)?, card),
            None => {
                let holder = self.workload.holders.first()?;
                (holder.credential, holder.card.clone())
            }
        };
        let key_number = self.workload.next();
        let opening = self.login(credential, &card, terminal, key_number)?;
        let (session, kind) = (opening.statement.session(), warifu_protocol::DocumentKind::Prescription);
        self.adversary.steal(Stolen { session, credential, key: key_number, kind });
        Some(opening)
    }

    fn is_dead(&self, card: &Card) -> bool {
        self.known.cards.get(&card.hash()).is_some_and(|life| life.listed_at.is_some() || life.ends < self.unix())
    }

    /// The list that the CA made, and what is on it.
    pub(super) fn make_list(&mut self, wanted: &WantedList) -> Option<Vec<u8>> {
        let der = TrialPki::get().list(wanted.of_cards, wanted.number, &wanted.revoked).ok()?;
        if wanted.of_cards {
            self.known.lists.insert(sha256(der.as_slice()), wanted.revoked.clone());
        }
        Some(der.0)
    }
}

/// On whose word a card is bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// Of operators alone, as there was none before.
    First,
    /// Of a bound card too.
    Further,
    /// Of officers, with a delay.
    WithNotice,
}
