//! What the people do: enrol, certify, log in, sign, stop, resume, destroy, refresh; and what they were told. Cards are in a file of their own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use warifu_core::pki::{Certificate, assemble_csr, verify_csr};
use warifu_core::registry::{CredentialRecord, Registry as _, SessionRecord};
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{
    Blob, Command, CredentialId, DocumentDigest, DocumentKind, Enrolment, NodeId, OrderCommand, OrderId, Policy, Request, SessionClosing,
    SessionId, SignedRequest, StopCommand, StopId, StopKind, StopObject, SubjectFields, UnixMillis, closing_message,
};

use super::attack::Stolen;
use super::coordinator::Wish;
use super::event::Event;
use super::fact::{AskedFor, Fact};
use super::imports::Importing;
use super::people::{CLINIC, desk, policy, public, sign};
use super::pki::{Card, EPOCH, TrialPki};
use super::plan::{Focus, Plan};
use super::seed::{Dice, SeedTree};
use super::world::World;

/// The people do something about so often.
const WORK_MILLIS: (u64, u64) = (20, 200);
/// Documents that a holder writes at once.
const DOCUMENTS_AT_ONCE: (u64, u64) = (1, 3);
/// Signatures in one session.
pub(super) const SESSION_SIGNATURES: u32 = 40;
/// Of these, those that the holder asks for; few, so that holders log in again. The others are left to whoever steals the session.
pub(super) const SESSION_SIGNATURES_USED: u32 = 20;
/// Sessions that a holder leaves open behind the current one, for whoever steals them; the oldest is closed then. Fewer than the registry takes, or
/// nobody could log in again once signing had been impossible for a while.
const SESSIONS_LEFT_MAX: usize = 8;
/// Deadlines of ceremonies that a policy sets.
const CEREMONY_MILLIS: (u64, u64) = (5_000, 9_000);
/// Ages at which a policy has keys refreshed; 0 is never.
const REFRESH_AFTER_MILLIS: [u64; 3] = [0, 20_000, 40_000];
/// Life of a signing certificate that is to end during a run: long enough to be installed first.
const BRIEF_CERTIFICATE_MILLIS: (u64, u64) = (15_000, 40_000);
/// Cards of one credential: fewer than the registry takes.
const CARDS_MAX: usize = 3;
/// Chance in a thousand that officers act of their own accord, and in a run about custody.
const OFFICERS_ACT: u32 = 15;
const OFFICERS_ACT_CUSTODY: u32 = 60;
/// Documents, of a thousand, that a client asks for once more although it has the signature: its platform lost the answer.
const ASKED_AGAIN: u32 = 40;
/// Numbers, of a thousand, under which a client that misbehaves asks for a second document, at the same time by any coordinator.
const NUMBER_TWICE: u32 = 40;
/// Keys that exist already, of a thousand.
const IMPORTS: u32 = 250;
const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;
/// Nobody waits longer for an answer before doing something else.
pub(super) const PATIENCE_MILLIS: u64 = 15_000;

/// The message and its signature, or why there is none.
pub(super) type WishOutcome = Result<(Vec<u8>, [u8; 64]), String>;

/// The holders, and what clients were told.
pub(super) struct Workload {
    pub(super) dice: Dice,
    pub(super) holders: Vec<Holder>,
    next: u64,
    /// Errands under way, and what they are for.
    pub(super) errands: BTreeMap<u64, Errand>,
    /// Signatures under way, with the holder who waits, and since when.
    wishes: BTreeMap<u64, (usize, Wish, u64)>,
    /// Documents whose clients heard nothing, to be asked for again with the same request.
    unanswered: VecDeque<(usize, Wish)>,
    /// The same, until one of their tries is answered.
    unknown: BTreeSet<AskedFor>,
    /// What clients were told is in the log, or will be: orders, sessions and their ends, and stops that sites obey.
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Requests seen on the way, for whoever replays them.
    pub(super) seen: Vec<(CredentialId, SignedRequest)>,
    /// Lists of the CAs that are not in the log yet.
    pub(super) lists_wanted: Vec<WantedList>,
    /// Serials of cards that their CA has listed.
    pub(super) revoked: Vec<u64>,
    /// Cards that are, or will be, of no use: the adversary has them.
    pub(super) lost: Vec<Card>,
    /// Number of the terminal that the clinic uses; those before it are retired.
    pub(super) desk: u8,
    /// Imports that are not over.
    pub(super) imports: Vec<Importing>,
    refreshed_at: u64,
    pub(super) last_signed_at: Option<u64>,
}

