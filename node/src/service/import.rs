//! Packets of keys that are imported.

use std::sync::Arc;

use warifu_core::ceremony::CeremonyEffect;
use warifu_protocol::ImportPacket;
use warifu_protocol::wire::PacketAnswer;

use super::ceremony::CeremonyService;
use crate::clock;
use crate::state::StateView;

impl CeremonyService {
    /// Takes this node's packet. Nothing is opened by a state that is not confirmed: the order in it may be somebody's invention.
    pub async fn take_packet(self: &Arc<Self>, packet: ImportPacket) -> PacketAnswer {
        let service = Arc::clone(self);
        let answer = self.bulk.run(move || service.open_packet(&packet)).await.unwrap_or(PacketAnswer::NotYet);
        if answer != PacketAnswer::NotYet {
            self.again.notify_one();
        }
        answer
    }

    fn open_packet(&self, packet: &ImportPacket) -> PacketAnswer {
        if !self.background.gate.is_open() {
            return PacketAnswer::NotYet;
        }
        let Ok(view) = self.state.view() else { return PacketAnswer::NotYet };
        let answer = self.imports.lock().handle(packet, &view).unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a packet cannot be taken");
            PacketAnswer::NotYet
        });
        if let PacketAnswer::Refused(refusal) = &answer {
            tracing::warn!(order = %packet.order, %refusal, "a packet is refused");
        }
        answer
    }

    pub(super) fn import_step(&self, view: &StateView) -> Vec<CeremonyEffect> {
        if !self.background.gate.is_open() {
            return Vec::new();
        }
        self.imports.lock().step(clock::now(), view).unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "an import cannot go on here");
            Vec::new()
        })
    }
}
