//! Sessions that are opened, used once, closed and tried again, one after the other: the writes of the log under torment.

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use warifu::clock::now;
use warifu::keys::{KeyKind, LocalKey};
use warifu::local_cluster::{Holder, LocalCluster, OpenSession};
use warifu::terminal::{LoginTerms, SessionFile, SessionSecret, close, prepare, trust_anchors};
use warifu_api::{ApiClient, ApiError, StopReport, StopReportState};
use warifu_protocol::{ClusterRecord, Genesis, SessionClosing, SessionOpening};

use super::desk::Desk;
use super::oracle::Oracle;

/// Pause between the end of one session and the beginning of the next.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause before a write is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Time for a session to be opened or closed once the torment is over.
const LAST_DEADLINE: Duration = Duration::from_secs(60);
/// Documents for which a session is opened: one that is signed and one that must not be.
const SIGNATURES: u32 = 2;

/// One write of the log: from the first try to the acknowledgement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

/// The running task.
#[derive(Debug)]
pub(super) struct Sessions {
    stop: watch::Sender<bool>,
    running: JoinHandle<anyhow::Result<Vec<Written>>>,
}

/// What a task needs to open sessions without the cluster.
struct Opener {
    genesis: Genesis,
    directory: std::path::PathBuf,
    holder: Holder,
    desk: Desk,
    oracle: Oracle,
}

impl Sessions {
    /// Begins with this physician, who does nothing else.
    pub(super) fn start(cluster: &LocalCluster, holder: Holder, desk: Desk, oracle: Oracle) -> anyhow::Result<Self> {
        let directory = cluster.directory().join("churn");
        std::fs::create_dir_all(&directory)?;
        let opener = Opener { genesis: cluster.genesis().clone(), directory, holder, desk, oracle };
        let (stop, stopped) = watch::channel(false);
        Ok(Self { stop, running: tokio::spawn(opener.run(stopped)) })
    }

    /// Opens no more and waits until all that were opened are closed. The writes, in order.
    pub(super) async fn stop(self) -> anyhow::Result<Vec<Written>> {
        let _ = self.stop.send(true);
        self.running.await.context("the sessions' task panicked")?
    }
}

impl Opener {
    async fn run(self, stopped: watch::Receiver<bool>) -> anyhow::Result<Vec<Written>> {
        let (mut writes, mut closings, mut number) = (Vec::new(), JoinSet::new(), 0);
        while !*stopped.borrow() {
            number += 1;
            let began = Instant::now();
            let session = self.open(number, stopped.clone()).await.with_context(|| format!("session {number} cannot be opened"))?;
            writes.push(Written { began, ended: Instant::now() });
            self.oracle.opened(session.session());
            // Whether it is signed is in the oracle; here it only has to be used.
            let _ = self.desk.sign(&session, 1).await;
            closings.spawn(end(self.desk.clone(), self.oracle.clone(), session, number, stopped.clone()));
            while let Some(ended) = closings.try_join_next() {
                ended??;
            }
            sleep(PAUSE).await;
        }
        while let Some(ended) = closings.join_next().await {
            ended??;
        }
        Ok(writes)
    }

    /// Opens a session; what cannot be known to have failed is asked for and tried again.
    async fn open(&self, number: usize, stopped: watch::Receiver<bool>) -> anyhow::Result<OpenSession> {
        let terms = LoginTerms {
            cluster: self.genesis.cluster(),
            credential: self.holder.credential,
            facility: self.holder.facility.clone(),
            not_before: now(),
            life_millis: self.genesis.body().policy.session_millis_max,
            max_signatures: SIGNATURES,
        };
        let key = LocalKey::generate(KeyKind::Ed25519)?;
        let opening = prepare(&terms, &self.holder.terminal, &key, &mut self.holder.card()?, &self.holder.pin()?, Vec::new())?;
        let secret = SessionSecret::new(opening.statement.clone(), key, &ClusterRecord::founded(&self.genesis));
        let path = self.directory.join(format!("session-{number}.json"));
        SessionFile::create(&path, &secret)?;
        let client = self.written(&opening, &secret, number, stopped).await?;
        let anchors = trust_anchors(&secret.anchors)?;
        Ok(OpenSession { file: SessionFile::open(&path)?, path, client, anchors })
    }

    /// The client that was told of it.
    async fn written(
        &self,
        opening: &SessionOpening,
        secret: &SessionSecret,
        number: usize,
        stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<ApiClient> {
        let mut patience = Patience::new(stopped);
        for step in number.. {
            let client = self.desk.client(step);
            let Err(error) = client.open_session(opening).await else { return Ok(client.clone()) };
            if client.session(secret.session()).await.is_ok() {
                return Ok(client.clone());
            }
            patience.wait(&error).await?;
        }
        unreachable!("a step is never the last")
    }
}

/// Closes a session, waits for as many receipts as it takes, and tries to sign once more.
async fn end(desk: Desk, oracle: Oracle, session: OpenSession, number: usize, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    let closing = close(session.session(), &session.file.secret.key)?;
    let mut patience = Patience::new(stopped);
    let mut step = number;
    let report = loop {
        match acknowledged(desk.client(step), &closing, &mut patience).await? {
            Ok(report) => break report,
            // Another coordinator may not know of it: it is told as if nobody had been.
            Err(error) => patience.wait(&error).await?,
        }
        step += 1;
    };
    oracle.stopped(report);
    if desk.sign(&session, SIGNATURES).await.is_ok() {
        oracle.broken(format!("session {} signed after its end was acknowledged", session.session()));
    }
    Ok(())
}

/// Closes a session by one coordinator and asks it until it has as many receipts as it takes, or fails.
async fn acknowledged(
    client: &ApiClient,
    closing: &SessionClosing,
    patience: &mut Patience,
) -> anyhow::Result<Result<StopReport, ApiError>> {
    let mut told = client.close_session(closing).await.map(|answer| answer.stop);
    loop {
        match told {
            Ok(Some(report)) if is_acknowledged(&report) => return Ok(Ok(report)),
            Ok(Some(report)) => {
                patience.wait(&format!("receipts are missing: {:?}", report.missing)).await?;
                told = client.stop(report.stop).await.map(Some);
            }
            Ok(None) => anyhow::bail!("a session was closed without a report"),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Whether no t nodes are left that would start to sign.
pub(super) fn is_acknowledged(report: &StopReport) -> bool {
    matches!(report.state, StopReportState::Draining | StopReportState::Done)
}

/// Waits between tries: as long as the torment lasts, and a while longer.
struct Patience {
    stopped: watch::Receiver<bool>,
    stopped_at: Option<Instant>,
}

impl Patience {
    const fn new(stopped: watch::Receiver<bool>) -> Self {
        Self { stopped, stopped_at: None }
    }

    async fn wait(&mut self, error: &(impl std::fmt::Display + ?Sized)) -> anyhow::Result<()> {
        if *self.stopped.borrow() {
            let since = *self.stopped_at.get_or_insert_with(Instant::now);
            anyhow::ensure!(since.elapsed() < LAST_DEADLINE, "after {LAST_DEADLINE:?} without torment: {error}");
        }
        sleep(RETRY).await;
        Ok(())
    }
}
