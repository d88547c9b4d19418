//! What operators begin with is whole and holds: the sample configuration, the alert rules on the coordinator's metrics, and what starts and scrapes
//! coordinators.

use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use warifu_coordinator::Args;
use warifu_coordinator::config::{ClientRole, Config, ConfigError, Limits};

const SAMPLE: &str = include_str!("../../deploy/config/coordinator.toml");
const ALERTS: &str = include_str!("../../deploy/observability/alerts.yml");
const PROMETHEUS: &str = include_str!("../../deploy/observability/prometheus.yml");
const UNIT: &str = include_str!("../../deploy/systemd/warifu-coordinator.service");
const COMPOSE: &str = include_str!("../../deploy/compose/compose.yaml");
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
    let tables = ["", "identity", "https", "clients", "limits", "log"];
    let is_table = |value: &toml::Value| value.is_table() || value.as_array().is_some_and(|all| all.iter().any(toml::Value::is_table));
    // What stands in `node_addresses` is named by the operator.
    let of_names = ["node_addresses"];
    let looked_at = |name: &str| tables.contains(&name) || of_names.contains(&name);
    let left_out: Vec<_> = whole.iter().filter(|(name, value)| is_table(value) && !looked_at(name)).collect();
    assert!(left_out.is_empty(), "tables that are not looked at: {left_out:?}");
    for table in tables {
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

#[test]
fn a_file_that_is_too_large_or_no_text_is_refused_with_its_name() {
    const BYTES_MAX: usize = 1024 * 1024;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("coordinator.toml");
    let padded = |bytes: usize| format!("{SAMPLE}\n#{}", "x".repeat(bytes - SAMPLE.len() - 2)).into_bytes();
    std::fs::write(&path, padded(BYTES_MAX)).expect("written");
    let config = Config::load(&path).expect("as large as may be");
    assert_eq!(config.genesis, Path::new("/etc/warifu/genesis.toml"));

    std::fs::write(&path, padded(BYTES_MAX + 1)).expect("written");
    assert!(matches!(Config::load(&path), Err(ConfigError::TooLarge { path: named }) if named == path));
    std::fs::write(&path, [SAMPLE.as_bytes(), b"# caf\xe9\n"].concat()).expect("written");
    let error = Config::load(&path).expect_err("no UTF-8");
    let ConfigError::File { path: named, source } = error else { panic!("{error:?}") };
    assert_eq!((named, source.kind()), (path.clone(), std::io::ErrorKind::InvalidData));
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(Config::load(&path), Err(ConfigError::File { path: named, .. }) if named == path));
}

/// A setting of the unit, which must be there once.
fn must_unit_setting(name: &str) -> &'static str {
    let mut values = UNIT.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match (values.next(), values.next()) {
        (Some(value), None) => value,
        other => panic!("{name}: {other:?}"),
    }
}

/// A setting of the coordinator in the compose file: a line of its block, of which there is one.
fn must_compose_setting(name: &str) -> &'static str {
    let (_, block) = COMPOSE.split_once("\n  coordinator-1:\n").expect("the coordinator");
    let lines = block.lines().take_while(|line| line.starts_with("    "));
    lines.map(str::trim_start).find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_else(|| panic!("no {name}"))
}

/// The program knows the arguments, and the file that they name is one of those that operators begin with.
fn must_be_a_right_call<'a>(line: impl IntoIterator<Item = &'a str>) {
    let line: Vec<&str> = line.into_iter().collect();
    assert!(line[0].ends_with("/warifu-coordinator"), "{line:?}");
    let arguments = Args::try_parse_from(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config").join(arguments.config.file_name().expect("a file"));
    assert!(sample.is_file(), "{}", sample.display());
}

fn must_seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().expect("seconds"))
}

#[test]
fn the_unit_and_the_compose_file_call_the_program_rightly_and_give_it_time_to_stop() {
    must_be_a_right_call(must_unit_setting("ExecStart").split(' '));
    let command: Vec<String> = serde_json::from_str(must_compose_setting("command")).expect("a list");
    must_be_a_right_call(command.iter().map(String::as_str));
    let deadline = Config::from_toml(SAMPLE).expect("the sample is accepted").shutdown_deadline;
    assert!(must_seconds(must_unit_setting("TimeoutStopSec")) > deadline);
    assert!(must_seconds(must_compose_setting("stop_grace_period")) > deadline);
    assert_eq!((must_unit_setting("KillSignal"), must_unit_setting("Restart")), ("SIGTERM", "on-failure"));
    let wrong = Args::try_parse_from(["warifu-coordinator", "--surprise"]).expect_err("no such argument");
    assert_eq!(must_unit_setting("RestartPreventExitStatus"), wrong.exit_code().to_string());
}

#[test]
fn the_coordinator_is_reached_and_scraped_where_the_sample_has_it_listen() {
    let config = Config::from_toml(SAMPLE).expect("the sample is accepted");
    let published: Vec<String> = serde_json::from_str(must_compose_setting("ports")).expect("a list");
    let inside: Vec<u16> = published.iter().filter_map(|port| port.rsplit_once(':')?.1.parse().ok()).collect();
    assert_eq!(inside, [config.https.listen.port()]);
    let (_, job) = PROMETHEUS.split_once("job_name: warifu-coordinator\n").expect("the job");
    let targets: Vec<&str> = job.lines().filter_map(|line| line.trim().strip_prefix("- targets: [\"")?.strip_suffix("\"]")).collect();
    let ports: Vec<u16> = targets.iter().filter_map(|target| target.rsplit_once(':')?.1.parse().ok()).collect();
    assert_eq!(ports, [config.metrics.port()]);
}
