//! One weakening after the other.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use warifu_protocol::mutants::{self, Mutant};

use super::catalogue::{CATALOGUE, Row};
use super::options::{By, Options};
use super::programs::{Programs, Test, TestOutcome};
use super::report::{Entry, Notice, Report};
use super::seeds::{Search, remember_panics, search, try_seed};

/// Runs what the options ask for.
///
/// # Errors
/// When this program was built without the weakenings, a name is unknown, the tests cannot be built, or something that is to notice a weakening finds
/// fault with a program that is not weakened.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let rows = choose(options)?;
    if options.list {
        return Ok(Report::list(&rows));
    }
    ensure!(mutants::BUILT_IN, "this program was built without the weakenings: build it with WARIFU_MUTANTS=1 in the environment");
    let started = Instant::now();
    let tests: BTreeSet<Test> = rows.iter().filter_map(|row| row.test).collect();
    let programs = Programs::build(tests.iter().map(|test| test.program).collect::<BTreeSet<_>>())?;
    for test in &tests {
        ensure!(programs.run(*test, None)? == TestOutcome::Passed, "without any weakening {} fails", test.describe());
    }
    remember_panics();
    let mut report = Report::default();
    for row in rows {
        let entry = weaken(&row, options, &programs)?;
        tell(&entry)?;
        report.entries.push(entry);
    }
    let noticed_by: BTreeSet<u64> = report.entries.iter().filter_map(|entry| entry.seeds.as_ref()?.seed).collect();
    mutants::select(None);
    for seed in noticed_by {
        if let Some(broken) = try_seed(seed, options.seconds * 1_000)? {
            bail!("without any weakening seed {seed} breaks {}", broken.what);
        }
        report.sound_seeds += 1;
    }
    report.sound_tests = tests.len();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The rows that the options name, with what is to notice them.
fn choose(options: &Options) -> anyhow::Result<Vec<Row>> {
    let only = |row: &Row| match options.by {
        None => *row,
        Some(By::Seeds) => Row { test: None, ..*row },
        Some(By::Tests) => Row { by_seeds: false, ..*row },
    };
    let mut rows: Vec<Row> = CATALOGUE.iter().map(only).filter(|row| row.by_seeds || row.test.is_some()).collect();
    if let Some(few) = options.few {
        let few = few.min(rows.len());
        let first = options.rotation.wrapping_mul(few).checked_rem(rows.len()).unwrap_or_default();
        rows.rotate_left(first);
        rows.truncate(few);
    }
    if options.only.is_empty() {
        return Ok(rows);
    }
    let named = |name: &String| {
        let mutant = Mutant::named(name).with_context(|| format!("there is no weakening {name}; --list names them"))?;
        rows.iter().find(|row| row.mutant == mutant).copied().with_context(|| format!("nothing of this kind is to notice {name}"))
    };
    options.only.iter().map(named).collect()
}

fn weaken(row: &Row, options: &Options, programs: &Programs) -> anyhow::Result<Entry> {
    let mut entry = Entry::new(row);
    if row.by_seeds {
        mutants::select(Some(row.mutant));
        let started = Instant::now();
        let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let found = search(Search { first: options.seed, count: options.seeds, safety_millis: options.seconds * 1_000, threads })?;
        entry.seeds = Some(Notice {
            by: found.as_ref().map(|broken| broken.what.clone()),
            seed: found.as_ref().map(|broken| broken.seed),
            tried: found.as_ref().map_or(options.seeds, |broken| broken.seed - options.seed + 1),
            times_asked: mutants::times_asked(),
            seconds: started.elapsed().as_secs_f64(),
        });
        mutants::select(None);
    }
    if let Some(test) = row.test {
        let started = Instant::now();
        let outcome = programs.run(test, Some(row.mutant))?;
        entry.test = Some(Notice {
            by: (outcome != TestOutcome::Passed).then(|| test.describe()),
            seed: None,
            tried: 1,
            times_asked: 0,
            seconds: started.elapsed().as_secs_f64(),
        });
    }
    Ok(entry)
}

/// How far it is.
fn tell(entry: &Entry) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr().lock(), "mutants: {}", entry.line())?)
}
