//! What operators begin with is whole and holds: the sample configuration, and the alert rules on a node's metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use warifu_node::config::{LogFormat, NodeConfig, RaftSection, StoreSection};
use warifu_node::metrics::NodeMetrics;

const SAMPLE: &str = include_str!("../../deploy/config/node.toml");
const ALERTS: &str = include_str!("../../deploy/observability/alerts.yml");

/// Every setting, those too that are commented out: a `#` without a space after it.
fn must_uncomment(text: &str) -> String {
    text.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The fields that the program knows in a table, told by the parser when it meets one that it does not know.
fn must_know_fields(table: &str) -> Vec<String> {
    let mut document: toml::Table = toml::from_str(&must_uncomment(SAMPLE)).expect("the sample is TOML");
    let target = match table {
        "" => &mut document,
        name => document.get_mut(name).and_then(toml::Value::as_table_mut).expect("the sample has the table"),
    };
    target.insert("surprise".to_owned(), toml::Value::Integer(1));
    let text = toml::to_string(&document).expect("TOML is written");
    let error = NodeConfig::from_toml(&text).expect_err("an unknown field is refused").to_string();
    let (_, expected) = error.split_once("expected ").expect("the parser says what it expected");
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_sample_is_accepted_and_shows_the_defaults() {
    let config = NodeConfig::from_toml(SAMPLE).expect("the sample is accepted");
    assert_eq!(config.raft, RaftSection::default());
    assert_eq!(config.store, StoreSection::default());
    assert_eq!(config.log.format, LogFormat::Json, "what a collector of logs wants");
    assert_eq!(config.peers, BTreeMap::new());
}

#[test]
fn the_settings_that_are_commented_out_are_accepted_too() {
    let config = NodeConfig::from_toml(&must_uncomment(SAMPLE)).expect("the whole sample is accepted");
    assert_eq!(config.peers.len(), 1);
    assert!(config.listen.admin.is_some());
    assert!(config.kek_directory().ends_with("kek"));
}

#[test]
fn every_field_that_the_program_knows_stands_in_the_sample() {
    let whole: toml::Table = toml::from_str(&must_uncomment(SAMPLE)).expect("the sample is TOML");
    for table in ["", "node", "listen", "store", "raft", "log"] {
        let shown = if table.is_empty() { &whole } else { whole[table].as_table().expect("a table") };
        let known = must_know_fields(table);
        assert!(!known.is_empty(), "[{table}]");
        for field in known {
            assert!(shown.contains_key(&field), "[{table}] lacks `{field}`");
        }
    }
}

#[test]
fn every_alert_is_on_a_metric_that_exists() -> anyhow::Result<()> {
    let metrics = NodeMetrics::new()?;
    // A metric with labels shows itself with its first value.
    metrics.items_refused.with_label_values(&["audit-unavailable"]).inc();
    metrics.crl_fresh_seconds.with_label_values(&["CN=CA"]).set(1);
    metrics.crl_missing.with_label_values(&["CN=CA"]).set(1);
    metrics.snapshots_refused.with_label_values(&["forged"]).inc();
    let page = metrics.render()?;
    let named: BTreeSet<&str> = ALERTS
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("warifu_node_"))
        .map(|word| word.trim_end_matches("_bucket"))
        .collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(page.contains(&format!("# TYPE {name} ")), "no metric {name}");
    }
    Ok(())
}

#[test]
fn every_alert_has_a_severity_and_a_runbook_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let alerts: Vec<&str> = ALERTS.split("- alert: ").skip(1).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let name = alert.lines().next().unwrap_or_default();
        assert!(alert.contains("severity: page") || alert.contains("severity: ticket"), "{name}");
        let runbook = alert.lines().find_map(|line| line.trim().strip_prefix("runbook: \"")?.strip_suffix('"'));
        let runbook = runbook.unwrap_or_else(|| panic!("{name} has no runbook"));
        let page = std::fs::read_to_string(root.join(runbook)).unwrap_or_else(|error| panic!("{name}: {runbook}: {error}"));
        let index = include_str!("../../deploy/runbooks/README.md");
        assert!(page.contains(name) && index.contains(name), "{runbook} or the index does not name {name}");
    }
}

/// Runs Debian's `promtool` of the package `prometheus` on a file beside the alerts; `None` where there is none.
#[expect(clippy::print_stdout, reason = "a skipped test must say so")]
fn promtool(arguments: [&str; 2], file: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/observability").join(file);
    let checked = match std::process::Command::new("promtool").args(arguments).arg(&path).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no promtool");
            return None;
        }
        checked => checked.expect("promtool runs"),
    };
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    Some(said)
}

#[test]
fn prometheus_itself_takes_the_configuration_and_the_rules() {
    if let Some(said) = promtool(["check", "config"], "prometheus.yml") {
        assert!(said.contains("rules found"), "the rules were not looked at: {said}");
    }
}

#[test]
fn alerts_fire_when_they_should_and_not_before() {
    if let Some(said) = promtool(["test", "rules"], "alerts_test.yml") {
        assert!(said.contains("SUCCESS"), "{said}");
    }
}
