//! Stops that go to a node directly: obeyed at once, with or without a leader, and brought into the log when there is one.

use std::time::Duration;

use crate::signing::{CREDENTIAL, answer, csr_item, enrolled, until_generated_at};
use crate::support::{CALL, TestCluster, node_id};
use anyhow::{Context as _, bail};
use warifu_node::keys::NodeKeys;
use warifu_node::local::LocalStore;
use warifu_node::store::{Database, DatabaseOptions};
use warifu_protocol::transport::{CallError, PeerClient, PeerEntry, PeerId, PeerRoster, Role};
use warifu_protocol::wire::{CredentialState, OrderCall, OrderReply, Read, SignAnswer, StopAnswer, StopReceipts, View};
use warifu_protocol::{
    ClusterId, Command, NodeId, NodeSigned, OrderCommand, Receipt, Refusal, StopCommand, StopId, StopKind, StopObject, check_gone,
    check_receipt,
};

async fn stop(cluster: &TestCluster, node: NodeId, stop: &StopCommand) -> anyhow::Result<StopAnswer> {
    match cluster.call(node, &OrderCall::Stop(Box::new(stop.clone()))).await? {
        OrderReply::Stop(answer) => Ok(answer),
        other => bail!("no answer to a stop: {other:?}"),
    }
}

async fn must_obey(cluster: &TestCluster, node: NodeId, command: &StopCommand) -> anyhow::Result<NodeSigned<Receipt>> {
    match stop(cluster, node, command).await? {
        StopAnswer::Obeyed(receipt) => Ok(receipt),
        other => bail!("node {node} gives no receipt: {other:?}"),
    }
}

async fn kept(cluster: &TestCluster, node: NodeId, stop: StopId) -> anyhow::Result<Option<StopReceipts>> {
    match cluster.call(node, &OrderCall::Receipts(stop)).await? {
        OrderReply::Receipts(kept) => Ok(kept.map(|kept| *kept)),
        other => bail!("no receipts: {other:?}"),
    }
}

