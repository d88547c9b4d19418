//! Keys that a policy destroys because they were revoked, at whole nodes, and what somebody finds who takes their disks and backups.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use warifu_node::admin::{self, AdminReply, AdminRequest};
use warifu_node::sealing::FileKek;
use warifu_protocol::wire::{CredentialState, OrderCall, OrderReply, StopAnswer};
use warifu_protocol::{Command, NodeId, OrderCommand, Policy, StopCommand, StopKind, check_gone, check_receipts};

use crate::signing::{CREDENTIAL, enrol, until_credential, until_generated_at};
use crate::support::{TestCluster, name, node_id};
use crate::thief::Thief;

const DELAY_MILLIS: u64 = 2_000;

/// How often the credential's share opens in everything that lies in these places, with the key-encryption key as it is now.
fn shares_found(cluster: &TestCluster, node: NodeId, places: &[PathBuf]) -> anyhow::Result<usize> {
    let kek = FileKek::open(&cluster.config(node).kek_directory())?;
    let places: Vec<_> = places.iter().map(PathBuf::as_path).collect();
    let thief = Thief::of(cluster.genesis.cluster(), node, (100..300).collect(), &places);
    let keys = thief.record_keys(&kek, &thief.wrapped_keys());
    assert!(!keys.is_empty(), "the key-encryption key opens something");
    Ok(thief.shares(&keys, &[CREDENTIAL], 2).values().sum())
}

async fn backup(cluster: &TestCluster, node: NodeId) -> anyhow::Result<PathBuf> {
    let out = cluster.directory.path().join(format!("backup-{node}"));
    match admin::ask(&cluster.config(node).admin_socket(), &AdminRequest::Backup { out: out.clone() }).await? {
        AdminReply::BackedUp(made) if made.shares == 1 => Ok(out),
        other => bail!("no backup: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_destroys_revoked_keys_does_it_at_every_node_with_the_revocations_receipts() -> anyhow::Result<()> {
    let delayed = |policy: &mut Policy| policy.destroy_after_revocation_millis = Some(DELAY_MILLIS);
    let mut cluster = TestCluster::start_with(3, 2, delayed).await?;
    enrol(&cluster).await?;
    let all = [node_id(1), node_id(2), node_id(3)];
    until_generated_at(&cluster, &all).await?;
    let mut backups = Vec::new();
    for node in all {
        let made = backup(&cluster, node).await?;
        assert_eq!(shares_found(&cluster, node, std::slice::from_ref(&made))?, 1, "a backup and the KEK are a share");
        backups.push(made);
    }

    let order = cluster.order(2, OrderCommand::Revoke { credential: CREDENTIAL }, 1);
    let stop = StopCommand::Order(order.clone());
    cluster.until_proposed(node_id(1), Command::Order(order)).await?.outcome.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let revoked = until_credential(&cluster, node_id(1), "revoked", |view| view.state == CredentialState::Revoked).await?;
    assert!(revoked.destroy_at.is_some(), "whoever looks is told when");
    let mut receipts = Vec::new();
    for node in all {
        match cluster.call(node, &OrderCall::Stop(Box::new(stop.clone()))).await? {
            OrderReply::Stop(StopAnswer::Obeyed(receipt)) => receipts.push(receipt),
            other => bail!("node {node} gives no receipt: {other:?}"),
        }
    }
    let (id, nodes) = (cluster.genesis.cluster(), &cluster.genesis.body().nodes);
    assert!(receipts.iter().all(|receipt| receipt.body.kind == StopKind::Revoke));
    assert_eq!(check_receipts(id, nodes, &stop, &receipts)?, BTreeSet::from(all));

    // Whatever is logged next settles it, once its time has come.
    tokio::time::sleep(Duration::from_millis(DELAY_MILLIS)).await;
    let unrelated = cluster.order(3, OrderCommand::EnrolFacility { facility: name("clinic-9") }, 1);
    cluster.until_proposed(node_id(2), Command::Order(unrelated)).await?;
    for node in all {
        until_credential(&cluster, node, "destroyed", |view| view.state == CredentialState::Destroyed).await?;
        let mut gone = None;
        for _ in 0..1200 {
            if let OrderReply::Receipts(Some(kept)) = cluster.call(node, &OrderCall::Receipts(stop.id())).await? {
                gone = kept.gone;
            }
            if gone.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let gone = gone.with_context(|| format!("node {node} says that nothing is left"))?;
        check_gone(id, nodes, &stop, &gone)?;
        assert_eq!(gone.body.destroyed, [1]);
    }
    for (node, made) in all.into_iter().zip(backups) {
        cluster.stop_node(node).await?;
        let data = cluster.config(node).node.data.clone();
        assert_eq!(shares_found(&cluster, node, &[data, made])?, 0, "node {node}: nothing opens, on its disk or in its backup");
    }
    Ok(())
}
