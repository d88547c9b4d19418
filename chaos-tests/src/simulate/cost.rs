//! What the arithmetic of FROST and signatures costs in a run, to tell it from what the simulator itself costs: in time of the processor, so that it does
//! not depend on what else the machine does.
//!
//! What does nothing else is timed where it is called. Inside of what does more (applying entries, checking requests) the signatures that are verified
//! are counted, and taken to cost what one costs on this machine now.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signer as _, SigningKey};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use warifu_core::pki::{Certificate, verify_card_signature};
use warifu_protocol::{Command, OrderCommand, UnixMillis};

use super::people::public;
use super::pki::TrialPki;

/// Processor time of a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// Seconds in key shares, nonces, signature shares, aggregation and the checks of these.
    pub frost: f64,
    /// Seconds in signing and verifying everything else: requests, orders, messages of sites, cards, certificates.
    pub signatures: f64,
    /// Seconds of the whole.
    pub total: f64,
}

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    /// FROST.
    Frost,
    /// Signatures that people, terminals, cards and CAs make, and those that invariants verify.
    Signatures,
}

#[derive(Clone, Copy, Default)]
struct Spent {
    frost: Duration,
    signatures: Duration,
    ed25519: u64,
    rsa: u64,
    points: u64,
}

thread_local! {
    /// A run is one thread's.
    static SPENT: Cell<Spent> = const { Cell::new(Spent { frost: Duration::ZERO, signatures: Duration::ZERO, ed25519: 0, rsa: 0, points: 0 }) };
}

/// Begins a run. Gives the time now, for [`end`].
pub(super) fn begin() -> Duration {
    SPENT.set(Spent::default());
    now()
}

/// This thread's time on a processor.
fn now() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default())
}

/// Times a piece of work. Pieces are not inside of each other.
pub(super) fn of<T>(what: Of, work: impl FnOnce() -> T) -> T {
    let began = now();
    let done = work();
    let took = now().saturating_sub(began);
    let mut spent = SPENT.get();
    match what {
        Of::Frost => spent.frost += took,
        Of::Signatures => spent.signatures += took,
    }
    SPENT.set(spent);
    done
}

/// Times a step of a ceremony that may find nothing to do: then it only read the state, which is no arithmetic.
pub(super) fn of_arithmetic<T, E>(step: impl FnOnce() -> Result<Vec<T>, E>) -> Result<Vec<T>, E> {
    let before = SPENT.get();
    let done = of(Of::Frost, step);
    if done.as_ref().is_ok_and(Vec::is_empty) {
        SPENT.set(before);
    }
    done
}

/// So many signatures are verified inside of other work.
pub(super) fn count(ed25519: u64, rsa: u64) {
    let mut spent = SPENT.get();
    spent.ed25519 += ed25519;
    spent.rsa += rsa;
    SPENT.set(spent);
}

/// So many points of FROST's commitments are read inside of other work.
pub(super) fn count_points(points: u64) {
    let mut spent = SPENT.get();
    spent.points += points;
    SPENT.set(spent);
}

/// How many Ed25519 and RSA signatures are verified when a command is applied, as if nothing else were wrong with it.
pub(super) fn signatures_in(command: &Command) -> (u64, u64) {
    match command {
        Command::Order(order) => {
            let rsa = match &order.body.order {
                // The card's signature and its certificate's.
                OrderCommand::BindAuthenticator { bound_card: None, .. } | OrderCommand::BindWithNotice { .. } => 2,
                OrderCommand::BindAuthenticator { bound_card: Some(_), .. } => 4,
                OrderCommand::InstallCertificate { .. } => 1,
                _ => 0,
            };
            ((order.approvals.len() + order.consents.len()) as u64, rsa)
        }
        // Terminal and session key; card and certificate.
        Command::SessionOpened(_) => (2, 2),
        Command::CrlChunk { .. } => (0, 1),
        _ => (1, 0),
    }
}

/// Ends a run that began then.
pub(super) fn end(began: Duration) -> Cost {
    let total = now().saturating_sub(began);
    let spent = SPENT.take();
    let Units { ed25519, rsa, point } = *unit_costs();
    let counted = ed25519.mul_f64(spent.ed25519 as f64) + rsa.mul_f64(spent.rsa as f64);
    let frost = spent.frost + point.mul_f64(spent.points as f64);
    Cost { frost: frost.as_secs_f64(), signatures: (spent.signatures + counted).as_secs_f64(), total: total.as_secs_f64() }
}

impl Cost {
    /// Adds another run's.
    pub(super) fn add(&mut self, other: &Self) {
        self.frost += other.frost;
        self.signatures += other.signatures;
        self.total += other.total;
    }

    /// The part of the time that is neither.
    #[must_use]
    pub fn outside(&self) -> f64 {
        if self.total > 0.0 { 1.0 - (self.frost + self.signatures) / self.total } else { 0.0 }
    }
}

/// What one of each takes.
struct Units {
    ed25519: Duration,
    rsa: Duration,
    point: Duration,
}

/// The time for one Ed25519 and one RSA signature to be verified, and for one point to be read: the least of many, so that a busy machine does not make it
/// more.
fn unit_costs() -> &'static Units {
    static COSTS: OnceLock<Units> = OnceLock::new();
    COSTS.get_or_init(|| {
        let key = SigningKey::from_bytes(&[7; 32]);
        let (message, signature) = ([1_u8; 300], key.sign(&[1; 300]).to_bytes());
        let public = public(&key);
        let card = TrialPki::get().card(1, UnixMillis(super::pki::EPOCH.0 + 1_000_000)).ok();
        let card = card.and_then(|card| Certificate::parse(card.der.as_slice()).ok());
        let card_signature = TrialPki::get().card_sign(&message);
        let least = |verify: &dyn Fn() -> bool| {
            let time = |_| {
                let began = now();
                std::hint::black_box(verify());
                now().saturating_sub(began)
            };
            (0..60).map(time).min().unwrap_or_default()
        };
        let ed25519 = least(&|| public.verify(&message, &signature).is_ok());
        let rsa =
            least(&|| card.as_ref().is_some_and(|card| verify_card_signature(card.key(), &message, card_signature.as_slice()).is_ok()));
        let encoded = key.verifying_key().to_bytes();
        let point = least(&|| CompressedEdwardsY(std::hint::black_box(encoded)).decompress().is_some_and(|point| point.is_torsion_free()));
        Units { ed25519, rsa, point }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_timed_and_what_is_counted_add_up() {
        let busy = |until: Duration| while now() < until {};
        let began = begin();
        of(Of::Frost, || busy(now() + Duration::from_millis(5)));
        busy(now() + Duration::from_millis(5));
        count(20, 0);
        let cost = end(began);
        assert!(cost.frost >= 0.005 && cost.signatures > 0.0, "{cost:?}");
        assert!(cost.total >= 0.01 && (cost.outside() - (1.0 - (cost.frost + cost.signatures) / cost.total)).abs() < 1e-9, "{cost:?}");
        let began = begin();
        count_points(10);
        let points = end(began).frost;
        assert!(points > 0.0 && points < cost.frost, "a run takes along what was spent before");
    }
}
