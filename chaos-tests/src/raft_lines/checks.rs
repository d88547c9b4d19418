//! What clients were told, held against every log and state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use warifu_core::registry::Registry as _;
use warifu_node::config::NodeConfig;
use warifu_node::raft::{AppliedPayload, entries_on_disk};
use warifu_node::state::StateDatabase;
use warifu_node::store::DatabaseOptions;
use warifu_protocol::{Command, Genesis, LogEntry, Name, NodeId, OrderId};

use super::clients::{Outcome, Write};
use crate::torment::{Checked, Evidence, check_stores};

/// What each node has of the clients' writes.
#[derive(Debug, Default)]
struct Found {
    /// Where each order stands in each node's log.
    logged: BTreeMap<OrderId, BTreeMap<NodeId, Vec<u64>>>,
    /// Where each node's log begins. A state may have what its log lost, since others hold it; raft then begins the log after that.
    begins: BTreeMap<NodeId, u64>,
    /// The facilities that each node's state has.
    facilities: BTreeMap<NodeId, BTreeSet<Name>>,
}

/// Reads every disk and makes all checks. No process may run any more.
pub(super) fn check(genesis: &Genesis, directory: &Path, writes: &[Write], leaders: Checked) -> anyhow::Result<Vec<Checked>> {
    let nodes: Vec<NodeId> = genesis.body().nodes.iter().map(|entry| entry.id).collect();
    let configs: Vec<_> = nodes.iter().map(|node| directory.join(format!("node-{node}")).join("config.toml")).collect();
    let evidence = Evidence::read_stores(genesis, &configs)?;
    let mut found = Found::default();
    for (node, path) in nodes.iter().zip(&configs) {
        let data = NodeConfig::load(path)?.node.data;
        let entries = entries_on_disk(&data.join("raft").join("raft.redb"))?;
        found.begins.insert(*node, entries.first().map_or(u64::MAX, |first| first.position.index));
        for entry in entries {
            if let AppliedPayload::Command(command) = &entry.payload
                && let Ok(Command::Order(order)) = LogEntry::decode(command).map(|entry| entry.command)
            {
                found.logged.entry(order.body.id).or_default().entry(*node).or_default().push(entry.position.index);
            }
        }
        let state = StateDatabase::open(&data.join("state.redb"), DatabaseOptions::default(), Arc::new(genesis.clone()))?;
        let view = state.view()?;
        let facilities = found.facilities.entry(*node).or_default();
        for write in writes {
            if view.facility(&write.facility)?.is_some() {
                facilities.insert(write.facility.clone());
            }
        }
    }
    let mut checked = vec![leaders, acknowledged_is_there(&found, writes), applied_once(&found, &evidence.outcomes(), writes)];
    checked.extend(check_stores(&evidence));
    Ok(checked)
}

impl Found {
    /// Whether a node's log has the order, or begins after the place that it has in another's.
    fn has_or_had(&self, node: NodeId, order: OrderId) -> bool {
        let begins = self.begins.get(&node).copied().unwrap_or(0);
        let mut places = self.logged.get(&order).into_iter().flatten();
        places.any(|(other, indices)| *other == node || indices.iter().any(|index| *index < begins))
    }
}

/// What a client was told is done is in every node's state and in its log, if that goes back so far; nothing was refused.
fn acknowledged_is_there(found: &Found, writes: &[Write]) -> Checked {
    let mut checked = Checked { invariant: "acknowledged_is_there", looked_at: 0, violations: Vec::new() };
    for write in writes {
        match &write.outcome {
            Outcome::Unknown => {}
            Outcome::Refused(reason) => checked.violations.push(format!("order {} was refused: {reason}", write.order)),
            Outcome::Acknowledged(_) => {
                for (node, facilities) in &found.facilities {
                    checked.looked_at += 1;
                    if !found.has_or_had(*node, write.order) || !facilities.contains(&write.facility) {
                        checked.violations.push(format!("order {} was acknowledged; node {node} lacks it", write.order));
                    }
                }
            }
        }
    }
    checked
}

