//! What clients were told: kept apart from the cluster, and held against its disks afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use warifu_api::StopReport;
use warifu_protocol::{Request, SessionId, StopObject};

/// Everything that was asked and what was answered. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Oracle(Arc<Mutex<Said>>);

/// The record.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// Every request, in the order in which their outcomes were known.
    pub(super) requests: Vec<Asked>,
    /// Sessions whose opening was acknowledged.
    pub(super) opened: Vec<SessionId>,
    /// Stops that were acknowledged with as many receipts as it takes.
    pub(super) stopped: Vec<StopReport>,
    /// Promises that were broken before a client's eyes.
    pub(super) broken: Vec<String>,
}

impl Said {
    /// Every session that something was said of.
    pub(super) fn sessions(&self) -> BTreeSet<SessionId> {
        let stopped = self.stopped.iter().filter_map(|stop| match stop.object {
            StopObject::Session(session) => Some(session),
            StopObject::Credential(_) | StopObject::Card { .. } => None,
        });
        self.opened.iter().copied().chain(stopped).collect()
    }
}

/// One document.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) outcome: Outcome,
}

/// What a client knows of its request at the end.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// The signed document, checked when it came.
    Signed(String),
    /// A coordinator said no.
    Failed,
    /// Nobody answered: it may be signed.
    Unknown,
}

impl Oracle {
    pub(super) fn asked(&self, request: Request, outcome: Outcome) {
        self.0.lock().requests.push(Asked { request, outcome });
    }

    pub(super) fn opened(&self, session: SessionId) {
        self.0.lock().opened.push(session);
    }

    pub(super) fn stopped(&self, stopped: StopReport) {
        self.0.lock().stopped.push(stopped);
    }

    pub(super) fn broken(&self, what: String) {
        self.0.lock().broken.push(what);
    }

    /// Everything so far.
    pub(super) fn said(&self) -> Said {
        self.0.lock().clone()
    }
}
