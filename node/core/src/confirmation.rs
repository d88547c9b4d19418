//! What other nodes say of this node's state after a start, and when that is enough.

use std::collections::BTreeSet;

use warifu_protocol::{BootId, ClusterRecord, NodeEntry, NodeId, NodeSigned, Sha256, StateRoot};

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
        if body.root == self.root {
            self.same.insert(asked.id);
        } else {
            self.other.insert(asked.id);
        }
        // One node may lie about its root; f+1 that differ mean that this node's state is wrong.
        let needed = usize::from(self.cluster.liars) + 1;
        if self.same.len() >= needed {
            return Some(RootVerdict::Confirmed { by: self.same.iter().copied().collect() });
        }
        (self.other.len() >= needed).then(|| RootVerdict::Diverged { with: self.other.iter().copied().collect() })
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
