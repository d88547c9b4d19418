//! A key that exists already comes to whole nodes in sealed packets, and then lives as any other does.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use frost_ed25519::keys::PublicKeyPackage;
use rand_core::OsRng;
use warifu_core::import::{ImportSeed, prepare};
use warifu_node::admin::{self, AdminReply, AdminRequest};
use warifu_protocol::wire::{CredentialState, CredentialView, OrderCall, OrderReply, PacketAnswer, Read, View};
use warifu_protocol::{
    ClusterRecord, Command, Enrolment, Epoch, ImportPacket, KeyImport, NodeId, OrderCommand, OrderId, Origin, Refusal, SubjectFields,
    canonical, seal_packet,
};

use crate::signing::{CREDENTIAL, csr, until_credential};
use crate::support::{TestCluster, name, node_id};

/// Time for nodes to confirm, or for the deadline of an import to pass and what was stored to be swept away, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

fn seed() -> anyhow::Result<ImportSeed> {
    Ok(ImportSeed::parse(&canonical::sha256(b"a key of many years"))?)
}

/// An import that has been ordered, with its packets still to be brought.
async fn ordered(cluster: &TestCluster, id: u8) -> anyhow::Result<(KeyImport, Vec<ImportPacket>)> {
    let record = ClusterRecord::founded(&cluster.genesis);
    let subject = SubjectFields::new("JP", None, "Taro Yamada", "123456")?;
    let enrolment = Enrolment { credential: CREDENTIAL, holder: name("doctor-1"), subject };
    let (import, packets) = prepare(&record, OrderId::new([id; 16]), enrolment, &seed()?, &mut OsRng, seal_packet)?;
    let command = OrderCommand::Import { import: import.clone() };
    let refused = cluster.propose(node_id(1), Command::Order(cluster.order(id, command.clone(), 1))).await?.outcome;
    anyhow::ensure!(matches!(refused, Err(Refusal::ApprovalsMissing { .. })), "one officer is not enough: {refused:?}");
    let verdict = cluster.propose(node_id(1), Command::Order(cluster.order(id, command, 2))).await?;
    verdict.outcome.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    Ok((import, packets))
}

async fn bring(cluster: &TestCluster, packet: &ImportPacket) -> anyhow::Result<PacketAnswer> {
    match cluster.call(packet.node, &OrderCall::ImportPacket(Box::new(packet.clone()))).await? {
        OrderReply::ImportPacket(answer) => Ok(answer),
        other => anyhow::bail!("no answer to a packet: {other:?}"),
    }
}

/// Brings packets until their nodes take them: one that has not applied the order says so.
async fn bring_all(cluster: &TestCluster, packets: &[ImportPacket]) -> anyhow::Result<()> {
    let started = Instant::now();
    for packet in packets {
        loop {
            match bring(cluster, packet).await? {
                PacketAnswer::Taken => break,
                PacketAnswer::NotYet if started.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(50)).await,
                other => anyhow::bail!("node {}: {other:?}", packet.node),
            }
        }
    }
    Ok(())
}

async fn imported(cluster: &TestCluster) -> anyhow::Result<CredentialView> {
    let (_, packets) = ordered(cluster, 1).await?;
    bring_all(cluster, &packets).await?;
    let mut view = None;
    for node in (1..=5).map(node_id) {
        view = Some(until_credential(cluster, node, "imported", |view| view.state == CredentialState::Generated).await?);
    }
    let view = view.context("a view")?;
    let package = PublicKeyPackage::deserialize(view.public_key_package.as_ref().context("a key")?.as_slice())?;
    assert_eq!(package.verifying_key().serialize()?, seed()?.public_key(), "it is the key that it was");
    must_say_imported(&view);
    Ok(view)
}

