//! What nodes agree on about credentials and sessions, kept for a while. Nothing here authorizes: the nodes look for themselves at every item.

use std::sync::Arc;

use moka::sync::Cache;
use parking_lot::Mutex;
use warifu_api::Problem;
use warifu_coordinator_core::{GroupKey, MonotonicMillis, is_view_due};
use warifu_protocol::wire::{CredentialView, Read, SessionView, View};
use warifu_protocol::{Blob, CredentialId, Epoch, Fault, Name, NodeId, Refusal, SessionId, Statement, SubjectFields};

use super::problems::read_problem;
use crate::limits::{CACHE_LIFE, CREDENTIAL_CACHE_ENTRIES, SESSION_CACHE_ENTRIES};
use crate::nodes::Nodes;

/// What is needed to gather for a credential.
#[derive(Debug)]
pub(crate) struct SigningView {
    pub(crate) epoch: Epoch,
    pub(crate) key: Arc<GroupKey>,
    pub(crate) subject: SubjectFields,
    pub(crate) certificate: Option<Blob>,
    /// When the nodes were last asked for it, also in vain. How long it is kept does not depend on that.
    asked_at: Mutex<MonotonicMillis>,
}

impl SigningView {
    fn is_due(&self, now: MonotonicMillis, nodes: &[NodeId]) -> bool {
        is_view_due(now.since(*self.asked_at.lock()), self.key.holders(), nodes)
    }
}

/// Caches of what does not change, and of what nodes say when it has.
pub(crate) struct Views {
    nodes: Arc<Nodes>,
    sessions: Cache<SessionId, Arc<Statement>>,
    credentials: Cache<CredentialId, Arc<SigningView>>,
}

impl Views {
    pub(crate) fn new(nodes: Arc<Nodes>) -> Self {
        let sessions = Cache::builder().max_capacity(SESSION_CACHE_ENTRIES).time_to_live(CACHE_LIFE).build();
        let credentials = Cache::builder().max_capacity(CREDENTIAL_CACHE_ENTRIES).time_to_live(CACHE_LIFE).build();
        Self { nodes, sessions, credentials }
    }

    /// The statement that opened a session at one of these facilities; any other session does not exist for the caller.
    pub(crate) async fn statement(&self, session: SessionId, facility: impl Fn(&Name) -> bool) -> Result<Arc<Statement>, Problem> {
        let statement = match self.sessions.get(&session) {
            Some(statement) => statement,
            None => Arc::new(self.session(session, &facility).await?.statement),
        };
        if facility(&statement.facility) { Ok(statement) } else { Err(Problem::from(&Refusal::SessionUnknown)) }
    }

    /// A session as the nodes know it now.
    pub(crate) async fn session(&self, session: SessionId, facility: impl Fn(&Name) -> bool) -> Result<SessionView, Problem> {
        let unknown = || Problem::from(&Refusal::SessionUnknown);
        let view = match self.nodes.read(&Read::Session(session)).await.map_err(|error| read_problem(&error))? {
            Some(View::Session(view)) if view.session == session && view.statement.session() == session => *view,
            Some(_) | None => return Err(unknown()),
        };
        self.sessions.insert(session, Arc::new(view.statement.clone()));
        if facility(&view.statement.facility) { Ok(view) } else { Err(unknown()) }
    }

    /// A session that this coordinator saw being opened.
    pub(crate) fn remember(&self, statement: Statement) {
        self.sessions.insert(statement.session(), Arc::new(statement));
    }

    /// A credential as the nodes know it now.
    pub(crate) async fn credential(&self, credential: CredentialId) -> Result<CredentialView, Problem> {
        match self.nodes.read(&Read::Credential(credential)).await.map_err(|error| read_problem(&error))? {
            Some(View::Credential(view)) if view.credential == credential => Ok(*view),
            Some(_) | None => Err(Problem::from(&Refusal::CredentialUnknown { credential })),
        }
    }

    /// The parts of a credential that are needed to gather, read anew unless they are kept.
    pub(crate) async fn signing_view(&self, credential: CredentialId) -> Result<Arc<SigningView>, Problem> {
        let kept = self.credentials.get(&credential);
        if let Some(view) = &kept
            && !view.is_due(self.nodes.clock.now(), &self.nodes.cluster().node_ids())
        {
            return Ok(Arc::clone(view));
        }
        let view = match (self.credential(credential).await, kept) {
            (Ok(view), _) => view,
            // What can still be asked may well be enough to sign. The next documents do not wait for another try.
            (Err(_), Some(kept)) => {
                *kept.asked_at.lock() = self.nodes.clock.now();
                return Ok(kept);
            }
            (Err(problem), None) => return Err(problem),
        };
        let Some(package) = &view.public_key_package else {
            let (state, needs) = (view.state.to_string(), "a generated key".to_owned());
            return Err(Problem::from(&Refusal::CredentialState { state, needs }));
        };
        let key = GroupKey::parse(package.as_slice(), self.nodes.facts.threshold)
            .and_then(|key| key.held_by(&view.holders))
            .map_err(|error| Problem::new(503, "key-unusable", Fault::Cluster, error.to_string()).retry_after(1))?;
        let CredentialView { epoch, subject, certificate, .. } = view;
        let asked_at = Mutex::new(self.nodes.clock.now());
        let view = Arc::new(SigningView { epoch, key: Arc::new(key), subject, certificate, asked_at });
        // A certificate is about to come where there is none; no node would say that the view is old.
        if view.certificate.is_some() {
            self.credentials.insert(credential, Arc::clone(&view));
        }
        Ok(view)
    }

    /// Forgets a credential of which the nodes have another view.
    pub(crate) fn forget(&self, credential: CredentialId) {
        self.credentials.invalidate(&credential);
    }
}
