//! The node's metrics, on a registry of its own.

use prometheus::{Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// All metrics of a node.
#[derive(Clone)]
pub struct NodeMetrics {
    registry: Registry,
    /// Signature shares given.
    pub shares_given: IntCounter,
    /// Items refused, by refusal code.
    pub items_refused: IntCounterVec,
    /// Items answered with *not yet*, by reason.
    pub items_not_yet: IntCounterVec,
    /// Log entries applied, by kind and outcome.
    pub entries_applied: IntCounterVec,
    /// Time from a batch's arrival to its reply.
    pub sign_seconds: Histogram,
    /// Time of the group commit that a batch waited for.
    pub audit_seconds: Histogram,
    /// Unused nonces.
    pub nonces_unused: IntGauge,
    /// Times that all nonces were dropped.
    pub nonces_dropped: IntCounter,
    /// Signs that this virtual machine is of another generation than before, by where they came from.
    pub vm_generations: IntCounterVec,
    /// Refusals beyond those that are recorded in one second.
    pub refusals_unrecorded: IntCounter,
    /// Snapshots that were sent to this node and refused, by reason.
    pub snapshots_refused: IntCounterVec,
    /// 1 when shares may leave.
    pub confirmed: IntGauge,
    /// 1 when an alarm was raised.
    pub alarm: IntGauge,
    /// 1 when this node leads.
    pub raft_leader: IntGauge,
    /// Raft term.
    pub raft_term: IntGauge,
    /// Last applied index.
    pub raft_applied: IntGauge,
    /// Entries in the audit log.
    pub audit_entries: IntGauge,
    /// Sealed shares.
    pub shares_stored: IntGauge,
    /// Shares that do not open.
    pub shares_damaged: IntGauge,
    /// 1 when shares can be opened.
    pub kek_unlocked: IntGauge,
    /// The current KEK generation.
    pub kek_generation: IntGauge,
    /// Shares that a rotation has not sealed again yet.
    pub kek_records_left: IntGauge,
    /// KEK generations that are retired and not destroyed yet.
    pub kek_retired: IntGauge,
    /// Stops that this node was sent and obeyed, by outcome.
    pub stops: IntCounterVec,
    /// Stops that this node obeys and the log does not have.
    pub holds_open: IntGauge,
    /// Times that this node had the leader replaced for not logging a stop.
    pub leaders_replaced: IntCounter,
    /// Shares that this node lacks.
    pub shares_missing: IntGauge,
    /// Shares that this node was given by repair.
    pub shares_repaired: IntCounter,
    /// Shares that this node said it had lost.
    pub shares_lost: IntCounter,
    /// Shares that a backup brought back to this node and that count again.
    pub shares_found: IntCounter,
    /// Keys that are due for a refresh without an order of their own.
    pub refreshes_due: IntGauge,
    /// 1 while consensus has another membership than the orders lead to, or a member does not vote.
    pub members_changing: IntGauge,
    /// Shares of ended epochs that were deleted.
    pub shares_superseded: IntCounter,
    /// Used request numbers that were forgotten, long after their sessions.
    pub requests_forgotten: IntCounter,
    /// Steps of background work that were put off because signing was slow.
    pub background_held: IntCounter,
    /// Part of the time that bulk work may take.
    pub background_percent: IntGauge,
    /// Seconds until a CA's active CRL goes stale under the policy, by issuer; negative when it has.
    pub crl_fresh_seconds: IntGaugeVec,
    /// 1 for each pinned CA of which there is no active CRL, by issuer.
    pub crl_missing: IntGaugeVec,
    /// Cards whose binding takes effect by itself unless somebody objects.
    pub bindings_pending: IntGauge,
    /// Revoked credentials that the policy destroys by itself.
    pub destructions_pending: IntGauge,
}

/// Latency buckets in seconds, from a local write to the request deadline.
const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

impl NodeMetrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histogram = |name: &str, help: &str| -> Result<Histogram, prometheus::Error> {
            let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()))?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        Ok(Self {
            shares_given: counter("warifu_node_signature_shares_total", "Signature shares given")?,
            items_refused: counters("warifu_node_items_refused_total", "Items refused, by refusal code", &["code"])?,
            items_not_yet: counters("warifu_node_items_not_yet_total", "Items answered with not-yet, by reason", &["reason"])?,
            entries_applied: counters("warifu_node_entries_applied_total", "Log entries applied", &["kind", "outcome"])?,
            sign_seconds: histogram("warifu_node_sign_batch_seconds", "From a batch's arrival to its reply")?,
            audit_seconds: histogram("warifu_node_audit_commit_seconds", "Group commit that a batch waited for")?,
            nonces_unused: gauge("warifu_node_nonces_unused", "Unused nonces in memory")?,
            vm_generations: counters(
                "warifu_node_vm_generations_total",
                "Signs that this virtual machine goes on from an image: uevent, uevents-lost or file.",
                &["sign"],
            )?,
            nonces_dropped: counter(
                "warifu_node_nonces_dropped_total",
                "Times that all nonces were dropped: clocks disagreed, a new confirmation, or the administrator asked",
            )?,
            refusals_unrecorded: counter(
                "warifu_node_refusals_unrecorded_total",
                "Refused commands and calls that are not in the audit log, for there were too many in one second",
            )?,
            snapshots_refused: counters("warifu_node_snapshots_refused_total", "Snapshots of other nodes that were refused", &["reason"])?,
            confirmed: gauge("warifu_node_confirmed", "1 when signature shares may leave")?,
            alarm: gauge("warifu_node_alarm", "1 when a promise looks broken and the node has stopped signing")?,
            raft_leader: gauge("warifu_node_raft_leader", "1 when this node leads")?,
            raft_term: gauge("warifu_node_raft_term", "Raft term")?,
            raft_applied: gauge("warifu_node_raft_applied_index", "Last applied log index")?,
            audit_entries: gauge("warifu_node_audit_entries", "Entries in the audit log")?,
            shares_stored: gauge("warifu_node_shares_stored", "Sealed key shares")?,
            shares_damaged: gauge("warifu_node_shares_damaged", "Sealed key shares that do not open")?,
            kek_unlocked: gauge("warifu_node_kek_unlocked", "1 when the key-encryption key was reached and shares can be opened")?,
            kek_generation: gauge("warifu_node_kek_generation", "Current generation of the key-encryption key")?,
            kek_records_left: gauge("warifu_node_kek_records_left", "Shares that a rotation has not sealed again yet")?,
            kek_retired: gauge("warifu_node_kek_retired_generations", "KEK generations that are retired and not destroyed yet")?,
            stops: counters("warifu_node_stops_total", "Stops obeyed directly, by whether a receipt was given", &["outcome"])?,
            holds_open: gauge("warifu_node_holds_open", "Stops that this node obeys and the log does not have yet")?,
            leaders_replaced: counter("warifu_node_leaders_replaced_total", "Times that the leader was replaced for not logging a stop")?,
            shares_missing: gauge("warifu_node_shares_missing", "Shares that this node lacks and will be given by repair")?,
            shares_repaired: counter("warifu_node_shares_repaired_total", "Shares that this node was given by repair")?,
            shares_lost: counter(
                "warifu_node_shares_lost_total",
                "Shares of this node that were found damaged or gone and said to be lost",
            )?,
            shares_found: counter("warifu_node_shares_found_total", "Shares that a backup brought back to this node and that count again")?,
            refreshes_due: gauge("warifu_node_refreshes_due", "Keys that are due for a refresh in the background")?,
            members_changing: gauge("warifu_node_members_changing", "1 while members change or one of them does not vote yet")?,
            shares_superseded: counter("warifu_node_shares_superseded_total", "Shares of ended epochs that were deleted")?,
            requests_forgotten: counter(
                "warifu_node_requests_forgotten_total",
                "Used request numbers of sessions that ended over a day ago, dropped",
            )?,
            background_percent: gauge(
                "warifu_node_background_percent",
                "Part of the time that ceremonies and repairs may take beside signing, in percent",
            )?,
            background_held: counter(
                "warifu_node_background_held_total",
                "Steps in which a ceremony or repair was not begun, to leave signing its time",
            )?,
            crl_fresh_seconds: gauges("warifu_node_crl_fresh_seconds", "Seconds until a CA's active CRL goes stale", &["issuer"])?,
            crl_missing: gauges("warifu_node_crl_missing", "1 for each pinned CA of which there is no CRL", &["issuer"])?,
            bindings_pending: gauge(
                "warifu_node_bindings_pending",
                "Cards whose binding takes effect by itself unless an operator ends it before",
            )?,
            destructions_pending: gauge(
                "warifu_node_destructions_pending",
                "Revoked credentials that are destroyed by themselves when the policy's time has come",
            )?,
            registry,
        })
    }

    /// The exposition text.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
