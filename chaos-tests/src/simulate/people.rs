//! Genesis and everybody's keys: officers, terminals, holders, and the identities of sites.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{Registry as _, StateStore, StateStoreError};
use warifu_protocol::canonical::sha256;
use warifu_protocol::{
    Approval, Blob, ClusterId, CoordinatorEntry, Genesis, GenesisBody, GenesisDocument, GenesisSignature, Name, NodeEntry, NodeId,
    ObjectVersion, OfficerEntry, OfficerRole, Order, OrderBody, OrderCommand, OrderId, Policy, PublicKey, SpkiHash, TerminalId, Threshold,
    UnixMillis,
};

use super::cost::{self, Of};
use super::pki::{EPOCH, TrialPki};
use super::plan::Plan;
use super::sealing::Sealing;

/// An attempt at a ceremony: short, so that a run sees many.
const CEREMONY_MILLIS: u64 = 6_000;
/// Notice of a card that no bound card agrees to.
const BINDING_DELAY_MILLIS: u64 = 2_000;
/// Life of an order in a run.
const ORDER_MILLIS: u64 = 10 * 60 * 1000;
const OPERATORS: [&str; 2] = ["operator-1", "operator-2"];
const SECURITY_OFFICERS: [&str; 2] = ["security-1", "security-2"];
/// Where all trial terminals stand.
pub(super) const CLINIC: &str = "clinic-1";

/// The `number`th terminal of the clinic.
pub(super) const fn desk(number: u8) -> TerminalId {
    TerminalId::new([number; TerminalId::LEN])
}

/// The people around the cluster.
pub(super) struct People {
    /// What the cluster began as.
    pub(super) genesis: Genesis,
    seed: u64,
    /// Keys that were used before, by their seed: making the public half costs as much as signing.
    keys: RefCell<BTreeMap<[u8; 32], SigningKey>>,
}

impl People {
    /// Founds the cluster of a plan.
    ///
    /// # Errors
    /// When the genesis is refused.
    pub(super) fn found(plan: &Plan) -> anyhow::Result<Self> {
        let seed = plan.seed;
        let officers: Vec<(Name, OfficerRole)> = OPERATORS
            .iter()
            .map(|id| (id, OfficerRole::Operator))
            .chain(SECURITY_OFFICERS.iter().map(|id| (id, OfficerRole::SecurityOfficer)))
            .map(|(id, role)| Ok((id.parse()?, role)))
            .collect::<anyhow::Result<_>>()?;
        let coordinators = (0..plan.coordinators).map(|number| {
            let key = key_of(seed, "coordinator", u64::from(number));
            Ok(CoordinatorEntry {
                id: coordinator_name(number.into())?,
                tls_spki: SpkiHash::new(sha256(&public_bytes(&key))),
                identity: public(&key),
            })
        });
        let body = GenesisBody {
            format: 1,
            name: "simulated".parse()?,
            created: EPOCH,
            threshold: Threshold(plan.threshold),
            liars: plan.liars,
            minority_threshold: plan.minority,
            policy: policy(),
            nodes: (1..=plan.nodes).filter_map(NodeId::new).map(|id| node_entry(seed, id, 0)).collect(),
            coordinators: coordinators.collect::<anyhow::Result<_>>()?,
            officers: officers
                .iter()
                .map(|(id, role)| OfficerEntry { id: id.clone(), role: *role, key: public(&officer_key(seed, id)) })
                .collect(),
            anchors: TrialPki::get().anchors(),
        };
        let message = body.message();
        let signatures = officers
            .iter()
            .map(|(id, _)| GenesisSignature { officer: id.clone(), signature: sign(&officer_key(seed, id), &message) })
            .collect();
        Ok(Self { genesis: Genesis::new(GenesisDocument { genesis: body, signatures })?, seed, keys: RefCell::default() })
    }

    /// The cluster's id.
    #[must_use]
    pub(super) fn cluster(&self) -> ClusterId {
        self.genesis.cluster()
    }

    /// A site's identity on its `store`th store.
    #[must_use]
    pub(super) fn identity(&self, site: NodeId, store: u32) -> NodeIdentity {
        NodeIdentity::new(site, self.cluster(), site_key(self.seed, site, store))
    }

    /// A site's entry in the roster on its `store`th store.
    #[must_use]
    pub(super) fn entry(&self, site: NodeId, store: u32) -> NodeEntry {
        node_entry(self.seed, site, store)
    }

    /// The key of a terminal.
    #[must_use]
    pub(super) fn desk(&self, terminal: TerminalId) -> SigningKey {
        self.key("desk", u64::from(terminal.as_bytes()[0]))
    }

    /// The key of the `number`th session of the run.
    #[must_use]
    pub(super) fn session(&self, number: u64) -> SigningKey {
        self.key("session", number)
    }

    /// What seals for the site with this public sealing key, and opens there.
    #[must_use]
    pub(super) fn sealing_for(&self, public: &[u8]) -> Sealing {
        Sealing::new(self.seed, public)
    }

    fn key(&self, part: &str, number: u64) -> SigningKey {
        let seed = key_seed(self.seed, part, number);
        self.keys.borrow_mut().entry(seed).or_insert_with(|| SigningKey::from_bytes(&seed)).clone()
    }

