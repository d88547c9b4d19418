//! When a view of a credential is read anew.

use std::collections::BTreeSet;

use warifu_protocol::NodeId;

use crate::limits::LACKING_VIEW_LIFE_MILLIS;

/// Whether a view for which the nodes were last asked this long ago is to be read anew although nobody says that it is old: when nodes of the cluster
/// are none of its holders. They will be given their shares without that any other node has another view, and once they have them there may be nobody
/// left to ask by the old one.
///
/// Age counts from the last try, also one that failed: what is kept serves until the next.
#[must_use]
pub fn is_view_due(age_millis: u64, holders: &BTreeSet<NodeId>, nodes: &[NodeId]) -> bool {
    age_millis >= LACKING_VIEW_LIFE_MILLIS && nodes.iter().any(|node| !holders.contains(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_read_anew_after_a_while_when_a_node_has_come_that_is_none_of_its_holders() {
        let node = |number| NodeId::new(number).expect("a node id");
        let holders: BTreeSet<NodeId> = [1, 2, 3].map(node).into();
        let late = LACKING_VIEW_LIFE_MILLIS;
        assert!(!is_view_due(late, &holders, &[1, 2, 3].map(node)), "whoever is there is a holder");
        assert!(!is_view_due(late, &holders, &[2, 3].map(node)), "one has left");
        assert!(is_view_due(late, &holders, &[2, 3, 4].map(node)));
        assert!(!is_view_due(late - 1, &holders, &[2, 3, 4].map(node)), "not at every document");
    }
}
