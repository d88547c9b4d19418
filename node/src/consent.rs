//! The consent of a site's administrator, given at this node's admin socket and nowhere else.

use std::sync::Arc;

use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{Registry as _, StateStore};
use warifu_core::{describe, registry};
use warifu_protocol::{AuditEntry, AuditEvent, Consent, NodeSigned, Order, Refusal, UnixMillis};

use crate::clock;
use crate::gate::Gate;
use crate::local::{AuditWrite, LocalStore, LocalStoreError};
use crate::state::StateDatabase;
use crate::store::StoreError;

/// Checks an order as this site would apply it, records the consent, and signs it.
#[derive(Clone)]
pub struct ConsentService {
    identity: NodeIdentity,
    state: StateDatabase,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
}

/// Why this site does not consent.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// The node would refuse the order.
    #[error("this node would refuse the order: {0}")]
    Refused(#[from] Refusal),
    /// Its consent is there already.
    #[error("this site has consented to this order already")]
    GivenAlready,
    /// The node does not know how the cluster stands.
    #[error("this node is not confirmed, so it does not know how the cluster stands; wait until /readyz is content")]
    Unconfirmed,
    /// The state cannot be read.
    #[error("the state cannot be read")]
    State(#[from] StoreError),
    /// A record of the state cannot be read.
    #[error(transparent)]
    Registry(#[from] registry::StateStoreError),
    /// The consent cannot be recorded, so it is not given.
    #[error("the consent cannot be recorded, so it is not given")]
    Audit(#[from] LocalStoreError),
}

impl ConsentService {
    /// Puts the parts together.
    #[must_use]
    pub const fn new(identity: NodeIdentity, state: StateDatabase, local: Arc<LocalStore>, gate: Arc<Gate>) -> Self {
        Self { identity, state, local, gate }
    }

    /// The order in full words, with every difference to the cluster as this node knows it, if this site could consent to it now.
    ///
    /// # Errors
    /// [`ConsentError`].
    pub fn preview(&self, order: &Order) -> Result<Vec<String>, ConsentError> {
        if !self.gate.is_open() {
            return Err(ConsentError::Unconfirmed);
        }
        let view = self.state.view()?;
        check(&view, &self.identity, order, clock::now())?;
        let mut lines = describe::order(&order.body);
        lines.push("against the cluster as this node knows it:".to_owned());
        lines.extend(view.cluster()?.describe_change(&order.body.order).into_iter().map(|line| format!("  {line}")));
        lines.push(format!("approved so far by {}", approvers(order)));
        lines.push(format!("SHA-256 of what is consented to: {}", order.body.digest()));
        Ok(lines)
    }

    /// Consents: checks the order again, records the consent durably, and only then signs it.
    ///
    /// # Errors
    /// [`ConsentError`].
    pub async fn give(&self, order: &Order) -> Result<NodeSigned<Consent>, ConsentError> {
        let (service, asked) = (self.clone(), order.clone());
        crate::blocking::run(move || service.preview(&asked).map(drop)).await.unwrap_or(Err(ConsentError::Unconfirmed))?;
        let digest = order.body.digest();
        let event = AuditEvent::Consented { order: order.body.id, digest, kind: order.body.order.kind().to_owned() };
        self.local.record(vec![AuditWrite::plain(AuditEntry::new(clock::now(), event))]).await?;
        Ok(self.identity.sign(Consent { order: digest }))
    }
}

fn approvers(order: &Order) -> String {
    let names: Vec<_> = order.approvals.iter().map(|approval| approval.officer.as_str()).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

fn check<S: StateStore>(state: &S, identity: &NodeIdentity, order: &Order, now: UnixMillis) -> Result<(), ConsentError> {
    let (cluster, body) = (state.cluster()?, &order.body);
    if body.cluster != cluster.cluster {
        return Err(Refusal::WrongCluster { found: body.cluster }.into());
    }
    if body.not_after < now {
        return Err(Refusal::OrderExpired { not_after: body.not_after }.into());
    }
    let class = body.order.class();
    if !class.needs_consent() {
        return Err(Refusal::ConsentUnneeded.into());
    }
    match cluster.check_approvals(order, class) {
        // The other officers may come after the sites.
        Ok(()) | Err(Refusal::ApprovalsMissing { .. }) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    cluster.verify_consents(order)?;
    cluster.revised(body)?;
    if order.consents.iter().any(|consent| consent.node == identity.node()) {
        return Err(ConsentError::GivenAlready);
    }
    Ok(())
}
