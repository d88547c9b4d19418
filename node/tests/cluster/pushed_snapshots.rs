//! Snapshots that come from a running node: a forged one costs its victim nothing, a true one brings a node up to date that was away for long.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use warifu_core::registry::{AuthenticatorRecord, ClusterRecord, CredentialRecord, decode, encode, key, table};
use warifu_node::keys::NodeKeys;
use warifu_protocol::transport::{CallError, Role};
use warifu_protocol::wire::{NotYet, OrderCall, OrderReply, Read, SignAnswer, View};
use warifu_protocol::{AuthenticatorKind, CertificateHash, Command, NodeId, OrderCommand, Policy, Sha256, SpkiHash};

use crate::corrupt_members::{changed, client};
use crate::roster::{must, must_in_time, roster};
use crate::signing::{CREDENTIAL, answer, csr_item, enrol, until_generated_at};
use crate::support::{CALL, TestCluster, name, node_id};

/// Entries after which these nodes make a snapshot.
const SNAPSHOT_ENTRIES: u64 = 12;

async fn cluster(nodes: u8, threshold: u8) -> anyhow::Result<TestCluster> {
    let mut cluster = TestCluster::found(nodes, threshold, Policy::default())?;
    cluster.configure(|config| config.raft.snapshot_entries = SNAPSHOT_ENTRIES);
    let all: Vec<NodeId> = (1..=nodes).map(node_id).collect();
    for node in &all {
        cluster.start_node(*node, true);
    }
    cluster.until_confirmed(&all).await?;
    Ok(cluster)
}

/// The newest snapshot that a node has made or installed, with the log index of it.
pub(crate) fn newest_snapshot(cluster: &TestCluster, node: NodeId) -> Option<(u64, PathBuf)> {
    let files = std::fs::read_dir(cluster.config(node).node.data.join("raft/snapshots")).ok()?;
    files
        .filter_map(|file| {
            let path = file.ok()?.path();
            let index = path.file_stem()?.to_str()?.split('-').next()?.parse().ok()?;
            (path.extension()? == "snapshot").then_some((index, path))
        })
        .max()
}

/// Enrols facilities until the nodes have made snapshots of this index or a later one.
async fn log_until_snapshot(cluster: &TestCluster, at: &[NodeId], beyond: u64, first: u8) -> anyhow::Result<u64> {
    for number in first..first + 60 {
        let order = cluster.order(number, OrderCommand::EnrolFacility { facility: name(&format!("clinic-{number}")) }, 1);
        let verdict = cluster.propose(at[0], Command::Order(order)).await?;
        ensure!(verdict.outcome.is_ok(), "{verdict:?}");
        if at.iter().all(|node| newest_snapshot(cluster, *node).is_some_and(|(index, _)| index > beyond)) {
            return Ok(verdict.index);
        }
    }
    bail!("no snapshot beyond {beyond} was made")
}

/// A snapshot file in its parts: where its leader stood, the rest of its meta data, its content.
pub(crate) struct Parts {
    start: Vec<u8>,
    position: (u64, u64, u64),
    members: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

impl Parts {
    pub(crate) fn read(path: &std::path::Path) -> anyhow::Result<Self> {
        let file = std::fs::read(path)?;
        let (magic, rest) = file.split_at(8);
        let (length, rest) = rest.split_at(4);
        let (meta, content) = rest.split_at(u32::from_be_bytes(length.try_into()?) as usize);
        let (position, members) = postcard::take_from_bytes::<Option<(u64, u64, u64)>>(meta)?;
        Ok(Self { start: magic.to_vec(), position: position.context("a position")?, members: members.to_vec(), content: content.to_vec() })
    }

    fn meta(&self) -> anyhow::Result<Vec<u8>> {
        Ok([postcard::to_stdvec(&Some(self.position))?, self.members.clone()].concat())
    }

    fn file(&self) -> anyhow::Result<Vec<u8>> {
        let meta = self.meta()?;
        Ok([self.start.clone(), u32::try_from(meta.len())?.to_be_bytes().to_vec(), meta, self.content.clone()].concat())
    }