    /// An order with exactly the approvals that it needs, for its object as `state` knows it.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) fn order<S: StateStore>(
        &self,
        state: &S,
        now: UnixMillis,
        id: OrderId,
        order: OrderCommand,
    ) -> Result<Order, StateStoreError> {
        self.order_until(state, now.plus(ORDER_MILLIS), id, order)
    }

    /// The same with an end of its own.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) fn order_until<S: StateStore>(
        &self,
        state: &S,
        not_after: UnixMillis,
        id: OrderId,
        order: OrderCommand,
    ) -> Result<Order, StateStoreError> {
        let rules = Policy::default().rules_for(order.class());
        let body = OrderBody { cluster: self.cluster(), id, not_after, object_version: version_of(state, &order)?, order };
        let approvals = rules.iter().flat_map(|rule| self.approvals(&body, rule.role, usize::from(rule.count))).collect();
        Ok(Order { body, approvals, consents: Vec::new() })
    }

    /// Approvals of so many officers with this role.
    #[must_use]
    pub(super) fn approvals(&self, body: &OrderBody, role: OfficerRole, count: usize) -> Vec<Approval> {
        let message = body.message();
        let officers = match role {
            OfficerRole::SecurityOfficer => SECURITY_OFFICERS,
            OfficerRole::Operator | OfficerRole::Administrator | OfficerRole::Auditor => OPERATORS,
        };
        let names = officers.into_iter().take(count).filter_map(|id| id.parse::<Name>().ok());
        names.map(|officer| Approval { signature: sign(&self.key(officer.as_str(), 0), &message), officer }).collect()
    }
}

/// The policy that a run begins with: what takes hours or days elsewhere is short.
#[must_use]
pub(super) fn policy() -> Policy {
    Policy { ceremony_millis_max: CEREMONY_MILLIS, binding_delay_millis: BINDING_DELAY_MILLIS, ..Policy::default() }
}

/// A coordinator's name.
///
/// # Errors
/// Never: it is a name.
pub(super) fn coordinator_name(number: usize) -> anyhow::Result<Name> {
    Ok(format!("coordinator-{}", number + 1).parse()?)
}

/// Signs as people and terminals do.
#[must_use]
pub(super) fn sign(key: &SigningKey, message: &[u8]) -> Blob {
    cost::of(Of::Signatures, || Blob(key.sign(message).to_bytes().to_vec()))
}

/// The public half as the protocol writes it.
#[must_use]
pub(super) fn public(key: &SigningKey) -> PublicKey {
    PublicKey::Ed25519(public_bytes(key))
}

fn public_bytes(key: &SigningKey) -> [u8; 32] {
    key.verifying_key().to_bytes()
}

/// The version of the object that an order is about.
///
/// # Errors
/// When the state cannot be read.
pub(super) fn version_of<S: StateStore>(state: &S, order: &OrderCommand) -> Result<ObjectVersion, StateStoreError> {
    let credential =
        |id| -> Result<ObjectVersion, StateStoreError> { Ok(state.credential(id)?.map(|record| record.version).unwrap_or_default()) };
    match order {
        OrderCommand::InstallCertificate { credential: id, .. }
        | OrderCommand::UnbindAuthenticator { credential: id, .. }
        | OrderCommand::ResumeBinding { credential: id, .. }
        | OrderCommand::Resume { credential: id } => credential(*id),
        OrderCommand::BindAuthenticator { binding, .. } | OrderCommand::BindWithNotice { binding, .. } => credential(binding.credential),
        OrderCommand::EnrolFacility { facility } => Ok(state.facility(facility)?.map(|record| record.version).unwrap_or_default()),
        OrderCommand::EnrolTerminal { terminal, .. } | OrderCommand::RetireTerminal { terminal } => {
            Ok(state.terminal(*terminal)?.map(|record| record.version).unwrap_or_default())
        }
        OrderCommand::UpdateRoster { .. }
        | OrderCommand::ReplaceStore { .. }
        | OrderCommand::UpdatePolicy { .. }
        | OrderCommand::UpdateAnchors { .. } => Ok(state.cluster()?.version_for(order).unwrap_or_default()),
        OrderCommand::Enrol { .. }
        | OrderCommand::UpdateCrl { .. }
        | OrderCommand::Suspend { .. }
        | OrderCommand::SuspendBinding { .. }
        | OrderCommand::Destroy { .. }
        | OrderCommand::Revoke { .. }
        | OrderCommand::Refresh { .. }
        | OrderCommand::RefreshAll { .. }
        | OrderCommand::Import { .. }
        | OrderCommand::CloseSession { .. } => Ok(ObjectVersion(0)),
    }
}

fn node_entry(seed: u64, id: NodeId, store: u32) -> NodeEntry {
    let key = site_key(seed, id, store);
    let spki = SpkiHash::new(sha256(&[&[0x71][..], &public_bytes(&key)].concat()));
    NodeEntry {
        id,
        address: format!("node-{id}.trial.invalid:7001"),
        tls_spki: spki,
        identity: public(&key),
        sealing_key: Blob([vec![id.get(); 1212], store.to_be_bytes().to_vec()].concat()),
    }
}

fn site_key(seed: u64, site: NodeId, store: u32) -> SigningKey {
    key_of(seed, "site", u64::from(site.get()) << 32 | u64::from(store))
}

fn officer_key(seed: u64, officer: &Name) -> SigningKey {
    key_of(seed, officer.as_str(), 0)
}

fn key_of(seed: u64, part: &str, number: u64) -> SigningKey {
    SigningKey::from_bytes(&key_seed(seed, part, number))
}

fn key_seed(seed: u64, part: &str, number: u64) -> [u8; 32] {
    sha256(&[&seed.to_be_bytes()[..], b"key of ", part.as_bytes(), &number.to_be_bytes()].concat())
}