/// However often an order came into the log, one of its entries was carried out, and the others were refused.
fn applied_once(found: &Found, outcomes: &BTreeMap<u64, bool>, writes: &[Write]) -> Checked {
    let mut checked = Checked { invariant: "applied_once", looked_at: 0, violations: Vec::new() };
    for write in writes {
        let indices: BTreeSet<u64> =
            found.logged.get(&write.order).into_iter().flat_map(|nodes| nodes.values().flatten().copied()).collect();
        let times = indices.iter().filter(|index| outcomes.get(index) == Some(&true)).count();
        checked.looked_at += 1;
        let is_acknowledged = matches!(write.outcome, Outcome::Acknowledged(_));
        if times > 1 || (is_acknowledged && times == 0) {
            checked.violations.push(format!("order {} was carried out {times} times, of entries {indices:?}", write.order));
        }
    }
    checked
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn write(number: u8, outcome: Outcome) -> Write {
        let facility = format!("facility-{number}").parse().expect("a name");
        Write { order: OrderId::new([number; OrderId::LEN]), facility, began: Instant::now(), outcome }
    }

    fn node(id: u8) -> NodeId {
        NodeId::new(id).expect("a node id")
    }

    #[test]
    fn an_acknowledged_write_that_one_node_lacks_is_seen_and_an_unknown_one_is_not() {
        let written = write(1, Outcome::Acknowledged(Instant::now()));
        let mut found = Found::default();
        for id in 1..=2 {
            found.logged.entry(written.order).or_default().insert(node(id), vec![7]);
            found.facilities.insert(node(id), [written.facility.clone()].into());
        }
        let all = acknowledged_is_there(&found, std::slice::from_ref(&written));
        assert_eq!((all.looked_at, all.violations.len()), (2, 0));
        let unknown = [write(2, Outcome::Unknown)];
        assert!(acknowledged_is_there(&found, &unknown).violations.is_empty());
        let refused = [write(3, Outcome::Refused("no".to_owned()))];
        assert_eq!(acknowledged_is_there(&found, &refused).violations.len(), 1);
        found.facilities.insert(node(2), BTreeSet::new());
        assert_eq!(acknowledged_is_there(&found, std::slice::from_ref(&written)).violations.len(), 1);
        found.logged.clear();
        assert_eq!(acknowledged_is_there(&found, &[written]).violations.len(), 2);
    }

    #[test]
    fn a_log_that_begins_after_a_write_need_not_have_it_if_another_log_has_and_its_own_state() {
        let written = [write(1, Outcome::Acknowledged(Instant::now()))];
        let mut found = Found::default();
        found.logged.entry(written[0].order).or_default().insert(node(1), vec![7]);
        for id in 1..=2 {
            found.facilities.insert(node(id), [written[0].facility.clone()].into());
        }
        let violations = |found: &Found| acknowledged_is_there(found, &written).violations.len();
        found.begins = [(node(1), 1), (node(2), 7)].into();
        assert_eq!(violations(&found), 1);
        found.begins.insert(node(2), 8);
        assert_eq!(violations(&found), 0);
        found.facilities.insert(node(2), BTreeSet::new());
        assert_eq!(violations(&found), 1);
        found.facilities.insert(node(2), [written[0].facility.clone()].into());
        found.logged.clear();
        assert_eq!(violations(&found), 2);
    }

    #[test]
    fn a_write_that_was_carried_out_twice_or_never_is_seen() {
        let written = [write(1, Outcome::Acknowledged(Instant::now()))];
        let mut found = Found::default();
        found.logged.entry(written[0].order).or_default().insert(node(1), vec![7, 9]);
        let violations = |outcomes: &[(u64, bool)]| applied_once(&found, &outcomes.iter().copied().collect(), &written).violations.len();
        assert_eq!(violations(&[(7, true), (9, false)]), 0);
        assert_eq!(violations(&[(7, true), (9, true)]), 1);
        assert_eq!(violations(&[(7, false), (9, false)]), 1);
        let unknown = [write(1, Outcome::Unknown)];
        assert!(applied_once(&found, &BTreeMap::new(), &unknown).violations.is_empty());
    }
}
