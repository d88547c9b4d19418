//! Problem documents as answers.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use warifu_api::{PROBLEM_CONTENT_TYPE, Problem};

/// A problem that becomes an answer. The problem also travels in the answer's extensions, where [`super::trace`] adds the request's id.
#[derive(Debug, Clone)]
pub(crate) struct ProblemAnswer(pub(crate) Problem);

impl From<Problem> for ProblemAnswer {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for ProblemAnswer {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).expect("problems serialize to JSON");
        let mut response = (status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
        if let Some(seconds) = problem.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(problem);
        response
    }
}
