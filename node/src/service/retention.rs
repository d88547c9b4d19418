//! Forgetting what can never matter again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use warifu_core::registry::Registry as _;
use warifu_protocol::{SessionId, UnixMillis};

use crate::gate::Gate;
use crate::local::{LocalStore, LocalStoreError, SweepCursor};
use crate::metrics::NodeMetrics;
use crate::state::{StateDatabase, StateView};
use crate::store::StoreError;

/// How long after its session's end a used request number is still kept: long enough to be of use to whoever looks into a dispute on the day.
pub const SPENT_KEPT_MILLIS: u64 = 24 * 3600 * 1000;

/// Rest between two pages, so that a long backlog never holds up the store's writer.
const PAGE_REST: Duration = Duration::from_secs(1);

/// Rest after the last page. An hour's worth of numbers is some megabytes.
const ROUND_REST: Duration = Duration::from_secs(3600);

/// Rest after a failure of the store, which other parts report with more effect.
const FAILURE_REST: Duration = Duration::from_secs(60);

/// Sweeps the node's own records.
pub struct Retention {
    state: StateDatabase,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
    metrics: NodeMetrics,
    spent: Mutex<SweepCursor>,
}

impl Retention {
    /// A sweep that has not begun.
    #[must_use]
    pub fn new(state: StateDatabase, local: Arc<LocalStore>, gate: Arc<Gate>, metrics: NodeMetrics) -> Self {
        Self { state, local, gate, metrics, spent: Mutex::default() }
    }

    /// Sweeps until told to stop.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let sweeping = Arc::clone(&self);
            let rest = match crate::blocking::run(move || sweeping.step()).await {
                Ok(Ok(true)) => ROUND_REST,
                Ok(Ok(false)) => PAGE_REST,
                Ok(Err(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "used request numbers cannot be swept");
                    FAILURE_REST
                }
                Err(_) => FAILURE_REST,
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Considers one page; whether it was the last. Nothing is forgotten on the word of a state that is not confirmed.
    fn step(&self) -> Result<bool, LocalStoreError> {
        if !self.gate.is_open() {
            return Ok(false);
        }
        let view = self.state.view()?;
        let (count, is_last) = self.local.drop_spent(&mut self.spent.lock(), |session| is_over(&view, session))?;
        self.metrics.requests_forgotten.inc_by(count as u64);
        Ok(is_last)
    }
}

/// Whether no request of the session can ever be signed again. It goes by the time of the log and not by this node's clock: a node whose clock is
/// behind the log does not sign, so a clock that is set back cannot bring a forgotten number's session to life.
fn is_over(view: &StateView, session: SessionId) -> Result<bool, LocalStoreError> {
    let damaged = |error: warifu_core::registry::StateStoreError| StoreError::Corrupt { what: "a session", detail: error.reason };
    let log_time = view.time().map_err(damaged)?;
    let record = view.session(session).map_err(damaged)?;
    Ok(record.is_some_and(|record| ended_long_ago(record.statement.not_after, log_time)))
}

fn ended_long_ago(not_after: UnixMillis, log_time: UnixMillis) -> bool {
    log_time > not_after.plus(SPENT_KEPT_MILLIS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_number_is_forgotten_only_a_day_after_its_session_by_the_time_of_the_log() {
        let end = UnixMillis(1_800_000_000_000);
        for (log_time, expected) in
            [(UnixMillis(0), false), (end, false), (end.plus(SPENT_KEPT_MILLIS), false), (end.plus(SPENT_KEPT_MILLIS + 1), true)]
        {
            assert_eq!(ended_long_ago(end, log_time), expected, "{log_time}");
        }
    }
}
