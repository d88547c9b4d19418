//! Documents of platforms.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use tokio::sync::Semaphore;
use warifu_api::limits::DOCUMENTS_MAX;
use warifu_api::{Problem, SignAnswerBody, SignBody, SignResult};
use warifu_protocol::Fault;

use super::answer::ProblemAnswer;
use super::app::App;
use super::body::{Received, Unread};
use super::caller::{Caller, Platform};
use crate::signing::sign_document;

/// Signs documents. Each succeeds or fails by itself, in the order of the call.
#[utoipa::path(post, path = "/v1/sign", tag = "platform", request_body = SignBody,
    responses((status = 200, body = SignAnswerBody), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn sign(
    State(app): State<Arc<App>>,
    caller: Caller<Platform>,
    body: Unread,
) -> Result<Json<SignAnswerBody>, ProblemAnswer> {
    let received: Received<SignBody> = body.json(&app, &caller.client).await?;
    let count = received.value.documents.len();
    if count == 0 || count > DOCUMENTS_MAX {
        let detail = format!("a call has 1 to {DOCUMENTS_MAX} documents, not {count}");
        return Err(Problem::new(400, "malformed", Fault::Request, detail).into());
    }
    let permits = u32::try_from(count).ok().and_then(|count| Arc::<Semaphore>::clone(&app.documents).try_acquire_many_owned(count).ok());
    let Some(_permits) = permits else {
        let detail = "as many documents are being signed as this coordinator may; try again, or another coordinator";
        return Err(Problem::new(503, "busy", Fault::Cluster, detail).retry_after(1).into());
    };
    app.nodes.fleet.lock().announce(count, app.nodes.facts.threshold, app.nodes.clock.now());
    if count > 1 {
        app.nodes.pools_used.notify_waiters();
    }
    let mut tasks = Vec::with_capacity(count);
    let mut addresses = Vec::with_capacity(count);
    for document in received.value.documents {
        addresses.push((document.request.request.session, document.request.request.seq));
        let (nodes, views, client) = (Arc::clone(&app.nodes), Arc::clone(&app.views), Arc::clone(&caller.client));
        let signing = async move { sign_document(&nodes, &views, document, |facility| client.has_facility(facility)).await };
        tasks.push(tokio::spawn(signing));
    }
    let mut results = Vec::with_capacity(count);
    for (task, (session, seq)) in tasks.into_iter().zip(addresses) {
        results.push(task.await.unwrap_or_else(|_| {
            let problem = Problem::new(500, "internal", Fault::Coordinator, "an internal error; see the coordinator's log");
            SignResult::Failed { session, seq, problem }
        }));
    }
    Ok(Json(SignAnswerBody { results }))
}
