//! How the cluster looks from here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use warifu_api::{NodeReport, Problem, StatusAnswer};

use super::answer::ProblemAnswer;
use super::app::App;
use super::caller::{Anyone, Caller};
use crate::nodes::Probe;

/// The cluster as this coordinator sees it, from calls of the last second or so.
#[utoipa::path(get, path = "/v1/status", tag = "status",
    responses((status = 200, body = StatusAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn status(State(app): State<Arc<App>>, _: Caller<Anyone>) -> Result<Json<StatusAnswer>, ProblemAnswer> {
    let facts = &app.nodes.facts;
    let now = app.nodes.clock.now();
    let probes = app.nodes.probes.lock().clone();
    let members = app.nodes.cluster().node_ids();
    let mut nodes = Vec::with_capacity(members.len());
    for node in &members {
        let view = app.nodes.fleet.lock().view(*node, now);
        let (status, unreachable) = match probes.get(node) {
            Some(Probe::Answered(status)) => (Some(status.as_ref().clone()), None),
            Some(Probe::Failed(reason)) => (None, Some(reason.clone())),
            None => (None, Some("not asked yet".to_owned())),
        };
        nodes.push(NodeReport {
            node: *node,
            status,
            unreachable,
            usable: view.as_ref().is_some_and(|view| view.usable),
            excluded: view.as_ref().is_some_and(|view| view.excluded),
            commitments: view.as_ref().map_or(0, |view| view.commitments as u64),
            latency_micros: view.as_ref().and_then(|view| view.latency_micros),
        });
    }
    Ok(Json(StatusAnswer {
        cluster: facts.cluster,
        coordinator: facts.coordinator.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        threshold: facts.threshold.0,
        signers_ready: app.signers_ready() as u64,
        reasons: app.reasons_not_ready(),
        nodes,
    }))
}
