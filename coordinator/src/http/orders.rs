//! What the CA brings: orders and CRLs.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use tokio::time::{Instant, sleep};
use warifu_api::{OrderAnswer, Problem, schema};
use warifu_protocol::limits::{CRL_BYTES_MAX, CRL_CHUNK_BYTES};
use warifu_protocol::wire::{Applied, Read, View};
use warifu_protocol::{CeremonyId, Command, Fault, LogEntry, Order, OrderCommand, OrderId, ParseIdError, Refusal, StopCommand, UnixMillis};

use super::answer::ProblemAnswer;
use super::app::App;
use super::body::{Received, Unread};
use super::caller::{Authority, Caller};
use super::stops;
use crate::limits::{APPLIED_DEADLINE, APPLIED_PAUSE};
use crate::nodes::Proposed;
use crate::signing::read_problem;

/// Relays an order. The nodes verify it.
#[utoipa::path(post, path = "/v1/orders", tag = "ca", request_body = schema::Order,
    responses((status = 200, body = OrderAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn relay_order(
    State(app): State<Arc<App>>,
    caller: Caller<Authority>,
    body: Unread,
) -> Result<Json<OrderAnswer>, ProblemAnswer> {
    let Received { value: order, .. } = body.json::<Order>(&app, &caller.client).await?;
    if order.body.cluster != app.nodes.facts.cluster {
        return Err(Problem::from(&Refusal::WrongCluster { found: order.body.cluster }).into());
    }
    if order.body.order.is_stopping() {
        return Ok(Json(stops::carry_out(&app, StopCommand::Order(order)).await?));
    }
    let proposed = propose(&app, Command::Order(order.clone())).await?;
    match proposed.outcome {
        Ok(applied) => {
            confirm_applied(&app, order.body.id).await?;
            Ok(Json(OrderAnswer { index: Some(proposed.index), applied, stop: None }))
        }
        Err(Refusal::OrderReplayed) if proposed.after_unknown => {
            Ok(Json(OrderAnswer { index: None, applied: applied_before(&app, &order).await?, stop: None }))
        }
        Err(refusal) => Err(Problem::from(&refusal).into()),
    }
}

/// Brings the CRL of an applied order into the log, piece by piece.
#[utoipa::path(post, path = "/v1/crls/{order}", tag = "ca", params(("order" = String, Path)),
    request_body(content = schema::Binary, content_type = "application/octet-stream"),
    responses((status = 200, body = OrderAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn upload_crl(
    State(app): State<Arc<App>>,
    caller: Caller<Authority>,
    Path(order): Path<String>,
    body: Unread,
) -> Result<Json<OrderAnswer>, ProblemAnswer> {
    let order: OrderId = parse_id(&order)?;
    let received = body.bytes(&app, &caller.client, "application/octet-stream").await?;
    let der = &received.value;
    if der.is_empty() || der.len() as u64 > CRL_BYTES_MAX {
        let detail = format!("a CRL has 1 to {CRL_BYTES_MAX} bytes, not {}", der.len());
        return Err(Problem::new(400, "malformed", Fault::Request, detail).into());
    }
    let mut answer = None;
    for (index, piece) in (0_u32..).zip(der.chunks(CRL_CHUNK_BYTES)) {
        let proposed = propose(&app, Command::CrlChunk { order, index, bytes: piece.into() }).await?;
        answer = Some(match proposed.outcome {
            Ok(applied) => OrderAnswer { index: Some(proposed.index), applied, stop: None },
            // The first try of this very piece was applied, though nobody said so.
            Err(Refusal::CrlChunkUnexpected { .. }) if proposed.after_unknown => {
                OrderAnswer { index: None, applied: Applied::CrlExpected { order, next: index + 1 }, stop: None }
            }
            Err(refusal) => return Err(Problem::from(&refusal).into()),
        });
    }
    let answer = answer.ok_or_else(|| Problem::new(400, "malformed", Fault::Request, "the CRL is empty"))?;
    Ok(Json(answer))
}

/// Brings a command into the log if an entry can hold it.
pub(super) async fn propose(app: &App, command: Command) -> Result<Proposed, Problem> {
    if let Err(error) = LogEntry::new(UnixMillis(0), command.clone()).encode() {
        return Err(Problem::new(400, "too-large", Fault::Request, error.to_string()));
    }
    app.nodes.propose(command).await.map_err(|error| Problem::new(503, "outcome-unknown", Fault::Cluster, error.to_string()).retry_after(1))
}

/// Waits until enough nodes say that an order was applied that one of them is honest: the node that gave the verdict may lie.
async fn confirm_applied(app: &App, order: OrderId) -> Result<(), Problem> {
    let end = Instant::now() + APPLIED_DEADLINE;
    loop {
        let read = app.nodes.read(&Read::OrderApplied(order)).await;
        if let Ok(Some(View::OrderApplied(found))) = read
            && found == order
        {
            return Ok(());
        }
        if Instant::now() >= end {
            let detail = "one node says that the order was applied, and too few others confirm it; look, and send the same again";
            return Err(Problem::new(503, "outcome-unknown", Fault::Cluster, detail).retry_after(1));
        }
        sleep(APPLIED_PAUSE).await;
    }
}

/// An id of a path.
pub(super) fn parse_id<T: FromStr<Err = ParseIdError>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: ParseIdError| Problem::new(400, "malformed", Fault::Request, error.to_string()))
}

/// What an order made that was applied by a try whose answer was lost.
async fn applied_before(app: &App, order: &Order) -> Result<Applied, Problem> {
    match &order.body.order {
        OrderCommand::Enrol { enrolments } => {
            let Some(first) = enrolments.first() else { return Ok(Applied::Done) };
            match app.nodes.read(&Read::Credential(first.credential)).await.map_err(|error| read_problem(&error))? {
                Some(View::Credential(view)) => Ok(Applied::CeremonyStarted(view.ceremony)),
                Some(_) | None => Err(Problem::from(&Refusal::OrderReplayed)),
            }
        }
        OrderCommand::UpdateCrl { .. } => Ok(Applied::CrlExpected { order: order.body.id, next: 0 }),
        OrderCommand::Import { .. } => Ok(Applied::CeremonyStarted(CeremonyId::new(*order.body.id.as_bytes()))),
        _ => Ok(Applied::Done),
    }
}
