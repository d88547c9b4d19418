//! Pages for the operator's own tools, on an address of their own.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::app::App;

/// `/metrics`, `/healthz` and `/readyz`.
pub(crate) fn pages(app: Arc<App>) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(health)).route("/readyz", get(ready)).with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> ([(http::HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], app.nodes.metrics.expose(app.signers_ready()))
}

/// The process runs; whether the cluster does is not its business.
async fn health() -> &'static str {
    "ok\n"
}

async fn ready(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let reasons = app.reasons_not_ready();
    if reasons.is_empty() { (StatusCode::OK, "ready\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n") }
}
