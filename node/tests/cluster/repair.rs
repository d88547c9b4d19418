//! A node that lacks shares is given them while the others go on.

use anyhow::Context as _;
use warifu_protocol::{Command, Epoch, OrderCommand, Refusal};

use crate::signing::{csr, enrol, until_credential};
use crate::support::{TestCluster, node_id};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_in_the_key_generation_is_completed_when_it_returns() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start_with(5, 3, |policy| policy.ceremony_millis_max = 2_000).await?;
    cluster.stop_node(node_id(4)).await?;
    let credential = enrol(&cluster).await?;
    assert_eq!(credential.holders, [1, 2, 3, 5].map(node_id));
    cluster.start_node(node_id(4), false);
    cluster.until_confirmed(&[node_id(4)]).await?;
    for node in [2, 4, 5].map(node_id) {
        until_credential(&cluster, node, "completed", |view| view.holders.contains(&node_id(4))).await?;
    }
    let credential = until_credential(&cluster, node_id(1), "completed", |view| view.holders.len() == 5).await?;
    csr(&cluster, &credential, &[2, 4, 5].map(node_id)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_needs_two_security_officers_and_gives_shares_of_a_new_epoch_that_sign() -> anyhow::Result<()> {
    let cluster = TestCluster::start(5, 3).await?;
    let before = enrol(&cluster).await?;
    let command = OrderCommand::Refresh { credentials: vec![before.credential] };
    let refused = cluster.propose(node_id(1), Command::Order(cluster.order(2, command.clone(), 1))).await?.outcome;
    assert!(matches!(refused, Err(Refusal::ApprovalsMissing { .. })), "{refused:?}");
    let ordered = cluster.propose(node_id(1), Command::Order(cluster.order(3, command, 2))).await?.outcome;
    ordered.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    for node in (1..=5).map(node_id) {
        until_credential(&cluster, node, "refreshed", |view| view.epoch == Epoch(2)).await?;
    }
    let after = until_credential(&cluster, node_id(1), "refreshed", |view| view.holders.len() == 5).await?;
    assert!(before.public_key_package != after.public_key_package);
    csr(&cluster, &after, &[1, 3, 5].map(node_id)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_older_than_the_policy_allows_are_refreshed_without_an_order_whoever_leads() -> anyhow::Result<()> {
    let mut cluster =
        TestCluster::start_with(5, 3, |policy| (policy.refresh_after_millis, policy.ceremony_millis_max) = (1_000, 4_000)).await?;
    enrol(&cluster).await?;
    until_credential(&cluster, node_id(1), "refreshed", |view| view.epoch > Epoch(1)).await?;
    let leader = cluster.status(node_id(1)).await?.leader.context("a leader")?;
    cluster.stop_node(leader).await?;
    let other = (1..=5).map(node_id).find(|node| *node != leader).context("another node")?;
    let before = until_credential(&cluster, other, "there", |_| true).await?;
    // One that was under way when the leader went may still end; a second one was opened by whoever leads now.
    let enough = Epoch(before.epoch.0 + 2);
    let after = until_credential(&cluster, other, "refreshed again", |view| view.epoch >= enough).await?;
    let signers: Vec<_> = after.holders.iter().copied().filter(|node| *node != leader).take(3).collect();
    assert_eq!(signers.len(), 3, "{:?}", after.holders);
    Ok(())
}
