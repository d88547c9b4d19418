//! `replay`: steps through the facts that `simulate --log` wrote.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::Parser;
use serde_json::Value;

/// Shows the facts of one run, as `simulate --reproduce SEED --log FILE` wrote them, one a line: virtual milliseconds, kind, content.
///
/// Exit code 0 if facts were shown, 1 if none was meant, 2 if the file is no such log.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "replay", version)]
#[command(after_help = "Examples:\n  replay facts.jsonl --last 40\n  replay facts.jsonl --site 3 --kind share-given --from 12000 --step")]
pub struct ReplayOptions {
    /// The log.
    pub file: PathBuf,
    /// Only facts that name this site.
    #[arg(long)]
    pub site: Option<u64>,
    /// Only facts that name this credential, session, nonce or other id, in hexadecimal; its beginning is enough.
    #[arg(long)]
    pub id: Option<String>,
    /// Only facts of this kind, for instance `share-given` or `ShareGiven`; may be given several times.
    #[arg(long)]
    pub kind: Vec<String>,
    /// Only from this virtual millisecond on.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Only up to this virtual millisecond.
    #[arg(long)]
    pub to: Option<u64>,
    /// Only the last so many of those that are meant.
    #[arg(long)]
    pub last: Option<usize>,
    /// Waits for Enter after each; `q` ends.
    #[arg(long)]
    pub step: bool,
}

/// A file that is no log of facts.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read, or nothing can be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line is none of a log.
    #[error("line {line} is no fact: expected `[milliseconds, fact]` as JSON")]
    NotAFact {
        /// Which, from 1.
        line: usize,
    },
}

/// Shows what the options mean; gives the number of facts shown.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(options: &ReplayOptions, log: impl BufRead, mut input: impl BufRead, mut out: impl Write) -> Result<usize, ReplayError> {
    let mut meant = std::collections::VecDeque::new();
    let mut shown = 0;
    for (place, line) in log.lines().enumerate() {
        let (at, kind, content) = parse(&line?).ok_or(ReplayError::NotAFact { line: place + 1 })?;
        if !is_meant(options, at, &kind, &content) {
            continue;
        }
        let text = if content.is_null() { format!("{at:>8} ms  {kind}") } else { format!("{at:>8} ms  {kind} {content}") };
        match options.last {
            Some(last) => {
                meant.push_back(text);
                if meant.len() > last {
                    meant.pop_front();
                }
            }
            None => {
                shown += 1;
                if !show(options, &text, &mut input, &mut out)? {
                    return Ok(shown);
                }
            }
        }
    }
    for text in meant {
        shown += 1;
        if !show(options, &text, &mut input, &mut out)? {
            break;
        }
    }
    Ok(shown)
}

/// Says whether to go on.
fn show(options: &ReplayOptions, text: &str, input: &mut impl BufRead, out: &mut impl Write) -> Result<bool, ReplayError> {
    writeln!(out, "{text}")?;
    if !options.step {
        return Ok(true);
    }
    out.flush()?;
    let mut answer = String::new();
    let read = input.read_line(&mut answer)?;
    Ok(read > 0 && answer.trim() != "q")
}

fn parse(line: &str) -> Option<(u64, String, Value)> {
    let (at, fact): (u64, Value) = serde_json::from_str(line).ok()?;
    match fact {
        Value::String(kind) => Some((at, kind, Value::Null)),
        Value::Object(fields) => fields.into_iter().next().map(|(kind, content)| (at, kind, content)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

fn is_meant(options: &ReplayOptions, at: u64, kind: &str, content: &Value) -> bool {
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    at >= options.from
        && options.to.is_none_or(|to| at <= to)
        && (options.kind.is_empty() || options.kind.iter().any(|wanted| plain(wanted) == plain(kind)))
        && options.site.is_none_or(|site| names_site(content, site))
        && options.id.as_ref().is_none_or(|id| names_id(content, &id.to_lowercase()))
}

/// Sites stand in fields of these names, alone or in lists.
const SITE_FIELDS: [&str; 8] = ["site", "from", "to", "by", "node", "signers", "helpers", "receiver"];

fn names_site(value: &Value, site: u64) -> bool {
    let is_site = |value: &Value| value.as_u64() == Some(site);
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let is_here =
                SITE_FIELDS.contains(&name.as_str()) && (is_site(value) || value.as_array().is_some_and(|all| all.iter().any(is_site)));
            is_here || names_site(value, site)
        }),
        Value::Array(values) => values.iter().any(|value| names_site(value, site)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn names_id(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => text.starts_with(id),
        Value::Object(fields) => fields.values().any(|value| names_id(value, id)),
        Value::Array(values) => values.iter().any(|value| names_id(value, id)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        "[5,{\"Started\":{\"site\":1,\"store\":\"aa01\",\"boot\":\"bb\"}}]\n",
        "[7,{\"Confirmed\":{\"site\":2,\"by\":[1,3],\"index\":4}}]\n",
        "[9,{\"Signed\":{\"credential\":\"cc01\",\"signers\":[2,3]}}]\n",
        "[11,\"FaultsOff\"]\n",
    );

    fn shown(options: ReplayOptions) -> Vec<u64> {
        let mut out = Vec::new();
        replay(&options, LOG.as_bytes(), &b""[..], &mut out).expect("a log");
        let text = String::from_utf8(out).expect("text");
        text.lines().map(|line| line.trim().split(' ').next().and_then(|at| at.parse().ok()).expect("a time")).collect()
    }

    #[test]
    fn facts_are_chosen_by_site_id_kind_and_time() {
        let options = ReplayOptions::default;
        assert_eq!(shown(options()), [5, 7, 9, 11]);
        assert_eq!(shown(ReplayOptions { site: Some(1), ..options() }), [5, 7]);
        assert_eq!(shown(ReplayOptions { site: Some(3), ..options() }), [7, 9]);
        assert_eq!(shown(ReplayOptions { id: Some("CC".to_owned()), ..options() }), [9]);
        assert_eq!(shown(ReplayOptions { kind: vec!["faults-off".to_owned(), "Signed".to_owned()], ..options() }), [9, 11]);
        assert_eq!(shown(ReplayOptions { from: 7, to: Some(9), ..options() }), [7, 9]);
        assert_eq!(shown(ReplayOptions { last: Some(1), site: Some(1), ..options() }), [7]);
    }

    #[test]
    fn a_step_waits_for_each_line_and_ends_with_q_or_the_input() {
        let options = ReplayOptions { step: true, ..ReplayOptions::default() };
        let steps = |input: &str| replay(&options, LOG.as_bytes(), input.as_bytes(), std::io::sink()).expect("a log");
        assert_eq!((steps(""), steps("\nq\n"), steps("\n\n\n\n")), (1, 2, 4));
    }

    #[test]
    fn what_is_no_log_is_named_by_its_line() {
        let not_a_fact = replay(&ReplayOptions::default(), &b"[1,\"FaultsOff\"]\n{}\n"[..], &b""[..], std::io::sink());
        assert!(matches!(not_a_fact, Err(ReplayError::NotAFact { line: 2 })), "{not_a_fact:?}");
    }
}
