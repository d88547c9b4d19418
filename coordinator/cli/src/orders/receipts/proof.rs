//! What receipts prove, from the roster alone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use warifu_protocol::{
    ClusterRecord, Gone, NodeId, NodeSigned, Receipt, ReceiptError, ReceiptQuorum, StopCommand, UnixMillis, check_gone, check_receipts,
    limits,
};

/// The receipts of one stop, with the stop itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptsFile {
    /// What was ordered, and by whom.
    pub stop: StopCommand,
    /// Which nodes obey.
    pub receipts: Vec<NodeSigned<Receipt>>,
    /// For what led to a destruction: which nodes say that nothing is left.
    #[serde(default)]
    pub gone: Vec<NodeSigned<Gone>>,
}

/// How much receipts prove; each level says what those before it say, but for f nodes that may lie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofLevel {
    /// t nodes without a receipt, or lying, could still sign.
    Nothing,
    /// No t nodes are left that would start a signature.
    CannotSign,
    /// All nodes say that no share of the key is left in a form that can be read.
    Gone,
    /// And that the key-encryption keys which the shares were sealed under were destroyed where no copy can be kept.
    GoneProvably,
}

/// What receipts prove.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Proof {
    /// What was stopped, in words.
    pub what: String,
    /// The orders since the genesis that make the roster which was counted by.
    pub revision: u64,
    /// The nodes that obey, ascending.
    pub nodes: Vec<NodeId>,
    /// n−t+1+f
    pub needed: usize,
    /// f
    pub liars: u8,
    /// How much is proved.
    pub level: ProofLevel,
    /// When, by the nodes' clocks, the last nonce of before was dead; absent while receipts are missing.
    pub over_at: Option<UnixMillis>,
    /// For a destruction: the nodes that say that nothing is left, ascending.
    pub gone: Vec<NodeId>,
    /// The nodes of the roster that do not say so, ascending.
    pub not_gone: Vec<NodeId>,
}

/// Checks receipts against a roster, without any cluster. Each must be of a node in it, under the key that it has there, for this very stop.
///
/// # Errors
/// The first receipt that does not count.
///
/// # Security
/// Receipts prove what they prove under the roster of the time when they were given: with an older or a later one the count may be another.
pub fn prove(cluster: &ClusterRecord, file: &ReceiptsFile) -> Result<Proof, ReceiptError> {
    let (object, kind) = file.stop.target().ok_or(ReceiptError::NotStopping)?;
    let nodes = check_receipts(cluster.cluster, &cluster.nodes, &file.stop, &file.receipts)?;
    let quorum = ReceiptQuorum { nodes: cluster.nodes.len(), threshold: cluster.threshold, liars: cluster.liars };
    let needed = quorum.needed();
    let mut since: Vec<UnixMillis> = file.receipts.iter().map(|receipt| receipt.body.held_since).collect();
    since.sort_unstable();
    let over_at = needed.checked_sub(1).and_then(|last| since.get(last)).map(|since| since.plus(limits::NONCE_LIFE_MILLIS));
    let mut gone = BTreeSet::new();
    for said in &file.gone {
        check_gone(cluster.cluster, &cluster.nodes, &file.stop, said)?;
        if !gone.insert(said.node) {
            return Err(ReceiptError::Duplicate { node: said.node });
        }
    }
    let not_gone: Vec<NodeId> = cluster.node_ids().into_iter().filter(|node| !gone.contains(node)).collect();
    let level = if not_gone.is_empty() {
        let proved = file.gone.iter().all(|said| said.body.proves_destruction && !said.body.destroyed.is_empty());
        if proved { ProofLevel::GoneProvably } else { ProofLevel::Gone }
    } else if nodes.len() >= needed {
        ProofLevel::CannotSign
    } else {
        ProofLevel::Nothing
    };
    Ok(Proof {
        what: format!("{kind}: {object}"),
        revision: cluster.revision(),
        nodes: nodes.into_iter().collect(),
        needed,
        liars: quorum.liars,
        level,
        over_at,
        gone: gone.into_iter().collect(),
        not_gone,
    })
}

impl Proof {
    /// In words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let list = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let Self { what, revision, nodes, needed, liars, level, over_at, gone, not_gone } = self;
        let mut lines = vec![
            what.clone(),
            format!("by the roster after {revision} orders since the genesis"),
            format!("receipts of nodes {}: {} of {needed} needed (f = {liars})", list(nodes), nodes.len()),
        ];
        lines.extend(over_at.map(|at| format!("what was given before was dead from {at} on, by the nodes' clocks")));
        if !gone.is_empty() && !not_gone.is_empty() {
            lines.push(format!("nodes {} say that nothing is left; nodes {} have not said so", list(gone), list(not_gone)));
        }
        lines.push(
            match level {
                ProofLevel::Nothing => "NOT PROVED: t nodes without a receipt, or lying, could still sign",
                ProofLevel::CannotSign => "CANNOT SIGN: no t nodes are left that would start a signature",
                ProofLevel::Gone => {
                    "GONE, as all nodes say: no share is left in a form that can be read; the KEK of at least one of them cannot prove it"
                }
                ProofLevel::GoneProvably => {
                    "GONE: all nodes destroyed the keys that its shares were sealed under, and their KEKs keep no copy"
                }
            }
            .to_owned(),
        );
        lines.join("\n")
    }
}
