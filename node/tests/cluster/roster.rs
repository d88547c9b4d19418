//! Nodes come, go and are replaced by order, and nobody follows a leader that invents members.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use warifu_core::registry::{MemoryStore, Overlay, Registry as _, found};
use warifu_node::admin::{self, AdminReply, AdminRequest};
use warifu_node::config::NodeConfig;
use warifu_node::gate::Gate;
use warifu_node::keys::NodeKeys;
use warifu_node::raft::{InspectEntries as _, InspectedEntry, InspectedPayload, LogPosition, MembershipView};
use warifu_node::replicated::{Inspector, members};
use warifu_node::standing::{OwnKeys, Standing};
use warifu_protocol::transport::{PeerClient, PeerEntry, PeerId, PeerRoster, Role};
use warifu_protocol::wire::{OrderCall, OrderReply, Read, View};
use warifu_protocol::{
    BootId, Command, LOG_ENTRY_VERSION, LogEntry, NodeEntry, NodeId, Order, OrderCommand, Policy, RosterFile, SpkiHash, StoreId,
    UnixMillis, verify_roster_chain,
};

use crate::support::{CALL, TestCluster, name, node_id};

pub(crate) fn roster(cluster: &TestCluster, nodes: Vec<NodeEntry>) -> OrderCommand {
    let body = cluster.genesis.body();
    OrderCommand::UpdateRoster { nodes, coordinators: body.coordinators.clone(), officers: body.officers.clone() }
}

pub(crate) async fn must(cluster: &TestCluster, at: u8, order: Order) -> anyhow::Result<u64> {
    let verdict = cluster.propose(node_id(at), Command::Order(order)).await?;
    match verdict.outcome {
        Ok(_) => Ok(verdict.index),
        Err(refusal) => bail!("refused: {refusal}"),
    }
}

/// Again while consensus is still busy with the change before, or shares of a removed node still count.
pub(crate) async fn must_in_time(cluster: &TestCluster, at: u8, order: &Order) -> anyhow::Result<u64> {
    let passes = |error: &str| error.contains("has not followed") || error.contains("still count");
    for _ in 0..300 {
        match must(cluster, at, order.clone()).await {
            Err(error) if passes(&error.to_string()) => tokio::time::sleep(Duration::from_millis(200)).await,
            other => return other,
        }
    }
    bail!("consensus does not follow")
}

/// As `warifu roster export` does.
pub(crate) async fn export(cluster: &TestCluster, from: u8, to: &Path) -> anyhow::Result<Vec<Order>> {
    let mut orders: Vec<Order> = Vec::new();
    loop {
        let read = OrderCall::Read(Read::RosterOrders { after: orders.len() as u64 });
        match cluster.call(node_id(from), &read).await? {
            OrderReply::View(Some(View::RosterOrders(more))) if more.is_empty() => break,
            OrderReply::View(Some(View::RosterOrders(more))) => orders.extend(more),
            other => bail!("no orders: {other:?}"),
        }
    }
    std::fs::write(to, serde_json::to_vec(&RosterFile { orders: orders.clone() })?)?;
    Ok(orders)
}

