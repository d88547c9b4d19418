//! What is under way beside signing, for the site's administrator.

use serde::{Deserialize, Serialize};
use warifu_protocol::NodeId;

/// Repairs, refreshes and changes of the members, as one node sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Shares that this node lacks, when they were last counted. They are repaired one after another.
    pub shares_missing: u64,
    /// Keys that are due for a refresh without an order of their own, when they were last counted.
    pub refreshes_due: u64,
    /// Number of the membership that the orders lead to.
    pub plan: u64,
    /// Whether consensus has that membership. Until then no other node should be taken down, and no other change of the roster is accepted.
    pub plan_reached: bool,
    /// Nodes that vote in it. A member that is missing here learns until its start on its store is in the log.
    pub planned_voters: Vec<NodeId>,
    /// Nodes that vote now; two sets while one membership passes into the other.
    pub voters: Vec<Vec<NodeId>>,
    /// Every member.
    pub members: Vec<NodeId>,
}

impl Work {
    /// Whether every member votes and nothing is changing.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.plan_reached && self.voters == [self.planned_voters.clone()] && self.planned_voters == self.members
    }
}
