//! Packets of keys that are imported, as the daemon takes them.

use warifu_protocol::ImportPacket;
use warifu_protocol::wire::{OrderReply, PacketAnswer};

use crate::simulate::cost::{self, Of};
use crate::simulate::event::{Place, Reply, ReplyTo};
use crate::simulate::world::World;

impl World {
    /// Nothing is opened by a state that is not confirmed: the order in it may be somebody's invention.
    pub(super) fn take_packet(&mut self, place: Place, from: ReplyTo, packet: &ImportPacket) {
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = site.process.as_mut() else { return };
        let state = &site.disk.state.registry;
        let answer = if process.gate.is_open() {
            cost::of(Of::Frost, || process.imports.handle(packet, state)).unwrap_or(PacketAnswer::NotYet)
        } else {
            PacketAnswer::NotYet
        };
        self.reply(place, from, Reply::Order(OrderReply::ImportPacket(answer)));
    }
}