    /// Streams it with a node's own keys, as the leader that this node is or says that it is.
    async fn push(&self, cluster: &TestCluster, from: NodeId, to: NodeId, term: u64) -> anyhow::Result<Result<Vec<u8>, CallError>> {
        let peer = client(cluster, &NodeKeys::load(&cluster.config(from).node.keys)?.tls)?;
        let file = self.file()?;
        let vote = postcard::to_stdvec(&(term, u64::from(from.get()), true))?;
        let head = [vote, self.meta()?, postcard::to_stdvec(&(file.len() as u64))?].concat();
        Ok(peer.call_streaming(to, Role::Raft, &head, &mut file.as_slice(), CALL * 2).await)
    }
}

/// Binds one more card to the credential.
fn with_one_binding_more(content: &[u8]) -> Vec<u8> {
    changed(content, |pairs| {
        let place = key(table::CREDENTIAL, &[CREDENTIAL.as_ref()]);
        let mut record: CredentialRecord = decode(&pairs[&place]).expect("a credential");
        record.authenticators.push(AuthenticatorRecord {
            card: CertificateHash::new([0xca; 32]),
            kind: AuthenticatorKind::MyNumberCard,
            serial_digest: Sha256::new([0x5e; 32]),
            spki: SpkiHash::new([0x5b; 32]),
            suspended: false,
            issuer: SpkiHash::new([0x15; 32]),
        });
        pairs.insert(place, encode(&record));
    })
}

/// Asks these nodes for signature shares again and again; every answer must be a share.
async fn keep_asking(cluster: &TestCluster, nodes: &[NodeId], stop: &AtomicBool, shares: &AtomicU64) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let item = csr_item(cluster, nodes).await?;
        for node in nodes {
            match answer(cluster, *node, &item).await? {
                SignAnswer::Share(_) => shares.fetch_add(1, Ordering::Relaxed),
                // This machine was too slow for the life of a nonce.
                SignAnswer::NotYet { reason: NotYet::NonceUnknown, .. } => 0,
                other => bail!("node {node} gives no share: {other:?}"),
            };
        }
    }
    Ok(())
}

