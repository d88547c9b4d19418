//! Documents that keep coming, whatever happens.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use warifu_coordinator::document::sample;
use warifu_protocol::DocumentKind;

use super::report::rounded;
use crate::clock::now;
use crate::error::chain;
use crate::local_cluster::{LocalClusterError, OpenSession};
use crate::terminal::Prepared;

/// An open loop: each document has its instant, and comes at it whether or not the one before it is signed.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    running: JoinHandle<(OpenSession, Vec<Attempt>)>,
}

/// What became of one document.
#[derive(Clone, Debug)]
struct Attempt {
    scheduled: Instant,
    ended: Instant,
    /// Sets of sites that the coordinator asked, or why it was not signed.
    outcome: Result<u32, String>,
}

/// The load in figures.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct LoadSummary {
    /// Documents a second, by schedule.
    pub rate: u32,
    /// Documents that were sent.
    pub attempted: u64,
    /// Documents that were not signed.
    pub failed: u64,
    /// Documents for which the coordinator had to ask more than one set of sites.
    pub retried: u64,
    /// Documents that came and were signed while nodes were down.
    pub signed_during_outage: u64,
    /// Longest time between one success and the next, in milliseconds.
    pub longest_gap_millis: f64,
    /// Half of the documents were signed within this time from their instant, in milliseconds.
    pub latency_p50_millis: f64,
    /// Of a hundred documents, 99 were.
    pub latency_p99_millis: f64,
    /// How long nodes were down, in seconds.
    pub outage_seconds: f64,
    /// Why the first document that was not signed was not.
    pub first_failure: Option<String>,
}

impl Load {
    /// Begins: `RATE` prescriptions a second in this session, until [`Load::stop`] or until its numbers are spent.
    ///
    /// # Errors
    /// When the session has not numbers enough for `SECONDS_MAX`.
    pub fn start(mut session: OpenSession) -> Result<Self, LocalClusterError> {
        let first_seq = session.file.take_seqs(RATE * SECONDS_MAX, now())?;
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(run(session, first_seq, stopped));
        Ok(Self { stop, running })
    }

    /// Sends no more, waits for what is on its way, and gives the session back with the figures. The outage is from the first instant to the
    /// second.
    ///
    /// # Panics
    /// When the load's own task panicked.
    pub async fn stop(self, outage: (Instant, Instant)) -> (OpenSession, LoadSummary) {
        let _ = self.stop.send(true);
        let (session, attempts) = self.running.await.expect("the load's task does not panic");
        (session, summarize(attempts, outage))
    }
}

async fn run(session: OpenSession, first_seq: u32, stopped: watch::Receiver<bool>) -> (OpenSession, Vec<Attempt>) {
    let session = Arc::new(session);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    // A late tick is made up for: the rate is a promise.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut attempts = JoinSet::new();
    for seq in first_seq..first_seq + RATE * SECONDS_MAX {
        let scheduled = ticks.tick().await;
        if *stopped.borrow() {
            break;
        }
        let session = Arc::clone(&session);
        attempts.spawn(async move {
            let outcome = sign(&session, seq).await.map_err(|error| chain(&error));
            Attempt { scheduled, ended: Instant::now(), outcome }
        });
    }
    let attempts = attempts.join_all().await;
    (Arc::into_inner(session).expect("every attempt has ended and given its handle back"), attempts)
}

async fn sign(session: &OpenSession, seq: u32) -> Result<u32, LocalClusterError> {
    let xml = sample::prescription(&document_id());
    let secret = &session.file.secret;
    let prepared = Prepared::new(xml, DocumentKind::Prescription, session.session(), seq, &secret.key, now())?;
    Ok(prepared.sign(&session.client, &session.anchors).await?.attempts)
}

/// A random UUID (version 4).
pub(super) fn document_id() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

fn summarize(attempts: Vec<Attempt>, (from, until): (Instant, Instant)) -> LoadSummary {
    let mut summary =
        LoadSummary { rate: RATE, attempted: attempts.len() as u64, outage_seconds: rounded(until - from), ..LoadSummary::default() };
    let (mut successes, mut latencies) = (Vec::new(), Vec::new());
    for attempt in &attempts {
        match &attempt.outcome {
            Err(reason) => {
                summary.failed += 1;
                summary.first_failure.get_or_insert_with(|| reason.clone());
            }
            Ok(sets) => {
                summary.retried += u64::from(*sets > 1);
                summary.signed_during_outage += u64::from(attempt.scheduled >= from && attempt.ended <= until);
                successes.push(attempt.ended);
                latencies.push(attempt.ended - attempt.scheduled);
            }
        }
    }
    successes.sort_unstable();
    latencies.sort_unstable();
    let gap = successes.windows(2).map(|pair| pair[1] - pair[0]).max();
    summary.longest_gap_millis = millis(gap);
    summary.latency_p50_millis = millis(percentile(&latencies, 50));
    summary.latency_p99_millis = millis(percentile(&latencies, 99));
    summary
}

fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied()
}

fn millis(duration: Option<Duration>) -> f64 {
    duration.map_or(0.0, |duration| rounded(duration) * 1000.0)
}

/// Documents a second.
pub(super) const RATE: u32 = 25;
/// Longest load in seconds: numbers of the session are reserved for so long.
pub(super) const SECONDS_MAX: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_from_what_became_of_each_document() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let attempt = |scheduled, ended, outcome| Attempt { scheduled: at(scheduled), ended: at(ended), outcome };
        let attempts = vec![
            attempt(0, 10, Ok(1)),
            attempt(100, 115, Ok(1)),
            // Came before the outage and was signed in it; came in it and was signed after it: neither counts as signed during it.
            attempt(190, 210, Ok(2)),
            attempt(300, 340, Ok(2)),
            attempt(390, 460, Ok(1)),
            attempt(500, 600, Err("refused".to_owned())),
            attempt(600, 900, Ok(1)),
        ];
        let summary = summarize(attempts, (at(200), at(400)));
        let counts = (summary.attempted, summary.failed, summary.retried, summary.signed_during_outage);
        assert_eq!(counts, (7, 1, 2, 1));
        assert_eq!(summary.longest_gap_millis, 440.0);
        assert_eq!((summary.latency_p50_millis, summary.latency_p99_millis), (20.0, 300.0));
        assert_eq!((summary.outage_seconds, summary.first_failure.as_deref()), (0.2, Some("refused")));
        assert_eq!(summarize(Vec::new(), (start, start)).attempted, 0);
    }

    #[test]
    fn document_ids_are_uuids() {
        let id = document_id();
        assert_eq!(id.len(), 36);
        assert_eq!((&id[14..15], id.matches('-').count()), ("4", 4));
        assert_ne!(id, document_id());
    }
}
