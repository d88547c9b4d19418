//! Sites that are replaced, that come, and that go for good; and what is set up or left running when the log says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use warifu_core::registry::ClusterRecord;
use warifu_protocol::{Command, Consent, NodeEntry, NodeId, OrderCommand, OrderId};

use super::event::{Event, Place};
use super::site::Site;
use super::world::World;

/// The smallest and the largest cluster.
const NODES: (usize, usize) = (3, 9);
/// Identifiers that sites come under: more than there are sites, so that some are new and some were removed before.
const IDENTIFIERS: u8 = 11;
/// How long a site that was removed runs on before somebody switches it off.
const GONE_MILLIS: (u64, u64) = (500, 20_000);
/// From an order to a site that runs on the store that it names.
const SET_UP_MILLIS: u64 = 300;

impl World {
    /// Brings an order into the log that needs the consent of t sites.
    pub(super) fn order_with_consents(&mut self, order: OrderCommand) {
        let id = OrderId::new(self.workload.dice.bytes());
        let Ok(mut order) = self.people.order(self.log.truth(), self.unix(), id, order) else { return };
        // Administrators consent at their own sites, which sign for them.
        let digest = order.body.digest();
        let sites = self.reached.values().filter(|place| self.is_member(**place)).filter_map(|place| self.sites.get(place));
        let consents = sites.map(|site| site.identity.sign(Consent { order: digest })).take(usize::from(self.plan.threshold));
        order.consents = consents.collect();
        self.begin_errand(None, Command::Order(order));
    }

    /// One site more, or one less for good.
    pub(super) fn change_roster(&mut self) {
        let cluster = Arc::clone(self.log.cluster());
        let (nodes, threshold) = (cluster.nodes.len(), usize::from(cluster.threshold.0));
        let (least, most) = NODES;
        let may_go = nodes > least && nodes > threshold + 1;
        let may_come = nodes < most && (cluster.minority_threshold || 2 * threshold > nodes + 1);
        let comes = if may_go && may_come { self.dice.permille(500) } else { may_come };
        let mut entries = cluster.nodes.clone();
        if comes {
            let Some(entry) = self.newcomer(&cluster) else { return };
            entries.push(entry);
            self.counters.injected("site comes by order", 1);
        } else if may_go {
            let goes = entries.remove(self.dice.below(nodes as u64) as usize).id;
            if !self.can_spare(goes) {
                return;
            }
            self.expect_to_go(goes);
            self.counters.injected("site goes by order", 1);
        } else {
            return;
        }
        let (coordinators, officers) = (cluster.coordinators.clone(), cluster.officers.clone());
        self.order_with_consents(OrderCommand::UpdateRoster { nodes: entries, coordinators, officers });
    }

    fn expect_to_go(&mut self, node: NodeId) {
        let version = self.log.cluster().roster_version;
        if self.going.0 != version {
            self.going = (version, BTreeSet::new());
        }
        self.going.1.insert(node);
    }

    /// Whether an order takes this site's store or place, once it is applied.
    pub(super) fn may_go(&self, node: NodeId) -> bool {
        self.going.0 == self.log.cluster().roster_version && self.going.1.contains(&node)
    }

    /// A site under an identifier that is free.
    fn newcomer(&mut self, cluster: &ClusterRecord) -> Option<NodeEntry> {
        let free: Vec<NodeId> = (1..=IDENTIFIERS).filter_map(NodeId::new).filter(|id| cluster.node(*id).is_none()).collect();
        let id = *self.dice.pick(&free)?;
        Some(self.people.entry(id, cluster.store_number(id)))
    }

    /// A site is replaced by order: its old store and keys are worth nothing from then on.
    pub(super) fn replace_site(&mut self, node: NodeId) {
        let Some(place) = self.reached.get(&node).copied() else { return };
        let Some(site) = self.sites.get(&place) else { return };
        let store_number = site.store_number + 1;
        let lost = self.reached.values().filter_map(|place| self.sites.get(place)).filter(|site| site.is_lost).count();
        if lost > self.reached.len().saturating_sub(usize::from(self.plan.threshold)) {
            return;
        }
        let (entry, store) = (self.people.entry(node, store_number), self.store_id(node, store_number));
        self.counters.injected("site replaced by order", 1);
        self.expect_to_go(node);
        self.order(None, OrderCommand::ReplaceStore { node: entry, store });
    }

    /// A site whose replacement or coming is in the log is set up on its new store; one that was removed is nobody's any more.
    pub(super) fn follow_roster(&mut self) {
        let cluster = Arc::clone(self.log.cluster());
        let gone: Vec<NodeId> = self.reached.keys().copied().filter(|node| cluster.node(*node).is_none()).collect();
        for node in gone {
            self.leave(node);
        }
        for entry in &cluster.nodes {
            let place = Place { node: entry.id, copy: 0 };
            let is_there = self.reached.contains_key(&entry.id);
            if is_there && self.sites.get(&place).is_some_and(|site| site.identity.public_key() == entry.identity) {
                continue;
            }
            self.set_up(place, &cluster);
        }
    }

    fn set_up(&mut self, place: Place, cluster: &Arc<ClusterRecord>) {
        self.end_copy(place.node);
        self.crash(place);
        if !self.plan.corrupt.contains_key(&place.node) {
            self.suspects.remove(&place.node);
        }
        let fresh = self.new_site(place.node, cluster.store_number(place.node), Some(Arc::clone(cluster)));
        let before = self.sites.get(&place).map(|site| site.generation);
        if before.is_none() {
            self.after(SET_UP_MILLIS, Event::Replicate(place));
        }
        self.sites.insert(place, Site { generation: before.map_or(0, |generation| generation + 1), ..fresh });
        self.gone.remove(&place.node);
        self.reached.insert(place.node, place);
        self.after(SET_UP_MILLIS, Event::Start(place));
    }

    /// It runs on for a while, and the adversary can still reach it.
    fn leave(&mut self, node: NodeId) {
        self.end_copy(node);
        self.reached.remove(&node);
        self.gone.insert(node);
        let (least, most) = GONE_MILLIS;
        let after = self.dice.between(least, most);
        self.after(after, Event::SwitchOff(node));
    }

    /// A site that was removed is switched off, unless it is back on a new store.
    pub(super) fn switch_off(&mut self, node: NodeId) {
        let place = Place { node, copy: 0 };
        if !self.gone.contains(&node) {
            return;
        }
        if let Some(site) = self.sites.get_mut(&place) {
            site.is_lost = true;
            site.image = None;
        }
        self.crash(place);
    }
}