async fn bound_cards(cluster: &TestCluster, node: NodeId) -> anyhow::Result<usize> {
    match cluster.call(node, &OrderCall::Read(Read::Credential(CREDENTIAL))).await? {
        OrderReply::View(Some(View::Credential(view))) => Ok(view.authenticators.len()),
        other => bail!("no credential: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_snapshot_that_a_running_leader_streams_costs_its_victim_nothing() -> anyhow::Result<()> {
    let cluster = cluster(5, 3).await?;
    enrol(&cluster).await?;
    let all: Vec<NodeId> = (1..=5).map(node_id).collect();
    until_generated_at(&cluster, &all).await?;
    let enrolled = cluster.status(node_id(1)).await?.applied;
    log_until_snapshot(&cluster, &all, enrolled, 10).await?;

    let status = cluster.status(node_id(1)).await?;
    let leader = status.leader.context("a leader")?;
    let others: Vec<NodeId> = all.iter().copied().filter(|node| *node != leader).collect();
    let (victim, second, third) = (others[0], others[1], others[2]);
    let (_, path) = newest_snapshot(&cluster, leader).context("a snapshot")?;
    let honest = Parts::read(&path)?;
    let mut forged = Parts::read(&path)?;
    forged.content = with_one_binding_more(&honest.content);
    // Of a position that nobody has come to, so that the victim would take it for news.
    let mut ahead = Parts { position: (status.term, u64::from(leader.get()), status.applied + 1000), ..Parts::read(&path)? };
    ahead.content.clone_from(&forged.content);
    // Its sender has given itself another site's identity, and would be asked for that site's word.
    let mut usurped = Parts { position: ahead.position, ..Parts::read(&path)? };
    let own = cluster.genesis.node(leader).context("the leader's entry")?.identity;
    usurped.content = changed(&honest.content, |pairs| {
        let place = key(table::CLUSTER, &[]);
        let mut record: ClusterRecord = decode(&pairs[&place]).expect("a cluster");
        record.nodes.iter_mut().filter(|node| node.id == second).for_each(|node| node.identity = own);
        pairs.insert(place, encode(&record));
    });
    // The true content under another leader's position would fork the victim's log.
    let moved = Parts { position: (honest.position.0, honest.position.1 - 1, honest.position.2), ..Parts::read(&path)? };
    let mut cut = Parts::read(&path)?;
    cut.content.truncate(cut.content.len() - 1);

    let before = cluster.status(victim).await?;
    let (stop, shares) = (AtomicBool::new(false), AtomicU64::new(0));
    let attack = async {
        let rows = [
            (leader, &ahead, "vouched for by 0 other nodes, and needs 2"),
            (leader, &usurped, "not explained by orders"),
            (leader, &forged, "is forged"),
            (leader, &forged, "nothing is taken of it for ten minutes"),
            (second, &moved, "is forged"),
            (third, &cut, "refused"),
        ];
        for (from, snapshot, reason) in rows {
            let term = cluster.status(victim).await?.term;
            match snapshot.push(&cluster, from, victim, term + u64::from(from != leader)).await? {
                Err(CallError::Refused { refusal, .. }) => ensure!(refusal.to_string().contains(reason), "{reason}: {refusal}"),
                other => bail!("{reason}: {other:?}"),
            }
        }
        let seen = shares.load(Ordering::Relaxed);
        while shares.load(Ordering::Relaxed) < seen + 9 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    // The victim is among those that are asked: it goes on, from the state that it had.
    let asked = [victim, second, third];
    let hammer = keep_asking(&cluster, &asked, &stop, &shares);
    tokio::time::timeout(Duration::from_secs(120), async { tokio::try_join!(attack, hammer) }).await??;

    let after = cluster.status(victim).await?;
    assert!(after.confirmed && after.boot == before.boot, "it did not even have to be confirmed again: {:?}", after.reasons);
    assert_eq!((bound_cards(&cluster, victim).await?, after.term), (0, before.term));
    // Consensus goes on at the victim too.
    let order = cluster.order(100, OrderCommand::EnrolFacility { facility: name("clinic-after") }, 1);
    let verdict = cluster.propose(victim, Command::Order(order)).await?;
    assert!(verdict.outcome.is_ok(), "{verdict:?}");
    cluster.until(victim, "up to date", |status| status.applied >= verdict.index).await?;
    let left_over = std::fs::read_dir(cluster.config(victim).node.data.join("raft/snapshots"))?.count();
    assert_eq!(left_over, 1, "what was refused is gone from the disk");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_long_takes_a_snapshot_that_the_others_vouch_for() -> anyhow::Result<()> {
    let mut cluster = cluster(5, 3).await?;
    let away = node_id(5);
    let missed = cluster.status(away).await?.applied;
    cluster.stop_node(away).await?;
    let others: Vec<NodeId> = (1..=4).map(node_id).collect();
    let last = log_until_snapshot(&cluster, &others, missed + 2 * SNAPSHOT_ENTRIES, 10).await?;
    cluster.start_node(away, false);
    cluster.until_confirmed(&[away]).await?;
    cluster.until(away, "up to date", |status| status.applied >= last).await?;
    let installed = newest_snapshot(&cluster, away).context("a snapshot")?.0;
    assert!(installed > missed, "it came as a snapshot: {installed} after {missed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_while_the_members_changed_and_the_log_was_purged_catches_up() -> anyhow::Result<()> {
    let mut cluster = cluster(5, 3).await?;
    let (away, gone) = (node_id(5), node_id(4));
    let missed = cluster.status(away).await?.applied;
    cluster.stop_node(away).await?;
    // Two orders that it does not hear of, of which the second makes another membership.
    let policy = OrderCommand::UpdatePolicy { policy: Policy { session_signatures_max: 77, ..Policy::default() } };
    let order = cluster.change(1, 1, policy, &[1, 2, 3]).await?;
    must(&cluster, 1, order).await?;
    let mut nodes = cluster.genesis.body().nodes.clone();
    nodes.retain(|node| node.id != gone);
    let order = cluster.change(2, 1, roster(&cluster, nodes), &[1, 2, 3]).await?;
    must_in_time(&cluster, 1, &order).await?;
    cluster.until_reached(node_id(1), 2).await?;
    cluster.stop_node(gone).await?;
    let others: Vec<NodeId> = (1..=3).map(node_id).collect();
    let last = log_until_snapshot(&cluster, &others, missed + 3 * SNAPSHOT_ENTRIES, 10).await?;

    cluster.start_node(away, false);
    cluster.until_confirmed(&[away]).await?;
    cluster.until(away, "up to date", |status| status.applied >= last).await?;
    let installed = newest_snapshot(&cluster, away).context("a snapshot")?.0;
    assert!(installed > missed, "it came as a snapshot: {installed} after {missed}");
    cluster.until_settled(away, 2).await?;
    // It votes in the new membership.
    cluster.stop_node(node_id(3)).await?;
    let order = cluster.order(100, OrderCommand::EnrolFacility { facility: name("clinic-after") }, 1);
    let verdict = cluster.until_proposed(away, Command::Order(order)).await?;
    assert!(verdict.outcome.is_ok(), "{verdict:?}");
    Ok(())
}
