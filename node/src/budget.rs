//! What one peer may bring into the log.
//!
//! Refused entries change nothing but take room in every log, and only whoever leads can keep them out. A peer whose commands are refused too
//! often has each of them tried on applied state before it is logged; one that brings too much waits. A stop that is valid is never held back:
//! nobody can make many of them, since officers or session keys sign each.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use warifu_core::registry::{self, ApplyError, Overlay, StateStore};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::{Command, LogEntry, UnixMillis};

use crate::clock;
use crate::state::StateDatabase;

/// Refused entries that a peer may have logged in a row: an honest node's commands may all be overtaken by one change of the cluster.
pub const REFUSED_BURST: u64 = 200;
/// How soon one of these is forgiven: 10 a minute, which is 5 MiB of the largest entries.
pub const REFUSED_FORGIVEN_AFTER: Duration = Duration::from_secs(6);
/// Bytes that a peer may bring at once: a CRL of the largest size, twice.
pub const BYTES_BURST: u64 = 64 * 1024 * 1024;
/// Bytes that it may bring in a second after that: the day's logins of a hundred thousand holders in a minute.
pub const BYTES_PER_SECOND: u64 = 4 * 1024 * 1024;
/// What the smallest entry counts as: its place in the log, the audit entry, and the work of applying it.
pub const ENTRY_BYTES_MIN: u64 = 2 * 1024;
/// When a peer that was told to wait may come again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Peers that are remembered; more than a roster has, at all times.
const PEERS_MAX: usize = 1024;

/// What a peer has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Enough bytes; they are taken.
    pub within_bytes: bool,
    /// Fewer refused entries than would make its commands be tried first.
    pub is_trusted: bool,
}

impl Admission {
    /// Whether the command can be logged without being tried on applied state first.
    #[must_use]
    pub fn is_free(self) -> bool {
        (self.within_bytes && self.is_trusted) || is_on(Mutant::SkipBudgets)
    }

    /// Whether a command that was tried can be logged.
    #[must_use]
    pub const fn allows(self, tried: Tried) -> bool {
        !tried.is_refused && (self.within_bytes || tried.is_stop)
    }
}

/// What a command came to when it was tried on applied state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// It is refused, or no command at all.
    pub is_refused: bool,
    /// It ends somebody's signing.
    pub is_stop: bool,
}

impl Tried {
    /// Tries a command that was sent. Reads the store: for a blocking thread.
    ///
    /// # Errors
    /// When the store fails.
    pub fn on<S: StateStore>(state: &S, now: UnixMillis, command: &[u8]) -> Result<Self, ApplyError> {
        let refused = Self { is_refused: true, is_stop: false };
        let Ok((command, [])) = postcard::take_from_bytes::<Command>(command) else { return Ok(refused) };
        let is_stop = command.as_stop().is_some();
        let Ok(entry) = LogEntry::new(now, command).encode() else { return Ok(refused) };
        let outcome = registry::apply(&mut Overlay::new(state), u64::MAX, &entry)?;
        Ok(Self { is_refused: outcome.verdict.outcome.is_err(), is_stop })
    }
}

/// A supply that is taken from and fills up again.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u64,
    /// Up to when it was filled.
    filled: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    refused: Bucket,
    bytes: Bucket,
}

/// The budgets of all peers of one kind.
#[derive(Debug)]
pub struct Budgets<P> {
    peers: Mutex<BTreeMap<P, Peer>>,
}

impl<P> Default for Budgets<P> {
    fn default() -> Self {
        Self { peers: Mutex::default() }
    }
}

impl<P: Ord + Clone + fmt::Display> Budgets<P> {
    /// Takes a command of this size out of the peer's budget, if it is enough.
    pub fn admit(&self, now: Instant, peer: &P, size: usize) -> Admission {
        self.of(now, peer, |peer| {
            let cost = u64::try_from(size).unwrap_or(u64::MAX).max(ENTRY_BYTES_MIN);
            let within_bytes = peer.bytes.left >= cost;
            if within_bytes {
                peer.bytes.left -= cost;
            }
            Admission { within_bytes, is_trusted: peer.refused.left > 0 }
        })
    }

    /// Whether the peer may bring this command into the log now. One that is beyond its budget is tried on applied state first, where that is given.
    ///
    /// # Errors
    /// How long the peer is to wait.
    pub async fn weigh(&self, peer: &P, state: Option<&StateDatabase>, command: &[u8]) -> Result<(), Duration> {
        let admission = self.admit(Instant::now(), peer, command.len());
        if admission.is_free() {
            return Ok(());
        }
        let (state, command) = (state.cloned(), command.to_vec());
        let tried = crate::blocking::run(move || Tried::on(&state?.view().ok()?, clock::now(), &command).ok());
        match tried.await {
            Ok(Some(tried)) if admission.allows(tried) => Ok(()),
            tried => {
                tracing::debug!(%peer, ?admission, ?tried, "a peer is to wait before it brings more into the log");
                Err(RETRY_AFTER)
            }
        }
    }

