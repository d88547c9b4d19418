//! The local administrator's Unix socket: one JSON request a line, one JSON reply a line. Whoever may open the socket is the administrator.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use warifu_protocol::limits::LOG_ENTRY_BYTES_MAX;
use warifu_protocol::wire::NodeStatus;
use warifu_protocol::{AuditEntry, Checkpoint, Consent, NodeSigned, Order};

use crate::consent::{ConsentError, ConsentService};
use crate::custodian::Custodian;
use crate::custodian::describe;
pub use crate::custodian::{CustodyStatus, RotationOutcome};
use crate::local::{BackupSummary, LocalStore};
use crate::replicated::NodeRaft;
use crate::service::{OrderService, SignService};
use crate::work::Work;

/// What the administrator may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AdminRequest {
    /// How the node is.
    Status,
    /// What is under way beside signing: repairs, refreshes, changes of the members.
    Work,
    /// Size and root of the audit log.
    Checkpoint,
    /// Entries of the audit log.
    Audit {
        /// First position.
        from: u64,
        /// At most this many, up to [`AUDIT_PAGE_MAX`].
        limit: u32,
    },
    /// Makes a snapshot now.
    Snapshot,
    /// Drops all unused nonces, for instance before the machine is suspended.
    DropNonces,
    /// How the key-encryption key is.
    Kek,
    /// Makes a new KEK generation, seals all shares again and destroys the old generations; answers at once, as [`AdminRequest::Kek`] does later.
    RotateKek,
    /// Writes the sealed shares into a new file of the node's machine.
    Backup {
        /// Which file; must not exist.
        out: PathBuf,
    },
    /// Shows an order as this site would consent to it.
    PreviewConsent {
        /// With what approvals and consents it has so far.
        order: Box<Order>,
    },
    /// Consents to an order for this site.
    Consent {
        /// As shown by [`Self::PreviewConsent`].
        order: Box<Order>,
    },
}

/// What the administrator is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminReply {
    /// How the node is.
    Status(Box<NodeStatus>),
    /// What is under way.
    Work(Box<Work>),
    /// Size and root.
    Checkpoint(Checkpoint),
    /// Entries with their positions.
    Audit(Vec<(u64, AuditEntry)>),
    /// How the key-encryption key is.
    Kek(Box<CustodyStatus>),
    /// A backup was written.
    BackedUp(BackupSummary),
    /// Done.
    Done,
    /// The order in words.
    Preview(Vec<String>),
    /// The consent, to be added to the order.
    Consent(Box<NodeSigned<Consent>>),
    /// The request cannot be read or carried out.
    Error(String),
}

/// Entries of the audit log in one reply.
pub const AUDIT_PAGE_MAX: u32 = 1000;
/// Longest request line: an order as large as a log entry, in base64.
const LINE_BYTES_MAX: u64 = 2 * LOG_ENTRY_BYTES_MAX as u64;
/// Connections at once; a further one waits.
const CONNECTIONS_MAX: usize = 8;
/// A connection that says nothing for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Time for a whole exchange of a client.
const CLIENT_DEADLINE: Duration = Duration::from_secs(15);
/// The same where the whole store is read: some 200 MB for 800,000 credentials.
const CLIENT_DEADLINE_BACKUP: Duration = Duration::from_secs(600);

/// Answers the administrator.
pub struct AdminService {
    /// Status.
    pub orders: Arc<OrderService>,
    /// Audit log.
    pub local: Arc<LocalStore>,
    /// Nonces.
    pub signing: Arc<SignService>,
    /// Snapshots.
    pub raft: NodeRaft,
    /// The key-encryption key.
    pub custodian: Arc<Custodian>,
    /// Consent of this site.
    pub consent: ConsentService,
}

/// Why the socket does not work.
#[derive(Debug, thiserror::Error)]
#[error("the admin socket {path}")]
pub struct AdminError {
    /// Which socket.
    path: PathBuf,
    /// Why.
    #[source]
    source: std::io::Error,
}

