//! What operators begin with is whole and holds: the sample configuration, the alert rules on a node's metrics, and what starts and scrapes nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use warifu_node::config::{ConfigError, LogFormat, NodeConfig, RaftSection, StoreSection};
use warifu_node::daemon::STOP_DEADLINE;
use warifu_node::metrics::NodeMetrics;

const SAMPLE: &str = include_str!("../../deploy/config/node.toml");
const ALERTS: &str = include_str!("../../deploy/observability/alerts.yml");
const PROMETHEUS: &str = include_str!("../../deploy/observability/prometheus.yml");
const UNIT: &str = include_str!("../../deploy/systemd/warifu-node.service");
const COMPOSE: &str = include_str!("../../deploy/compose/compose.yaml");
const DOCKERFILE: &str = include_str!("../../deploy/compose/Dockerfile");
const STAGE: &str = include_str!("../../deploy/compose/stage.sh");
/// What clap ends a program with that was called wrongly.
const WRONG_USAGE: i32 = 2;

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

/// What stands in the sample's table as the other choice: a line of a `#`, a space and a setting.
fn alternatives(table: &str) -> BTreeMap<&'static str, &'static str> {
    let (_, rest) = SAMPLE.split_once(&format!("\n[{table}]\n")).unwrap_or_default();
    let section = rest.split("\n[").next().unwrap_or_default();
    let setting = |line: &'static str| line.strip_prefix("# ")?.split_once(" = ").filter(|(field, _)| !field.contains(' '));
    section.lines().filter_map(setting).collect()
}

#[test]
fn the_settings_of_the_other_kek_are_accepted_too() {
    let mut document: toml::Table = toml::from_str(SAMPLE).expect("the sample is TOML");
    let kek = document["kek"].as_table_mut().expect("a table");
    kek.insert("provider".to_owned(), "pkcs11".into());
    for (field, value) in alternatives("kek") {
        kek.insert(field.to_owned(), value.trim_matches('"').into());
    }
    let config = NodeConfig::from_toml(&toml::to_string(&document).expect("TOML is written")).expect("accepted");
    assert_eq!(config.kek.token.as_deref(), Some("warifu"));
}

#[test]
fn every_field_that_the_program_knows_stands_in_the_sample() {
    let whole: toml::Table = toml::from_str(&must_uncomment(SAMPLE)).expect("the sample is TOML");
    let tables = ["", "node", "listen", "store", "kek", "raft", "background", "log"];
    // What stands in `peers` is named by the operator.
    let of_names = ["peers"];
    let left_out: Vec<_> = whole.keys().filter(|name| !tables.contains(&name.as_str()) && !of_names.contains(&name.as_str())).collect();
    assert!(left_out.is_empty(), "tables that are not looked at: {left_out:?}");
    for table in tables {
        let alternatives = alternatives(table);
        let shown = if table.is_empty() { &whole } else { whole[table].as_table().expect("a table") };
        let known = must_know_fields(table);
        assert!(!known.is_empty(), "[{table}]");
        for field in known {
            assert!(shown.contains_key(&field) || alternatives.contains_key(field.as_str()), "[{table}] lacks `{field}`");
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
    let checked = match Command::new("promtool").args(arguments).arg(&path).output() {
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

#[test]
fn a_file_that_is_too_large_or_no_text_is_refused_with_its_name() {
    const BYTES_MAX: usize = 256 * 1024;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.toml");
    let padded = |bytes: usize| format!("{SAMPLE}\n#{}", "x".repeat(bytes - SAMPLE.len() - 2)).into_bytes();
    std::fs::write(&path, padded(BYTES_MAX)).expect("written");
    let config = NodeConfig::load(&path).expect("as large as may be");
    assert_eq!(config.node.genesis, Path::new("/etc/warifu/genesis.toml"));

    std::fs::write(&path, padded(BYTES_MAX + 1)).expect("written");
    assert!(matches!(NodeConfig::load(&path), Err(ConfigError::TooLarge { path: named }) if named == path));
    std::fs::write(&path, [SAMPLE.as_bytes(), b"# caf\xe9\n"].concat()).expect("written");
    let error = NodeConfig::load(&path).expect_err("no UTF-8");
    let ConfigError::Read { path: named, source } = error else { panic!("{error:?}") };
    assert_eq!((named, source.kind()), (path.clone(), std::io::ErrorKind::InvalidData));
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(NodeConfig::load(&path), Err(ConfigError::Read { path: named, .. }) if named == path));
}

/// The settings of a unit; a name that is there several times has several values.
fn unit_settings(unit: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut settings: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("no setting: {line}"));
        settings.entry(name).or_default().push(value);
    }
    settings
}

/// The lines below a key of the compose file, less their indentation: those that are indented deeper than it is.
fn compose_block<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let head = lines.find(|line| line.trim_start().starts_with(&format!("{key}:"))).unwrap_or_else(|| panic!("no {key}"));
    lines.take_while(|line| indentation(line) > indentation(head)).map(str::trim_start).collect()
}

/// A setting in a block.
fn compose_setting<'a>(block: &[&'a str], name: &str) -> Option<&'a str> {
    block.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A list of words in YAML's or a Dockerfile's short form, which is JSON too.
