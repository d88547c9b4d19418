//! Packets of imports, on their way from the officer's tool to the nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use warifu_api::{PacketsAnswer, PacketsBody, Problem};
use warifu_protocol::limits::IMPORT_PACKET_BYTES_MAX;
use warifu_protocol::{Fault, OrderId};

use super::answer::ProblemAnswer;
use super::app::App;
use super::body::{Received, Unread};
use super::caller::{Authority, Caller};
use super::orders::parse_id;

/// Brings the packets of an applied import to the nodes. The nodes verify them; nothing of them is kept here.
#[utoipa::path(post, path = "/v1/imports/{order}", tag = "ca", params(("order" = String, Path)), request_body = PacketsBody,
    responses((status = 200, body = PacketsAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn bring_packets(
    State(app): State<Arc<App>>,
    caller: Caller<Authority>,
    Path(order): Path<String>,
    body: Unread,
) -> Result<Json<PacketsAnswer>, ProblemAnswer> {
    let order: OrderId = parse_id(&order)?;
    let Received { value: PacketsBody { packets }, .. } = body.json(&app, &caller.client).await?;
    let malformed = |detail: &str| Problem::new(400, "malformed", Fault::Request, detail);
    let mut recipients = BTreeSet::new();
    if packets.is_empty() || !packets.iter().all(|packet| recipients.insert(packet.node)) {
        return Err(malformed("one packet or more, at most one for each node").into());
    }
    if packets.iter().any(|packet| packet.order != order) {
        return Err(malformed("a packet is of another order than the path names").into());
    }
    if packets.iter().any(|packet| packet.sealed.len() > IMPORT_PACKET_BYTES_MAX) {
        return Err(malformed("a packet is larger than a packet can be").into());
    }
    Ok(Json(PacketsAnswer { deliveries: app.nodes.bring_packets(packets).await }))
}
