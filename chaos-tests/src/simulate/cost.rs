//! What the arithmetic of FROST and signatures costs in a run, to tell it from what the simulator itself costs.
//!
//! What does nothing else is timed where it is called. Inside of what does more (applying entries, checking requests) the signatures that are verified
//! are counted, and taken to cost what one costs on this machine now.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, SigningKey};
use serde::Serialize;
use warifu_core::pki::{Certificate, verify_card_signature};
use warifu_protocol::{Command, OrderCommand, UnixMillis};

use super::people::public;
use super::pki::TrialPki;

/// Real time of a run.
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
}

thread_local! {
    /// A run is one thread's.
    static SPENT: Cell<Spent> = const { Cell::new(Spent { frost: Duration::ZERO, signatures: Duration::ZERO, ed25519: 0, rsa: 0 }) };
}

/// Begins a run.
pub(super) fn begin() {
    SPENT.set(Spent::default());
}

/// Times a piece of work. Pieces are not inside of each other.
pub(super) fn of<T>(what: Of, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    let took = began.elapsed();
    let mut spent = SPENT.get();
    match what {
        Of::Frost => spent.frost += took,
        Of::Signatures => spent.signatures += took,
    }
    SPENT.set(spent);
    done
}

/// Times a step of a ceremony that may find nothing to do: then it only read the state, which is no arithmetic.
pub(super) fn of_arithmetic<T>(step: impl FnOnce() -> Vec<T>) -> Vec<T> {
    let before = SPENT.get();
    let done = of(Of::Frost, step);
    if done.is_empty() {
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

/// Ends a run that took so long.
pub(super) fn end(total: Duration) -> Cost {
    let spent = SPENT.take();
    let (ed25519, rsa) = *unit_costs();
    let counted = ed25519.mul_f64(spent.ed25519 as f64) + rsa.mul_f64(spent.rsa as f64);
    Cost { frost: spent.frost.as_secs_f64(), signatures: (spent.signatures + counted).as_secs_f64(), total: total.as_secs_f64() }
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

/// The time for one Ed25519 and one RSA signature to be verified: the least of many, so that a busy machine does not make it more.
fn unit_costs() -> &'static (Duration, Duration) {
    static COSTS: OnceLock<(Duration, Duration)> = OnceLock::new();
    COSTS.get_or_init(|| {
        let key = SigningKey::from_bytes(&[7; 32]);
        let (message, signature) = ([1_u8; 300], key.sign(&[1; 300]).to_bytes());
        let public = public(&key);
        let card = TrialPki::get().card(1, UnixMillis(super::pki::EPOCH.0 + 1_000_000)).ok();
        let card = card.and_then(|card| Certificate::parse(card.der.as_slice()).ok());
        let card_signature = TrialPki::get().card_sign(&message);
        let least = |verify: &dyn Fn() -> bool| {
            let time = |_| {
                let began = Instant::now();
                std::hint::black_box(verify());
                began.elapsed()
            };
            (0..60).map(time).min().unwrap_or_default()
        };
        let ed25519 = least(&|| public.verify(&message, &signature).is_ok());
        let rsa =
            least(&|| card.as_ref().is_some_and(|card| verify_card_signature(card.key(), &message, card_signature.as_slice()).is_ok()));
        (ed25519, rsa)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_timed_and_what_is_counted_add_up() {
        begin();
        of(Of::Frost, || std::thread::sleep(Duration::from_millis(5)));
        count(1_000, 0);
        let cost = end(Duration::from_secs(1));
        assert!(cost.frost >= 0.005 && cost.signatures > 0.0, "{cost:?}");
        assert!((cost.outside() - (1.0 - cost.frost - cost.signatures)).abs() < 1e-9);
        assert_eq!(end(Duration::from_secs(1)).frost, 0.0, "a run takes it along");
    }
}
