//! The sample configuration that operators begin with is whole and holds.

use std::collections::BTreeMap;

use warifu_node::config::{LogFormat, NodeConfig, RaftSection, StoreSection};

const SAMPLE: &str = include_str!("../../deploy/config/node.toml");

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
