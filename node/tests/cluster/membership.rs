//! Nodes found a cluster, confirm each other, order commands, and come back after a stop.

use anyhow::Context as _;

use crate::support::{TestCluster, name, node_id};
use warifu_protocol::{Command, OrderCommand, Refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_applies_orders_on_every_node_and_survives_the_loss_of_its_leader() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start(3, 2).await?;
    let clinic = || OrderCommand::EnrolFacility { facility: name("clinic-1") };

    let unapproved = cluster.order(1, clinic(), 0);
    let verdict = cluster.propose(node_id(1), Command::Order(unapproved)).await?;
    assert!(matches!(verdict.outcome, Err(Refusal::ApprovalsMissing { .. })), "{verdict:?}");

    let verdict = cluster.propose(node_id(1), Command::Order(cluster.order(2, clinic(), 1))).await?;
    assert!(verdict.outcome.is_ok(), "{verdict:?}");
    for id in 1..=3 {
        cluster.until(node_id(id), "up to date", |status| status.applied >= verdict.index).await?;
    }
    let replayed = cluster.propose(node_id(2), Command::Order(cluster.order(2, clinic(), 1))).await?;
    assert_eq!(replayed.outcome, Err(Refusal::OrderReplayed));

    let leader = cluster.status(node_id(1)).await?.leader.expect("a leader");
    cluster.stop_node(leader).await?;
    let other = node_id(leader.get() % 3 + 1);
    cluster.until(other, "under a new leader", |status| status.leader.is_some_and(|new| new != leader)).await?;
    let second = cluster.order(3, OrderCommand::EnrolFacility { facility: name("clinic-2") }, 1);
    let verdict = cluster.propose(other, Command::Order(second)).await?;
    assert!(verdict.outcome.is_ok(), "{verdict:?}");

    cluster.start_node(leader, false);
    cluster.until_confirmed(&[leader]).await?;
    cluster.until(leader, "up to date", |status| status.applied >= verdict.index).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_store_does_not_start_unless_told_to_found_one() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start(3, 2).await?;
    cluster.stop_node(node_id(3)).await?;
    std::fs::remove_dir_all(&cluster.config(node_id(3)).node.data)?;
    cluster.start_node(node_id(3), false);
    let error = cluster.stop_node(node_id(3)).await.expect_err("refuses to start");
    assert!(format!("{error:#}").contains("repaired by order"), "{error:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_new_store_is_not_let_in_and_gives_nothing() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start(3, 2).await?;
    cluster.stop_node(node_id(3)).await?;
    std::fs::remove_dir_all(&cluster.config(node_id(3)).node.data)?;
    cluster.start_node(node_id(3), true);
    let error = cluster.ended_node(node_id(3)).await.expect_err("refuses to join");
    assert!(format!("{error:#}").contains("another store"), "{error:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_store_is_recognised_and_gives_nothing() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start(3, 2).await?;
    let victim = node_id(3);
    let data = cluster.config(victim).node.data.clone();
    let copy = cluster.directory.path().join("yesterday");
    cluster.stop_node(victim).await?;
    copy_directory(&data, &copy)?;
    cluster.start_node(victim, false);
    cluster.until_confirmed(&[victim]).await?;
    cluster.stop_node(victim).await?;

    std::fs::remove_dir_all(&data)?;
    copy_directory(&copy, &data)?;
    cluster.start_node(victim, false);
    let error = cluster.ended_node(victim).await.expect_err("refuses to join");
    assert!(format!("{error:#}").contains("older than the cluster remembers"), "{error:#}");
    // Trying again and again does not wear the check down.
    for _ in 0..3 {
        cluster.start_node(victim, false);
        cluster.ended_node(victim).await.expect_err("refuses to join");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_without_a_majority_had_to_keep_waiting_longer_than_clocks_may_differ_does_not_stop_the_cluster() -> anyhow::Result<()>
{
    let mut cluster = TestCluster::start_with(3, 2, |policy| policy.clock_skew_millis_max = 1_500).await?;
    let leader = cluster.status(node_id(1)).await?.leader.context("a leader")?;
    let others: Vec<_> = (1..=3).map(node_id).filter(|node| *node != leader).collect();
    for node in &others {
        cluster.stop_node(*node).await?;
    }
    let clinic = |id: u8| OrderCommand::EnrolFacility { facility: name(&format!("clinic-{id}")) };
    // It comes into the leader's log, and nowhere else.
    cluster.propose(leader, Command::Order(cluster.order(1, clinic(1), 1))).await.expect_err("nobody else is there");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    cluster.start_node(others[0], false);
    // It is confirmed only when its start is committed, after everything that waits. A busy machine may need another election or two.
    let mut confirmed = Ok(());
    for _ in 0..3 {
        confirmed = cluster.until_confirmed(&others[..1]).await;
        if confirmed.is_ok() {
            break;
        }
    }
    confirmed?;
    let verdict = cluster.until_proposed(leader, Command::Order(cluster.order(2, clinic(2), 1))).await?;
    assert!(matches!(verdict.outcome, Ok(_) | Err(Refusal::OrderReplayed)), "{verdict:?}");
    Ok(())
}

pub(crate) fn copy_directory(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
