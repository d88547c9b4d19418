//! Sessions of platforms.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use warifu_api::{OrderAnswer, Problem, SessionAnswer, SessionOpened, schema};
use warifu_protocol::wire::{Read, View};
use warifu_protocol::{Command, Fault, Refusal, SessionClosing, SessionId, SessionOpening, StopCommand};

use super::answer::ProblemAnswer;
use super::app::App;
use super::body::{Received, Unread};
use super::caller::{Caller, Platform};
use super::orders::{parse_id, propose};
use super::stops;

/// Opens a session at one of the caller's facilities.
#[utoipa::path(post, path = "/v1/sessions", tag = "platform", request_body = schema::SessionOpening,
    responses((status = 201, body = SessionOpened), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn open_session(
    State(app): State<Arc<App>>,
    caller: Caller<Platform>,
    body: Unread,
) -> Result<(StatusCode, Json<SessionOpened>), ProblemAnswer> {
    let Received { value: opening, .. } = body.json::<SessionOpening>(&app, &caller.client).await?;
    let statement = opening.statement.clone();
    if statement.cluster != app.nodes.facts.cluster {
        return Err(Problem::from(&Refusal::WrongCluster { found: statement.cluster }).into());
    }
    if !caller.client.has_facility(&statement.facility) {
        let detail = format!("facility {} is not one of the caller's", statement.facility);
        return Err(Problem::new(403, "facility-not-yours", Fault::Request, detail).into());
    }
    let session = statement.session();
    let proposed = propose(&app, Command::SessionOpened(opening)).await?;
    let index = match proposed.outcome {
        Ok(_) => Some(proposed.index),
        Err(Refusal::StatementUsed) if proposed.after_unknown && exists(&app, session).await? => None,
        Err(refusal) => return Err(Problem::from(&refusal).into()),
    };
    app.views.remember(statement);
    Ok((StatusCode::CREATED, Json(SessionOpened { session, index })))
}

/// A session at one of the caller's facilities.
#[utoipa::path(get, path = "/v1/sessions/{session}", tag = "platform", params(("session" = String, Path)),
    responses((status = 200, body = SessionAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn read_session(
    State(app): State<Arc<App>>,
    caller: Caller<Platform>,
    Path(session): Path<String>,
) -> Result<Json<SessionAnswer>, ProblemAnswer> {
    let session = parse_id(&session)?;
    let session = app.views.session(session, |facility| caller.client.has_facility(facility)).await?;
    Ok(Json(SessionAnswer { session }))
}

/// Closes a session by its own key.
#[utoipa::path(post, path = "/v1/sessions/{session}/close", tag = "platform", params(("session" = String, Path)),
    request_body = schema::SessionClosing,
    responses((status = 200, body = OrderAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn close_session(
    State(app): State<Arc<App>>,
    caller: Caller<Platform>,
    Path(session): Path<String>,
    body: Unread,
) -> Result<Json<OrderAnswer>, ProblemAnswer> {
    let session: SessionId = parse_id(&session)?;
    let Received { value: closing, .. } = body.json::<SessionClosing>(&app, &caller.client).await?;
    if closing.session != session {
        return Err(Problem::new(400, "malformed", Fault::Request, "path and body name different sessions").into());
    }
    app.views.statement(session, |facility| caller.client.has_facility(facility)).await?;
    Ok(Json(stops::carry_out(&app, StopCommand::SessionClosing(closing)).await?))
}

async fn exists(app: &App, session: SessionId) -> Result<bool, Problem> {
    let view = app.nodes.read(&Read::Session(session)).await.map_err(|error| crate::signing::read_problem(&error))?;
    Ok(matches!(view, Some(View::Session(view)) if view.session == session && !view.closed))
}