fn must_list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Calls the program as the line does, with every path below an empty directory instead: it must know the arguments and miss the file.
fn must_be_a_right_call(line: &[String]) {
    let (program, arguments) = line.split_first().expect("a program");
    assert!(program.ends_with("/warifu-node"), "{program}");
    assert!(!arguments.contains(&"--found".to_owned()), "founds stores at every start: {arguments:?}");
    let nowhere = tempfile::tempdir().expect("a directory");
    let elsewhere = |argument: &String| match argument.strip_prefix('/') {
        Some(path) => nowhere.path().join(path).display().to_string(),
        None => argument.clone(),
    };
    let called = Command::new(env!("CARGO_BIN_EXE_warifu-node")).args(arguments.iter().map(elsewhere)).output().expect("runs");
    let said = String::from_utf8_lossy(&called.stderr);
    assert!(!called.status.success() && called.status.code() != Some(WRONG_USAGE), "{line:?}: {said}");
    assert!(said.contains(&nowhere.path().display().to_string()), "{line:?}: it does not miss its file: {said}");
}

/// The file that a command line configures the program with is one of those that operators begin with.
fn must_have_a_sample(line: &[String]) {
    let place = line.iter().position(|argument| argument == "--config").expect("a configuration");
    let name = Path::new(&line[place + 1]).file_name().expect("a file");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config").join(name);
    assert!(sample.is_file(), "{}", sample.display());
}

fn must_seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().expect("seconds"))
}

#[test]
fn the_unit_calls_the_program_rightly_and_gives_it_time_to_stop() {
    let settings = unit_settings(UNIT);
    let one = |name: &str| match settings.get(name).map(Vec::as_slice) {
        Some([value]) => *value,
        other => panic!("{name}: {other:?}"),
    };
    let line: Vec<String> = one("ExecStart").split(' ').map(str::to_owned).collect();
    must_be_a_right_call(&line);
    must_have_a_sample(&line);
    assert!(must_seconds(one("TimeoutStopSec")) > STOP_DEADLINE);
    assert_eq!((one("KillSignal"), one("Restart")), ("SIGTERM", "on-failure"));
    let wrong = Command::new(env!("CARGO_BIN_EXE_warifu-node")).arg("--surprise").output().expect("runs");
    assert_eq!(wrong.status.code(), Some(WRONG_USAGE));
    assert_eq!(one("RestartPreventExitStatus"), WRONG_USAGE.to_string());
    let config = NodeConfig::from_toml(&must_uncomment(SAMPLE)).expect("the sample is accepted");
    assert_eq!(config.node.data, Path::new("/var/lib").join(one("StateDirectory")));
    assert_eq!(config.admin_socket().parent(), Some(Path::new("/run").join(one("RuntimeDirectory")).as_path()));
}

#[test]
fn the_compose_file_calls_the_program_rightly_and_gives_it_time_to_stop() {
    let common = compose_block(COMPOSE, "x-node");
    let grace = compose_setting(&common, "stop_grace_period").expect("a time to stop");
    assert!(must_seconds(grace) > STOP_DEADLINE, "{grace}");
    for number in 1..=5 {
        let service = compose_block(COMPOSE, &format!("node-{number}"));
        assert_eq!(compose_setting(&service, "<<"), Some("*node"), "node-{number}");
        assert_eq!(compose_setting(&service, "stop_grace_period"), None, "node-{number}");
        let line = must_list(compose_setting(&service, "command").expect("a command"));
        must_be_a_right_call(&line);
        must_have_a_sample(&line);
        let volumes = compose_setting(&service, "volumes").expect("volumes");
        assert_eq!(must_list(volumes), [format!("./members/node-{number}:/member")]);
    }
    let check = must_list(compose_setting(&common, "test").expect("a health check"));
    assert_eq!(check[0], "CMD");
    must_be_a_right_call(&check[1..]);
    let mut config = NodeConfig::from_toml(SAMPLE).expect("the sample is accepted");
    config.node.data = "/member/data".into();
    assert!(check.contains(&config.admin_socket().display().to_string()), "{check:?}");
}

#[test]
fn the_image_has_the_programs_that_are_called_in_it() {
    let command = DOCKERFILE.lines().find_map(|line| line.strip_prefix("CMD ")).expect("a command");
    let line = must_list(command);
    assert_eq!(line[0], "/usr/bin/warifu-node");
    assert!(DOCKERFILE.lines().any(|line| line == "COPY image/ /"));
    let help = Command::new(env!("CARGO_BIN_EXE_warifu-node")).args(&line[1..]).output().expect("runs");
    assert!(help.status.success());
    let staged = STAGE.lines().find_map(|line| line.strip_prefix("for name in ")?.strip_suffix("; do")).expect("the programs");
    assert_eq!(staged, "warifu-node warifu-coordinator");
    assert!(STAGE.contains("cp \"$built/$name\" \"$image/usr/bin/\""));
    let user = DOCKERFILE.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user");
    let users: Vec<&str> = COMPOSE.lines().filter_map(|line| line.trim_start().strip_prefix("user: ")).collect();
    assert!(!users.is_empty() && users.iter().all(|one| one.trim_matches('"') == user), "{users:?}");
}

#[test]
fn nodes_are_scraped_where_the_sample_has_their_pages() {
    let config = NodeConfig::from_toml(SAMPLE).expect("the sample is accepted");
    let (_, job) = PROMETHEUS.split_once("job_name: warifu-node\n").expect("the job");
    let job = job.split("job_name: ").next().expect("its lines");
    let targets: Vec<&str> = job.lines().filter_map(|line| line.trim().strip_prefix("- targets: [\"")?.strip_suffix("\"]")).collect();
    assert_eq!(targets.len(), 5, "{targets:?}");
    for target in targets {
        let (_, port) = target.rsplit_once(':').expect("host and port");
        assert_eq!(port.parse(), Ok(config.listen.http.port()), "{target}");
    }
}
