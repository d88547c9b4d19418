//! What was refused without leaving a trace in the log, on its way into the audit log.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use warifu_protocol::transport::{Role, RpcRefusal};
use warifu_protocol::wire::CeremonyCall;
use warifu_protocol::{AuditEntry, AuditEvent, AuditSubject, CallRefusal, Command, ImportPacket, PeerId, Refusal, Sha256, canonical};

use crate::clock;
use crate::local::{AuditWrite, LocalStore};
use crate::metrics::NodeMetrics;
use crate::rate::RateBound;

/// Refusals written to the audit log in one second, of all peers together; more are only counted, so that nobody can fill the disk with them.
const AUDITED_PER_SECOND: u32 = 50;
/// Refusals that wait for the disk at a time: what comes in a second, so that a slow disk does not gather more of them in memory.
const WRITING_MAX: usize = AUDITED_PER_SECOND as usize;

/// Records refusals, up to a bound a second.
pub struct Refusals {
    local: Arc<LocalStore>,
    metrics: NodeMetrics,
    bound: RateBound,
    writing: Semaphore,
}

impl Refusals {
    /// Records into this store's audit log.
    #[must_use]
    pub const fn new(local: Arc<LocalStore>, metrics: NodeMetrics) -> Self {
        Self { local, metrics, bound: RateBound::new(AUDITED_PER_SECOND), writing: Semaphore::const_new(WRITING_MAX) }
    }

    /// Records that a command of this peer was refused. Returns when that is durable, or is not recorded.
    pub async fn command(&self, peer: PeerId, command: &Command, refusal: &Refusal) {
        self.record(|| AuditEvent::CommandRefused {
            peer,
            kind: command.kind().to_owned(),
            subject: command.subject(),
            command: command.digest(),
            refusal: refusal.clone(),
        })
        .await;
    }

    /// Records that something else of this peer was looked at and refused; `request` is what came.
    pub(super) async fn call(&self, peer: PeerId, call: &Call, request: &[u8], refusal: Refusal) {
        self.record(|| AuditEvent::CallRefused {
            peer,
            call: call.what.to_owned(),
            subject: call.subject,
            request: Some(digest(request)),
            refusal: CallRefusal::Refused(refusal),
        })
        .await;
    }

    /// Records that a request of this peer was turned away unread, or in a role that is not the peer's. What this node only put off is no refusal.
    pub(super) async fn frame(&self, peer: PeerId, role: Role, request: Option<Bytes>, refusal: RpcRefusal) {
        let refusal = match refusal {
            RpcRefusal::WrongVersion { .. } => CallRefusal::WrongVersion,
            RpcRefusal::Malformed { detail } => CallRefusal::Malformed { detail },
            RpcRefusal::TooLarge { limit } => CallRefusal::TooLarge { limit },
            RpcRefusal::Unsupported { detail } => CallRefusal::Unsupported { detail },
            RpcRefusal::Denied { detail } => CallRefusal::Denied { detail },
            RpcRefusal::TooSlow | RpcRefusal::Busy { .. } | RpcRefusal::Failed { .. } => return,
        };
        // The request goes with its digest: it may be large, and the disk slow.
        self.record(move || AuditEvent::CallRefused {
            peer,
            call: role.to_string(),
            subject: AuditSubject::default(),
            request: request.map(|request| digest(&request)),
            refusal,
        })
        .await;
    }

    async fn record(&self, event: impl FnOnce() -> AuditEvent) {
        let now = clock::now();
        let writing = self.writing.try_acquire();
        let (true, Ok(_writing)) = (self.bound.admits(now.as_secs()), writing) else {
            self.metrics.refusals_unrecorded.inc();
            return;
        };
        if let Err(error) = self.local.record(vec![AuditWrite::plain(AuditEntry::new(now, event()))]).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a refusal cannot be recorded");
        }
    }
}

fn digest(request: &[u8]) -> Sha256 {
    Sha256::new(canonical::sha256(request))
}

/// What a call that may be refused is, before it is handed over.
pub(super) struct Call {
    what: &'static str,
    subject: AuditSubject,
}

impl From<&CeremonyCall> for Call {
    fn from(call: &CeremonyCall) -> Self {
        let (what, ceremony) = match call {
            CeremonyCall::Round2(message) => ("round-2 packages", Some(message.body.ceremony)),
            CeremonyCall::Repair(message) => ("parts of a repair", Some(message.part.body.ceremony)),
            CeremonyCall::StateRoot { .. } => ("state root", None),
            CeremonyCall::Remembered => ("what is remembered", None),
            CeremonyCall::StateMark { .. } => ("state mark", None),
        };
        let node = match call {
            CeremonyCall::Round2(message) => Some(message.node),
            CeremonyCall::Repair(message) => Some(message.part.node),
            CeremonyCall::StateRoot { .. } | CeremonyCall::Remembered | CeremonyCall::StateMark { .. } => None,
        };
        Self { what, subject: AuditSubject { ceremony, node, ..AuditSubject::default() } }
    }
}

impl From<&ImportPacket> for Call {
    fn from(packet: &ImportPacket) -> Self {
        Self { what: "import packet", subject: AuditSubject { order: Some(packet.order), ..AuditSubject::default() } }
    }
}
