//! A virtual machine that goes on from an image.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use warifu_node::generation::FILE_INTERVAL;
use warifu_protocol::wire::{NotYet, SignAnswer};

use crate::signing::{answer, csr, csr_item, enrol, until_generated_at};
use crate::support::{TestCluster, node_id};

/// How often it is tried whether nonces of before are still there: for a few times as long as a busy machine takes to look at a file.
const LOOKS: usize = 16;
/// A nonce of this age may have ended by its age.
const AGED: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
async fn no_nonce_of_before_a_new_vm_generation_signs_and_new_ones_do() -> anyhow::Result<()> {
    let mut cluster = TestCluster::found(3, 2, Default::default())?;
    let (nodes, id) = ([node_id(1), node_id(3)], cluster.directory.path().join("generation-id"));
    std::fs::write(&id, "first")?;
    cluster.config_mut(node_id(1)).node.vm_generation_id_file = Some(id.clone());
    for node in 1..=3 {
        cluster.start_node(node_id(node), true);
    }
    cluster.until_confirmed(&[1, 2, 3].map(node_id)).await?;
    let credential = enrol(&cluster).await?;
    until_generated_at(&cluster, &nodes).await?;

    let before = csr_item(&cluster, &nodes).await?;
    tokio::time::sleep(4 * FILE_INTERVAL).await;
    let untouched = answer(&cluster, node_id(1), &before).await?;
    assert!(matches!(untouched, SignAnswer::Share(_)), "the same id again is no other: {untouched:?}");

    let mut before = Vec::new();
    for _ in 0..LOOKS {
        before.push(csr_item(&cluster, &nodes).await?);
    }
    let started = Instant::now();
    std::fs::write(&id, "second")?;
    let last = before.pop().context("several items")?;
    for item in &before {
        tokio::time::sleep(FILE_INTERVAL).await;
        match answer(&cluster, node_id(1), item).await? {
            SignAnswer::Share(_) => {}
            SignAnswer::NotYet { reason: NotYet::NonceUnknown, .. } => break,
            other => bail!("{other:?}"),
        }
    }
    let dead = answer(&cluster, node_id(1), &last).await?;
    assert!(matches!(dead, SignAnswer::NotYet { reason: NotYet::NonceUnknown, .. }), "a nonce of before the image still signs: {dead:?}");
    ensure!(started.elapsed() < AGED, "the machine was too busy: nonces end by themselves");
    let before = last;
    let untouched = answer(&cluster, node_id(3), &before).await?;
    assert!(matches!(untouched, SignAnswer::Share(_)), "the other site's machine is the same: {untouched:?}");
    csr(&cluster, &credential, &nodes).await
}
