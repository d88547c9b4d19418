//! Platforms that have documents signed without a pause, and what they were told when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use warifu::local_cluster::OpenSession;
use warifu::terminal::{Prepared, TerminalError};
use warifu_api::ApiClient;
use warifu_coordinator::document::sample;
use warifu_core::pki::TrustAnchor;
use warifu_protocol::{DocumentKind, SessionId, SignedRequest, UnixMillis};

/// Rest between two documents of one platform: many are always under way, and the machine has room for the nodes.
const REST: Duration = Duration::from_millis(20);

/// Time for some documents on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far ahead of the nodes' clocks a signing time may be, with a second to spare.
const AHEAD_MILLIS: u64 = 29_000;

/// A session that anybody who has it may sign in, under numbers that nobody uses twice.
pub(crate) struct SharedSession {
    session: OpenSession,
    next: AtomicU32,
}

/// One document that a platform asked for.
pub(crate) struct Asked {
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
    /// Signed and verified, or why not.
    pub(crate) outcome: Result<(), String>,
}

/// Platforms at work.
pub(crate) struct Hammer {
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl SharedSession {
    pub(crate) fn new(session: OpenSession) -> Arc<Self> {
        Arc::new(Self { session, next: AtomicU32::new(1) })
    }

    pub(crate) fn id(&self) -> SessionId {
        self.session.session()
    }

    pub(crate) const fn open(&self) -> &OpenSession {
        &self.session
    }

    /// A request for a new document under the next number.
    pub(crate) fn prepare(&self, now: UnixMillis) -> Result<Prepared, TerminalError> {
        let seq = self.next.fetch_add(1, Ordering::SeqCst);
        let xml = sample::prescription(&format!("1439e0c5-7c1d-4512-861d-{seq:012}"));
        Prepared::new(xml, DocumentKind::Prescription, self.id(), seq, &self.session.file.secret.key, now)
    }

    /// A request under the next number, as a coordinator sees it, with a signing time that nodes take for as long as they can.
    pub(crate) fn lasting_request(&self) -> Result<SignedRequest, TerminalError> {
        Ok(self.prepare(warifu::clock::now().plus(AHEAD_MILLIS))?.request)
    }
}

impl Hammer {
    /// One platform at each of these coordinators.
    pub(crate) fn start(session: &Arc<SharedSession>, clients: Vec<ApiClient>, anchors: &[TrustAnchor]) -> Self {
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let tasks = clients.into_iter().map(|client| {
            let (session, anchors, asked, stop) = (Arc::clone(session), anchors.to_vec(), Arc::clone(&asked), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let prepared = session.prepare(warifu::clock::now()).expect("a document");
                    let sent = Instant::now();
                    let outcome = match prepared.sign(&client, &anchors).await {
                        Ok(_) => Ok(()),
                        Err(TerminalError::Refused { problem }) => Err(problem.code().to_owned()),
                        Err(other) => Err(other.to_string()),
                    };
                    asked.lock().push(Asked { sent, answered: Instant::now(), outcome });
                    tokio::time::sleep(REST).await;
                }
            })
        });
        Self { tasks: tasks.collect(), asked, stop }
    }

    /// How many documents were signed so far.
    pub(crate) fn signed(&self) -> usize {
        self.asked.lock().iter().filter(|asked| asked.outcome.is_ok()).count()
    }

    /// Waits until so many more are signed.
    pub(crate) async fn sign_on(&self, count: usize) -> anyhow::Result<()> {
        let (enough, end) = (self.signed() + count, Instant::now() + PATIENCE);
        while self.signed() < enough {
            anyhow::ensure!(Instant::now() < end, "no {count} further documents are signed");
            tokio::time::sleep(REST).await;
        }
        Ok(())
    }

    /// How many were asked for after an instant and refused.
    pub(crate) fn refused_since(&self, instant: Instant) -> usize {
        self.asked.lock().iter().filter(|asked| asked.sent > instant && asked.outcome.is_err()).count()
    }

    /// Ends, with everything that was asked.
    pub(crate) async fn end(self) -> Vec<Asked> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("a platform does not fail");
        }
        std::mem::take(&mut *self.asked.lock())
    }
}
