//! Many seeds, on all processors; one seed, twice.

use std::cell::RefCell;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::cost::{self, Cost};
use super::counters::Counters;
use super::invariants::Violation;
use super::options::Options;
use super::plan::{Focus, Plan};
use super::report::Report;
use super::timeline::Timeline;
use super::world::World;
use crate::command::Progress;

/// What one seed came to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// What was drawn.
    pub plan: Plan,
    /// What broke; empty when all is well.
    pub violations: Vec<Violation>,
    /// In numbers.
    pub counters: Counters,
    /// Facts.
    pub facts: u64,
    /// Hash over all facts.
    pub hash: String,
    /// Over virtual time.
    #[serde(skip)]
    pub(super) timeline: Timeline,
    /// The last facts, if something broke.
    pub last: Vec<String>,
    /// Real time.
    pub seconds: f64,
    /// What of it was arithmetic.
    pub cost: Cost,
    /// The command that shows it again; a report fills it in for a run in which something broke.
    pub again: Option<String>,
}

/// Runs one seed. `log` is told every fact, as JSON.
///
/// # Errors
/// When the trial PKI or the genesis fails, or the log cannot be written.
pub fn run_seed(seed: u64, safety_millis: u64, log: Option<&mut dyn std::io::Write>) -> anyhow::Result<Outcome> {
    run_focused(seed, safety_millis, None, log)
}

/// The same for a run that is mostly about something.
///
/// # Errors
/// As [`run_seed`].
pub fn run_focused(seed: u64, safety_millis: u64, focus: Option<Focus>, log: Option<&mut dyn std::io::Write>) -> anyhow::Result<Outcome> {
    run_with(seed, safety_millis, focus, log, World::run)
}

/// The same, except that a panic is what broke in this seed.
fn try_focused(seed: u64, safety_millis: u64, focus: Option<Focus>, log: Option<&mut dyn std::io::Write>) -> anyhow::Result<Outcome> {
    run_with(seed, safety_millis, focus, log, |world| catch_panic(world, World::run))
}

thread_local! {
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has a panic end the run and not the program: what happened before it, the seed and the other seeds are not lost.
fn catch_panic(world: &mut World, run: impl FnOnce(&mut World)) {
    static REMEMBERS: Once = Once::new();
    REMEMBERS.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
            let said = panic.payload_as_str().unwrap_or("no words");
            PANICKED.with_borrow_mut(|panicked| *panicked = Some(format!("{said} ({place})")));
            before(panic);
        }));
    });
    // A world whose step was cut short is only read from here on.
    if catch_unwind(AssertUnwindSafe(|| run(world))).is_err() {
        let what = PANICKED.with_borrow_mut(Option::take).unwrap_or_default();
        world.violations.push(Violation { invariant: "the_program_does_not_panic", what });
    }
}

/// The same, with something else than [`World::run`].
pub(super) fn run_with(
    seed: u64,
    safety_millis: u64,
    focus: Option<Focus>,
    log: Option<&mut dyn std::io::Write>,
    run: impl FnOnce(&mut World),
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let began = cost::begin();
    let plan = Plan::draw(seed, safety_millis, focus);
    let mut world = World::found(plan.clone(), log.is_some())?;
    run(&mut world);
    world.counters.virtual_millis = world.now;
    if let Some(log) = log {
        for (at, fact) in world.trace.all() {
            serde_json::to_writer(&mut *log, &(at, fact))?;
            writeln!(log)?;
        }
    }
    let last = if world.violations.is_empty() { Vec::new() } else { world.trace.last() };
    Ok(Outcome {
        seed,
        plan,
        violations: world.violations,
        counters: world.counters,
        facts: world.trace.count(),
        hash: world.trace.hash(),
        timeline: world.timeline,
        last,
        seconds: started.elapsed().as_secs_f64(),
        cost: cost::end(began),
        again: None,
    })
}

