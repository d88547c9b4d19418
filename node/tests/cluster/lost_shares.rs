//! Shares that a disk has changed or forgotten: found without being asked for, said to be lost, and repaired.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use warifu_node::admin::{self, AdminReply, AdminRequest};
use warifu_protocol::{AuditEvent, NodeId};

use crate::signing::{csr, enrolled, until_credential, until_generated_at};
use crate::support::{TestCluster, node_id};

const SHARES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("shares");

/// What a disk makes of a sealed share; `None` forgets it.
type Change = fn(Vec<u8>) -> Option<Vec<u8>>;

/// What the disk of a stopped node does to its share.
fn spoil(data: &Path, change: Change) -> anyhow::Result<()> {
    let database = redb::Database::open(data.join("local.redb"))?;
    let (key, sealed) = {
        let table = database.begin_read()?.open_table(SHARES)?;
        let (key, sealed) = table.first()?.context("a share")?;
        (key.value().to_vec(), sealed.value().to_vec())
    };
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(SHARES)?;
        match change(sealed) {
            Some(sealed) => drop(table.insert(key.as_slice(), sealed.as_slice())?),
            None => drop(table.remove(key.as_slice())?),
        }
    }
    Ok(write.commit()?)
}

/// The audit log of a node.
pub(crate) async fn events(cluster: &TestCluster, node: NodeId) -> anyhow::Result<Vec<AuditEvent>> {
    let mut events = Vec::new();
    loop {
        let from = events.len() as u64;
        match admin::ask(&cluster.config(node).admin_socket(), &AdminRequest::Audit { from, limit: 1000 }).await? {
            AdminReply::Audit(entries) if entries.is_empty() => return Ok(events),
            AdminReply::Audit(entries) => events.extend(entries.into_iter().map(|(_, entry)| entry.event)),
            other => bail!("no entries: {other:?}"),
        }
    }
}

/// How often the log of this node has taken somebody's word that shares are lost.
async fn losses(cluster: &TestCluster, node: NodeId) -> anyhow::Result<usize> {
    let is_loss = |event: &AuditEvent| matches!(event, AuditEvent::EntryApplied { kind, refusal: None, .. } if kind == "shares-lost");
    Ok(events(cluster, node).await?.iter().filter(|event| is_loss(event)).count())
}

async fn damaged(cluster: &TestCluster, node: NodeId) -> anyhow::Result<u64> {
    match admin::ask(&cluster.config(node).admin_socket(), &AdminRequest::Kek).await? {
        AdminReply::Kek(status) => Ok(status.damaged_shares),
        other => bail!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_damaged_or_gone_is_found_said_to_be_lost_and_repaired() -> anyhow::Result<()> {
    let (mut cluster, credential) = enrolled(3, 2).await?;
    let all = [1, 2, 3].map(node_id);
    until_generated_at(&cluster, &all).await?;
    let flip: Change = |mut sealed| {
        *sealed.last_mut()? ^= 1;
        Some(sealed)
    };
    let forget: Change = |_| None;
    for (round, (victim, change)) in [(node_id(2), flip), (node_id(3), forget)].into_iter().enumerate() {
        cluster.stop_node(victim).await?;
        spoil(&cluster.config(victim).node.data, change)?;
        cluster.start_node(victim, false);
        cluster.until_confirmed(&[victim]).await?;
        // Nobody asks it to sign.
        for _ in 0..600 {
            if losses(&cluster, node_id(1)).await? > round {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ensure!(losses(&cluster, node_id(1)).await? == round + 1, "said once, in the log of all");
        for node in [node_id(1), victim] {
            until_credential(&cluster, node, "whole again", |view| view.holders == all).await?;
        }
        csr(&cluster, &credential, &[node_id(1), victim]).await?;
        ensure!(damaged(&cluster, victim).await? == 0, "a whole one is in its place");
    }
    let named = |event: &AuditEvent| matches!(event, AuditEvent::ShareDamaged { credential: named, .. } if *named == credential.credential);
    ensure!(events(&cluster, node_id(2)).await?.iter().any(named), "the site's own record names what was damaged");
    Ok(())
}
