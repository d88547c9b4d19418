//! `/metrics`, `/healthz` and `/readyz`, in plain HTTP on an address of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use warifu_core::registry::{CrlRecord, Registry as _, crls_missing};

use crate::clock;
use crate::local::LocalStore;
use crate::metrics::NodeMetrics;
use crate::replicated::NodeRaft;
use crate::service::OrderService;
use crate::standing::Standing;
use crate::state::StateDatabase;

/// What comes due next and is looked at for the gauges of what is pending: more shows as this many.
const PENDING_COUNTED_MAX: usize = 10_000;

/// What the pages show.
pub struct Pages {
    /// Metrics to render.
    pub metrics: NodeMetrics,
    /// For readiness.
    pub orders: Arc<OrderService>,
    /// For gauges.
    pub local: Arc<LocalStore>,
    /// For gauges.
    pub state: StateDatabase,
    /// For gauges.
    pub raft: NodeRaft,
    /// Tells how old a CRL may be.
    pub standing: Arc<Standing>,
}

/// The three pages.
pub fn router(pages: Arc<Pages>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).route("/metrics", get(metrics)).with_state(pages)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    let reasons = pages.orders.ask_reasons().await;
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned()).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
    }
}

async fn metrics(State(pages): State<Arc<Pages>>) -> Response {
    let rendered = crate::blocking::run(move || {
        pages.update_gauges();
        pages.metrics.render()
    });
    match rendered.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Pages {
    fn update_gauges(&self) {
        let raft = self.raft.status();
        let metrics = &self.metrics;
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.raft_leader.set(i64::from(raft.is_leader));
        metrics.raft_term.set(gauge(raft.term));
        metrics.members_changing.set(i64::from(!self.orders.work().is_settled()));
        let status = self.orders.status();
        metrics.confirmed.set(i64::from(status.confirmed));
        metrics.alarm.set(i64::from(status.reasons.iter().any(|reason| reason.starts_with("ALARM"))));
        metrics.audit_entries.set(gauge(status.audit.size));
        if let Ok(count) = self.local.share_count() {
            metrics.shares_stored.set(gauge(count));
        }
        if let Ok(damaged) = self.local.damaged_shares() {
            metrics.shares_damaged.set(gauge(damaged.len() as u64));
        }
        if let Ok(kek) = self.local.kek_status() {
            metrics.kek_unlocked.set(i64::from(kek.unlocked));
            metrics.kek_generation.set(kek.current.map_or(0, |generation| i64::from(generation.0)));
            metrics.kek_records_left.set(gauge(kek.records_left));
            metrics.kek_retired.set(gauge(kek.retired.len() as u64));
        }
        if let Ok(view) = self.state.view() {
            let counted = |pending: Result<usize, _>| i64::try_from(pending.unwrap_or(0)).unwrap_or(i64::MAX);
            metrics.bindings_pending.set(counted(view.pending_bindings(PENDING_COUNTED_MAX)));
            metrics.destructions_pending.set(counted(view.pending_destructions(PENDING_COUNTED_MAX)));
        }
        if let Some(missing) = self.state.view().ok().and_then(|view| crls_missing(&view).ok()) {
            metrics.crl_missing.reset();
            missing.iter().for_each(|issuer| metrics.crl_missing.with_label_values(&[issuer]).set(1));
        }
        if let Some(crls) = self.state.view().ok().and_then(|view| view.crls().ok()) {
            self.update_crl_gauges(&crls);
        }
    }

    /// A CA with several lists is as fresh as the first of them that goes stale; one whose lists were dropped shows no more.
    fn update_crl_gauges(&self, crls: &[CrlRecord]) {
        let now = clock::now();
        let cluster = self.standing.cluster();
        let mut fresh: BTreeMap<&str, u64> = BTreeMap::new();
        for crl in crls {
            let until = crl.fresh_until(&cluster.policy).0;
            fresh.entry(&crl.issuer).and_modify(|first| *first = until.min(*first)).or_insert(until);
        }
        let gauge = &self.metrics.crl_fresh_seconds;
        gauge.reset();
        for (issuer, until) in fresh {
            let left = i64::try_from(until).unwrap_or(i64::MAX).saturating_sub(i64::try_from(now.0).unwrap_or(0)) / 1000;
            gauge.with_label_values(&[issuer]).set(left);
        }
    }
}
