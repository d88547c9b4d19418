//! Reads of the registry.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use warifu_api::limits::{CREDENTIALS_PAGE_DEFAULT, CREDENTIALS_PAGE_MAX};
use warifu_api::{
    CeremonyAnswer, CredentialAnswer, CredentialsAnswer, CredentialsQuery, CrlsAnswer, CsrAnswer, HistoryAnswer, Problem, RosterAnswer,
    VersionAnswer,
};
use warifu_protocol::wire::{ObjectRef, Read, View};
use warifu_protocol::{Fault, ObjectVersion, Refusal};

use super::answer::ProblemAnswer;
use super::app::App;
use super::caller::{Authority, Caller, Reader};
use super::orders::parse_id;
use crate::signing::{csr, read_problem};

/// A page of credentials in ascending order.
#[utoipa::path(get, path = "/v1/credentials", tag = "registry", params(("after" = Option<String>, Query), ("limit" = Option<u16>, Query)),
    responses((status = 200, body = CredentialsAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn credentials(
    State(app): State<Arc<App>>,
    _: Caller<Reader>,
    query: Result<Query<CredentialsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<CredentialsAnswer>, ProblemAnswer> {
    let Query(query) = query.map_err(|error| malformed(error.body_text()))?;
    let limit = query.limit.unwrap_or(CREDENTIALS_PAGE_DEFAULT);
    if limit == 0 || limit > CREDENTIALS_PAGE_MAX {
        return Err(malformed(format!("`limit` is 1 to {CREDENTIALS_PAGE_MAX}")).into());
    }
    match read(&app, Read::Credentials { after: query.after, limit }).await? {
        Some(View::Credentials(credentials)) => {
            let is_full = credentials.len() >= usize::from(limit);
            let next = credentials.last().filter(|_| is_full).map(|view| view.credential);
            Ok(Json(CredentialsAnswer { credentials, next }))
        }
        _ => Ok(Json(CredentialsAnswer { credentials: Vec::new(), next: None })),
    }
}

/// One credential.
#[utoipa::path(get, path = "/v1/credentials/{credential}", tag = "registry", params(("credential" = String, Path)),
    responses((status = 200, body = CredentialAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn credential(
    State(app): State<Arc<App>>,
    _: Caller<Reader>,
    Path(credential): Path<String>,
) -> Result<Json<CredentialAnswer>, ProblemAnswer> {
    let credential = app.views.credential(parse_id(&credential)?).await?;
    Ok(Json(CredentialAnswer { credential }))
}

/// What happened to a credential.
#[utoipa::path(get, path = "/v1/credentials/{credential}/history", tag = "registry", params(("credential" = String, Path)),
    responses((status = 200, body = HistoryAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn credential_history(
    State(app): State<Arc<App>>,
    _: Caller<Reader>,
    Path(credential): Path<String>,
) -> Result<Json<HistoryAnswer>, ProblemAnswer> {
    let credential = parse_id(&credential)?;
    match read(&app, Read::History(credential)).await? {
        Some(View::History(events)) if !events.is_empty() => Ok(Json(HistoryAnswer { credential, events })),
        _ => Err(Problem::from(&Refusal::CredentialUnknown { credential }).into()),
    }
}

/// The credential's CSR, signed by its threshold key.
#[utoipa::path(get, path = "/v1/credentials/{credential}/csr", tag = "ca", params(("credential" = String, Path)),
    responses((status = 200, body = CsrAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn credential_csr(
    State(app): State<Arc<App>>,
    _: Caller<Authority>,
    Path(credential): Path<String>,
) -> Result<Json<CsrAnswer>, ProblemAnswer> {
    Ok(Json(csr(&app.nodes, &app.views, parse_id(&credential)?).await?))
}

/// The version of an object, to be written into the next order that changes it.
#[utoipa::path(get, path = "/v1/objects/{kind}/{id}/version", tag = "registry", params(("kind" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = VersionAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn object_version(
    State(app): State<Arc<App>>,
    _: Caller<Reader>,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Json<VersionAnswer>, ProblemAnswer> {
    let object = match kind.as_str() {
        "credential" => ObjectRef::Credential(parse_id(&id)?),
        "facility" => ObjectRef::Facility(id.parse().map_err(|_| malformed("not the name of a facility"))?),
        "cluster" => match id.as_str() {
            "roster" => ObjectRef::Roster,
            "policy" => ObjectRef::Policy,
            "anchors" => ObjectRef::Anchors,
            _ => return Err(malformed("roster, policy or anchors").into()),
        },
        "terminal" => ObjectRef::Terminal(parse_id(&id)?),
        _ => return Err(malformed("the kind of an object is `credential`, `facility`, `terminal` or `cluster`").into()),
    };
    let version = match read(&app, Read::ObjectVersion(object)).await? {
        Some(View::ObjectVersion(version)) => version,
        _ => ObjectVersion(0),
    };
    Ok(Json(VersionAnswer { version }))
}

/// A ceremony.
#[utoipa::path(get, path = "/v1/ceremonies/{ceremony}", tag = "registry", params(("ceremony" = String, Path)),
    responses((status = 200, body = CeremonyAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn ceremony(
    State(app): State<Arc<App>>,
    _: Caller<Reader>,
    Path(ceremony): Path<String>,
) -> Result<Json<CeremonyAnswer>, ProblemAnswer> {
    match read(&app, Read::Ceremony(parse_id(&ceremony)?)).await? {
        Some(View::Ceremony(ceremony)) => Ok(Json(CeremonyAnswer { ceremony })),
        _ => Err(Problem::new(404, "ceremony-unknown", Fault::Request, "no such ceremony").into()),
    }
}

/// The active CRLs.
#[utoipa::path(get, path = "/v1/crls", tag = "registry",
    responses((status = 200, body = CrlsAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn crls(State(app): State<Arc<App>>, _: Caller<Reader>) -> Result<Json<CrlsAnswer>, ProblemAnswer> {
    match read(&app, Read::Crls).await? {
        Some(View::Crls(crls)) => Ok(Json(CrlsAnswer { crls })),
        _ => Ok(Json(CrlsAnswer { crls: Vec::new() })),
    }
}

/// Orders that changed the cluster after a revision, as f+1 nodes have them.
#[utoipa::path(get, path = "/v1/roster", tag = "registry", params(("after" = u64, Query)),
    responses((status = 200, body = RosterAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn roster(
    State(app): State<Arc<App>>,
    _: Caller<Reader>,
    query: Result<Query<RosterQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<RosterAnswer>, ProblemAnswer> {
    let Query(RosterQuery { after }) = query.map_err(|error| malformed(error.body_text()))?;
    match read(&app, Read::RosterOrders { after }).await? {
        Some(View::RosterOrders(orders)) => Ok(Json(RosterAnswer { orders })),
        _ => Ok(Json(RosterAnswer { orders: Vec::new() })),
    }
}

/// Where to begin.
#[derive(serde::Deserialize)]
pub(super) struct RosterQuery {
    #[serde(default)]
    after: u64,
}

async fn read(app: &App, read: Read) -> Result<Option<View>, Problem> {
    app.nodes.read(&read).await.map_err(|error| read_problem(&error))
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(400, "malformed", Fault::Request, detail)
}
