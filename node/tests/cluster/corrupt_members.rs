//! What a corrupt member can do: order, delay, and ship state. Forge, it cannot.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use crate::support::{CALL, TestCluster, name, node_id};
use anyhow::{Context as _, bail};
use sha2::{Digest, Sha256};
use warifu_core::registry::{FacilityRecord, encode, key, table};
use warifu_node::keys::NodeKeys;
use warifu_node::state::StateDatabase;
use warifu_node::store::DatabaseOptions;
use warifu_protocol::transport::{CallError, PeerClient, PeerEntry, PeerId, PeerRoster, Role, TlsIdentity};
use warifu_protocol::wire::{OrderCall, Verdict};
use warifu_protocol::{Blob, Command, NodeId, ObjectVersion, OrderCommand, Refusal};

/// Calls nodes with the keys of one that is corrupt, or of nobody.
pub(crate) fn client(cluster: &TestCluster, tls: &TlsIdentity) -> anyhow::Result<PeerClient> {
    let entries = cluster
        .genesis
        .body()
        .nodes
        .iter()
        .map(|node| (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address: node.address.clone() }));
    Ok(PeerClient::new(tls, Arc::new(PeerRoster::new(entries.collect())))?)
}

/// Puts a command into the log as a corrupt member does: past every check before the log.
async fn inject(cluster: &TestCluster, as_node: NodeId, command: &Command) -> anyhow::Result<Verdict> {
    const PROPOSE: u8 = 4;
    const DONE: u8 = 0;
    let tls = NodeKeys::load(&cluster.config(as_node).node.keys)?.tls;
    let peer = client(cluster, &tls)?;
    let leader = cluster.status(as_node).await?.leader.context("a leader")?;
    let mut request = vec![PROPOSE];
    request.extend(postcard::to_stdvec(&Blob(postcard::to_stdvec(command)?))?);
    let reply = peer.call(leader, Role::Raft, &request, CALL).await?;
    let (outcome, rest) = reply.split_first().context("a reply")?;
    if *outcome != DONE {
        bail!("not logged: {reply:?}");
    }
    let ((_term, _leader, _index, verdict), _) = postcard::take_from_bytes::<(u64, u64, u64, Blob)>(rest)?;
    Ok(postcard::from_bytes(verdict.as_slice())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_valid_signatures_changes_nothing_on_any_node() -> anyhow::Result<()> {
    let cluster = TestCluster::start(3, 2).await?;
    let clinic = || OrderCommand::EnrolFacility { facility: name("clinic-1") };
    let unsigned = cluster.order(1, clinic(), 0);
    let mut forged = cluster.order(2, clinic(), 1);
    forged.approvals[0].signature.0[0] ^= 1;
    let mut altered = cluster.order(3, clinic(), 1);
    altered.body.order = OrderCommand::EnrolFacility { facility: name("clinic-of-the-liar") };

    let verdict = inject(&cluster, node_id(2), &Command::Order(unsigned)).await?;
    assert!(matches!(verdict.outcome, Err(Refusal::ApprovalsMissing { .. })), "{verdict:?}");
    for order in [forged, altered] {
        let verdict = inject(&cluster, node_id(2), &Command::Order(order)).await?;
        assert!(matches!(verdict.outcome, Err(Refusal::SignatureInvalid { .. })), "{verdict:?}");
        assert!(verdict.index > 0, "it is in the log, and refused there");
    }
    // The honest order still finds version 0: nothing was enrolled in between, on any node.
    let verdict = cluster.propose(node_id(3), Command::Order(cluster.order(4, clinic(), 1))).await?;
    assert!(verdict.outcome.is_ok(), "{verdict:?}");
    let status = cluster.until(node_id(1), "up to date", |status| status.applied >= verdict.index).await?;
    assert!(status.confirmed, "no node was disturbed: {:?}", status.reasons);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_snapshot_yields_nothing() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start(3, 2).await?;
    let victim = node_id(3);
    let verdict = cluster
        .propose(node_id(1), Command::Order(cluster.order(1, OrderCommand::EnrolFacility { facility: name("clinic-1") }, 1)))
        .await?;
    assert!(verdict.outcome.is_ok());
    cluster.until(victim, "up to date", |status| status.applied >= verdict.index).await?;
    cluster.stop_node(victim).await?;

    let path = cluster.config(victim).node.data.join("state.redb");
    let genesis = Arc::clone(&cluster.genesis);
    tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let state = StateDatabase::open(&path, DatabaseOptions::default(), genesis)?;
        let frozen = state.freeze()?;
        let mut snapshot = Vec::new();
        frozen.write_to(&mut snapshot)?;
        let position = frozen.position().to_vec();
        let honest = state.root()?;
        drop(frozen);
        let forged = changed(&snapshot, |pairs| {
            pairs.insert(key(table::FACILITY, &[b"clinic-of-the-liar"]), encode(&FacilityRecord { version: ObjectVersion(1) }));
        });
        state.install_snapshot(move || Ok(Cursor::new(forged.clone())), verdict.index, position)?;
        assert_ne!(state.root()?, honest, "the node computes the root itself");
        Ok(())
    })
    .await??;

    cluster.start_node(victim, false);
    let alarmed = |reasons: &[String]| reasons.iter().any(|reason| reason.contains("state root"));
    let status = cluster.until(victim, "alarmed", |status| alarmed(&status.reasons)).await?;
    assert!(!status.confirmed && status.shares_given == 0);
    Ok(())
}