    /// An entry of this peer was logged and refused.
    pub fn refused(&self, now: Instant, peer: &P) {
        self.of(now, peer, |peer| peer.refused.left = peer.refused.left.saturating_sub(1));
    }

    fn of<T>(&self, now: Instant, peer: &P, change: impl FnOnce(&mut Peer) -> T) -> T {
        let mut peers = self.peers.lock();
        if peers.len() >= PEERS_MAX && !peers.contains_key(peer) {
            peers.clear();
        }
        let full = |left| Bucket { left, filled: now };
        let known = peers.entry(peer.clone()).or_insert_with(|| Peer { refused: full(REFUSED_BURST), bytes: full(BYTES_BURST) });
        known.refused.fill(now, REFUSED_FORGIVEN_AFTER, 1, REFUSED_BURST);
        known.bytes.fill(now, Duration::from_millis(1), BYTES_PER_SECOND / 1000, BYTES_BURST);
        change(known)
    }
}

impl Bucket {
    /// Adds `portion` for each whole `pause` since the last time.
    fn fill(&mut self, now: Instant, pause: Duration, portion: u64, full: u64) {
        let pauses = now.saturating_duration_since(self.filled).as_nanos() / pause.as_nanos().max(1);
        let pauses = u32::try_from(pauses).unwrap_or(u32::MAX);
        if pauses == 0 {
            return;
        }
        self.left = self.left.saturating_add(portion.saturating_mul(pauses.into())).min(full);
        self.filled += pause.saturating_mul(pauses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_loses_trust_by_refused_entries_and_gains_it_back_slowly_and_nobody_else_does() {
        let (budgets, start) = (Budgets::default(), Instant::now());
        for _ in 0..REFUSED_BURST {
            assert!(budgets.admit(start, &"liar", 1).is_trusted);
            budgets.refused(start, &"liar");
        }
        assert!(!budgets.admit(start, &"liar", 1).is_trusted);
        assert!(budgets.admit(start, &"honest", 1).is_trusted);
        let later = start + REFUSED_FORGIVEN_AFTER;
        assert!(!budgets.admit(later - Duration::from_millis(1), &"liar", 1).is_trusted);
        assert!(budgets.admit(later, &"liar", 1).is_trusted);
        budgets.refused(later, &"liar");
        assert!(!budgets.admit(later, &"liar", 1).is_trusted);
    }

    #[test]
    fn what_is_sound_is_logged_whoever_brings_it_and_a_stop_even_when_the_bytes_are_spent() {
        let admission = |within_bytes, is_trusted| Admission { within_bytes, is_trusted };
        let tried = |is_refused, is_stop| Tried { is_refused, is_stop };
        assert!(admission(true, true).is_free() && !admission(false, true).is_free() && !admission(true, false).is_free());
        let table = [
            (true, tried(false, false), true),
            (true, tried(true, false), false),
            (true, tried(true, true), false),
            (false, tried(false, false), false),
            (false, tried(false, true), true),
            (false, tried(true, true), false),
        ];
        for (within_bytes, tried, logged) in table {
            assert_eq!(admission(within_bytes, false).allows(tried), logged, "{within_bytes} {tried:?}");
        }
    }

    #[test]
    fn a_peer_that_has_spent_its_bytes_waits_for_as_many_as_it_wants() {
        let (budgets, start) = (Budgets::default(), Instant::now());
        let (large, second) = (512 * 1024, Duration::from_secs(1));
        let admitted = (0..1000).filter(|_| budgets.admit(start, &1, large).within_bytes).count();
        assert_eq!(admitted as u64, BYTES_BURST / 512 / 1024);
        assert!(budgets.admit(start, &2, large).within_bytes);
        assert!(!budgets.admit(start + second / 16, &1, large).within_bytes);
        let admitted = (0..1000).filter(|_| budgets.admit(start + second, &1, large).within_bytes).count();
        assert_eq!(admitted, 7, "4 MB in a second");
        let small = (0..u64::MAX).take_while(|_| budgets.admit(start, &3, 1).within_bytes).count();
        assert_eq!(small as u64, BYTES_BURST / ENTRY_BYTES_MIN, "the smallest entry has its price too");
        assert!(!budgets.admit(start + second, &3, usize::MAX).within_bytes);
    }
}
