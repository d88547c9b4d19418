//! The leader's part in a changed membership: it moves consensus towards the plan in applied state, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use warifu_core::registry::{MembershipPlan, PlanMember};
use warifu_protocol::NodeId;

use crate::raft::{MembershipView, RosterNode};
use crate::replicated::NodeRaft;
use crate::standing::Standing;

/// How often the leader compares consensus with the plan. A step that fails is tried again then.
const LOOK: Duration = Duration::from_millis(200);
/// Time for one step to be committed: several elections.
const STEP_DEADLINE: Duration = Duration::from_secs(5);

/// Works until `stop` says so; does nothing while this node does not lead.
pub async fn run(raft: NodeRaft, standing: Arc<Standing>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let status = raft.status();
        let Some(members) = status.members.filter(|_| status.is_leader) else { continue };
        let plan = standing.plans().current.clone();
        let nodes = roster_nodes(&plan.nodes);
        if is(&members, &plan, &nodes) {
            continue;
        }
        tracing::info!(plan = plan.number, voters = ?plan.voters, "moving consensus to the planned members");
        if let Err(error) = raft.approach(&plan.voters, &nodes, STEP_DEADLINE).await {
            tracing::info!(%error, "the members have not changed yet");
        }
    }
}

fn is(members: &MembershipView, plan: &MembershipPlan, nodes: &BTreeMap<NodeId, RosterNode>) -> bool {
    members.voters.as_slice() == std::slice::from_ref::<BTreeSet<NodeId>>(&plan.voters) && members.nodes == *nodes
}

/// The members of a plan as membership entries name them.
#[must_use]
pub fn roster_nodes(nodes: &BTreeMap<NodeId, PlanMember>) -> BTreeMap<NodeId, RosterNode> {
    let node = |member: &PlanMember| RosterNode { address: member.address.clone(), spki: member.spki, roster: member.roster };
    nodes.iter().map(|(id, member)| (*id, node(member))).collect()
}

/// The members of a membership entry as plans name them.
#[must_use]
pub fn plan_members(nodes: &BTreeMap<NodeId, RosterNode>) -> BTreeMap<NodeId, PlanMember> {
    let member = |node: &RosterNode| PlanMember { address: node.address.clone(), spki: node.spki, roster: node.roster };
    nodes.iter().map(|(id, node)| (*id, member(node))).collect()
}