/// Changes the pairs of a snapshot and hashes anew, as a forger would.
pub(crate) fn changed(snapshot: &[u8], change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) -> Vec<u8> {
    let (magic, rest) = snapshot.split_at(16);
    let mut pairs = BTreeMap::new();
    let mut rest = rest;
    loop {
        let (length, after) = rest.split_at(4);
        let length = u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize;
        if length == 0 {
            break;
        }
        let (pair_key, after) = after.split_at(length);
        let (length, after) = after.split_at(4);
        let (value, after) = after.split_at(u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize);
        pairs.insert(pair_key.to_vec(), value.to_vec());
        rest = after;
    }
    change(&mut pairs);
    let mut forged = magic.to_vec();
    for (pair_key, value) in pairs {
        for field in [pair_key, value] {
            forged.extend((field.len() as u32).to_be_bytes());
            forged.extend(field);
        }
    }
    forged.extend(0_u32.to_be_bytes());
    let digest = Sha256::digest(&forged);
    forged.extend(digest);
    forged
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_peer_and_a_peer_in_a_foreign_role_get_no_stream() -> anyhow::Result<()> {
    let cluster = TestCluster::start(3, 2).await?;
    let status = postcard::to_stdvec(&OrderCall::Status)?;
    let stranger = client(&cluster, &TlsIdentity::generate()?)?;
    stranger.call(node_id(1), Role::Order, &status, CALL).await.expect_err("a stranger is refused in the handshake");
    for role in [Role::Raft, Role::Ceremony] {
        let error = cluster.client.call(node_id(1), role, &status, CALL).await.expect_err("a coordinator is no node");
        assert!(matches!(error, CallError::NotAdmitted { .. }), "{role}: {error}");
    }
    let node = client(&cluster, &NodeKeys::load(&cluster.config(node_id(2)).node.keys)?.tls)?;
    let error = node.call(node_id(1), Role::Sign, &status, CALL).await.expect_err("a node is no coordinator");
    assert!(matches!(error, CallError::NotAdmitted { .. }), "{error}");
    for garbage in [vec![], vec![0xff; 3], vec![0; 100_000]] {
        cluster.client.call(node_id(1), Role::Order, &garbage, CALL).await.expect_err("garbage is refused");
    }
    assert!(cluster.status(node_id(1)).await?.confirmed, "the node goes on");
    Ok(())
}
