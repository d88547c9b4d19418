//! What other nodes say of this node's state after a start, or of a snapshot that it was sent, and when that is enough.

use std::collections::BTreeSet;

use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::{BootId, ClusterRecord, NodeEntry, NodeId, NodeSigned, Sha256, StateMark, StateRoot};

/// The roots that others signed for the entry of one `NodeStarted`. A node counts once, and only under its key in the roster.
#[derive(Clone, Debug)]
pub struct RootTally<'a> {
    cluster: &'a ClusterRecord,
    own: NodeId,
    boot: BootId,
    index: u64,
    root: Sha256,
    same: BTreeSet<NodeId>,
    other: BTreeSet<NodeId>,
}

/// What the answers come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootVerdict {
    /// More others than may lie have the same root: the state is fresh.
    Confirmed {
        /// Those that said so, ascending.
        by: Vec<NodeId>,
    },
    /// More others than may lie have another root: this node's state is wrong.
    Diverged {
        /// Those that said so, ascending.
        with: Vec<NodeId>,
    },
}

impl<'a> RootTally<'a> {
    /// For node `own`, whose start under `boot` is in the log at `index` and left it with this root.
    #[must_use]
    pub const fn new(cluster: &'a ClusterRecord, own: NodeId, boot: BootId, index: u64, root: Sha256) -> Self {
        Self { cluster, own, boot, index, root, same: BTreeSet::new(), other: BTreeSet::new() }
    }

    /// Takes the answer of a node that was asked; one that is not valid counts for nothing.
    pub fn hear(&mut self, asked: &NodeEntry, signed: &NodeSigned<StateRoot>) -> Option<RootVerdict> {
        let body = &signed.body;
        let valid = asked.id != self.own
            && signed.node == asked.id
            && body.boot == self.boot
            && body.index == self.index
            && signed.verify(self.cluster.cluster, &asked.identity).is_ok();
        if !valid {
            return None;
        }
        if body.root == self.root || is_on(Mutant::RootNotCompared) {
            self.same.insert(asked.id);
        } else {
            self.other.insert(asked.id);
        }
        // One node may lie about its root; f+1 that differ mean that this node's state is wrong.
        let needed = if is_on(Mutant::ConfirmByOne) { 1 } else { usize::from(self.cluster.liars) + 1 };
        if self.same.len() >= needed {
            return Some(RootVerdict::Confirmed { by: self.same.iter().copied().collect() });
        }
        (self.other.len() >= needed).then(|| RootVerdict::Diverged { with: self.other.iter().copied().collect() })
    }
}

/// What others signed of the state at the position of a snapshot. A node counts once, and only under its key in the snapshot's cluster, which the caller
/// has found to follow from the one that it knows.
#[derive(Clone, Debug)]
pub struct MarkTally {
    cluster: ClusterRecord,
    own: NodeId,
    index: u64,
    found: Sha256,
    same: BTreeSet<NodeId>,
    other: BTreeSet<NodeId>,
}

/// What the answers come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MarkVerdict {
    /// More others than may lie had this state there, and no more than may lie another: it may be installed.
    Vouched,
    /// More others than may lie had another: it is forged.
    Contradicted {
        /// Those that said so, ascending.
        by: Vec<NodeId>,
    },
}

impl MarkTally {
    /// For node `own`, which was sent a snapshot whose last entry is `index` and whose content has the mark `found`.
    #[must_use]
    pub const fn new(cluster: ClusterRecord, own: NodeId, index: u64, found: Sha256) -> Self {
        Self { cluster, own, index, found, same: BTreeSet::new(), other: BTreeSet::new() }
    }

    /// The nodes that are to be asked, or asked again.
    #[must_use]
    pub fn silent(&self) -> Vec<NodeEntry> {
        let has_answered = |node: NodeId| node == self.own || self.same.contains(&node) || self.other.contains(&node);
        self.cluster.nodes.iter().filter(|node| !has_answered(node.id)).cloned().collect()
    }

    /// Takes the answer of a node that was asked; one that is not valid counts for nothing, and so does a second one.
    pub fn hear(&mut self, asked: NodeId, signed: &NodeSigned<StateMark>) {
        let Some(entry) = self.cluster.node(asked).filter(|_| asked != self.own) else { return };
        let valid = signed.node == asked && signed.body.index == self.index && signed.verify(self.cluster.cluster, &entry.identity).is_ok();
        if !valid || self.same.contains(&asked) || self.other.contains(&asked) {
            return;
        }
        if signed.body.mark == self.found || is_on(Mutant::SnapshotUnjudged) {
            self.same.insert(asked);
        } else {
            self.other.insert(asked);
        }
    }

    /// What the answers so far come to, while so many nodes may still answer this round of questions. `None` while that could change it.
    #[must_use]
    pub fn verdict(&self, waiting: usize) -> Option<MarkVerdict> {
        let liars = usize::from(self.cluster.liars);
        if self.same.len() > liars && self.other.len() + waiting <= liars {
            return Some(MarkVerdict::Vouched);
        }
        if waiting > 0 {
            return None;
        }
        if self.other.len() > liars {
            return Some(MarkVerdict::Contradicted { by: self.other.iter().copied().collect() });
        }
        None
    }

