//! What a change of the sites does to votes and shares: a site on a new store, one that goes, one that comes.

use anyhow::{Context as _, ensure};
use warifu_protocol::wire::{CredentialView, SignAnswer};
use warifu_protocol::{Command, Epoch, NodeId, OrderCommand, Refusal};

use crate::roster::{export, lose_and_replace, must, must_in_time, roster};
use crate::signing::{answer, csr, csr_item, enrolled, until_credential, until_generated_at};
use crate::support::{TestCluster, name, node_id};

/// Waits until each of these nodes sees that exactly these hold shares of this epoch.
async fn until_held(cluster: &TestCluster, at: &[NodeId], epoch: Epoch, by: &[u8]) -> anyhow::Result<CredentialView> {
    let by: Vec<_> = by.iter().copied().map(node_id).collect();
    let mut seen = None;
    for node in at {
        let what = format!("held by {by:?} in {epoch:?} at node {node}");
        seen = Some(until_credential(cluster, *node, &what, |view| view.epoch == epoch && view.holders == by).await?);
    }
    seen.context("a node to ask")
}

async fn write(cluster: &TestCluster, at: NodeId, id: u8) -> anyhow::Result<()> {
    let order = cluster.order(id, OrderCommand::EnrolFacility { facility: name(&format!("clinic-{id}")) }, 1);
    let verdict = cluster.until_proposed(at, Command::Order(order)).await?;
    ensure!(verdict.outcome.is_ok(), "{verdict:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_store_votes_and_signs_so_that_another_node_may_go() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(3, 2).await?;
    let (victim, other) = (node_id(3), node_id(2));
    until_generated_at(&cluster, &[node_id(1), other, victim]).await?;
    lose_and_replace(&mut cluster, victim, 1).await?;
    // Out of the voters, then in again.
    for node in [node_id(1), victim] {
        cluster.until_settled(node, 3).await?;
    }
    let signers = [node_id(1), victim];
    let credential = until_held(&cluster, &signers, Epoch(1), &[1, 2, 3]).await?;
    csr(&cluster, &credential, &signers).await?;

    cluster.stop_node(other).await?;
    for round in 0..3 {
        write(&cluster, node_id(1), 10 + round).await?;
        write(&cluster, victim, 20 + round).await?;
        csr(&cluster, &credential, &signers).await?;
    }
    // And with a leader that it has to elect, or be, itself.
    cluster.start_node(other, false);
    cluster.until_confirmed(&[other]).await?;
    cluster.stop_node(node_id(1)).await?;
    write(&cluster, victim, 30).await?;
    csr(&cluster, &credential, &[other, victim]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_site_is_given_shares_and_signs_and_a_removed_one_signs_with_nobody() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(4, 3).await?;
    let founders = cluster.genesis.body().nodes.clone();
    let fifth = cluster.prepare_node(node_id(5))?;
    let five = [founders, vec![fifth]].concat();
    let order = cluster.change(2, 1, roster(&cluster, five.clone()), &[1, 2, 3]).await?;
    let index = must(&cluster, 1, order).await?;
    cluster.until(node_id(2), "past the order", |status| status.applied >= index).await?;
    let file = cluster.directory.path().join("roster.json");
    export(&cluster, 2, &file).await?;
    cluster.know(&five);
    cluster.config_mut(node_id(5)).node.roster = Some(file);
    cluster.start_node(node_id(5), true);
    cluster.until_confirmed(&[node_id(5)]).await?;
    let all = [1, 2, 3, 4, 5].map(node_id);
    let credential = until_held(&cluster, &all, Epoch(1), &[1, 2, 3, 4, 5]).await?;
    csr(&cluster, &credential, &[2, 4, 5].map(node_id)).await?;

    // Node 1 goes without hearing of it: it still believes that it may sign.
    cluster.until_settled(node_id(2), 3).await?;
    let with_removed = [1, 2, 3].map(node_id);
    let order = cluster.change(3, 2, roster(&cluster, five[1..].to_vec()), &[2, 3, 4]).await?;
    let index = must_in_time(&cluster, 2, &order).await?;
    for node in &all[1..] {
        cluster.until(*node, "past the removal", |status| status.applied >= index).await?;
    }
    let item = csr_item(&cluster, &with_removed).await;
    if let Ok(item) = item {
        for node in &with_removed[1..] {
            let given = answer(&cluster, *node, &item).await?;
            ensure!(matches!(given, SignAnswer::Refused(Refusal::SignerSet { .. })), "node {node}: {given:?}");
        }
    }
    // What it had is worth nothing soon, without an order for it.
    let credential = until_held(&cluster, &all[1..], Epoch(2), &[2, 3, 4, 5]).await?;
    csr(&cluster, &credential, &[2, 3, 5].map(node_id)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_replaced_by_removing_and_adding_it_and_what_the_old_one_had_is_refreshed() -> anyhow::Result<()> {
    let (mut cluster, before) = enrolled(5, 3).await?;
    let all = [1, 2, 3, 4, 5].map(node_id);
    until_generated_at(&cluster, &all).await?;
    let founders = cluster.genesis.body().nodes.clone();
    let order = cluster.change(2, 1, roster(&cluster, founders[..4].to_vec()), &[1, 2, 3]).await?;
    must(&cluster, 1, order).await?;
    cluster.stop_node(node_id(5)).await?;

    // Another machine under the same identifier: not before the old one's shares are worth nothing.
    let directory = cluster.config(node_id(5)).node.data.parent().context("a site's directory")?.to_owned();
    std::fs::rename(&directory, cluster.directory.path().join("the-old-site"))?;
    let another = cluster.prepare_node(node_id(5))?;
    let five = [&founders[..4], &[another]].concat();
    let order = cluster.change(3, 2, roster(&cluster, five.clone()), &[1, 2, 3]).await?;
    let index = must_in_time(&cluster, 1, &order).await?;
    let refreshed = until_held(&cluster, &all[..4], Epoch(2), &[1, 2, 3, 4]).await?;
    ensure!(before.public_key_package != refreshed.public_key_package, "new shares");
    cluster.until(node_id(2), "past the order", |status| status.applied >= index).await?;
    let file = cluster.directory.path().join("roster.json");
    export(&cluster, 2, &file).await?;
    cluster.know(&five);
    cluster.config_mut(node_id(5)).node.roster = Some(file);
    cluster.start_node(node_id(5), true);
    cluster.until_confirmed(&[node_id(5)]).await?;
    let credential = until_held(&cluster, &all, Epoch(2), &[1, 2, 3, 4, 5]).await?;
    csr(&cluster, &credential, &[1, 3, 5].map(node_id)).await
}
