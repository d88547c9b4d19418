//! Submitting an import: the order, then its packets until every node has confirmed.

use std::path::Path;
use std::time::{Duration, Instant};

use warifu_api::{ApiClient, ApiError, OrderAnswer, PacketState};
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::IMPORT_PACKET_BYTES_MAX;
use warifu_protocol::wire::{Applied, CeremonyView};
use warifu_protocol::{CeremonyId, ImportPacket, NodeId, OrderCommand, Sha256};

use super::file::{OrderError, OrderFile};
use super::submit::Submitted;
use crate::console::Console;
use crate::files::{self, FileError};

/// Reads the packets of an import.
///
/// # Errors
/// See [`FileError`].
pub fn read_packets(path: &Path) -> Result<Vec<ImportPacket>, FileError> {
    let bytes = files::read_secret(path, "packets", PACKETS_FILE_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(|error| files::malformed(path, "packets", &error.to_string()))
}

/// Submits the order and brings its packets to the nodes, again and again until all have confirmed that their share is on their disk. May
/// be repeated with the same files whatever happened: an order that was applied goes on.
///
/// # Errors
/// [`OrderError::Unfit`] for packets of another order, [`OrderError::ImportFailed`] when the cluster has given the import up,
/// [`OrderError::ImportIncomplete`] when nodes are still missing, [`OrderError::Api`] for a refusal.
pub async fn submit_import(
    client: &ApiClient,
    order: &OrderFile,
    packets: &[ImportPacket],
    console: Console,
) -> Result<Submitted, OrderError> {
    check_packets(order, packets)?;
    let ceremony = CeremonyId::new(*order.0.body.id.as_bytes());
    let submitted = match client.order(&order.0).await {
        Ok(answer) => answer,
        Err(ApiError::Problem(problem)) if problem.code() == REPLAYED => {
            OrderAnswer { index: None, applied: Applied::CeremonyStarted(ceremony), stop: None }
        }
        Err(error) => return Err(error.into()),
    };
    let bar = console.spinner("the packets are on their way");
    let brought = bring(client, order, packets, |confirmed| {
        bar.set_message(format!("{confirmed} of {} sites have their share", packets.len()));
    });
    let brought = brought.await;
    bar.finish_and_clear();
    brought?;
    Ok(submitted)
}

async fn bring(client: &ApiClient, order: &OrderFile, packets: &[ImportPacket], progress: impl Fn(usize)) -> Result<(), OrderError> {
    let id = order.0.body.id;
    let until = Instant::now() + PATIENCE;
    let mut missing: Vec<(NodeId, String)> = packets.iter().map(|packet| (packet.node, "it was not asked".to_owned())).collect();
    loop {
        let due: Vec<ImportPacket> =
            packets.iter().filter(|packet| missing.iter().any(|(node, _)| *node == packet.node)).cloned().collect();
        let mut reasons = Vec::new();
        if !due.is_empty() {
            // One that took its packet before has lost it if it was started anew since, so it is brought again.
            for delivery in client.bring_packets(id, due).await?.deliveries {
                let reason = delivery.problem.map_or_else(|| "its confirmation is not in the log yet".to_owned(), |problem| problem.detail);
                let refused = if delivery.state == PacketState::Refused { "refused: " } else { "" };
                reasons.push((delivery.node, format!("{refused}{reason}")));
            }
        }
        let view = client.ceremony(CeremonyId::new(*id.as_bytes())).await?;
        progress(view.confirmed.len());
        let CeremonyView { confirmed, done, failed, .. } = view;
        reasons.retain(|(node, _)| !confirmed.contains(node));
        if done {
            return Ok(());
        }
        let words = |reasons: &[(NodeId, String)]| reasons.iter().map(|(node, reason)| format!("node {node}: {reason}")).collect();
        if failed {
            return Err(OrderError::ImportFailed { reasons: words(&reasons) });
        }
        if Instant::now() >= until {
            return Err(OrderError::ImportIncomplete { missing: words(&reasons) });
        }
        missing = reasons;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Packets that the order does not name would be refused by every node, which would cost the import its time.
fn check_packets(order: &OrderFile, packets: &[ImportPacket]) -> Result<(), OrderError> {
    let unfit = |reason: &str| Err(OrderError::Unfit { reason: reason.to_owned() });
    let OrderCommand::Import { import } = &order.0.body.order else {
        return unfit("the order imports no key: leave `--packets` away");
    };
    let found = packets.iter().map(|packet| (packet.node, Sha256::new(sha256(packet.sealed.as_slice()))));
    let same_order = packets.iter().all(|packet| packet.order == order.0.body.id);
    if same_order && found.eq(import.packets.iter().copied()) { Ok(()) } else { unfit("the packets are not those of this order") }
}

/// The log's refusal of an order that was applied before.
const REPLAYED: &str = "order-replayed";
/// For how long nodes that do not confirm are tried: as long as the cluster waits for them by its default policy.
const PATIENCE: Duration = Duration::from_secs(200);
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(500);
/// The largest packets for 15 nodes in base64, and room for indentation.
const PACKETS_FILE_BYTES_MAX: usize = 32 * IMPORT_PACKET_BYTES_MAX;
