//! Keeps the shares within reach: reaches the KEK, says why not while it cannot, ends what a crash interrupted, and makes new generations on schedule or when
//! asked.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use warifu_protocol::{ClusterId, NodeId};

use crate::clock;
use crate::config::KekSource;
use crate::gate::Gate;
use crate::local::{KEK_DEADLINE, KekStatus, LocalStore, LocalStoreError, Shredded};
use crate::sealing::{FileKek, KekError, KekGeneration, KekProvider, Pkcs11Kek};

/// First pause before the KEK is tried again.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest such pause: a token that was attached again is found within it.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often is looked whether the generation is old enough; its age is counted in days.
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(60);
/// Pause after a rotation that failed, before what is left of it is tried again.
const UNFINISHED_RETRY: Duration = Duration::from_secs(30);
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// Looks after one node's KEK.
pub struct Custodian {
    node: NodeId,
    cluster: ClusterId,
    source: KekSource,
    rotate_every_days: u32,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
    /// A token's provider is made once: it remembers which PIN was refused.
    token: Mutex<Option<Arc<dyn KekProvider>>>,
    report: Mutex<Report>,
    asked: Notify,
}

#[derive(Default)]
struct Report {
    waiting: bool,
    last: Option<RotationOutcome>,
}

/// What the administrator is told of the KEK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustodyStatus {
    /// `file` or `pkcs11`.
    pub provider: String,
    /// How the store stands with it.
    pub kek: KekStatus,
    /// Whether a rotation was asked for and has not ended yet.
    pub rotation_pending: bool,
    /// How the last rotation of this process ended.
    pub last: Option<RotationOutcome>,
    /// Shares that do not open.
    pub damaged_shares: u64,
}

/// How a rotation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotationOutcome {
    /// Everything that lives is sealed under the current generation, and the others are destroyed.
    Done {
        /// The current one.
        current: KekGeneration,
        /// Those destroyed by it.
        destroyed: Vec<KekGeneration>,
        /// Shares sealed again.
        resealed: u64,
        /// Whether the KEK provably kept no copy.
        proves_destruction: bool,
    },
    /// It is not ended; no share is lost, and what is left of it is tried again.
    Failed(String),
}

impl From<Shredded> for RotationOutcome {
    fn from(done: Shredded) -> Self {
        let Shredded { destroyed, current, proves_destruction, resealed } = done;
        Self::Done { current, destroyed, resealed, proves_destruction }
    }
}

impl Custodian {
    /// For a store that is locked.
    #[must_use]
    pub fn new(
        node: NodeId,
        cluster: ClusterId,
        source: KekSource,
        rotate_every_days: u32,
        local: Arc<LocalStore>,
        gate: Arc<Gate>,
    ) -> Self {
        let report = Mutex::new(Report::default());
        Self { node, cluster, source, rotate_every_days, local, gate, token: Mutex::new(None), report, asked: Notify::new() }
    }

    /// Tries to reach the KEK once and to unlock the store with it. While it cannot, the gate is closed and says why.
    pub async fn reach(self: &Arc<Self>) -> bool {
        let custodian = Arc::clone(self);
        let tried = crate::blocking::run(move || {
            let provider = custodian.provider()?;
            custodian.local.unlock(provider)
        });
        let outcome = match tokio::time::timeout(KEK_DEADLINE, tried).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(LocalStoreError::KekSilent { seconds: KEK_DEADLINE.as_secs() }),
        };
        match outcome {
            Ok(()) => {
                self.gate.unlock();
                true
            }
            Err(error) => {
                let reason = describe(&error);
                tracing::warn!(reason, "the key-encryption key cannot be reached; this node does not sign until it can");
                self.gate.lock(reason);
                false
            }
        }
    }

    /// Works until `stop` says so.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.keep() => {}
        }
    }

    async fn keep(self: &Arc<Self>) {
        let mut pause = RETRY_MIN;
        while !self.local.is_unlocked() {
            tokio::time::sleep(pause).await;
            if self.reach().await {
                tracing::info!("the key-encryption key is there: shares are unlocked");
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
        loop {
            let ended = match self.local.resume_rotation().await {
                Ok(None) => true,
                Ok(Some(done)) => self.note(Ok(done)),
                Err(error) => self.note(Err(error)),
            };
            let wait = if ended { SCHEDULE_INTERVAL } else { UNFINISHED_RETRY };
            let asked = tokio::time::timeout(wait, self.asked.notified()).await.is_ok();
            if asked || (ended && self.ask_whether_due().await) {
                let outcome = self.local.shred().await;
                self.note(outcome);
                self.report.lock().waiting = false;
            }
        }
    }

    /// Has a new generation made soon. Asking again before it has begun changes nothing.
    pub fn rotate(&self) {
        self.report.lock().waiting = true;
        self.asked.notify_one();
    }

    /// How things stand. Reads the store.
    ///
    /// # Errors
    /// When the store fails.
    pub fn status(&self) -> Result<CustodyStatus, LocalStoreError> {
        let (rotation_pending, last) = {
            let report = self.report.lock();
            (report.waiting, report.last.clone())
        };
        let provider = match self.source {
            KekSource::File(_) => "file",
            KekSource::Pkcs11(_) => "pkcs11",
        };
        Ok(CustodyStatus {
            provider: provider.to_owned(),
            kek: self.local.kek_status()?,
            rotation_pending,
            last,
            damaged_shares: self.local.damaged_shares()?.len() as u64,
        })
    }

    fn provider(&self) -> Result<Arc<dyn KekProvider>, KekError> {
        match &self.source {
            KekSource::File(_) => connect(&self.source, self.cluster, self.node),
            KekSource::Pkcs11(_) => {
                let mut token = self.token.lock();
                if token.is_none() {
                    *token = Some(connect(&self.source, self.cluster, self.node)?);
                }
                Ok(Arc::clone(token.as_ref().expect("made above")))
            }
        }
    }

    async fn ask_whether_due(self: &Arc<Self>) -> bool {
        let custodian = Arc::clone(self);
        crate::blocking::run(move || custodian.is_due()).await.unwrap_or(false)
    }

    fn is_due(&self) -> bool {
        let age_max = u64::from(self.rotate_every_days) * DAY_MILLIS;
        let made_at = self.local.generation_made_at().ok().flatten();
        age_max > 0 && made_at.is_some_and(|made_at| clock::now().0.saturating_sub(made_at.0) >= age_max)
    }

    fn note(&self, outcome: Result<Shredded, LocalStoreError>) -> bool {
        let (outcome, ended) = match outcome {
            Ok(done) => {
                tracing::info!(current = %done.current, destroyed = ?done.destroyed, resealed = done.resealed, "shares are sealed under a new KEK generation");
                (done.into(), true)
            }
            Err(error) => {
                let reason = describe(&error);
                tracing::error!(reason, "the key-encryption key was not rotated to the end; no share is lost, and it is tried again");
                (RotationOutcome::Failed(reason), false)
            }
        };
        self.report.lock().last = Some(outcome);
        ended
    }
}

/// The KEK of a node; key files are read, a token is not touched yet.
///
/// # Errors
/// When key files cannot be read.
pub fn connect(source: &KekSource, cluster: ClusterId, node: NodeId) -> Result<Arc<dyn KekProvider>, KekError> {
    match source {
        KekSource::File(directory) => Ok(Arc::new(FileKek::open(directory)?)),
        KekSource::Pkcs11(settings) => Ok(Arc::new(Pkcs11Kek::new(settings.clone(), cluster, node))),
    }
}

/// The error with its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