/// Runs what the options ask for.
///
/// # Errors
/// When a run cannot be set up, or a file cannot be written.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let safety = options.seconds * 1_000;
    let report = match options.reproduce {
        Some(seed) => reproduce(seed, safety, options)?,
        None => explore(safety, options)?,
    };
    if let Some(path) = &options.html {
        std::fs::write(path, report.html()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}

fn reproduce(seed: u64, safety: u64, options: &Options) -> anyhow::Result<Report> {
    let started = Instant::now();
    let first = match &options.log {
        Some(path) => {
            let file = std::fs::File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
            let mut out = std::io::BufWriter::new(file);
            let outcome = try_focused(seed, safety, options.focus, Some(&mut out))?;
            out.flush()?;
            outcome
        }
        None => try_focused(seed, safety, options.focus, None)?,
    };
    let second = try_focused(seed, safety, options.focus, None)?;
    let mut report = Report::new(safety, options.focus, started.elapsed());
    report.same_twice = Some(first.hash == second.hash);
    report.add(first);
    report.close();
    Ok(report)
}

fn explore(safety: u64, options: &Options) -> anyhow::Result<Report> {
    let started = Instant::now();
    let first = options.seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        now.as_secs() * 1_000
    });
    let until = options.minutes.map(|minutes| started + Duration::from_secs(60 * minutes));
    let iterations = if options.minutes.is_some() { u64::MAX / 2 - first.min(u64::MAX / 4) } else { options.iterations };
    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let report = Mutex::new((Report::new(safety, options.focus, Duration::ZERO), started));
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let work = || -> anyhow::Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let is_late = until.is_some_and(|until| Instant::now() >= until);
                if number >= iterations || is_late || is_over.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let outcome = try_focused(first + number, safety, options.focus, None)?;
                let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let (report, told) = &mut *report;
                for broken in &outcome.violations {
                    PROGRESS.tell(&format!("seed {} broke {}: {}", outcome.seed, broken.invariant, broken.what))?;
                }
                let failed = report.add(outcome);
                // A few are enough to look at.
                is_over.fetch_or(failed >= FAILURES_MAX, Ordering::Relaxed);
                if told.elapsed() >= PROGRESS_INTERVAL {
                    *told = Instant::now();
                    let planned = if options.minutes.is_some() { String::new() } else { format!(" of {iterations}") };
                    PROGRESS.tell(&format!("{}{planned} seeds from {first}, {failed} failed", report.seeds))?;
                }
            }
        };
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a run panicked while it was set up"))?)
    })?;
    let (mut report, _) = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.seconds = started.elapsed().as_secs_f64();
    report.first_seed = first;
    report.close();
    Ok(report)
}

/// Failing seeds after which no more are begun.
const FAILURES_MAX: usize = 5;
/// Whose progress is told, and how often.
const PROGRESS: Progress = Progress("simulate");
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_seed_is_reported_with_the_seed_and_the_command_that_shows_it_again() {
        let stops_itself = |world: &mut World| {
            world.counters.signed = 7;
            assert_eq!(world.now, 1, "what must be true");
        };
        let outcome =
            run_with(4711, 3_000, Some(Focus::Stops), None, |world| catch_panic(world, stops_itself)).expect("a run can be set up");
        assert_eq!(outcome.counters.signed, 7, "what was counted before is there");
        let mut report = Report::new(3_000, Some(Focus::Stops), Duration::ZERO);
        assert_eq!(report.add(outcome), 1);
        report.close();
        let again = "simulate -- --reproduce 4711 --seconds 3 --focus stops";
        let text = report.to_string();
        let json = serde_json::to_value(&report).expect("a report");
        for part in ["BROKEN the_program_does_not_panic", "what must be true", "simulate/run.rs:", "SEED 4711 FAILED", again] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let failure = &json["failures"][0];
        assert_eq!(failure["violations"][0]["invariant"], "the_program_does_not_panic");
        assert!(failure["again"].as_str().is_some_and(|command| command.contains(again)), "{failure}");
        assert!(json["commit"].as_str().is_some_and(|commit| !commit.is_empty()), "{json}");
        assert!(!report.passes());
    }
}