    /// Nodes that had this state there, and how many of them are needed.
    #[must_use]
    pub fn vouching(&self) -> (usize, usize) {
        (self.same.len(), usize::from(self.cluster.liars) + 1)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::identity::NodeIdentity;
    use ed25519_dalek::SigningKey;
    use warifu_protocol::{Blob, ClusterId, ObjectVersion, Policy, SpkiHash, Threshold};

    const BOOT: BootId = BootId::new([7; 16]);
    const ROOT: Sha256 = Sha256::new([1; 32]);

    fn identity(number: u8) -> NodeIdentity {
        NodeIdentity::new(NodeId::new(number).unwrap(), ClusterId::new([9; 32]), SigningKey::from_bytes(&[number; 32]))
    }

    fn cluster() -> ClusterRecord {
        let node = |number| NodeEntry {
            id: NodeId::new(number).unwrap(),
            address: format!("node-{number}:7001"),
            tls_spki: SpkiHash::new([number; 32]),
            identity: identity(number).public_key(),
            sealing_key: Blob::default(),
        };
        ClusterRecord {
            cluster: ClusterId::new([9; 32]),
            threshold: Threshold(3),
            liars: 1,
            minority_threshold: false,
            policy: Policy::default(),
            nodes: (1..=5).map(node).collect(),
            coordinators: Vec::new(),
            officers: Vec::new(),
            anchors: Vec::new(),
            roster_version: ObjectVersion(1),
            policy_version: ObjectVersion(1),
            anchors_version: ObjectVersion(1),
            retired: Vec::new(),
        }
    }

    fn said(number: u8, boot: BootId, index: u64, root: Sha256) -> NodeSigned<StateRoot> {
        identity(number).sign(StateRoot { boot, index, root })
    }

    #[test]
    fn one_more_other_node_than_may_lie_confirms_or_contradicts() {
        let cluster = cluster();
        let other = Sha256::new([2; 32]);
        let mut tally = RootTally::new(&cluster, NodeId::new(1).unwrap(), BOOT, 4, ROOT);
        assert_eq!(tally.hear(&cluster.nodes[1], &said(2, BOOT, 4, other)), None, "one may lie");
        assert_eq!(tally.hear(&cluster.nodes[2], &said(3, BOOT, 4, ROOT)), None, "one is not enough");
        assert_eq!(tally.hear(&cluster.nodes[2], &said(3, BOOT, 4, ROOT)), None, "the same one again is not two");
        let by = vec![NodeId::new(3).unwrap(), NodeId::new(5).unwrap()];
        assert_eq!(tally.hear(&cluster.nodes[4], &said(5, BOOT, 4, ROOT)), Some(RootVerdict::Confirmed { by }));
        let mut tally = RootTally::new(&cluster, NodeId::new(1).unwrap(), BOOT, 4, ROOT);
        tally.hear(&cluster.nodes[1], &said(2, BOOT, 4, other));
        let with = vec![NodeId::new(2).unwrap(), NodeId::new(4).unwrap()];
        assert_eq!(tally.hear(&cluster.nodes[3], &said(4, BOOT, 4, other)), Some(RootVerdict::Diverged { with }));
    }

    #[test]
    fn a_snapshot_is_vouched_for_by_one_more_than_may_lie_and_forged_when_so_many_contradict_it() {
        let (cluster, other) = (cluster(), Sha256::new([2; 32]));
        let mark = |number: u8, index, mark| identity(number).sign(StateMark { index, mark });
        let id = |number| NodeId::new(number).unwrap();
        let mut tally = MarkTally::new(cluster, id(1), 4, ROOT);
        assert_eq!(tally.silent().len(), 4);
        tally.hear(id(2), &mark(2, 4, ROOT));
        assert_eq!(tally.verdict(0), None, "one may lie");
        tally.hear(id(2), &mark(2, 4, ROOT));
        for (asked, wrong) in [(3, mark(3, 5, ROOT)), (3, mark(4, 4, ROOT)), (1, mark(1, 4, ROOT)), (9, mark(9, 4, ROOT))] {
            tally.hear(id(asked), &wrong);
        }
        assert_eq!((tally.vouching(), tally.silent().len()), ((1, 2), 3), "what is of another entry or node counts for nothing");
        tally.hear(id(3), &mark(3, 4, ROOT));
        assert_eq!(tally.verdict(2), None, "two that are still to answer could contradict it");
        assert_eq!(tally.verdict(1), Some(MarkVerdict::Vouched));
        tally.hear(id(4), &mark(4, 4, other));
        assert_eq!(tally.verdict(1), None);
        assert_eq!(tally.verdict(0), Some(MarkVerdict::Vouched), "one may lie");
        tally.hear(id(5), &mark(5, 4, other));
        assert_eq!(tally.verdict(0), Some(MarkVerdict::Contradicted { by: vec![id(4), id(5)] }));
    }

    #[test]
    fn what_is_of_another_start_entry_node_or_key_counts_for_nothing() {
        let cluster = cluster();
        let mut tally = RootTally::new(&cluster, NodeId::new(1).unwrap(), BOOT, 4, ROOT);
        tally.hear(&cluster.nodes[1], &said(2, BOOT, 4, ROOT));
        let mut forged = said(4, BOOT, 4, ROOT);
        forged.node = NodeId::new(3).unwrap();
        for (asked, wrong) in [
            (2, said(3, BootId::new([8; 16]), 4, ROOT)),
            (2, said(3, BOOT, 5, ROOT)),
            (2, said(4, BOOT, 4, ROOT)),
            (2, forged),
            (0, said(1, BOOT, 4, ROOT)),
        ] {
            assert_eq!(tally.hear(&cluster.nodes[asked], &wrong), None, "{wrong:?}");
        }
    }
}
