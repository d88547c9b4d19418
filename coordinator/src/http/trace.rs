//! What is done around every call: an id, a log line, measurements, and an answer even if a handler panics.

use std::any::Any;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue};
use rand::RngCore;
use tokio::time::Instant;
use tracing::Instrument;
use warifu_api::Problem;
use warifu_protocol::Fault;

use super::answer::ProblemAnswer;
use super::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) async fn trace(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = new_id();
    // The template and not the path, which names sessions and credentials.
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let span = tracing::info_span!("request", id, %method, route, client = tracing::field::Empty);
    let response = next.run(request).instrument(span.clone()).await;
    let response = with_id(response, &id);
    let (status, seconds) = (response.status().as_u16(), started.elapsed().as_secs_f64());
    app.nodes.metrics.observe_request(&route, status, seconds);
    span.in_scope(|| match response.extensions().get::<Problem>() {
        Some(problem) if status >= 500 => tracing::warn!(status, seconds, problem = problem.code(), detail = problem.detail, "failed"),
        Some(problem) => tracing::info!(status, seconds, problem = problem.code(), "refused"),
        None => tracing::debug!(status, seconds, "answered"),
    });
    response
}

pub(crate) fn panic_answer(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    ProblemAnswer(Problem::new(500, "internal", Fault::Coordinator, "an internal error; see the coordinator's log")).into_response()
}

fn with_id(response: Response, id: &str) -> Response {
    let mut response = match response.extensions().get::<Problem>() {
        Some(problem) => {
            let problem = Problem { instance: Some(id.to_owned()), ..problem.clone() };
            ProblemAnswer(problem).into_response()
        }
        None => response,
    };
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn new_id() -> String {
    let mut bytes = [0; 8];
    rand::thread_rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}
