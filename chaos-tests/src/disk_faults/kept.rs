//! What was acknowledged, and whether it is still so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use warifu::clock::now;
use warifu::local_cluster::{LocalCluster, NewHolder, OpenSession};
use warifu_protocol::wire::{CredentialState, ObjectRef};
use warifu_protocol::{CredentialId, Name, NodeId, ObjectVersion, OrderCommand, SessionId, SubjectFields};

use super::audit::SiteLog;
use crate::open_loop::sign;
use crate::scene::Scene;

/// Time for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Rest between two orders: the log is busy and the machine has room for the nodes.
const REST: Duration = Duration::from_millis(20);
/// Of so many orders one is an enrolment, which takes a whole ceremony.
const ENROLMENT_EVERY: u32 = 8;
/// Of so many orders one is a session.
const SESSION_EVERY: u32 = 4;

/// Everything that somebody was told is done.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Documents that came back signed.
    pub(crate) documents: BTreeSet<(SessionId, u32)>,
    facilities: BTreeSet<Name>,
    credentials: BTreeSet<CredentialId>,
    sessions: Vec<OpenSession>,
    orders: u32,
}

/// How much that is.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counted {
    /// Documents signed.
    pub documents: usize,
    /// Facilities enrolled.
    pub facilities: usize,
    /// Keys generated.
    pub credentials: usize,
    /// Sessions opened.
    pub sessions: usize,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { documents, facilities, credentials, sessions } = self;
        write!(f, "{documents} documents, {facilities} facilities, {sessions} sessions, {credentials} keys")
    }
}

impl Kept {
    /// Orders facilities, sessions and keys, one after the other, until it is dropped. What fails is of unknown outcome and not kept.
    pub(crate) async fn order(&mut self, scene: &mut Scene) -> anyhow::Result<()> {
        loop {
            self.orders += 1;
            let number = self.orders;
            if number.is_multiple_of(ENROLMENT_EVERY) {
                let subject = SubjectFields::new("JP", None, "TRIAL Ishi", format!("DISK-{number:06}"))?;
                let holder = NewHolder { holder: format!("disk-{number}").parse()?, subject };
                if let Ok(credentials) = scene.cluster.enrol(&[holder]).await {
                    self.credentials.extend(credentials);
                }
            } else if number % SESSION_EVERY == 1 {
                if let Ok(session) = scene.log_in_anew().await {
                    self.sessions.push(session);
                }
            } else {
                let facility: Name = format!("132{number:07}").parse()?;
                if scene.cluster.order(OrderCommand::EnrolFacility { facility: facility.clone() }, None).await.is_ok() {
                    self.facilities.insert(facility);
                }
            }
            tokio::time::sleep(REST).await;
        }
    }

    pub(crate) fn counted(&self) -> Counted {
        let Self { documents, facilities, credentials, sessions, orders: _ } = self;
        Counted { documents: documents.len(), facilities: facilities.len(), credentials: credentials.len(), sessions: sessions.len() }
    }

    /// What the sites' audit logs lack: every signed document must be in those of t.
    pub(crate) fn missing_audit(&self, logs: &BTreeMap<NodeId, SiteLog>, threshold: u8) -> Vec<String> {
        let mut broken: Vec<String> = logs.values().flat_map(|log| log.broken.clone()).collect();
        for (session, seq) in &self.documents {
            let sites = logs.values().filter(|log| log.documents.contains(&(*session, *seq))).count();
            if sites < usize::from(threshold) {
                broken.push(format!("document {seq} of session {session} is signed, and {sites} sites have an audit entry of it"));
            }
        }
        broken
    }

    /// What the running cluster does not know any more. A document is signed in each session.
    pub(crate) async fn forgotten(&mut self, cluster: &LocalCluster) -> anyhow::Result<Vec<String>> {
        let client = cluster.client(LocalCluster::CLIENT_CA, ANSWER_DEADLINE)?;
        let mut broken = Vec::new();
        for facility in &self.facilities {
            if client.object_version(&ObjectRef::Facility(facility.clone())).await? == ObjectVersion(0) {
                broken.push(format!("facility {facility} was enrolled and is not there"));
            }
        }
        for credential in &self.credentials {
            match client.credential(*credential).await {
                Ok(view) if view.state != CredentialState::Generating => {}
                Ok(view) => broken.push(format!("credential {credential} had a key and is {:?}", view.state)),
                Err(error) => broken.push(format!("credential {credential} had a key: {error}")),
            }
        }
        for session in &mut self.sessions {
            let (id, seq) = (session.session(), session.file.take_seqs(1, now())?);
            match sign(session, seq).await {
                Ok(_) => drop(self.documents.insert((id, seq))),
                Err(error) => broken.push(format!("session {id} was open and signs nothing: {error:#}")),
            }
        }
        Ok(broken)
    }
}
