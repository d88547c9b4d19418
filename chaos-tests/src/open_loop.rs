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
use warifu::terminal::{Prepared, TerminalError};
use warifu_api::ApiError;
use warifu_coordinator::document::sample;
use warifu_protocol::{DocumentKind, SessionId};

use crate::meanwhile::Meanwhile;
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
    request: (SessionId, u32),
    scheduled: Instant,
    ended: Instant,
    /// Sets of sites that the coordinator asked, or why it was not signed.
    outcome: Result<u32, NotSigned>,
}

/// Why a document was not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotSigned {
    /// Somebody said no.
    Refused(String),
    /// Nobody answered: it may be signed.
    Unanswered(String),
}

impl From<&anyhow::Error> for NotSigned {
    fn from(error: &anyhow::Error) -> Self {
        let reason = format!("{error:#}");
        match error.downcast_ref() {
            Some(TerminalError::Api(ApiError::Unreachable { .. } | ApiError::Deadline { .. })) => Self::Unanswered(reason),
            _ => Self::Refused(reason),
        }
    }
}

impl NotSigned {
    const fn reason(&self) -> &String {
        let (Self::Refused(reason) | Self::Unanswered(reason)) = self;
        reason
    }
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
#[derive(Debug, Default)]
pub struct Attempts(Vec<Attempt>);

impl Load {
    /// Begins: `rate` prescriptions a second, under the numbers of one session after the other, until [`Load::stop`] or until all are spent.
    #[must_use]
    pub fn start(sessions: Vec<OpenSession>, rate: u32) -> Self {
        Self::start_with(sessions, rate, |session, seq| async move { sign(&session, seq).await.map_err(|error| NotSigned::from(&error)) })
    }

    /// As [`Self::start`], with another way to have the document of a number signed: the sets of sites that were asked, or why it is not signed.
    pub(crate) fn start_with<F>(sessions: Vec<OpenSession>, rate: u32, sign: impl Fn(Arc<OpenSession>, u32) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<u32, NotSigned>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        Self { stop, running: tokio::spawn(run(sessions, rate, stopped, sign)) }
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
    /// With those of another load.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How the documents fared that came from `from` until before `until`, for something that was done so often and took so long to be well again.
    pub(crate) fn meanwhile(&self, from: Instant, until: Instant, times: u64, recovery: Option<Duration>) -> Meanwhile {
        let (phase, unknown) = (self.between(from, until), self.unanswered(from, until));
        Meanwhile {
            times,
            requests: phase.attempted,
            failed: phase.failed - unknown,
            unknown,
            longest_gap: self.longest_gap(from, until).as_secs_f64(),
            recovery: recovery.map(|time| time.as_secs_f64()),
        }
    }

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
                    phase.first_failure.get_or_insert_with(|| reason.reason().clone());
                }
            }
        }
        phase.call = latencies.spread();
        phase
    }

    /// The longest time from `from` to `until` in which no document was signed.
    #[must_use]
    pub fn longest_gap(&self, from: Instant, until: Instant) -> Duration {
        let signed = self.0.iter().filter(|attempt| attempt.outcome.is_ok()).map(|attempt| attempt.ended);
        let mut instants: Vec<Instant> = signed.filter(|ended| *ended > from && *ended < until).collect();
        instants.extend([from, until]);
        instants.sort_unstable();
        instants.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Documents that came from `from` until before `until` and got no answer at all.
    #[must_use]
    pub fn unanswered(&self, from: Instant, until: Instant) -> u64 {
        let came = self.0.iter().filter(|attempt| attempt.scheduled >= from && attempt.scheduled < until);
        came.filter(|attempt| matches!(attempt.outcome, Err(NotSigned::Unanswered(_)))).count() as u64
    }

    /// Documents that came in one of these stretches and were signed before its end.
    #[must_use]
    pub fn signed_within(&self, stretches: &[(Instant, Instant)]) -> usize {
        let within = |attempt: &&Attempt| stretches.iter().any(|(from, until)| attempt.scheduled >= *from && attempt.ended < *until);
        self.0.iter().filter(|attempt| attempt.outcome.is_ok()).filter(within).count()
    }

    /// Why documents were not signed that were on their way in none of these stretches.
    pub fn failures_outside(&self, stretches: &[(Instant, Instant)]) -> impl Iterator<Item = (Instant, &str)> {
        let outside = |attempt: &&Attempt| !stretches.iter().any(|(from, until)| attempt.scheduled < *until && attempt.ended > *from);
        self.0.iter().filter(outside).filter_map(|attempt| Some((attempt.scheduled, attempt.outcome.as_ref().err()?.reason().as_str())))
    }

    /// Session and number of every document that had come back signed before an instant.
    pub fn signed_before(&self, instant: Instant) -> impl Iterator<Item = (SessionId, u32)> {
        self.0.iter().filter(move |attempt| attempt.outcome.is_ok() && attempt.ended < instant).map(|attempt| attempt.request)
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

async fn run<F>(
    sessions: Vec<OpenSession>,
    rate: u32,
    stopped: watch::Receiver<bool>,
    sign: impl Fn(Arc<OpenSession>, u32) -> F,
) -> anyhow::Result<Vec<Attempt>>
where
    F: Future<Output = Result<u32, NotSigned>> + Send + 'static,
{
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
            let (request, signing) = ((session.session(), seq), sign(Arc::clone(&session), seq));
            attempts.spawn(async move {
                let outcome = signing.await;
                Attempt { request, scheduled, ended: Instant::now(), outcome }
            });
        }
    }
    Ok(attempts.join_all().await)
}

