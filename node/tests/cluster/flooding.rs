//! Peers that want to fill the log.

use std::time::Instant;

use anyhow::Context as _;
use warifu_node::budget::{REFUSED_BURST, REFUSED_FORGIVEN_AFTER};
use warifu_node::keys::NodeKeys;
use warifu_protocol::transport::{CallError, Role, RpcRefusal};
use warifu_protocol::wire::OrderReply;
use warifu_protocol::{Blob, Command, OrderCommand};

use crate::corrupt_members::client;
use crate::support::{CALL, TestCluster, name, node_id};

/// Commands beyond the budget.
const BEYOND: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_fills_the_log_with_refused_commands_is_held_to_its_budget_and_nobody_else_is() -> anyhow::Result<()> {
    let cluster = TestCluster::start(3, 2).await?;
    let leader = cluster.status(node_id(1)).await?.leader.context("a leader")?;
    let [liar, honest] = [1, 2, 3].map(node_id).into_iter().filter(|node| *node != leader).collect::<Vec<_>>()[..] else {
        anyhow::bail!("three nodes, one of them leads")
    };
    let peer = client(&cluster, &NodeKeys::load(&cluster.config(liar).node.keys)?.tls)?;
    let clinic = |id: &str| OrderCommand::EnrolFacility { facility: name(id) };
    let unsigned = postcard::to_stdvec(&Command::Order(cluster.order(1, clinic("clinic-of-nobody"), 0)))?;
    // As a member sends it to the leader: past every check of an honest node.
    const PROPOSE: u8 = 4;
    let request = [vec![PROPOSE], postcard::to_stdvec(&Blob(unsigned))?].concat();
    let (started, mut logged, mut held) = (Instant::now(), 0, 0);
    for _ in 0..REFUSED_BURST + BEYOND {
        match peer.call(leader, Role::Raft, &request, CALL).await {
            Ok(_) => logged += 1,
            Err(CallError::Refused { refusal: RpcRefusal::Busy { retry_after_ms }, .. }) if retry_after_ms > 0 => held += 1,
            Err(other) => return Err(other.into()),
        }
    }
    let forgiven = started.elapsed().as_secs() / REFUSED_FORGIVEN_AFTER.as_secs() + 1;
    assert!((REFUSED_BURST..=REFUSED_BURST + forgiven).contains(&logged), "{logged} logged, {held} held back, {forgiven} forgiven");

    let before = cluster.status(leader).await?.last_log;
    let verdict = cluster.propose(honest, Command::Order(cluster.order(2, clinic("clinic-1"), 1))).await?;
    assert!(verdict.outcome.is_ok(), "others are not disturbed: {verdict:?}");
    let verdict = cluster.propose(liar, Command::Order(cluster.order(3, clinic("clinic-2"), 1))).await?;
    assert!(verdict.outcome.is_ok(), "what is sound is logged, whoever brings it: {verdict:?}");
    assert!(verdict.index > before);
    assert!(matches!(cluster.call(honest, &warifu_protocol::wire::OrderCall::Status).await?, OrderReply::Status(_)));
    Ok(())
}
