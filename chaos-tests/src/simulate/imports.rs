//! Keys that exist already: an officer's tool splits them, and brings each site its packet until the log says that all have their shares.

use std::sync::Arc;

use warifu_core::import::{ImportSeed, prepare};
use warifu_core::registry::{ImportStep, Registry as _};
use warifu_protocol::wire::OrderCall;
use warifu_protocol::{CeremonyId, Command, Enrolment, ImportPacket, NodeId, OrderCommand, OrderId};

use super::cost::{self, Of};
use super::event::{Party, Request, Then};
use super::fact::{Fact, Unshown};
use super::world::World;

/// Packets are brought again so often, oftener than the officer's tool does.
const BRING_MILLIS: u64 = 400;
/// Time for a site to take one.
const BRING_DEADLINE: u64 = 2_000;
/// An order that is not in the log by then never will be.
const ORDERED_MILLIS: u64 = 60_000;

/// An import that is not over.
pub(super) struct Importing {
    order: OrderId,
    packets: Vec<ImportPacket>,
    bring_at: u64,
    ordered_until: u64,
}

impl World {
    /// A holder has a key already: it is split for all sites of now.
    pub(super) fn import(&mut self, number: usize, enrolment: Enrolment) {
        let order = OrderId::new(self.workload.dice.bytes());
        let Ok(seed) = ImportSeed::parse(&self.workload.dice.bytes::<32>()) else { return };
        let cluster = Arc::clone(self.log.cluster());
        let credential = enrolment.credential;
        let (people, rng) = (&self.people, &mut self.workload.dice.0);
        let mut dealt = std::cell::RefCell::new(Vec::new());
        let seal = |recipient: &[u8], context: &[u8], plaintext: &[u8]| {
            // After its version.
            dealt.borrow_mut().extend(plaintext.get(1..).and_then(|scalar| <[u8; 32]>::try_from(scalar).ok()));
            Ok(people.sealing_for(recipient).seal(context, plaintext))
        };
        let prepared = cost::of(Of::Frost, || prepare(&cluster, order, enrolment, &seed, rng, seal));
        let Ok((import, packets)) = prepared else { return };
        let sites = packets.iter().map(|packet| packet.node).collect();
        let scalars = Unshown(std::mem::take(dealt.get_mut()));
        self.tell(Fact::SharesDealt { credential, sites, scalars, group_key: import.group_key().map(|key| *key.as_bytes()) });
        let Ok(signed) = self.people.order(self.log.truth(), self.unix(), order, OrderCommand::Import { import }) else { return };
        let ordered_until = self.now + ORDERED_MILLIS;
        self.workload.imports.push(Importing { order, packets, bring_at: self.now, ordered_until });
        self.counters.injected("key imported", 1);
        self.begin_errand(Some(number), Command::Order(signed));
    }

    /// Brings packets to sites that have not confirmed theirs.
    pub(super) fn bring_packets(&mut self) {
        let now = self.now;
        let mut due: Vec<ImportPacket> = Vec::new();
        let truth = self.log.truth();
        self.workload.imports.retain_mut(|importing| {
            if now < importing.bring_at {
                return true;
            }
            importing.bring_at = now + BRING_MILLIS;
            match truth.import(CeremonyId::new(*importing.order.as_bytes())).ok().flatten() {
                Some(record) if record.step == ImportStep::Open => {
                    due.extend(importing.packets.iter().filter(|packet| !record.confirmed.contains(&packet.node)).cloned());
                    true
                }
                Some(_) => false,
                None => now < importing.ordered_until,
            }
        });
        if due.is_empty() {
            return;
        }
        let coordinator = self.pick_coordinator();
        let Some(lies) = self.coordinators.get(coordinator).filter(|one| one.is_up).map(|one| one.lies) else { return };
        for packet in due {
            if lies && self.faults.attack_every > 0 {
                self.bring_wrongly(coordinator, &packet);
            }
            self.bring(coordinator, packet.node, packet);
        }
    }

    /// A packet that is another site's, or was changed on the way.
    fn bring_wrongly(&mut self, liar: usize, packet: &ImportPacket) {
        let sites: Vec<NodeId> = self.reached.keys().copied().collect();
        let dice = &mut self.adversary.dice;
        let Some(site) = dice.pick(&sites).copied() else { return };
        let mut wrong = packet.clone();
        wrong.node = site;
        if site == packet.node || dice.permille(300) {
            let place = dice.below(wrong.sealed.len() as u64) as usize;
            wrong.sealed.0.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1);
        }
        self.counters.injected("packet changed or misled", 1);
        self.bring(liar, site, wrong);
    }

    fn bring(&mut self, coordinator: usize, site: NodeId, packet: ImportPacket) {
        let request = Request::Order(OrderCall::ImportPacket(Box::new(packet)));
        self.call(Party::Coordinator(coordinator), site, request, BRING_DEADLINE, Then::Nothing);
    }
}