/// One holder.
pub(super) struct Holder {
    number: u64,
    pub(super) credential: CredentialId,
    pub(super) card: Card,
    /// A second card, which ends soon.
    pub(super) brief: Option<Card>,
    subject: SubjectFields,
    role: &'static str,
    serial: u64,
    certificate: Option<Blob>,
    pub(super) session: Option<OpenSession>,
    /// Those before it, the oldest first.
    left: VecDeque<OpenSession>,
    pub(super) busy_until: u64,
    /// Signed at least one document since faults ended.
    pub(super) has_signed: bool,
}

impl Holder {
    /// What this holder signs.
    const fn kind(&self) -> DocumentKind {
        if self.number.is_multiple_of(2) { DocumentKind::Prescription } else { DocumentKind::Dispensing }
    }
}

/// A session that a holder believes to be open.
#[derive(Clone, Debug)]
pub(super) struct OpenSession {
    pub(super) id: SessionId,
    pub(super) key: u64,
    pub(super) next: u32,
    pub(super) is_open: bool,
}

/// A list of a CA that is to be brought into the log.
#[derive(Clone, Debug)]
pub(super) struct WantedList {
    /// Whether it is that of the cards' CA.
    pub(super) of_cards: bool,
    /// Its number.
    pub(super) number: u64,
    /// Serials on it.
    pub(super) revoked: Vec<u64>,
}

/// A command under way.
pub(super) struct Errand {
    pub(super) holder: Option<usize>,
    pub(super) command: Command,
    pub(super) tries: u32,
}

