//! What the people do: enrol, certify, bind, log in, sign, stop, resume, destroy, refresh; and what they were told.

use std::collections::BTreeMap;

use warifu_core::pki::{assemble_csr, verify_csr};
use warifu_core::registry::Registry as _;
use warifu_protocol::wire::{Applied, CredentialState, Verdict};
use warifu_protocol::{
    AuthenticatorKind, Binding, Challenge, Command, CredentialId, DocumentDigest, DocumentKind, Enrolment, OrderCommand, OrderId, Purpose,
    Request, SessionClosing, SessionId, SessionOpening, SignedRequest, Statement, StopCommand, SubjectFields, UnixMillis, closing_message,
};

use super::coordinator::Wish;
use super::event::Event;
use super::fact::Fact;
use super::people::{CLINIC, DESK, public, sign};
use super::pki::{Card, EPOCH, TrialPki};
use super::plan::Plan;
use super::seed::{Dice, SeedTree};
use super::world::World;

/// The people do something about so often.
const WORK_MILLIS: (u64, u64) = (60, 500);
/// Signatures in one session: few, so that holders log in again.
const SESSION_SIGNATURES: u32 = 25;
const SESSION_MILLIS: u64 = 8 * 60 * 60 * 1000;
const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;
/// Nobody waits longer for an answer before doing something else.
const PATIENCE_MILLIS: u64 = 15_000;

/// The message and its signature, or why there is none.
pub(super) type WishOutcome = Result<(Vec<u8>, [u8; 64]), String>;

/// The holders, and what clients were told.
pub(super) struct Workload {
    pub(super) dice: Dice,
    pub(super) holders: Vec<Holder>,
    next: u64,
    /// Errands under way, and what they are for.
    errands: BTreeMap<u64, Errand>,
    /// Signatures under way, with the holder who waits.
    wishes: BTreeMap<u64, (usize, Wish)>,
    /// What clients were told is in the log: orders and sessions.
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Requests seen on the way, for whoever replays them.
    pub(super) seen: Vec<(CredentialId, SignedRequest)>,
    lists_wanted: Vec<(bool, u64, Vec<u64>)>,
    refreshed_at: u64,
    pub(super) last_signed_at: Option<u64>,
}

/// One holder.
pub(super) struct Holder {
    number: u64,
    pub(super) credential: CredentialId,
    card: Card,
    subject: SubjectFields,
    role: &'static str,
    serial: u64,
    certificate: Option<warifu_protocol::Blob>,
    pub(super) session: Option<OpenSession>,
    busy_until: u64,
    /// Signed at least one document since faults ended.
    pub(super) has_signed: bool,
}

/// A session that a holder believes to be open.
pub(super) struct OpenSession {
    pub(super) id: SessionId,
    pub(super) key: u64,
    pub(super) next: u32,
    is_open: bool,
}

struct Errand {
    holder: Option<usize>,
    command: Command,
    tries: u32,
}

/// Something that a client was told is in the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum Acknowledged {
    /// An order.
    Order(OrderId),
    /// A session.
    Session(SessionId),
}

