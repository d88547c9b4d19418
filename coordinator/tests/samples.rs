//! What operators begin with is whole and holds: the sample configuration, and the alert rules on the coordinator's metrics.

use warifu_coordinator::config::{ClientRole, Config, Limits};

const SAMPLE: &str = include_str!("../../deploy/config/coordinator.toml");
const ALERTS: &str = include_str!("../../deploy/observability/alerts.yml");
/// Names are written here without their common prefix; the type itself is the crate's own.
const METRICS: &str = include_str!("../src/metrics.rs");

/// Every setting, those too that are commented out: a `#` without a space after it.
fn must_uncomment(text: &str) -> String {
    text.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The fields that the program knows in a table, told by the parser when it meets one that it does not know.
fn must_know_fields(table: &str) -> Vec<String> {
    let mut document: toml::Table = toml::from_str(&must_uncomment(SAMPLE)).expect("the sample is TOML");
    let target = match table {
        "" => Some(&mut document),
        "clients" => document.get_mut("clients").and_then(toml::Value::as_array_mut).and_then(|all| all.first_mut()?.as_table_mut()),
        name => document.get_mut(name).and_then(toml::Value::as_table_mut),
    };
    target.expect("the sample has the table").insert("surprise".to_owned(), toml::Value::Integer(1));
    let text = toml::to_string(&document).expect("TOML is written");
    let error = Config::from_toml(&text).expect_err("an unknown field is refused").to_string();
    let (_, expected) = error.split_once("expected ").expect("the parser says what it expected");
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_sample_is_accepted_and_shows_the_defaults() {
    let config = Config::from_toml(SAMPLE).expect("the sample is accepted");
    assert_eq!(config.limits, Limits::default());
    let roles: Vec<ClientRole> = config.clients.iter().map(|client| client.role).collect();
    assert_eq!(roles, [ClientRole::Platform, ClientRole::Ca, ClientRole::Operations]);
    assert!(config.addresses().is_empty());
}

#[test]
fn the_settings_that_are_commented_out_are_accepted_too() {
    let config = Config::from_toml(&must_uncomment(SAMPLE)).expect("the whole sample is accepted");
    assert_eq!(config.addresses().len(), 1);
}

#[test]
fn every_field_that_the_program_knows_stands_in_the_sample() {
    let whole: toml::Table = toml::from_str(&must_uncomment(SAMPLE)).expect("the sample is TOML");
    for table in ["", "identity", "clients", "limits", "log"] {
        let shown = match table {
            "" => &whole,
            "clients" => whole["clients"][0].as_table().expect("a table"),
            name => whole[name].as_table().expect("a table"),
        };
        let known = must_know_fields(table);
        assert!(!known.is_empty(), "[{table}]");
        for field in known {
            assert!(shown.contains_key(&field), "[{table}] lacks `{field}`");
        }
    }
}

#[test]
fn every_alert_is_on_a_metric_that_exists() {
    let named: Vec<&str> = ALERTS
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter_map(|word| word.strip_prefix("warifu_coordinator_"))
        .collect();
    assert!(named.len() > 2, "{named:?}");
    for name in named {
        assert!(METRICS.contains(&format!("\"{name}\"")), "no metric warifu_coordinator_{name}");
    }
}