async fn until_logged(cluster: &TestCluster, node: NodeId, stop: StopId) -> anyhow::Result<()> {
    for _ in 0..600 {
        if kept(cluster, node, stop).await?.is_some_and(|kept| kept.logged.is_some()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the log does not have the stop in time")
}

async fn state(cluster: &TestCluster, node: NodeId) -> anyhow::Result<CredentialState> {
    match cluster.call(node, &OrderCall::Read(Read::Credential(CREDENTIAL))).await? {
        OrderReply::View(Some(View::Credential(view))) => Ok(view.state),
        other => bail!("no credential: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_obeys_a_stop_without_a_leader_remembers_it_and_logs_it_when_there_is_one() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(3, 2).await?;
    let alone = node_id(1);
    until_generated_at(&cluster, &[alone, node_id(2)]).await?;
    let (before, after) = (csr_item(&cluster, &[alone, node_id(2)]).await?, csr_item(&cluster, &[alone, node_id(2)]).await?);
    assert!(matches!(answer(&cluster, alone, &before).await?, SignAnswer::Share(_)));
    cluster.stop_node(node_id(2)).await?;
    cluster.stop_node(node_id(3)).await?;

    let command = StopCommand::Order(cluster.order(2, OrderCommand::Revoke { credential: CREDENTIAL }, 1));
    let object = StopObject::Credential(CREDENTIAL);
    let receipt = must_obey(&cluster, alone, &command).await?;
    check_receipt(cluster.genesis.cluster(), &cluster.genesis.body().nodes, &command, &receipt)?;
    assert_eq!((receipt.body.object, receipt.body.kind), (object, StopKind::Revoke));
    assert_eq!(answer(&cluster, alone, &after).await?, SignAnswer::Refused(Refusal::Stopped { object }), "no log entry says so yet");
    assert_eq!(state(&cluster, alone).await?, CredentialState::Generated);
    assert_eq!(must_obey(&cluster, alone, &command).await?, receipt, "the same stop, the same receipt");

    cluster.stop_node(alone).await?;
    cluster.start_node(alone, false);
    cluster.until(alone, "back", |_| true).await?;
    let kept_receipts = kept(&cluster, alone, command.id()).await?.context("the stop is remembered")?;
    assert_eq!(kept_receipts, StopReceipts { stop: command.clone(), receipt: Some(receipt.clone()), logged: None, gone: None });

    // Nobody else has heard of the stop, and nobody sends it again: the node brings it into the log.
    cluster.start_node(node_id(2), false);
    cluster.start_node(node_id(3), false);
    cluster.until_confirmed(&[alone, node_id(2), node_id(3)]).await?;
    until_logged(&cluster, alone, command.id()).await?;
    let applied = cluster.status(alone).await?.applied;
    cluster.until(node_id(3), "up to date", |status| status.applied >= applied).await?;
    assert_eq!(state(&cluster, node_id(3)).await?, CredentialState::Revoked);
    let item = csr_item(&cluster, &[alone, node_id(2)]).await?;
    assert!(matches!(answer(&cluster, alone, &item).await?, SignAnswer::Refused(Refusal::CredentialState { .. })));
    let late = must_obey(&cluster, node_id(3), &command).await?;
    check_receipt(cluster.genesis.cluster(), &cluster.genesis.body().nodes, &command, &late)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_confirmed_holds_a_stop_and_gives_no_receipt() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(3, 2).await?;
    let all = [node_id(1), node_id(2), node_id(3)];
    until_generated_at(&cluster, &all).await?;
    for node in all {
        cluster.stop_node(node).await?;
    }
    cluster.start_node(node_id(1), false);
    cluster.until(node_id(1), "back", |_| true).await?;
    let command = StopCommand::Order(cluster.order(2, OrderCommand::Revoke { credential: CREDENTIAL }, 1));
    assert_eq!(stop(&cluster, node_id(1), &command).await?, StopAnswer::Unconfirmed);
    let held = kept(&cluster, node_id(1), command.id()).await?.context("it is held")?;
    assert_eq!((held.receipt, held.logged), (None, None));
    cluster.start_node(node_id(2), false);
    cluster.start_node(node_id(3), false);
    cluster.until_confirmed(&all).await?;
    until_logged(&cluster, node_id(1), command.id()).await?;
    must_obey(&cluster, node_id(1), &command).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_without_its_authority_is_not_obeyed() -> anyhow::Result<()> {
    let (cluster, _) = enrolled(3, 2).await?;
    let nodes = [node_id(1), node_id(2)];
    until_generated_at(&cluster, &nodes).await?;
    let revoke = |id, approvals| cluster.order(id, OrderCommand::Revoke { credential: CREDENTIAL }, approvals);
    let mut foreign = revoke(3, 1);
    foreign.body.cluster = ClusterId::new([9; 32]);
    let mut forged = revoke(4, 1);
    forged.approvals[0].signature.0[0] ^= 1;
    let mut twice = revoke(5, 1);
    twice.approvals.push(twice.approvals[0].clone());
    let resume = cluster.order(6, OrderCommand::Resume { credential: CREDENTIAL }, 2);
    let table = [
        (revoke(2, 0), "approvals-missing"),
        (foreign, "wrong-cluster"),
        (forged, "signature-invalid"),
        (twice, "approval-duplicate"),
        (resume, "not-stopping"),
    ];
    for (order, code) in table {
        match stop(&cluster, node_id(1), &StopCommand::Order(order)).await? {
            StopAnswer::Refused(refusal) => assert_eq!(refusal.code(), code),
            other => bail!("{code}: {other:?}"),
        }
    }
    let entries = cluster.genesis.body().nodes.iter();
    let entries = entries.map(|node| (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address: node.address.clone() }));
    let keys = NodeKeys::load(&cluster.config(node_id(2)).node.keys)?;
    let peer = PeerClient::new(&keys.tls, std::sync::Arc::new(PeerRoster::new(cluster.genesis.cluster(), entries.collect())))?;
    let call = postcard::to_stdvec(&OrderCall::Stop(Box::new(StopCommand::Order(revoke(7, 1)))))?;
    let error = peer.call(node_id(1), Role::Order, &call, CALL).await.expect_err("a node relays no stop");
    assert!(matches!(error, CallError::Refused { .. }), "{error}");
    let item = csr_item(&cluster, &nodes).await?;
    assert!(matches!(answer(&cluster, node_id(1), &item).await?, SignAnswer::Share(_)), "none of this stopped anything");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_key_is_deleted_and_shredded_at_every_node_also_at_one_that_was_away() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(3, 2).await?;
    let all = [node_id(1), node_id(2), node_id(3)];
    until_generated_at(&cluster, &all).await?;
    cluster.stop_node(node_id(3)).await?;
    let order = cluster.order(2, OrderCommand::Destroy { credential: CREDENTIAL }, 2);
    let command = StopCommand::Order(order.clone());
    for node in [node_id(1), node_id(2)] {
        must_obey(&cluster, node, &command).await?;
    }
    let verdict = cluster.propose(node_id(1), Command::Order(order)).await?;
    anyhow::ensure!(matches!(verdict.outcome, Ok(_) | Err(Refusal::OrderReplayed)), "{verdict:?}");
    cluster.start_node(node_id(3), false);
    cluster.until_confirmed(&all).await?;
    must_obey(&cluster, node_id(3), &command).await?;
    for node in all {
        let mut gone = None;
        for _ in 0..600 {
            gone = kept(&cluster, node, command.id()).await?.and_then(|kept| kept.gone);
            if gone.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let gone = gone.with_context(|| format!("node {node} says that nothing is left"))?;
        check_gone(cluster.genesis.cluster(), &cluster.genesis.body().nodes, &command, &gone)?;
        assert!(!gone.body.destroyed.is_empty() && !gone.body.proves_destruction, "a KEK in a file proves nothing");
        assert_eq!(state(&cluster, node).await?, CredentialState::Destroyed);
    }
    for node in all {
        cluster.stop_node(node).await?;
        let (path, genesis) = (cluster.config(node).node.data.join("local.redb"), cluster.genesis.cluster());
        let count = tokio::task::spawn_blocking(move || -> anyhow::Result<u64> {
            let database = Database::open(&path, DatabaseOptions::default())?;
            Ok(LocalStore::open_locked(database, node, genesis)?.share_count()?)
        });
        assert_eq!(count.await??, 0, "node {node} has a share");
    }
    Ok(())
}
