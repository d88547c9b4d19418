//! A cluster that exists only as its genesis and the keys of everybody in it.

use anyhow::Context as _;
use ed25519_dalek::{Signer as _, SigningKey};
use warifu::trial_pki::{TrialHpki, TrialJpki};
use warifu_core::identity::NodeIdentity;
use warifu_protocol::{
    Approval, Blob, CoordinatorEntry, Genesis, GenesisBody, GenesisDocument, GenesisSignature, Name, NodeEntry, NodeId, OfficerEntry,
    OfficerRole, Order, OrderBody, Policy, PublicKey, SpkiHash, Threshold, UnixMillis,
};

use super::dealt::{NODES, THRESHOLD};

/// Bytes of a node's hybrid sealing key: X25519 and ML-KEM-768.
const SEALING_KEY_BYTES: usize = 32 + 1184;
const OPERATORS: [&str; 2] = ["operator-1", "operator-2"];
/// Asked for by the approval table; they approve nothing here.
const SECURITY_OFFICERS: [&str; 2] = ["security-1", "security-2"];

/// Genesis, trial CAs, operators and nodes.
pub struct Founding {
    /// The signed genesis.
    pub genesis: Genesis,
    pub(super) hpki: TrialHpki,
    pub(super) jpki: TrialJpki,
    /// The nodes' keys.
    pub identities: Vec<NodeIdentity>,
    operators: Vec<(Name, SigningKey)>,
}

impl Founding {
    /// Founds a cluster of five nodes, threshold three, with new trial CAs (RSA-2048, as the real ones).
    ///
    /// # Errors
    /// When keys or certificates cannot be made.
    pub fn new(now: UnixMillis) -> anyhow::Result<Self> {
        let (hpki, jpki) = (TrialHpki::new(now)?, TrialJpki::new(now)?);
        let keys: Vec<(NodeId, SigningKey)> = (1..=NODES).filter_map(NodeId::new).map(|id| (id, key_of(0xa0 + id.get()))).collect();
        let officers = |ids: [&str; 2], seeds: std::ops::Range<u8>| -> anyhow::Result<Vec<(Name, SigningKey)>> {
            ids.iter().zip(seeds).map(|(id, seed)| Ok((id.parse()?, key_of(seed)))).collect()
        };
        let (operators, security_officers) = (officers(OPERATORS, 1..3)?, officers(SECURITY_OFFICERS, 3..5)?);
        let body = GenesisBody {
            format: 1,
            name: "state-size".parse().context("a name")?,
            created: now,
            threshold: Threshold(THRESHOLD),
            liars: 1,
            minority_threshold: false,
            policy: Policy::default(),
            nodes: keys.iter().map(|(id, key)| node_entry(*id, key)).collect(),
            coordinators: vec![CoordinatorEntry {
                id: "coordinator-1".parse().context("a name")?,
                tls_spki: SpkiHash::new([0xc1; 32]),
                identity: public(&key_of(0xc1)),
            }],
            officers: operators
                .iter()
                .map(|officer| (officer, OfficerRole::Operator))
                .chain(security_officers.iter().map(|officer| (officer, OfficerRole::SecurityOfficer)))
                .map(|((id, key), role)| OfficerEntry { id: id.clone(), role, key: public(key) })
                .collect(),
            anchors: vec![hpki.anchor(), jpki.anchor()],
        };
        let message = body.message();
        let signatures = operators
            .iter()
            .chain(&security_officers)
            .map(|(id, key)| GenesisSignature { officer: id.clone(), signature: sign(key, &message) })
            .collect();
        let genesis = Genesis::new(GenesisDocument { genesis: body, signatures })?;
        let identities = keys.into_iter().map(|(id, key)| NodeIdentity::new(id, genesis.cluster(), key)).collect();
        Ok(Self { genesis, hpki, jpki, identities, operators })
    }

    /// The order with the approvals of the first `count` operators.
    pub(super) fn approve(&self, body: OrderBody, count: u8) -> Order {
        let message = body.message();
        let approvals = self.operators.iter().take(count.into());
        Order {
            approvals: approvals.map(|(id, key)| Approval { officer: id.clone(), signature: sign(key, &message) }).collect(),
            consents: Vec::new(),
            body,
        }
    }
}

fn node_entry(id: NodeId, key: &SigningKey) -> NodeEntry {
    NodeEntry {
        id,
        address: format!("node-{id}.trial.invalid:7001"),
        tls_spki: SpkiHash::new([id.get(); 32]),
        identity: public(key),
        sealing_key: Blob(vec![id.get(); SEALING_KEY_BYTES]),
    }
}

fn key_of(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::Ed25519(key.verifying_key().to_bytes())
}

fn sign(key: &SigningKey, message: &[u8]) -> Blob {
    Blob(key.sign(message).to_bytes().to_vec())
}
