//! What a corrupt member can do: order, delay, and ship state. Forge, it cannot.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use crate::clinic::Clinic;
use crate::lost_shares::events;
use crate::pushed_snapshots::{Parts, newest_snapshot};
use crate::support::{CALL, TestCluster, name, node_id};
use anyhow::{Context as _, bail};
use sha2::{Digest, Sha256};
use warifu_core::registry::{FacilityRecord, NodeRecord, decode, encode, key, table};
use warifu_node::admin::{self, AdminRequest};
use warifu_node::keys::NodeKeys;
use warifu_node::state::StateDatabase;
use warifu_node::store::DatabaseOptions;
use warifu_protocol::transport::{CallError, PeerClient, PeerEntry, PeerId, PeerRoster, Role, TlsIdentity};
use warifu_protocol::wire::{NodeStatus, OrderCall, Verdict};
use warifu_protocol::{AuditEvent, Blob, BootId, Command, NodeId, NodeStarted, ObjectVersion, OrderCommand, SessionOpening};

/// Calls nodes with the keys of one that is corrupt, or of nobody.
pub(crate) fn client(cluster: &TestCluster, tls: &TlsIdentity) -> anyhow::Result<PeerClient> {
    let entries = cluster
        .genesis
        .body()
        .nodes
        .iter()
        .map(|node| (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address: node.address.clone() }));
    Ok(PeerClient::new(tls, Arc::new(PeerRoster::new(cluster.genesis.cluster(), entries.collect())))?)
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