fn must_say_imported(view: &CredentialView) {
    assert_eq!(view.origin, Origin::Imported { order: OrderId::new([1; 16]), officers: vec![name("carol"), name("dave")] });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_key_signs_its_csr_is_refreshed_and_repaired_and_says_imported_all_its_life() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start_with(5, 3, |policy| policy.ceremony_millis_max = 4_000).await?;
    let view = imported(&cluster).await?;
    assert_eq!(view.holders, [1, 2, 3, 4, 5].map(node_id));
    csr(&cluster, &view, &[1, 3, 5].map(node_id)).await?;
    csr(&cluster, &view, &[2, 3, 4].map(node_id)).await?;

    // A holder that is away during a refresh has no share of the new epoch until it is repaired.
    cluster.stop_node(node_id(4)).await?;
    let refresh = OrderCommand::Refresh { credentials: vec![CREDENTIAL] };
    let verdict = cluster.until_proposed(node_id(1), Command::Order(cluster.order(2, refresh, 2))).await?;
    verdict.outcome.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let without = until_credential(&cluster, node_id(1), "refreshed", |view| view.epoch == Epoch(2)).await?;
    assert_eq!(without.holders, [1, 2, 3, 5].map(node_id));
    cluster.start_node(node_id(4), false);
    cluster.until_confirmed(&[node_id(4)]).await?;
    for node in [2, 4, 5].map(node_id) {
        until_credential(&cluster, node, "repaired", |view| view.holders.contains(&node_id(4))).await?;
    }
    let view = until_credential(&cluster, node_id(1), "repaired", |view| view.holders.len() == 5).await?;
    must_say_imported(&view);
    csr(&cluster, &view, &[2, 4, 5].map(node_id)).await?;

    let read = OrderCall::Read(Read::Credentials { after: None, limit: 10 });
    let OrderReply::View(Some(View::Credentials(listed))) = cluster.call(node_id(2), &read).await? else { anyhow::bail!("no list") };
    listed.iter().for_each(must_say_imported);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_without_its_packet_is_brought_it_again_and_a_foreign_packet_is_refused() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start(5, 3).await?;
    let (_, packets) = ordered(&cluster, 1).await?;
    bring_all(&cluster, &packets[..4]).await?;
    let mut foreign = packets[3].clone();
    foreign.node = node_id(5);
    let refused = loop {
        match bring(&cluster, &foreign).await? {
            PacketAnswer::NotYet => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => break answer,
        }
    };
    assert!(matches!(refused, PacketAnswer::Refused(Refusal::PacketRefused { .. })), "{refused:?}");
    cluster.stop_node(node_id(5)).await?;
    cluster.start_node(node_id(5), false);
    cluster.until_confirmed(&[node_id(5)]).await?;
    let waiting = until_credential(&cluster, node_id(1), "there", |_| true).await?;
    assert_eq!(waiting.state, CredentialState::Generating, "four of five is nothing");
    bring_all(&cluster, &packets).await?;
    let view = until_credential(&cluster, node_id(5), "imported", |view| view.state == CredentialState::Generated).await?;
    csr(&cluster, &view, &[1, 2, 5].map(node_id)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_without_one_node_comes_to_nothing_and_the_others_delete_what_they_stored() -> anyhow::Result<()> {
    let cluster = TestCluster::start_with(3, 2, |policy| policy.ceremony_millis_max = 1_000).await?;
    let (_, packets) = ordered(&cluster, 1).await?;
    bring_all(&cluster, &packets[..2]).await?;
    until(&cluster, "stored", 1, async |cluster| Ok(shares(cluster, node_id(1)).await? == 1)).await?;
    let read = OrderCall::Read(Read::Credential(CREDENTIAL));
    for node in [1, 2, 3] {
        until(&cluster, "forgotten", node, async |cluster| Ok(cluster.call(node_id(node), &read).await? == OrderReply::View(None))).await?;
    }
    for node in [1, 2] {
        until(&cluster, "without the share", node, async |cluster| Ok(shares(cluster, node_id(node)).await? == 0)).await?;
    }
    let late = bring(&cluster, &packets[2]).await?;
    assert!(matches!(late, PacketAnswer::Refused(Refusal::CeremonyStep)), "{late:?}");
    Ok(())
}

async fn until(
    cluster: &TestCluster,
    what: &str,
    node: u8,
    reached: impl AsyncFn(&TestCluster) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while !reached(cluster).await? {
        anyhow::ensure!(started.elapsed() < PATIENCE, "node {node} is not {what} in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The shares on a node's disk, told by a backup of it.
async fn shares(cluster: &TestCluster, node: NodeId) -> anyhow::Result<u64> {
    let out = cluster.directory.path().join(format!("backup-{:032x}", rand::random::<u128>()));
    match admin::ask(&cluster.config(node).admin_socket(), &AdminRequest::Backup { out }).await? {
        AdminReply::BackedUp(summary) => Ok(summary.shares),
        other => anyhow::bail!("no backup: {other:?}"),
    }
}
