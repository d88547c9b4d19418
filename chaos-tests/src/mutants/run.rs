//! One weakening after the other.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use warifu_protocol::mutants::{self, Mutant};

use super::catalogue::{BySeeds, CATALOGUE, Row};
use super::options::{By, Options};
use super::programs::{Programs, Test, TestOutcome};
use super::report::{Entry, Notice, Report};
use super::seeds::{Broken, Search, remember_panics, search, try_seed};
use crate::simulate::Focus;

/// Runs what the options ask for.
///
/// # Errors
/// When this program was built without the weakenings, a name is unknown, the tests cannot be built, or a test that is to notice a weakening fails without
/// any.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let rows = choose(options)?;
    if options.list {
        return Ok(Report::list(&rows));
    }
    ensure!(mutants::BUILT_IN, "this program was built without the weakenings: build it with WARIFU_MUTANTS=1 in the environment");
    let started = Instant::now();
    let tests: BTreeSet<Test> = rows.iter().flat_map(Row::tests).collect();
    let programs = Programs::build(tests.iter().map(|test| test.program).collect::<BTreeSet<_>>())?;
    for test in &tests {
        match programs.run(*test, None)? {
            TestOutcome::Passed => {}
            TestOutcome::Failed(output) => bail!("without any weakening {} fails:\n{output}", test.describe()),
            TestOutcome::Hung => bail!("without any weakening {} does not end", test.describe()),
        }
    }
    remember_panics();
    let (mut report, mut sound) = (Report::default(), Sound::default());
    for row in rows {
        let entry = weaken(&row, options, &programs, &mut sound)?;
        tell(&entry)?;
        report.entries.push(entry);
    }
    let unsound =
        |((focus, seed), broken): ((Focus, u64), Option<Broken>)| Some(format!("seed {seed} about {focus:?} breaks {}", broken?.what));
    report.sound_seeds = sound.0.values().filter(|broken| broken.is_none()).count();
    report.unsound = sound.0.into_iter().filter_map(unsound).collect();
    report.sound_tests = tests.len();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The rows that the options name, with what is to notice them.
fn choose(options: &Options) -> anyhow::Result<Vec<Row>> {
    let only = |row: &Row| match (options.about, options.by) {
        (Some(focus), _) => Row { by_seeds: Some(BySeeds { focus, invariant: None }), test: None, whole: &[], ..*row },
        (None, None) => *row,
        (None, Some(By::Seeds)) => Row { test: None, whole: &[], ..*row },
        (None, Some(By::Tests)) => Row { by_seeds: None, ..*row },
    };
    let mut rows: Vec<Row> = CATALOGUE.iter().map(only).filter(|row| row.by_seeds.is_some() || row.tests().next().is_some()).collect();
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

/// What seeds break in a program that is not weakened: nothing, or they prove nothing.
#[derive(Default)]
struct Sound(BTreeMap<(Focus, u64), Option<Broken>>);

impl Sound {
    fn is_sound(&mut self, seed: u64, safety_millis: u64, focus: Focus) -> anyhow::Result<bool> {
        let broken = match self.0.entry((focus, seed)) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(unknown) => {
                mutants::select(None);
                unknown.insert(try_seed(seed, safety_millis, BySeeds { focus, invariant: None })?)
            }
        };
        Ok(broken.is_none())
    }
}

/// The first seed that breaks something for the weakening's sake, and how often the guard was asked.
fn find(mutant: Mutant, by: BySeeds, options: &Options, sound: &mut Sound) -> anyhow::Result<(Option<Broken>, u64)> {
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (end, safety_millis) = (options.seed.saturating_add(options.seeds), options.seconds * 1_000);
    let (mut first, mut times_asked) = (options.seed, 0);
    while first < end {
        mutants::select(Some(mutant));
        let found = search(Search { first, count: end - first, safety_millis, by, threads })?;
        times_asked += mutants::times_asked();
        match found {
            Some(broken) if !sound.is_sound(broken.seed, safety_millis, by.focus)? => first = broken.seed + 1,
            found => return Ok((found, times_asked)),
        }
    }
    Ok((None, times_asked))
}

fn weaken(row: &Row, options: &Options, programs: &Programs, sound: &mut Sound) -> anyhow::Result<Entry> {
    let mut entry = Entry::new(row);
    if let Some(by) = row.by_seeds {
        let started = Instant::now();
        let (found, times_asked) = find(row.mutant, by, options, sound)?;
        entry.seeds = Some(Notice {
            by: found.as_ref().map(|broken| broken.what.clone()),
            seed: found.as_ref().map(|broken| broken.seed),
            tried: found.as_ref().map_or(options.seeds, |broken| broken.seed - options.seed + 1),
            times_asked,
            seconds: started.elapsed().as_secs_f64(),
        });
    }
    for test in row.tests() {
        let started = Instant::now();
        let outcome = programs.run(test, Some(row.mutant))?;
        entry.tests.push(Notice {
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