impl AdminService {
    /// Serves until `stop` says so; removes the socket then.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub async fn run(self: Arc<Self>, path: PathBuf, mut stop: watch::Receiver<bool>) -> Result<(), AdminError> {
        let failed = |source| AdminError { path: path.clone(), source };
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { break };
            let stream = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => continue,
                },
            };
            let service = Arc::clone(&self);
            tokio::spawn(async move {
                if let Err(error) = service.converse(stream).await {
                    tracing::debug!(%error, "admin connection ended");
                }
                drop(permit);
            });
        }
        // Best effort: a stale socket is removed at the next start.
        let _ = std::fs::remove_file(&path);
        Ok(())
    }

    async fn converse(&self, stream: UnixStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut line = String::new();
            let taken = tokio::time::timeout(IDLE_MAX, (&mut read).take(LINE_BYTES_MAX).read_line(&mut line)).await??;
            if taken == 0 {
                return Ok(());
            }
            let reply = match serde_json::from_str(&line) {
                Ok(request) => self.answer(request).await,
                Err(error) => AdminReply::Error(format!("the request cannot be read: {error}")),
            };
            let mut text = serde_json::to_string(&reply).map_err(std::io::Error::other)?;
            text.push('\n');
            write.write_all(text.as_bytes()).await?;
        }
    }

    async fn answer(&self, request: AdminRequest) -> AdminReply {
        match request {
            AdminRequest::Status => match self.orders.ask_status().await {
                Ok(status) => AdminReply::Status(Box::new(status)),
                Err(error) => AdminReply::Error(error.to_string()),
            },
            AdminRequest::Work => AdminReply::Work(Box::new(self.orders.work())),
            AdminRequest::Checkpoint => {
                let local = Arc::clone(&self.local);
                look(move || local.checkpoint().map_or_else(|error| AdminReply::Error(error.to_string()), AdminReply::Checkpoint)).await
            }
            AdminRequest::Audit { from, limit } => {
                let (local, limit) = (Arc::clone(&self.local), limit.min(AUDIT_PAGE_MAX) as usize);
                look(move || local.entries(from, limit).map_or_else(|error| AdminReply::Error(error.to_string()), AdminReply::Audit)).await
            }
            AdminRequest::Snapshot => {
                self.raft.snapshot_now().await;
                AdminReply::Done
            }
            AdminRequest::DropNonces => {
                self.signing.drop_nonces();
                AdminReply::Done
            }
            AdminRequest::Kek => self.kek_status().await,
            AdminRequest::Backup { out } => {
                let local = Arc::clone(&self.local);
                match crate::blocking::run(move || local.backup(&out)).await {
                    Ok(Ok(summary)) => AdminReply::BackedUp(summary),
                    Ok(Err(error)) => AdminReply::Error(describe(&error)),
                    Err(_) => AdminReply::Error("the backup was not written".to_owned()),
                }
            }
            AdminRequest::RotateKek => {
                if !self.local.is_unlocked() {
                    return AdminReply::Error(
                        "the shares are locked: the key-encryption key has not been reached since the start".to_owned(),
                    );
                }
                self.custodian.rotate();
                self.kek_status().await
            }
            AdminRequest::PreviewConsent { order } => {
                let consent = self.consent.clone();
                look(move || consent.preview(&order).map_or_else(refused, AdminReply::Preview)).await
            }
            AdminRequest::Consent { order } => {
                self.consent.give(&order).await.map_or_else(refused, |consent| AdminReply::Consent(Box::new(consent)))
            }
        }
    }
}

impl AdminService {
    async fn kek_status(&self) -> AdminReply {
        let custodian = Arc::clone(&self.custodian);
        let status = move || match custodian.status() {
            Ok(status) => AdminReply::Kek(Box::new(status)),
            Err(error) => AdminReply::Error(error.to_string()),
        };
        look(status).await
    }
}

/// Reads stores for an answer.
async fn look(read: impl FnOnce() -> AdminReply + Send + 'static) -> AdminReply {
    crate::blocking::run(read).await.unwrap_or_else(|error| AdminReply::Error(error.to_string()))
}

fn refused(error: ConsentError) -> AdminReply {
    AdminReply::Error(format!("{:#}", anyhow::Error::from(error)))
}

/// Asks a running node.
///
/// # Errors
/// When the socket cannot be opened or does not answer in time.
pub async fn ask(path: &Path, request: &AdminRequest) -> Result<AdminReply, AdminError> {
    let failed = |source| AdminError { path: path.to_owned(), source };
    let exchange = async {
        let mut stream = UnixStream::connect(path).await?;
        let mut text = serde_json::to_string(request).map_err(std::io::Error::other)?;
        text.push('\n');
        stream.write_all(text.as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        serde_json::from_str(&line).map_err(std::io::Error::other)
    };
    let deadline = if matches!(request, AdminRequest::Backup { .. }) { CLIENT_DEADLINE_BACKUP } else { CLIENT_DEADLINE };
    tokio::time::timeout(deadline, exchange).await.map_err(|elapsed| failed(elapsed.into()))?.map_err(failed)
}