/// Has one document signed under this number; returns how many sets of sites the coordinator asked.
pub(crate) async fn sign(session: &OpenSession, seq: u32) -> anyhow::Result<u32> {
    let xml = sample::prescription(&document_id());
    let prepared = Prepared::new(xml, DocumentKind::Prescription, session.session(), seq, &session.file.secret.key, now())?;
    Ok(prepared.sign(&session.client, &session.anchors).await?.attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gets_no_answer_does_not_know_and_whoever_gets_a_no_does() {
        let deadline = ApiError::Deadline { url: String::new(), deadline: Duration::ZERO };
        let unanswered = NotSigned::from(&anyhow::Error::from(TerminalError::Api(deadline)));
        assert!(matches!(unanswered, NotSigned::Unanswered(_)));
        let refused = TerminalError::Answer { reason: "not the document that was sent".to_owned() };
        assert!(matches!(NotSigned::from(&refused.into()), NotSigned::Refused(_)));
    }

    #[test]
    fn a_phase_has_the_documents_that_came_in_it_whenever_they_were_signed() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let request = (SessionId::new([1; 32]), 1);
        let attempt = |scheduled, ended, outcome| Attempt { request, scheduled: at(scheduled), ended: at(ended), outcome };
        let attempts = Attempts(vec![
            attempt(0, 10, Ok(1)),
            attempt(100, 300, Ok(2)),
            attempt(150, 160, Err(NotSigned::Refused("refused".to_owned()))),
            attempt(200, 210, Ok(1)),
        ]);
        let phase = attempts.between(at(100), at(200));
        assert_eq!((phase.attempted, phase.failed, phase.retried, phase.call.count), (2, 1, 1, 1));
        assert_eq!(phase.first_failure.as_deref(), Some("refused"));
        assert!((phase.call.max_us - 200_000.0).abs() < 1_000.0, "{phase:?}");
        assert_eq!(attempts.between(at(300), at(400)).attempted, 0);
        assert_eq!((attempts.signed_before(at(300)).count(), attempts.signed_before(at(301)).count()), (2, 3));
        assert_eq!(attempts.unanswered(at(0), at(400)), 0);
        let slices = attempts.over_time(start, Duration::from_millis(100));
        assert_eq!(slices.iter().map(|slice| slice.count).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(attempts.longest_gap(at(0), at(300)), Duration::from_millis(200), "from 10 to 210");
        assert_eq!((attempts.signed_within(&[(at(90), at(301))]), attempts.signed_within(&[(at(90), at(300))])), (2, 1));
        assert_eq!(attempts.failures_outside(&[(at(0), at(150))]).count(), 1);
        assert_eq!(attempts.failures_outside(&[(at(155), at(158))]).count(), 0, "it was on its way then");
        let mut both = attempts;
        both.extend(Attempts(vec![attempt(180, 190, Err(NotSigned::Unanswered("nobody".to_owned())))]));
        let meanwhile = both.meanwhile(at(100), at(200), 2, Some(Duration::from_millis(500)));
        assert_eq!((meanwhile.times, meanwhile.requests, meanwhile.failed, meanwhile.unknown), (2, 3, 1, 1));
        assert_eq!((meanwhile.longest_gap, meanwhile.recovery), (0.1, Some(0.5)));
    }
}
