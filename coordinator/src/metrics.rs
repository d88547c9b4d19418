//! What operators measure. Labels are node ids, routes, statuses and closed sets of words; nothing names a holder, session or document.

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};
use warifu_coordinator_core::{NodeView, SignFailure, Signed};
use warifu_protocol::NodeId;
use warifu_protocol::wire::SignAnswer;

/// Upper bounds of latencies in seconds: fine where an idle cluster is, coarse up to the deadline.
const LATENCY_BUCKETS: &[f64] = &[0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    signatures: IntCounterVec,
    sign_seconds: HistogramVec,
    answers: IntCounterVec,
    culprits: IntCounterVec,
    hedges: IntCounter,
    retries: IntCounter,
    pool: IntGaugeVec,
    node_up: IntGaugeVec,
    node_confirmed: IntGaugeVec,
    node_excluded: IntGaugeVec,
    node_latency: GaugeVec,
    signers_ready: Gauge,
}

impl Metrics {
    /// A registry of its own, so that several coordinators can live in one process.
    ///
    /// # Panics
    /// Never: names are valid and differ.
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::new(),
            requests: counters("requests_total", "HTTP requests by route and status.", &["route", "status"]),
            request_seconds: histograms("request_seconds", "Time from a request's head to its answer.", &["route"]),
            signatures: counters("documents_total", "Documents by outcome.", &["outcome"]),
            sign_seconds: histograms("sign_seconds", "Time to gather one signature.", &["outcome"]),
            answers: counters("node_answers_total", "Answers of nodes to items, by result.", &["node", "result"]),
            culprits: counters("culprits_total", "False signature shares or commitments, by node.", &["node"]),
            hedges: IntCounter::new("warifu_coordinator_hedges_total", "Signer sets started because another was slow.").expect(VALID),
            retries: IntCounter::new("warifu_coordinator_retries_total", "Signer sets started because another failed.").expect(VALID),
            pool: gauges("node_commitments", "Unused commitments, by node.", &["node"]),
            node_up: gauges("node_up", "1 if the node answers.", &["node"]),
            node_confirmed: gauges("node_confirmed", "1 if the node says that it is confirmed.", &["node"]),
            node_excluded: gauges("node_excluded", "1 if the node is left out for a false share.", &["node"]),
            node_latency: GaugeVec::new(opts("node_latency_seconds", "Smoothed latency, by node."), &["node"]).expect(VALID),
            signers_ready: Gauge::with_opts(opts("signers_ready", "Nodes that can be asked for a share now.")).expect(VALID),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let collectors: [Box<dyn prometheus::core::Collector>; 15] = [
            Box::new(self.requests.clone()),
            Box::new(self.request_seconds.clone()),
            Box::new(self.signatures.clone()),
            Box::new(self.sign_seconds.clone()),
            Box::new(self.answers.clone()),
            Box::new(self.culprits.clone()),
            Box::new(self.hedges.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.pool.clone()),
            Box::new(self.node_up.clone()),
            Box::new(self.node_confirmed.clone()),
            Box::new(self.node_excluded.clone()),
            Box::new(self.node_latency.clone()),
            Box::new(self.signers_ready.clone()),
            Box::new(version()),
        ];
        for collector in collectors {
            self.registry.register(collector).expect("names differ");
        }
    }

    /// The text exposition format.
    pub(crate) fn expose(&self, signers_ready: usize) -> String {
        self.signers_ready.set(f64::from(u32::try_from(signers_ready).unwrap_or(u32::MAX)));
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }

    pub(crate) fn observe_request(&self, route: &str, status: u16, seconds: f64) {
        self.requests.with_label_values(&[route, &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[route]).observe(seconds);
    }

    pub(crate) fn observe_signing(&self, outcome: Result<&Signed, &SignFailure>, seconds: f64) {
        let label = match outcome {
            Ok(signed) => {
                self.hedges.inc_by(u64::from(signed.hedges));
                self.retries.inc_by(u64::from(signed.attempts.saturating_sub(1 + signed.hedges)));
                "signed"
            }
            Err(SignFailure::Refused { .. }) => "refused",
            Err(SignFailure::ViewStale) => "stale",
            Err(SignFailure::Unavailable { .. }) => "unavailable",
        };
        self.signatures.with_label_values(&[label]).inc();
        self.sign_seconds.with_label_values(&[label]).observe(seconds);
    }

    pub(crate) fn count_answer(&self, node: NodeId, answer: &SignAnswer) {
        let result = match answer {
            SignAnswer::Share(_) => "share",
            SignAnswer::NotYet { .. } => "not_yet",
            SignAnswer::Refused(_) => "refused",
        };
        self.answers.with_label_values(&[node.to_string().as_str(), result]).inc();
    }

    pub(crate) fn count_failure(&self, node: NodeId) {
        self.answers.with_label_values(&[node.to_string().as_str(), "failed"]).inc();
    }

    pub(crate) fn count_culprit(&self, node: NodeId) {
        self.culprits.with_label_values(&[node.to_string()]).inc();
    }

    pub(crate) fn observe_node(&self, node: NodeId, view: &NodeView, confirmed: bool) {
        let label = [node.to_string()];
        self.pool.with_label_values(&label).set(i64::try_from(view.commitments).unwrap_or(i64::MAX));
        self.node_up.with_label_values(&label).set(i64::from(view.answering));
        self.node_confirmed.with_label_values(&label).set(i64::from(confirmed));
        self.node_excluded.with_label_values(&label).set(i64::from(view.excluded));
        if let Some(micros) = view.latency_micros {
            self.node_latency.with_label_values(&label).set(std::time::Duration::from_micros(micros).as_secs_f64());
        }
    }
}

const VALID: &str = "metric names are valid";

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("warifu_coordinator_{name}"), help)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(opts(name, help), labels).expect(VALID)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(opts(name, help), labels).expect(VALID)
}

fn histograms(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let opts = HistogramOpts::new(format!("warifu_coordinator_{name}"), help).buckets(LATENCY_BUCKETS.to_vec());
    HistogramVec::new(opts, labels).expect(VALID)
}

fn version() -> IntGaugeVec {
    let info = gauges("info", "1, with the program's version.", &["version"]);
    info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    info
}