impl Workload {
    pub(super) fn new(plan: &Plan, tree: &SeedTree) -> anyhow::Result<Self> {
        let mut dice = tree.rng("workload", 0);
        let holders = (0..u64::from(plan.holders))
            .map(|number| {
                Ok(Holder {
                    number,
                    credential: CredentialId::new(dice.bytes()),
                    card: TrialPki::get().card(1_000 + number, EPOCH.plus(YEAR))?,
                    subject: SubjectFields::new(
                        "JP",
                        Some("Trial Clinic".to_owned()),
                        format!("Holder {number}"),
                        format!("TRIAL-{number:04}"),
                    )?,
                    role: if number % 2 == 0 { "Medical Doctor" } else { "Pharmacist" },
                    serial: 2_000 + 100 * number,
                    certificate: None,
                    session: None,
                    busy_until: 0,
                    has_signed: false,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            dice,
            holders,
            next: 0,
            errands: BTreeMap::new(),
            wishes: BTreeMap::new(),
            acknowledged: Vec::new(),
            seen: Vec::new(),
            lists_wanted: vec![(false, 1, Vec::new()), (true, 1, Vec::new())],
            refreshed_at: 0,
            last_signed_at: None,
        })
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl World {
    /// The people do one thing.
    pub(super) fn work(&mut self) {
        let (least, most) = WORK_MILLIS;
        let pause = self.workload.dice.between(least, most);
        self.after(pause, Event::Work);
        self.tend();
        if self.bring_lists() || self.equip_clinic() {
            return;
        }
        let number = self.workload.dice.below(self.workload.holders.len() as u64) as usize;
        if self.now < self.workload.holders.get(number).map_or(0, |holder| holder.busy_until) {
            return;
        }
        self.advance(number);
    }

    /// Brings the CAs' lists into the log, before anything else. Says whether it is at it.
    fn bring_lists(&mut self) -> bool {
        let Some((of_cards, number, revoked)) = self.workload.lists_wanted.first().cloned() else { return false };
        if !self.workload.errands.is_empty() {
            return true;
        }
        let Ok(der) = TrialPki::get().list(of_cards, number, &revoked) else { return false };
        let announcement = OrderCommand::update_crl(der.as_slice(), number, None);
        let already = self.truth().crls().unwrap_or_default().len();
        if number == 1 && already > usize::from(of_cards) {
            self.workload.lists_wanted.remove(0);
            return true;
        }
        self.order(None, announcement);
        true
    }

    fn equip_clinic(&mut self) -> bool {
        let Ok(facility) = CLINIC.parse() else { return false };
        let (has_facility, has_desk) = (self.truth().facility(&facility), self.truth().terminal(DESK));
        let order = match (has_facility, has_desk) {
            (Ok(None), _) => OrderCommand::EnrolFacility { facility },
            (_, Ok(None)) => OrderCommand::EnrolTerminal { terminal: DESK, facility, key: public(&self.people.desk()) },
            _ => return false,
        };
        if self.workload.errands.is_empty() {
            self.order(None, order);
        }
        true
    }

    /// The next step of one holder's life.
    fn advance(&mut self, number: usize) {
        let Some(holder) = self.workload.holders.get(number) else { return };
        let credential = holder.credential;
        let record = self.truth().credential(credential).ok().flatten();
        let Some(record) = record else {
            let Ok(name) = format!("holder-{}", holder.number).parse() else { return };
            let enrolment = Enrolment { credential, holder: name, subject: holder.subject.clone() };
            return self.order(Some(number), OrderCommand::Enrol { enrolments: vec![enrolment] });
        };
        match record.state {
            CredentialState::Generating => {
                // A ceremony that was given up leaves nothing behind: the holder is enrolled anew.
            }
            CredentialState::Generated => match &holder.certificate {
                None => self.want(number, Wish::Csr(credential)),
                Some(certificate) => {
                    let certificate = certificate.clone();
                    self.order(Some(number), OrderCommand::InstallCertificate { credential, certificate, intermediates: Vec::new() });
                }
            },
            CredentialState::Certified => self.bind(number),
            CredentialState::Active => self.be_active(number, credential),
            CredentialState::Suspended => {
                if self.is_quiet || self.workload.dice.permille(400) {
                    self.order(Some(number), OrderCommand::Resume { credential });
                }
            }
            CredentialState::Revoked => {
                if self.is_quiet || self.workload.dice.permille(300) {
                    self.stop_something(number, OrderCommand::Destroy { credential });
                }
            }
            CredentialState::Destroyed => {
                let fresh = CredentialId::new(self.workload.dice.bytes());
                if let Some(holder) = self.workload.holders.get_mut(number) {
                    holder.credential = fresh;
                    holder.certificate = None;
                    holder.session = None;
                    holder.serial += 1;
                }
            }
        }
    }

    fn be_active(&mut self, number: usize, credential: CredentialId) {
        let dice = &mut self.workload.dice;
        let what = dice.below(1_000);
        if !self.is_quiet {
            match what {
                0..20 => return self.stop_something(number, OrderCommand::Suspend { credential }),
                20..30 => return self.stop_something(number, OrderCommand::Revoke { credential }),
                30..50 => return self.close_session(number),
                50..90 if self.now > self.workload.refreshed_at + 8_000 => {
                    self.workload.refreshed_at = self.now;
                    return self.order(None, OrderCommand::Refresh { credentials: vec![credential] });
                }
                _ => {}
            }
        }
        let session = self.workload.holders.get(number).and_then(|holder| holder.session.as_ref());
        let is_usable = session.is_some_and(|session| {
            let known = self.truth().session(session.id).ok().flatten();
            session.is_open && session.next <= SESSION_SIGNATURES && known.is_none_or(|record| !record.closed)
        });
        if is_usable { self.sign_document(number) } else { self.open_session(number) }
    }

    fn bind(&mut self, number: usize) {
        let Some(holder) = self.workload.holders.get(number) else { return };
        let (credential, card) = (holder.credential, holder.card.clone());
        let nonce = Challenge::new(self.workload.dice.bytes());
        let binding =
            Binding { cluster: self.people.cluster(), credential, kind: AuthenticatorKind::MyNumberCard, card: card.hash(), nonce };
        let card_signature = TrialPki::get().card_sign(&binding.message());
        let order =
            OrderCommand::BindAuthenticator { binding, certificate: card.der, intermediates: Vec::new(), card_signature, bound_card: None };
        self.order(Some(number), order);
    }

    fn open_session(&mut self, number: usize) {
        let key_number = self.workload.next();
        let (now, nonce) = (self.unix(), Challenge::new(self.workload.dice.bytes()));
        let Ok(facility) = CLINIC.parse() else { return };
        let key = self.people.session(key_number);
        let Some(holder) = self.workload.holders.get_mut(number) else { return };
        let statement = Statement {
            cluster: self.people.cluster(),
            credential: holder.credential,
            session_key: public(&key),
            facility,
            terminal: DESK,
            purpose: Purpose::EPrescription,
            not_before: now,
            not_after: now.plus(SESSION_MILLIS),
            max_signatures: SESSION_SIGNATURES,
            nonce,
        };
        holder.session = Some(OpenSession { id: statement.session(), key: key_number, next: 1, is_open: false });
        let opening = SessionOpening {
            card_certificate: holder.card.der.clone(),
            intermediates: Vec::new(),
            card_signature: TrialPki::get().card_sign(&statement.message()),
            terminal_signature: sign(&self.people.desk(), &statement.terminal_message()),
            possession: sign(&key, &statement.possession_message()),
            ocsp: None,
            statement,
        };
        self.begin_errand(Some(number), Command::SessionOpened(opening));
    }

    fn close_session(&mut self, number: usize) {
        let Some(session) = self.workload.holders.get(number).and_then(|holder| holder.session.as_ref()).filter(|session| session.is_open)
        else {
            return;
        };
        let (id, key) = (session.id, self.people.session(session.key));
        let stop = StopCommand::SessionClosing(SessionClosing { session: id, signature: sign(&key, &closing_message(id)) });
        self.begin_stop(number, stop);
    }

    fn sign_document(&mut self, number: usize) {
        let seconds = self.unix().as_secs();
        let digest = DocumentDigest::new(self.workload.dice.bytes());
        let Some(holder) = self.workload.holders.get_mut(number) else { return };
        let (credential, kind) =
            (holder.credential, if holder.role == "Pharmacist" { DocumentKind::Dispensing } else { DocumentKind::Prescription });
        let Some(session) = holder.session.as_mut() else { return };
        let (seq, key) = (session.next, self.people.session(session.key));
        session.next += 1;
        let Ok(document_id) = format!("document-{seq}").parse() else { return };
        let request = Request { session: session.id, seq, kind, document_id, digest, signing_time: UnixMillis(seconds * 1000) };
        let signed = SignedRequest { signature: sign(&key, &request.message()), request };
        self.workload.seen.push((credential, signed.clone()));
        self.want(number, Wish::Document(credential, signed));
    }

    /// Asks a coordinator for a signature.
    fn want(&mut self, number: usize, wish: Wish) {
        let job = self.workload.next();
        let until = self.now + PATIENCE_MILLIS;
        if let (Wish::Csr(_), Some(holder)) = (&wish, self.workload.holders.get_mut(number)) {
            holder.busy_until = until;
        }
        self.counters.requests += 1;
        self.workload.wishes.insert(job, (number, wish.clone()));
        let coordinator = self.pick_coordinator();
        self.wish(coordinator, job, wish);
    }

    /// A signature came, or a reason why there is none, or nothing at all.
    pub(super) fn wish_over(&mut self, job: u64, outcome: Option<WishOutcome>) {
        let Some((number, wish)) = self.workload.wishes.remove(&job) else { return };
        let is_quiet = self.is_quiet;
        let now = self.now;
        match &outcome {
            Some(Ok(_)) => {
                self.counters.signed += 1;
                if !is_quiet {
                    let since = self.workload.last_signed_at.replace(now).map_or(0, |last| now - last);
                    self.counters.longest_gap_millis = self.counters.longest_gap_millis.max(since);
                }
            }
            Some(Err(_)) => self.counters.failed += 1,
            None => self.counters.unknown += 1,
        }
        let Some(holder) = self.workload.holders.get_mut(number) else { return };
        match (wish, outcome) {
            (Wish::Csr(credential), outcome) => {
                holder.busy_until = now;
                let Some(Ok((info, signature))) = outcome else { return };
                if holder.credential != credential || holder.certificate.is_some() {
                    return;
                }
                let Ok((subject, key)) = assemble_csr(&info, &signature).and_then(|csr| verify_csr(&csr)) else { return };
                holder.certificate = TrialPki::get().certify(holder.serial, &key, &subject, holder.role).ok();
            }
            (Wish::Document(..), Some(Ok(_))) => holder.has_signed |= is_quiet,
            (Wish::Document(..), _) => {}
        }
    }

    fn stop_something(&mut self, number: usize, order: OrderCommand) {
        let id = OrderId::new(self.workload.dice.bytes());
        let Ok(order) = self.people.order(self.log.truth(), self.unix(), id, order) else { return };
        self.begin_stop(number, StopCommand::Order(order));
    }

    fn begin_stop(&mut self, number: usize, stop: StopCommand) {
        let errand = self.workload.next();
        let until = self.now + PATIENCE_MILLIS;
        if let Some(holder) = self.workload.holders.get_mut(number) {
            holder.busy_until = until;
        }
        self.workload.errands.insert(errand, Errand { holder: Some(number), command: stop.clone().into_command(), tries: 0 });
        let coordinator = self.pick_coordinator();
        self.stop(coordinator, errand, stop);
    }

    /// Brings an order into the log.
    pub(super) fn order(&mut self, holder: Option<usize>, order: OrderCommand) {
        let id = OrderId::new(self.workload.dice.bytes());
        let Ok(order) = self.people.order(self.log.truth(), self.unix(), id, order) else { return };
        self.begin_errand(holder, Command::Order(order));
    }

    fn begin_errand(&mut self, holder: Option<usize>, command: Command) {
        let errand = self.workload.next();
        let until = self.now + PATIENCE_MILLIS;
        if let Some(holder) = holder.and_then(|number| self.workload.holders.get_mut(number)) {
            holder.busy_until = until;
        }
        self.workload.errands.insert(errand, Errand { holder, command: command.clone(), tries: 0 });
        let coordinator = self.pick_coordinator();
        self.errand(coordinator, errand, command);
    }

    /// A command's verdict came, or none. `after_unknown` says that an earlier try may be the one that was applied.
    pub(super) fn errand_over(&mut self, number: u64, outcome: Option<(Verdict, bool)>) {
        let Some(errand) = self.workload.errands.remove(&number) else { return };
        let now = self.now;
        let holder = errand.holder.and_then(|holder| self.workload.holders.get_mut(holder));
        let Some((verdict, _)) = outcome else {
            self.counters.orders_unknown += 1;
            // The same again: that is what an unknown outcome asks for.
            if errand.tries < 3 {
                let coordinator = self.pick_coordinator();
                let Errand { holder, command, tries } = errand;
                self.workload.errands.insert(number, Errand { holder, command: command.clone(), tries: tries + 1 });
                self.retry_errand(coordinator, number, command);
            }
            return;
        };
        if let Some(holder) = holder {
            holder.busy_until = now;
        }
        match (errand.command, verdict.outcome) {
            (Command::Order(order), Ok(applied)) => {
                self.acknowledge(Acknowledged::Order(order.body.id));
                self.tell(Fact::OrderAcknowledged { order: order.body.id, index: verdict.index });
                if let (Applied::CrlExpected { order: id, .. }, OrderCommand::UpdateCrl { .. }) = (&applied, &order.body.order) {
                    self.send_list(*id);
                }
            }
            (Command::SessionOpened(opening), outcome) => {
                let session = opening.statement.session();
                let is_open = outcome.is_ok() || self.truth().session(session).is_ok_and(|record| record.is_some());
                if is_open {
                    self.acknowledge(Acknowledged::Session(session));
                }
                if let Some(held) =
                    self.workload.holders.iter_mut().filter_map(|holder| holder.session.as_mut()).find(|held| held.id == session)
                {
                    held.is_open = is_open;
                }
            }
            (Command::CrlChunk { .. }, Ok(Applied::CrlActive)) if !self.workload.lists_wanted.is_empty() => {
                self.workload.lists_wanted.remove(0);
            }
            _ => {}
        }
    }

    fn retry_errand(&mut self, coordinator: usize, errand: u64, command: Command) {
        // Through the queue, so that a coordinator that is down is not asked in a circle.
        if self.coordinators.get(coordinator).is_some_and(|one| one.is_up) {
            self.errand(coordinator, errand, command);
        } else {
            self.workload.errands.remove(&errand);
        }
    }

    /// The one piece of a trial list.
    fn send_list(&mut self, order: OrderId) {
        let Some((of_cards, number, revoked)) = self.workload.lists_wanted.first().cloned() else { return };
        if let Ok(bytes) = TrialPki::get().list(of_cards, number, &revoked) {
            self.begin_errand(None, Command::CrlChunk { order, index: 0, bytes });
        }
    }

    fn acknowledge(&mut self, what: Acknowledged) {
        self.counters.acknowledged += 1;
        self.workload.acknowledged.push(what);
    }

    fn pick_coordinator(&mut self) -> usize {
        let up: Vec<usize> = self.coordinators.iter().enumerate().filter(|(_, one)| one.is_up).map(|(number, _)| number).collect();
        self.workload.dice.pick(&up).copied().unwrap_or_default()
    }

    /// What clients wait for.
    pub(super) fn is_awaited(&self) -> bool {
        !self.workload.wishes.is_empty() || !self.workload.errands.is_empty()
    }
}
