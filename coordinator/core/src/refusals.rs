//! What nodes' refusals of one document amount to together.

use std::collections::BTreeMap;

use warifu_protocol::{Fault, NodeId, Refusal};

use crate::fleet::NodeNote;
use crate::limits::UNREADY_MILLIS;

/// What one refusal says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// Something about the document, session or card, on which honest nodes agree.
    Verdict,
    /// The coordinator's view of the credential is not the node's.
    View,
    /// Something about the node alone.
    Node(NodeNote),
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a new refusal is classed by its fault, which its author has to state")]
pub(crate) fn meaning(refusal: &Refusal) -> Meaning {
    match refusal {
        Refusal::CertificateMoved | Refusal::SignerSet { .. } | Refusal::ShareMissing => Meaning::View,
        Refusal::CommitmentsChanged | Refusal::CommitmentsInvalid { .. } => Meaning::Node(NodeNote::CommitmentsGone),
        other => match other.fault() {
            Fault::Node | Fault::Coordinator => Meaning::Node(NodeNote::Unready { millis: UNREADY_MILLIS }),
            Fault::Request | Fault::Card | Fault::Order | Fault::Cluster => Meaning::Verdict,
        },
    }
}

/// Refusals of different nodes to one document.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    by_node: BTreeMap<NodeId, Refusal>,
}

impl Refusals {
    pub(crate) fn add(&mut self, node: NodeId, refusal: Refusal) {
        self.by_node.insert(node, refusal);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// Nodes that refused.
    pub(crate) fn len(&self) -> usize {
        self.by_node.len()
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.by_node.contains_key(&node)
    }

    /// The refusal that `quorum` nodes give with the same code, and who they are. The words are those of the first of them.
    pub(crate) fn agreed(&self, quorum: usize) -> Option<(Refusal, Vec<NodeId>)> {
        let mut by_code: BTreeMap<String, (&Refusal, Vec<NodeId>)> = BTreeMap::new();
        for (node, refusal) in &self.by_node {
            by_code.entry(refusal.code()).or_insert_with(|| (refusal, Vec::new())).1.push(*node);
        }
        let (refusal, nodes) = by_code.into_values().find(|(_, nodes)| nodes.len() >= quorum)?;
        Some((refusal.clone(), nodes))
    }

    /// All of them in words, for the one who has to find out why nodes disagree.
    pub(crate) fn describe(&self) -> Vec<String> {
        self.by_node.iter().map(|(node, refusal)| format!("node {node}: {refusal}")).collect()
    }
}
