//! `warifu status`: how the cluster is.

use warifu_api::{NodeReport, StatusAnswer};

use crate::connection::{ConnectionArgs, ConnectionError};
use crate::console::{Console, table};

/// Asks a coordinator how the nodes are and shows it. Returns whether signing is possible.
///
/// # Errors
/// See [`ConnectionError`].
pub async fn run(connection: &ConnectionArgs, console: Console) -> Result<bool, ConnectionError> {
    let status = connection.client()?.status().await?;
    console.data(&status, || text(&status));
    Ok(status.reasons.is_empty())
}

fn text(status: &StatusAnswer) -> String {
    let rows = status.nodes.iter().map(row);
    let header =
        ["node", "state", "leader", "term", "applied", "clock", "audit entries", "shares given", "nonces here", "latency", "version"];
    let verdict = if status.reasons.is_empty() {
        format!("signing is possible: {} sites are ready, {} are needed", status.signers_ready, status.threshold)
    } else {
        format!("SIGNING IS NOT POSSIBLE: {}", status.reasons.join("; "))
    };
    format!(
        "cluster {} as coordinator {} ({}) sees it\n{}\n{verdict}",
        status.cluster,
        status.coordinator,
        status.version,
        table(header, rows)
    )
}

fn row(report: &NodeReport) -> [String; 11] {
    let latency = report.latency_micros.map_or_else(|| "-".to_owned(), |micros| format!("{:.1} ms", micros as f64 / 1000.0));
    let Some(node) = &report.status else {
        let why = report.unreachable.as_deref().unwrap_or("no answer");
        let none = || "-".to_owned();
        let state = format!("UNREACHABLE: {why}");
        return [
            report.node.to_string(),
            state,
            none(),
            none(),
            none(),
            none(),
            none(),
            none(),
            report.commitments.to_string(),
            latency,
            none(),
        ];
    };
    let state = match (report.excluded, node.confirmed, node.reasons.is_empty()) {
        (true, _, _) => "EXCLUDED: gave a false signature share".to_owned(),
        (false, true, true) => "ready".to_owned(),
        (false, true, false) => format!("confirmed; {}", node.reasons.join("; ")),
        (false, false, _) => format!("NOT CONFIRMED: {}", node.reasons.join("; ")),
    };
    [
        report.node.to_string(),
        state,
        node.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
        node.term.to_string(),
        node.applied.to_string(),
        node.now.to_string(),
        node.audit.size.to_string(),
        node.shares_given.to_string(),
        report.commitments.to_string(),
        latency,
        node.version.clone(),
    ]
}