/// Something that a client was told is in the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum Acknowledged {
    /// An order.
    Order(OrderId),
    /// A session.
    Session(SessionId),
    /// The end of a session.
    SessionEnd(SessionId),
    /// A stop that so many sites obey that none can be signed against it; they see to it that the log has it.
    Stop(StopId, StopObject, StopKind),
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
                    brief: None,
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
                    left: VecDeque::new(),
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
            unanswered: VecDeque::new(),
            unknown: BTreeSet::new(),
            acknowledged: Vec::new(),
            seen: Vec::new(),
            lists_wanted: [false, true].map(|of_cards| WantedList { of_cards, number: 1, revoked: Vec::new() }).into(),
            revoked: Vec::new(),
            lost: Vec::new(),
            desk: 0,
            imports: Vec::new(),
            refreshed_at: 0,
            last_signed_at: None,
        })
    }

    /// A number that was not used before.
    pub(super) fn next(&mut self) -> u64 {
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
        self.ask_again();
        self.bring_packets();
        if self.bring_lists() || self.equip_clinic() || self.officers_act() {
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
        let Some(wanted) = self.workload.lists_wanted.first().cloned() else { return false };
        // Nobody logs in before there are lists at all; later ones come beside everything else.
        let is_first = wanted.number == 1;
        if !self.workload.errands.is_empty() {
            return is_first;
        }
        let Some(der) = self.make_list(&wanted) else { return false };
        let hash = sha256(&der);
        if self.truth().crls().unwrap_or_default().iter().any(|crl| *crl.hash.as_bytes() == hash) {
            self.workload.lists_wanted.remove(0);
            return is_first;
        }
        self.order(None, OrderCommand::update_crl(&der, wanted.number, None));
        true
    }

    fn equip_clinic(&mut self) -> bool {
        let Ok(facility) = CLINIC.parse() else { return false };
        let terminal = desk(self.workload.desk);
        let (has_facility, has_desk) = (self.truth().facility(&facility), self.truth().terminal(terminal));
        let order = match (has_facility, has_desk) {
            (Ok(None), _) => OrderCommand::EnrolFacility { facility },
            (_, Ok(None)) => OrderCommand::EnrolTerminal { terminal, facility, key: public(&self.people.desk(terminal)) },
            _ => return false,
        };
        if self.workload.errands.is_empty() {
            self.order(None, order);
        }
        true
    }

    /// Now and then security officers have all keys refreshed, or change the policy.
    fn officers_act(&mut self) -> bool {
        let chance = if self.plan.focus == Some(Focus::Custody) { OFFICERS_ACT_CUSTODY } else { OFFICERS_ACT };
        if self.is_quiet || self.is_warming || !self.workload.dice.permille(chance) || self.now < self.workload.refreshed_at + 8_000 {
            return false;
        }
        self.workload.refreshed_at = self.now;
        if self.workload.dice.permille(600) {
            let sites: Vec<NodeId> = self.reached.keys().copied().collect();
            let held_by = self.workload.dice.pick(&sites).copied().filter(|site| site.get().is_multiple_of(2));
            self.order(None, OrderCommand::RefreshAll { held_by });
            return true;
        }
        let (least, most) = CEREMONY_MILLIS;
        let ceremony_millis_max = self.workload.dice.between(least, most);
        let refresh_after_millis = *self.workload.dice.pick(&REFRESH_AFTER_MILLIS).unwrap_or(&0);
        let policy = Policy { ceremony_millis_max, refresh_after_millis, ..policy() };
        self.order_with_consents(OrderCommand::UpdatePolicy { policy });
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
            if self.workload.dice.permille(IMPORTS) {
                return self.import(number, enrolment);
            }
            return self.order(Some(number), OrderCommand::Enrol { enrolments: vec![enrolment] });
        };
        match record.state {
            CredentialState::Generating => {
                // A ceremony that was given up leaves nothing behind: the holder is enrolled anew.
            }
            CredentialState::Generated => match &holder.certificate {
                None => self.want(number, Wish::Csr(credential)),
                Some(certificate) if has_ended(certificate, self.unix()) => self.renew_certificate(number, credential, &record),
                Some(certificate) => {
                    let certificate = certificate.clone();
                    self.order(Some(number), OrderCommand::InstallCertificate { credential, certificate, intermediates: Vec::new() });
                }
            },
            CredentialState::Certified => {
                if !self.has_card(number, &record) {
                    self.resume_card(number, credential, &record);
                }
            }
            CredentialState::Active => self.be_active(number, credential, &record),
            CredentialState::Suspended => {
                if self.is_quiet || self.workload.dice.permille(400) {
                    if record.certificate_ended {
                        return self.renew_certificate(number, credential, &record);
                    }
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
                    holder.brief = None;
                    holder.session = None;
                    holder.left.clear();
                    holder.serial += 1;
                }
            }
        }
    }

    fn be_active(&mut self, number: usize, credential: CredentialId, record: &CredentialRecord) {
        if record.certificate.as_ref().is_some_and(|certificate| certificate.not_after < self.unix()) {
            // The log has had no entry since.
            return self.renew_certificate(number, credential, record);
        }
        let dice = &mut self.workload.dice;
        let what = dice.below(1_000);
        let has_signed = self.workload.holders.get(number).is_some_and(|holder| holder.has_signed);
        if self.is_quiet && has_signed {
            return;
        }
        if !self.is_quiet && !self.is_warming {
            match what {
                0..40 => return self.stop_something(number, OrderCommand::Suspend { credential }),
                40..60 => return self.stop_something(number, OrderCommand::Revoke { credential }),
                60..130 => return self.close_session(number),
                130..170 if self.now > self.workload.refreshed_at + 6_000 => {
                    self.workload.refreshed_at = self.now;
                    return self.order(None, OrderCommand::Refresh { credentials: vec![credential] });
                }
                170..182 if record.authenticators.len() < CARDS_MAX => return self.lose_card(number),
                182..200 if record.authenticators.len() < CARDS_MAX => return self.take_brief_card(number),
                200..212 => return self.retire_desk(),
                212..240 => return self.suspend_card(number, credential),
                _ => {}
            }
        }
        if !self.has_card(number, record) {
            return self.resume_card(number, credential, record);
        }
        let session = self.workload.holders.get(number).and_then(|holder| holder.session.as_ref());
        let is_usable = session.is_some_and(|session| {
            let known = self.truth().session(session.id).ok().flatten();
            let terminal = |id| self.truth().terminal(id).ok().flatten().is_none_or(|terminal| terminal.retired);
            let is_over = |record: &SessionRecord| {
                let statement = &record.statement;
                record.closed || statement.not_after < self.unix().plus(1_000) || terminal(statement.terminal)
            };
            session.is_open && session.next <= SESSION_SIGNATURES_USED && known.is_none_or(|record| !is_over(&record))
        });
        if !is_usable {
            return self.open_session(number);
        }
        let (least, most) = DOCUMENTS_AT_ONCE;
        for _ in 0..self.workload.dice.between(least, most) {
            self.sign_document(number);
        }
    }

    /// The CA certifies the same key for longer.
    fn renew_certificate(&mut self, number: usize, credential: CredentialId, record: &CredentialRecord) {
        let Some(key) = &record.key else { return };
        let ends = self.certificate_ends();
        let Some(holder) = self.workload.holders.get_mut(number) else { return };
        holder.serial += 1;
        let issued = TrialPki::get().certify(holder.serial, &key.group_key, &record.subject, holder.role, ends);
        let Ok(certificate) = issued else { return };
        holder.certificate = Some(certificate.clone());
        self.order(Some(number), OrderCommand::InstallCertificate { credential, certificate, intermediates: Vec::new() });
    }

    /// The end of a certificate that is issued now: some are short-lived while there are faults.
    fn certificate_ends(&mut self) -> UnixMillis {
        let (least, most) = BRIEF_CERTIFICATE_MILLIS;
        let brief = (!self.is_quiet && self.workload.dice.permille(150)).then(|| self.workload.dice.between(least, most));
        brief.map_or_else(|| EPOCH.plus(YEAR), |millis| UnixMillis(self.unix().plus(millis).as_secs() * 1_000))
    }

    /// The clinic's terminal is given up; another takes its place.
    fn retire_desk(&mut self) {
        let terminal = desk(self.workload.desk);
        self.workload.desk += 1;
        self.order(None, OrderCommand::RetireTerminal { terminal });
    }

    fn suspend_card(&mut self, number: usize, credential: CredentialId) {
        if let Some(card) = self.workload.holders.get(number).map(|holder| holder.card.hash()) {
            self.stop_something(number, OrderCommand::SuspendBinding { credential, card });
        }
    }

    /// The card was found again.
    fn resume_card(&mut self, number: usize, credential: CredentialId, record: &CredentialRecord) {
        let Some(card) = self.workload.holders.get(number).map(|holder| holder.card.hash()) else { return };
        let is_suspended = record.authenticators.iter().any(|bound| bound.card == card && bound.suspended);
        let is_idle = self.workload.holders.get(number).is_some_and(|holder| holder.busy_until <= self.now);
        if is_suspended && is_idle {
            self.order(Some(number), OrderCommand::ResumeBinding { credential, card });
        }
    }

    fn open_session(&mut self, number: usize) {
        if let Some(holder) = self.workload.holders.get_mut(number) {
            holder.left.extend(holder.session.take());
            if holder.left.len() > SESSIONS_LEFT_MAX
                && let Some(oldest) = holder.left.pop_front()
            {
                return self.close(number, &oldest);
            }
        }
        let key = self.workload.next();
        let now = self.unix();
        let takes_brief = self.workload.dice.permille(500);
        let Some(holder) = self.workload.holders.get(number) else { return };
        let (credential, kind) = (holder.credential, holder.kind());
        let brief = holder.brief.clone().filter(|card| takes_brief && now.plus(1_000) < card.ends);
        let is_bound = |card: &Card| {
            let record = self.truth().credential(credential).ok().flatten();
            record.is_some_and(|record| record.authenticators.iter().any(|bound| bound.card == card.hash()))
        };
        let card = brief.filter(is_bound).unwrap_or_else(|| holder.card.clone());
        let terminal = self.workload.desk;
        let Some(opening) = self.login(credential, &card, terminal, key) else { return };
        let session = opening.statement.session();
        if let Some(holder) = self.workload.holders.get_mut(number) {
            holder.session = Some(OpenSession { id: session, key, next: 1, is_open: false });
        }
        self.adversary.steal(Stolen { session, credential, key, kind });
        self.begin_errand(Some(number), Command::SessionOpened(opening));
    }

    fn close_session(&mut self, number: usize) {
        let session = self.workload.holders.get(number).and_then(|holder| holder.session.clone());
        if let Some(session) = session.filter(|session| session.is_open) {
            self.close(number, &session);
        }
    }

    fn close(&mut self, number: usize, session: &OpenSession) {
        let id = session.id;
        if self.truth().session(id).ok().flatten().is_none_or(|record| record.closed) {
            return;
        }
        let key = self.people.session(session.key);
        let stop = StopCommand::SessionClosing(SessionClosing { session: id, signature: sign(&key, &closing_message(id)) });
        self.begin_stop(number, stop);
    }

    fn sign_document(&mut self, number: usize) {
        let seconds = self.unix().as_secs();
        let digest = DocumentDigest::new(self.workload.dice.bytes());
        let Some(holder) = self.workload.holders.get_mut(number) else { return };
        let (credential, kind) = (holder.credential, holder.kind());
        let Some(session) = holder.session.as_mut() else { return };
        let (seq, key) = (session.next, self.people.session(session.key));
        session.next += 1;
        let Ok(document_id) = format!("document-{seq}").parse() else { return };
        let request = Request { session: session.id, seq, kind, document_id, digest, signing_time: UnixMillis(seconds * 1000) };
        let second = (!self.is_quiet && self.workload.dice.permille(NUMBER_TWICE))
            .then(|| Request { digest: DocumentDigest::new(self.workload.dice.bytes()), ..request.clone() });
        self.counters.injected("second document under a number", u64::from(second.is_some()));
        for request in [Some(request), second].into_iter().flatten() {
            let signed = SignedRequest { signature: sign(&key, &request.message()), request };
            self.workload.seen.push((credential, signed.clone()));
            self.want(number, Wish::Document(credential, signed));
        }
    }

    /// A platform that heard nothing asks another coordinator, with the same request.
    fn ask_again(&mut self) {
        if self.coordinators.iter().any(|one| one.is_up)
            && let Some((number, wish)) = self.workload.unanswered.pop_front()
        {
            self.counters.injected("request repeated after no answer", 1);
            self.want(number, wish);
        }
    }

    /// Whether every client has heard of what it asked for.
    pub(super) fn is_answered(&self) -> bool {
        self.workload.unknown.is_empty()
    }

    /// Asks a coordinator for a signature.
    fn want(&mut self, number: usize, wish: Wish) {
        let job = self.workload.next();
        let until = self.now + PATIENCE_MILLIS;
        if let (Wish::Csr(_), Some(holder)) = (&wish, self.workload.holders.get_mut(number)) {
            holder.busy_until = until;
        }
        self.counters.requests += 1;
        if let Some(request) = wish.asked_for() {
            self.tell(Fact::Asked { request, by_client: true });
        }
        self.workload.wishes.insert(job, (number, wish.clone(), self.now));
        let coordinator = self.pick_coordinator();
        self.wish(coordinator, job, wish);
    }

    /// A signature came, or a reason why there is none, or nothing at all.
    pub(super) fn wish_over(&mut self, job: u64, outcome: Option<WishOutcome>) {
        let Some((number, wish, asked)) = self.workload.wishes.remove(&job) else { return };
        self.timeline.asked(asked, self.now, matches!(outcome, Some(Ok(_))));
        let is_quiet = self.is_quiet;
        let now = self.now;
        let ends = self.certificate_ends();
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
        self.note_outcome(number, &wish, outcome.as_ref());
        let Some(holder) = self.workload.holders.get_mut(number) else { return };
        match (wish, outcome) {
            (Wish::Csr(credential), outcome) => {
                holder.busy_until = now;
                let Some(Ok((info, signature))) = outcome else { return };
                if holder.credential != credential || holder.certificate.is_some() {
                    return;
                }
                let Ok((subject, key)) = assemble_csr(&info, &signature).and_then(|csr| verify_csr(&csr)) else { return };
                holder.certificate = TrialPki::get().certify(holder.serial, &key, &subject, holder.role, ends).ok();
            }
            (Wish::Document(..), Some(Ok(_))) => holder.has_signed |= is_quiet,
            (Wish::Document(..), _) => {}
        }
    }

    /// What a client does that heard nothing, or whose platform lost what it was given.
    fn note_outcome(&mut self, number: usize, wish: &Wish, outcome: Option<&WishOutcome>) {
        let Some(request) = wish.asked_for() else { return };
        let Some(outcome) = outcome else {
            self.tell(Fact::Unanswered { request });
            self.workload.unknown.insert(request);
            self.workload.unanswered.push_back((number, wish.clone()));
            return;
        };
        self.workload.unknown.remove(&request);
        if outcome.is_ok() && !self.is_quiet && self.workload.dice.permille(ASKED_AGAIN) {
            self.counters.injected("request repeated by its client", 1);
            self.want(number, wish.clone());
        }
    }
}

/// Whether a certificate is past its end: one that was issued and not installed in time is issued anew.
fn has_ended(der: &Blob, now: UnixMillis) -> bool {
    Certificate::parse(der.as_slice()).is_ok_and(|certificate| certificate.not_after() < now)
}
