//! How far stops are.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use warifu_api::{OrderAnswer, Problem, StopAnswerBody};
use warifu_protocol::wire::Applied;
use warifu_protocol::{Fault, Refusal, StopCommand, StopId, StopObject};

use super::answer::ProblemAnswer;
use super::app::App;
use super::caller::{Anyone, Caller};
use super::orders::parse_id;
use crate::config::ClientRole;

/// How far a stop is: asks the nodes again, and brings it to those that have not heard of it.
#[utoipa::path(get, path = "/v1/stops/{stop}", tag = "registry", params(("stop" = String, Path)),
    responses((status = 200, body = StopAnswerBody), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    caller: Caller<Anyone>,
    Path(stop): Path<String>,
) -> Result<Json<StopAnswerBody>, ProblemAnswer> {
    let id: StopId = parse_id(&stop)?;
    let unknown = || Problem::new(404, "stop-unknown", Fault::Request, "no node knows of this stop");
    let report = app.stops.look(id).await.ok_or_else(unknown)?;
    if caller.client.role == ClientRole::Platform {
        // A platform sees its own sessions only.
        let StopObject::Session(session) = report.object else { return Err(unknown().into()) };
        app.views.statement(session, |facility| caller.client.has_facility(facility)).await.map_err(|_| unknown())?;
    }
    Ok(Json(StopAnswerBody { stop: report }))
}

/// Sends a stop everywhere and says what came of it.
pub(super) async fn carry_out(app: &App, stop: StopCommand) -> Result<OrderAnswer, Problem> {
    let outcome = app.stops.stop(stop).await.ok_or_else(|| Problem::from(&Refusal::NotStopping))?;
    let answer = |index, applied| Ok(OrderAnswer { index, applied, stop: Some(outcome.report.clone()) });
    match outcome.log {
        Some(Ok(proposed)) => match proposed.outcome {
            Ok(applied) => answer(Some(proposed.index), applied),
            // The nodes bring what they hold into the log themselves, and one of them may have been quicker.
            Err(Refusal::OrderReplayed | Refusal::SessionClosed)
                if outcome.refused.is_none() && (proposed.after_unknown || !outcome.report.receipts.is_empty()) =>
            {
                answer(None, Applied::Done)
            }
            Err(refusal) => Err(Problem::from(&refusal)),
        },
        Some(Err(_)) | None if !outcome.report.receipts.is_empty() => answer(None, Applied::Done),
        Some(Err(error)) => Err(Problem::new(503, "outcome-unknown", Fault::Cluster, error.to_string()).retry_after(1)),
        None => match outcome.refused {
            Some(refusal) => Err(Problem::from(&refusal)),
            None => {
                let detail = "neither the nodes nor the log have answered yet; the stop is pursued: look at it, or send the same again";
                Err(Problem::new(503, "outcome-unknown", Fault::Cluster, detail).retry_after(1))
            }
        },
    }
}