async fn admin_status(socket: &Path) -> anyhow::Result<warifu_protocol::wire::NodeStatus> {
    match admin::ask(socket, &AdminRequest::Status).await? {
        AdminReply::Status(status) => Ok(*status),
        other => bail!("no status: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_comes_and_votes_and_another_goes_and_is_let_in_nowhere() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start(4, 3).await?;
    let founders = cluster.genesis.body().nodes.clone();
    let fifth = cluster.prepare_node(node_id(5))?;
    let five = [founders.clone(), vec![fifth]].concat();

    let lacking = cluster.change(1, 1, roster(&cluster, five.clone()), &[1, 2]).await?;
    let refusal = must(&cluster, 1, lacking).await.expect_err("two consents of three").to_string();
    assert!(refusal.contains("2 of 3 consents"), "{refusal}");
    let order = cluster.change(2, 1, roster(&cluster, five.clone()), &[1, 2, 4]).await?;
    let index = must(&cluster, 1, order).await?;
    cluster.until(node_id(2), "past the order", |status| status.applied >= index).await?;
    let file = cluster.directory.path().join("roster.json");
    let orders = export(&cluster, 2, &file).await?;
    assert_eq!(verify_roster_chain(&cluster.genesis, &orders)?.nodes, five);

    cluster.know(&five);
    cluster.start_node(node_id(5), true);
    let error = format!("{:#}", cluster.ended_node(node_id(5)).await.expect_err("it does not stand in the genesis"));
    assert!(error.contains("roster export"), "{error}");
    cluster.config_mut(node_id(5)).node.roster = Some(file.clone());
    cluster.start_node(node_id(5), true);
    cluster.until_confirmed(&[node_id(5)]).await?;

    // Founder 1 goes. Two more founders stop: what is left has a majority of four only if the fifth votes.
    let four: Vec<_> = five[1..].to_vec();
    let order = cluster.change(3, 2, roster(&cluster, four), &[2, 3, 4]).await?;
    let index = must_in_time(&cluster, 2, &order).await?;
    for id in 2..=5 {
        cluster.until(node_id(id), "past the removal", |status| status.applied >= index).await?;
    }
    let removed = NodeKeys::load(&cluster.config(node_id(1)).node.keys)?;
    let peers = five.iter().map(|node| (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address: node.address.clone() }));
    let client = PeerClient::new(&removed.tls, Arc::new(PeerRoster::new(cluster.genesis.cluster(), peers.collect())))?;
    for role in [Role::Raft, Role::Ceremony, Role::Order] {
        client.call(node_id(2), role, &postcard::to_stdvec(&OrderCall::Status)?, CALL).await.expect_err("removed");
    }
    let mut last = Vec::new();
    for _ in 0..100 {
        last = admin_status(&cluster.config(node_id(1)).admin_socket()).await?.reasons;
        if last.iter().any(|reason| reason.contains("removed from the roster")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It may have been cut off before it heard of its own end; what matters is that it can do nothing.
    cluster.stop_node(node_id(1)).await?;
    // It may answer the start with the order that removed it, or hang on unheard.
    cluster.start_node(node_id(1), false);
    tokio::time::sleep(Duration::from_secs(3)).await;
    if let Ok(status) = admin_status(&cluster.config(node_id(1)).admin_socket()).await {
        assert!(!status.confirmed, "{last:?} {:?}", status.reasons);
    }
    cluster.stop_node(node_id(3)).await?;
    let clinic = cluster.order(4, OrderCommand::EnrolFacility { facility: name("clinic-1") }, 1);
    let verdict = cluster.until_proposed(node_id(5), Command::Order(clinic)).await?;
    assert!(verdict.outcome.is_ok(), "{verdict:?}");
    Ok(())
}

/// The node's disk is lost, an order admits it on an empty one with new keys, and it starts on that. Gives where the lost disk is.
pub(crate) async fn lose_and_replace(cluster: &mut TestCluster, victim: NodeId, version: u64) -> anyhow::Result<PathBuf> {
    replace(cluster, victim, version, |_| Ok(())).await
}

/// As [`lose_and_replace`]; the new store is filled before it is admitted.
pub(crate) async fn replace(
    cluster: &mut TestCluster,
    victim: NodeId,
    version: u64,
    fill: impl FnOnce(&NodeConfig) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<PathBuf> {
    cluster.stop_node(victim).await?;
    let old = cluster.config(victim).clone();
    let lost = cluster.directory.path().join(format!("lost-{version}"));
    std::fs::rename(&old.node.data, &lost)?;
    let address = cluster.genesis.node(victim).context("a founder")?.address.clone();
    let keys = cluster.directory.path().join(format!("new-keys-{version}"));
    let (new_keys, node) = (keys.clone(), old.node.clone());
    let prepare = move || warifu_node::replacement::prepare(&new_keys, &node.data, &node.genesis, victim, &address);
    let replacement = tokio::task::spawn_blocking(prepare).await??;
    let filled = old.clone();
    tokio::task::spawn_blocking(move || fill(&filled)).await??;
    let command = OrderCommand::ReplaceStore { node: replacement.node.clone(), store: replacement.store };
    let other = if victim == node_id(1) { 2 } else { 1 };
    let index = must(cluster, other, cluster.order_at(0xa0 + version as u8, version, command, 2)).await?;
    cluster.until(node_id(other), "past the order", |status| status.applied >= index).await?;
    let file = cluster.directory.path().join(format!("roster-{version}.json"));
    let orders = export(cluster, other, &file).await?;
    cluster.know(&verify_roster_chain(&cluster.genesis, &orders)?.nodes);
    let config = cluster.config_mut(victim);
    (config.node.keys, config.node.roster) = (keys, Some(file));
    cluster.start_node(victim, false);
    cluster.until_confirmed(&[victim]).await?;
    Ok(lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_is_replaced_by_order_and_the_old_disk_is_let_in_nowhere() -> anyhow::Result<()> {
    let mut cluster = TestCluster::start(3, 2).await?;
    let victim = node_id(3);
    let old = cluster.config(victim).clone();
    let founders = cluster.genesis.body().nodes.clone();
    let lost = lose_and_replace(&mut cluster, victim, 1).await?;

    cluster.stop_node(victim).await?;
    let mut back = old;
    back.node.data = lost;
    *cluster.config_mut(victim) = back.clone();
    cluster.start_node(victim, false);
    let keys = NodeKeys::load(&back.node.keys)?;
    let peers = founders.iter().map(|node| (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address: node.address.clone() }));
    let client = PeerClient::new(&keys.tls, Arc::new(PeerRoster::new(cluster.genesis.cluster(), peers.collect())))?;
    for (id, role) in [(1, Role::Raft), (1, Role::Ceremony), (2, Role::Raft), (2, Role::Order)] {
        client.call(node_id(id), role, &postcard::to_stdvec(&OrderCall::Status)?, CALL).await.expect_err("the old keys count no more");
    }
    let (mut told, mut last) = (false, Vec::new());
    for look in 0..150 {
        if told && look >= 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Ok(status) = admin_status(&back.admin_socket()).await {
            assert!(!status.confirmed && status.shares_given == 0, "{:?}", status.reasons);
            told |= status.reasons.iter().any(|reason| reason.contains("keys are not those in their roster"));
            last = status.reasons;
        }
    }
    assert!(told, "it says why, and what to do: {last:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_is_given_at_the_sites_own_socket_and_only_to_what_the_site_would_apply() -> anyhow::Result<()> {
    let cluster = TestCluster::start(3, 2).await?;
    let socket = cluster.config(node_id(1)).admin_socket();
    let policy = || OrderCommand::UpdatePolicy { policy: Policy { session_signatures_max: 77, ..Policy::default() } };
    let ask = async |order: &Order| admin::ask(&socket, &AdminRequest::PreviewConsent { order: Box::new(order.clone()) }).await;
    let good = cluster.order_at(1, 1, policy(), 1);
    let mut foreign = good.clone();
    foreign.body.cluster = warifu_protocol::ClusterId::new([9; 32]);
    let mut expired = good.clone();
    expired.body.not_after = warifu_node::clock::now().minus(1);
    let mut forged = good.clone();
    forged.approvals[0].signature.0[3] ^= 1;
    let given = cluster.change(2, 1, policy(), &[1]).await?;
    let small = OrderCommand::UpdatePolicy { policy: Policy { session_signatures_max: 0, ..Policy::default() } };
    for (case, order, said) in [
        ("another cluster's", foreign, "for cluster"),
        ("past its end", expired, "was valid until"),
        ("a forged approval", forged, "does not verify"),
        ("another version", cluster.order_at(3, 7, policy(), 2), "written for version 7"),
        ("one that needs no consent", cluster.order(4, OrderCommand::EnrolFacility { facility: name("clinic-1") }, 1), "needs no consent"),
        ("one that no node would apply", cluster.order_at(5, 1, small, 2), "session_signatures_max"),
        ("one that this site has consented to", given.clone(), "already"),
    ] {
        match ask(&order).await? {
            AdminReply::Error(error) => assert!(error.contains(said), "{case}: {error}"),
            other => bail!("{case}: {other:?}"),
        }
    }
    let AdminReply::Preview(lines) = ask(&good).await? else { bail!("no preview") };
    let text = lines.join("\n");
    for part in ["UPDATE THE POLICY", "- session_signatures_max 2000", "+ session_signatures_max 77", "approved so far by carol"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let AdminReply::Audit(entries) = admin::ask(&socket, &AdminRequest::Audit { from: 0, limit: 1000 }).await? else { bail!("no audit") };
    let consented = |entry: &warifu_protocol::AuditEvent| matches!(entry, warifu_protocol::AuditEvent::Consented { order, digest, .. } if *order == given.body.id && *digest == given.body.digest());
    assert_eq!(entries.iter().filter(|(_, entry)| consented(&entry.event)).count(), 1, "the one consent that was given is on record");
    Ok(())
}

fn founded(cluster: &TestCluster) -> anyhow::Result<MemoryStore> {
    let mut store = MemoryStore::default();
    let mut overlay = Overlay::new(&store);
    found(&mut overlay, &cluster.genesis)?;
    let changes = overlay.into_changes();
    store.write(&changes);
    Ok(store)
}

fn standing(cluster: &TestCluster, store: &MemoryStore, founder: bool) -> anyhow::Result<Arc<Standing>> {
    let entry = cluster.genesis.node(node_id(1)).context("a founder")?;
    let own = OwnKeys { node: node_id(1), tls_spki: entry.tls_spki, identity: entry.identity, store: StoreId::new([1; 16]) };
    let gate = Arc::new(Gate::new(BootId::new([1; 16])));
    Ok(Arc::new(Standing::open(store, None, own, founder, BTreeMap::new(), gate)?))
}

#[tokio::test]
async fn an_old_entry_is_followed_only_if_an_earlier_term_left_it_or_it_is_committed_and_one_that_is_ahead_only_if_it_is_committed()
-> anyhow::Result<()> {
    let cluster = TestCluster::found(3, 2, Policy::default())?;
    let inspector = Inspector::new(standing(&cluster, &founded(&cluster)?, true)?);
    let skew = Policy::default().clock_skew_millis_max;
    let now = warifu_node::clock::now();
    let clinic = cluster.order(1, OrderCommand::EnrolFacility { facility: name("clinic-1") }, 1);
    let judge = |at: UnixMillis, claimed_committed: bool, inherited: bool| {
        let bytes = LogEntry::new(at, Command::Order(clinic.clone())).encode().expect("a small entry");
        let (position, payload) = (LogPosition { term: 1, leader: 2, index: 9 }, InspectedPayload::Command(&bytes));
        inspector.inspect(node_id(2), &[InspectedEntry { position, payload, claimed_committed, inherited }]).is_ok()
    };
    let (old, new, future) = (now.minus(skew + 5_000), now, now.plus(skew + 60_000));
    let ahead = now.plus(skew - 10_000);
    for (case, at, claimed_committed, inherited, is_followed) in [
        ("a new one", new, false, false, true),
        ("an old one of this term", old, false, false, false),
        ("an old one that is committed", old, true, false, true),
        ("an old one of an earlier term", old, false, true, true),
        ("one that is ahead by no more than clocks may differ", ahead, false, false, false),
        ("one of those that an earlier term left", ahead, false, true, false),
        ("one of those that is committed", ahead, true, false, true),
        ("one of the future", future, false, false, false),
        ("one of the future, whatever is said of it", future, true, true, false),
    ] {
        assert_eq!(judge(at, claimed_committed, inherited), is_followed, "{case}");
    }
    Ok(())
}

#[tokio::test]
async fn an_entry_of_an_unknown_version_is_not_appended_and_those_before_it_are_tried_alone() -> anyhow::Result<()> {
    let cluster = TestCluster::found(3, 2, Policy::default())?;
    let inspector = Inspector::new(standing(&cluster, &founded(&cluster)?, true)?);
    let clinic = cluster.order(1, OrderCommand::EnrolFacility { facility: name("clinic-1") }, 1);
    let judge = |version: u16| {
        let entry = LogEntry::new(warifu_node::clock::now(), Command::Order(clinic.clone())).in_version(version);
        let bytes = entry.encode().expect("a small entry");
        let (position, payload) = (LogPosition { term: 1, leader: 2, index: 9 }, InspectedPayload::Command(&bytes));
        inspector.inspect(node_id(2), &[InspectedEntry { position, payload, claimed_committed: true, inherited: true }])
    };
    judge(LOG_ENTRY_VERSION)?;
    let refusal = judge(LOG_ENTRY_VERSION + 1).expect_err("a newer version");
    assert_eq!(refusal.unexplained, Some(9));
    assert!(refusal.reason.contains("version 2") && refusal.reason.contains("upgrade this node"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn a_membership_that_no_order_planned_is_refused_by_every_follower() -> anyhow::Result<()> {
    let cluster = TestCluster::found(3, 2, Policy::default())?;
    let store = founded(&cluster)?;
    let inspector = Inspector::new(standing(&cluster, &store, true)?);
    let judge = |voters: &[&[u8]], edit: &dyn Fn(&mut BTreeMap<NodeId, warifu_node::raft::RosterNode>)| {
        let mut nodes = members(&cluster.genesis);
        edit(&mut nodes);
        let voters = voters.iter().map(|set| set.iter().map(|id| node_id(*id)).collect::<BTreeSet<_>>()).collect();
        let payload = InspectedPayload::Membership(MembershipView { voters, nodes });
        let entry =
            InspectedEntry { position: LogPosition { term: 1, leader: 2, index: 9 }, payload, claimed_committed: true, inherited: false };
        inspector.inspect(node_id(2), &[entry])
    };
    judge(&[&[1, 2, 3]], &|_| {}).expect("the founders' own");
    let strangers_key = SpkiHash::new([7; 32]);
    judge(&[&[2]], &|_| {}).expect_err("the leader alone");
    judge(&[&[1, 2, 3], &[1, 2]], &|_| {}).expect_err("on the way to fewer");
    judge(&[&[1, 2, 3]], &|nodes| nodes.get_mut(&node_id(3)).expect("node 3").spki = strangers_key).expect_err("another key");
    judge(&[&[1, 2, 3]], &|nodes| drop(nodes.insert(node_id(4), nodes[&node_id(3)].clone()))).expect_err("one more");

    // Without memory of earlier votes a node must not vote until the log names it on this store.
    assert!(inspector.may_vote());
    assert!(!Inspector::new(standing(&cluster, &store, false)?).may_vote(), "the log names no store of it");
    assert!(store.membership_plans()?.current.voters.contains(&node_id(1)));
    Ok(())
}