/// All that the state of each node says but what comes by itself as time goes by, the time of its last entry and the checkpoints that nodes have
/// witnessed: what entries up to now have made of it.
async fn contents(cluster: &TestCluster, nodes: &[NodeId]) -> anyhow::Result<Vec<BTreeMap<Vec<u8>, Vec<u8>>>> {
    let mut contents = Vec::new();
    for node in nodes {
        let applied = cluster.status(*node).await?.applied;
        let mut found = None;
        for _ in 0..200 {
            admin::ask(&cluster.config(*node).admin_socket(), &AdminRequest::Snapshot).await?;
            found = newest_snapshot(cluster, *node).filter(|(index, _)| *index >= applied);
            if found.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (_, path) = found.context("a snapshot of the present state")?;
        let mut content = BTreeMap::new();
        changed(&Parts::read(&path)?.content, |pairs| content.clone_from(pairs));
        content.retain(|place, _| place.first() != Some(&table::TIME));
        for (_, value) in content.iter_mut().filter(|(place, _)| place.first() == Some(&table::NODE)) {
            let record: NodeRecord = decode(value)?;
            *value = encode(&NodeRecord { audit_size: 0, audit_root: None, ..record });
        }
        contents.push(content);
    }
    Ok(contents)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_valid_signatures_changes_nothing_on_any_node() -> anyhow::Result<()> {
    let clinic = Clinic::open().await?;
    let (cluster, all) = (&clinic.cluster, [1, 2, 3].map(node_id));
    let facility = || OrderCommand::EnrolFacility { facility: name("clinic-2") };
    let unsigned = cluster.order(101, facility(), 0);
    let mut forged = cluster.order(102, facility(), 1);
    forged.approvals[0].signature.0[0] ^= 1;
    let mut altered = cluster.order(103, facility(), 1);
    altered.body.order = OrderCommand::EnrolFacility { facility: name("clinic-of-the-liar") };

    let session = clinic.session(&clinic.physician, 1);
    let opening = clinic.opening(&clinic.physician, &session)?;
    let opened = |change: fn(&mut SessionOpening)| {
        let mut opening = opening.clone();
        change(&mut opening);
        Command::SessionOpened(opening)
    };
    // A start of node 3's own store that the liar signs in its name: it would be taken for one, but for the signature.
    let victims = events(cluster, node_id(3)).await?.into_iter().find_map(|event| match event {
        AuditEvent::Started { store, boot, .. } => Some((store, boot)),
        _ => None,
    });
    let (store, boot) = victims.context("the start of node 3")?;
    let liar = NodeKeys::load(&cluster.config(node_id(2)).node.keys)?.identity(node_id(2), cluster.genesis.cluster());
    let mut started = liar.sign(NodeStarted {
        store,
        incarnation: 100,
        boot: BootId::new([7; 16]),
        audit_size: 1_000_000,
        raft_index: 1_000_000,
        earlier: vec![boot],
        log_version: 1,
    });
    started.node = node_id(3);
    let mut blank = started.clone();
    blank.signature = Blob(Vec::new());

    let before = contents(cluster, &all).await?;
    assert!(before.iter().all(|content| *content == before[0]), "the nodes agree");
    let reported = |status: &NodeStatus| (status.confirmed, status.boot, status.shares_given, status.reasons.clone());
    let mut statuses = Vec::new();
    for node in all {
        statuses.push(reported(&cluster.status(node).await?));
    }
    let mut last = 0;
    for (case, command, code) in [
        ("an order without approvals", Command::Order(unsigned), "approvals-missing"),
        ("an order with a forged approval", Command::Order(forged), "signature-invalid"),
        ("an order that was changed after it was approved", Command::Order(altered), "signature-invalid"),
        ("a session without the card's word", opened(|opening| opening.card_signature = Blob(Vec::new())), "card-signature-invalid"),
        ("a session with a forged word of the card", opened(|opening| opening.card_signature.0[0] ^= 1), "card-signature-invalid"),
        ("a session without the terminal's word", opened(|opening| opening.terminal_signature.0[0] ^= 1), "signature-invalid"),
        ("a session without the session key's word", opened(|opening| opening.possession.0[0] ^= 1), "signature-invalid"),
        ("a session for longer than was agreed to", opened(|opening| opening.statement.max_signatures += 1), "signature-invalid"),
        ("a start of another node", Command::NodeStarted(started), "signature-invalid"),
        ("a start that nobody signed", Command::NodeStarted(blank), "signature-invalid"),
    ] {
        let verdict = inject(cluster, node_id(2), &command).await?;
        let refusal = verdict.outcome.err().with_context(|| format!("{case} is not refused"))?;
        assert_eq!(refusal.code(), code, "{case}: {refusal}");
        assert!(verdict.index > last, "{case}: it is in the log, and refused there");
        last = verdict.index;
    }
    for (node, before) in all.into_iter().zip(&statuses) {
        let status = cluster.until(node, "up to date", |status| status.applied >= last).await?;
        assert_eq!(reported(&status), *before, "node {node} was not disturbed");
    }
    let after = contents(cluster, &all).await?;
    for ((node, before), after) in all.into_iter().zip(&before).zip(&after) {
        let differ: Vec<&Vec<u8>> =
            after.iter().filter(|(place, value)| before.get(*place) != Some(value)).map(|(place, _)| place).collect();
        assert!(differ.is_empty() && before.len() == after.len(), "node {node}: {differ:?}");
    }

    // The honest order still finds version 0, and the honest session opens.
    let verdict = cluster.propose(node_id(3), Command::Order(cluster.order(104, facility(), 1))).await?;
    assert!(verdict.outcome.is_ok(), "{verdict:?}");
    clinic.must_apply(Command::SessionOpened(opening)).await?;
    clinic.must_sign(&[node_id(1), node_id(3)], &session.prescription(1, 1)?).await
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
        // More may have been applied by then.
        let mut index = verdict.index;
        while state.mark_at(index + 1)?.is_some() {
            index += 1;
        }
        let forged = changed(&snapshot, |pairs| {
            pairs.insert(key(table::FACILITY, &[b"clinic-of-the-liar"]), encode(&FacilityRecord { version: ObjectVersion(1) }));
        });
        state.install_snapshot(move || Ok(Cursor::new(forged.clone())), index, position)?;
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
