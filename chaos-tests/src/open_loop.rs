//! Documents that keep coming at their own pace while other things happen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use warifu::clock::now;
use warifu::local_cluster::OpenSession;
use warifu::terminal::Prepared;
use warifu_coordinator::document::sample;
use warifu_protocol::DocumentKind;

use crate::measure::{Latencies, Spread};
use crate::scene::document_id;

/// An open loop: each document comes at its instant, whether or not those before it are signed.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    running: JoinHandle<anyhow::Result<Vec<Attempt>>>,
}

/// What became of one document.
#[derive(Debug, Clone)]
struct Attempt {
    scheduled: Instant,
    ended: Instant,
    /// Sets of sites that the coordinator asked, or why it was not signed.
    outcome: Result<u32, String>,
}

/// Signing in one stretch of the run, by the instants at which documents came.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// Documents that came.
    pub attempted: u64,
    /// Documents that were not signed.
    pub failed: u64,
    /// Documents for which more than one set of sites was asked.
    pub retried: u64,
    /// From a document's instant to its checked answer.
    pub call: Spread,
    /// Why the first that was not signed was not.
    pub first_failure: Option<String>,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempted, failed, retried, call, first_failure } = self;
        write!(f, "{call}  ({attempted} documents, {failed} not signed, {retried} asked a second set)")?;
        match first_failure {
            Some(reason) => write!(f, "; the first that was not: {reason}"),
            None => Ok(()),
        }
    }
}

/// All that came of a load.
#[derive(Debug)]
pub struct Attempts(Vec<Attempt>);

impl Load {
    /// Begins: `rate` prescriptions a second, under the numbers of one session after the other, until [`Load::stop`] or until all are spent.
    #[must_use]
    pub fn start(sessions: Vec<OpenSession>, rate: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, running: tokio::spawn(run(sessions, rate, stopped)) }
    }

    /// Whether its sessions' numbers are spent, so that nothing comes any more.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.running.is_finished()
    }

    /// Sends no more and waits for what is on its way.
    ///
    /// # Errors
    /// When a session's numbers cannot be taken.
    pub async fn stop(self) -> anyhow::Result<Attempts> {
        let _ = self.stop.send(true);
        Ok(Attempts(self.running.await.context("the load's task panicked")??))
    }
}

impl Attempts {
    /// The documents that came from `from` until before `until`.
    #[must_use]
    pub fn between(&self, from: Instant, until: Instant) -> Phase {
        let mut latencies = Latencies::default();
        let mut phase = Phase { attempted: 0, failed: 0, retried: 0, call: latencies.spread(), first_failure: None };
        for attempt in self.0.iter().filter(|attempt| attempt.scheduled >= from && attempt.scheduled < until) {
            phase.attempted += 1;
            match &attempt.outcome {
                Ok(sets) => {
                    phase.retried += u64::from(*sets > 1);
                    latencies.record(attempt.ended - attempt.scheduled);
                }
                Err(reason) => {
                    phase.failed += 1;
                    phase.first_failure.get_or_insert_with(|| reason.clone());
                }
            }
        }
        phase.call = latencies.spread();
        phase
    }

    /// The documents since `start`, in slices by the instants at which they came.
    #[must_use]
    pub fn over_time(&self, start: Instant, slice: Duration) -> Vec<Spread> {
        let mut slices: Vec<Vec<Duration>> = Vec::new();
        for attempt in self.0.iter().filter(|attempt| attempt.scheduled >= start && attempt.outcome.is_ok()) {
            let place = ((attempt.scheduled - start).as_secs_f64() / slice.as_secs_f64()) as usize;
            if slices.len() <= place {
                slices.resize_with(place + 1, Vec::new);
            }
            slices[place].push(attempt.ended - attempt.scheduled);
        }
        let spread = |times: &Vec<Duration>| {
            let mut latencies = Latencies::default();
            times.iter().for_each(|time| latencies.record(*time));
            latencies.spread()
        };
        slices.iter().map(spread).collect()
    }
}

async fn run(sessions: Vec<OpenSession>, rate: u32, stopped: watch::Receiver<bool>) -> anyhow::Result<Vec<Attempt>> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    // A late tick is made up for: the rate is a promise.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut attempts = JoinSet::new();
    'sessions: for mut session in sessions {
        let numbers = session.file.secret.statement.max_signatures;
        let first = session.file.take_seqs(numbers, now())?;
        let session = Arc::new(session);
        for seq in first..first + numbers {
            let scheduled = ticks.tick().await;
            if *stopped.borrow() {
                break 'sessions;
            }
            let session = Arc::clone(&session);
            attempts.spawn(async move {
                let outcome = sign(&session, seq).await.map_err(|error| format!("{error:#}"));
                Attempt { scheduled, ended: Instant::now(), outcome }
            });
        }
    }
    Ok(attempts.join_all().await)
}

async fn sign(session: &OpenSession, seq: u32) -> anyhow::Result<u32> {
    let xml = sample::prescription(&document_id());
    let prepared = Prepared::new(xml, DocumentKind::Prescription, session.session(), seq, &session.file.secret.key, now())?;
    Ok(prepared.sign(&session.client, &session.anchors).await?.attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_has_the_documents_that_came_in_it_whenever_they_were_signed() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let attempt = |scheduled, ended, outcome| Attempt { scheduled: at(scheduled), ended: at(ended), outcome };
        let attempts = Attempts(vec![
            attempt(0, 10, Ok(1)),
            attempt(100, 300, Ok(2)),
            attempt(150, 160, Err("refused".to_owned())),
            attempt(200, 210, Ok(1)),
        ]);
        let phase = attempts.between(at(100), at(200));
        assert_eq!((phase.attempted, phase.failed, phase.retried, phase.call.count), (2, 1, 1, 1));
        assert_eq!(phase.first_failure.as_deref(), Some("refused"));
        assert!((phase.call.max_us - 200_000.0).abs() < 1_000.0, "{phase:?}");
        assert_eq!(attempts.between(at(300), at(400)).attempted, 0);
        let slices = attempts.over_time(start, Duration::from_millis(100));
        assert_eq!(slices.iter().map(|slice| slice.count).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
