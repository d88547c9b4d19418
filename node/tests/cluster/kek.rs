//! The key-encryption key of a running node: away at the start, back later, rotated while signing goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use warifu_node::admin::{self, AdminReply, AdminRequest, CustodyStatus, RotationOutcome};
use warifu_node::sealing::KekGeneration;
use warifu_protocol::wire::{SignAnswer, SignCall};
use warifu_protocol::{Command, OrderCommand};

use crate::signing::{answer, csr_item, enrolled, sign, until_generated_at};
use crate::support::{name, node_id};

async fn custody(socket: &Path, request: AdminRequest) -> anyhow::Result<CustodyStatus> {
    match admin::ask(socket, &request).await? {
        AdminReply::Kek(status) => Ok(*status),
        other => bail!("{other:?}"),
    }
}

async fn rotate(socket: &Path) -> anyhow::Result<RotationOutcome> {
    let mut status = custody(socket, AdminRequest::RotateKek).await?;
    for _ in 0..600 {
        if !status.rotation_pending {
            return status.last.context("an outcome");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = custody(socket, AdminRequest::Kek).await?;
    }
    bail!("not ended: {status:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_kek_is_away_follows_says_why_and_signs_once_it_is_back() -> anyhow::Result<()> {
    let (mut cluster, _) = enrolled(3, 2).await?;
    let (victim, both) = (node_id(2), [node_id(2), node_id(3)]);
    until_generated_at(&cluster, &both).await?;
    let keys = cluster.config(victim).kek_directory();
    let away = keys.with_extension("away");
    cluster.stop_node(victim).await?;
    std::fs::rename(&keys, &away)?;
    cluster.start_node(victim, false);

    let says_why =
        |status: &warifu_protocol::wire::NodeStatus| status.reasons.iter().any(|reason| reason.contains("the shares are locked"));
    cluster.until(victim, "up and locked", says_why).await?;
    let order = cluster.order(77, OrderCommand::EnrolFacility { facility: name("clinic-7") }, 1);
    let verdict = cluster.propose(victim, Command::Order(order)).await?;
    assert!(verdict.outcome.is_ok(), "{verdict:?}");
    let status = cluster.until(victim, "up to date", |status| status.applied >= verdict.index).await?;
    assert!(!status.confirmed && says_why(&status), "{status:?}");
    let reply = sign(&cluster, victim, &SignCall::Commitments { count: 1 }).await?;
    assert!(reply.commitments.is_empty(), "it gives no commitments");
    let socket = cluster.config(victim).admin_socket();
    assert!(!custody(&socket, AdminRequest::Kek).await?.kek.unlocked);
    assert!(matches!(admin::ask(&socket, &AdminRequest::RotateKek).await?, AdminReply::Error(_)));

    std::fs::rename(&away, &keys)?;
    cluster.until_confirmed(&[victim]).await?;
    let item = csr_item(&cluster, &both).await?;
    assert!(matches!(answer(&cluster, victim, &item).await?, SignAnswer::Share(_)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_goes_on_through_rotations_and_one_generation_is_left() -> anyhow::Result<()> {
    let (cluster, _) = enrolled(3, 2).await?;
    let (node, both) = (node_id(2), [node_id(2), node_id(3)]);
    until_generated_at(&cluster, &both).await?;
    let (cluster, done) = (Arc::new(cluster), Arc::new(AtomicBool::new(false)));
    let signer = {
        let (cluster, done) = (Arc::clone(&cluster), Arc::clone(&done));
        tokio::spawn(async move {
            let mut signed = 0_u32;
            while !done.load(Ordering::SeqCst) {
                let item = csr_item(&cluster, &both).await?;
                let given = answer(&cluster, node, &item).await?;
                anyhow::ensure!(matches!(given, SignAnswer::Share(_)), "{given:?}");
                signed += 1;
            }
            Ok(signed)
        })
    };
    let socket = cluster.config(node).admin_socket();
    for round in 1..=3_u32 {
        let outcome = rotate(&socket).await?;
        let RotationOutcome::Done { current, destroyed, resealed, proves_destruction } = outcome else { bail!("{outcome:?}") };
        assert_eq!((current, destroyed), (KekGeneration(round + 1), vec![KekGeneration(round)]));
        assert_eq!((resealed, proves_destruction), (1, false));
    }
    done.store(true, Ordering::SeqCst);
    assert!(signer.await?? > 0);
    let files: Vec<_> = std::fs::read_dir(cluster.config(node).kek_directory())?.collect::<Result<_, _>>()?;
    assert_eq!(files.len(), 1, "{files:?}");
    Ok(())
}
