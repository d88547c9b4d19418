//! Many seeds, on all processors; one seed, twice.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::cost::{self, Cost};
use super::counters::Counters;
use super::invariants::Violation;
use super::options::Options;
use super::plan::{Focus, Plan};
use super::report::Report;
use super::world::World;

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
    /// The last facts, if something broke.
    pub last: Vec<String>,
    /// Real time.
    pub seconds: f64,
    /// What of it was arithmetic.
    pub cost: Cost,
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
    let started = Instant::now();
    let began = cost::begin();
    let plan = Plan::draw(seed, safety_millis, focus);
    let mut world = World::found(plan.clone(), log.is_some())?;
    world.run();
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
        last,
        seconds: started.elapsed().as_secs_f64(),
        cost: cost::end(began),
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
            let outcome = run_focused(seed, safety, options.focus, Some(&mut out))?;
            out.flush()?;
            outcome
        }
        None => run_focused(seed, safety, options.focus, None)?,
    };
    let second = run_focused(seed, safety, options.focus, None)?;
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
    let report = Mutex::new(Report::new(safety, options.focus, Duration::ZERO));
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let work = || -> anyhow::Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let is_late = until.is_some_and(|until| Instant::now() >= until);
                if number >= iterations || is_late || is_over.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let outcome = run_focused(first + number, safety, options.focus, None)?;
                let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                // A few are enough to look at.
                is_over.fetch_or(report.add(outcome) >= FAILURES_MAX, Ordering::Relaxed);
            }
        };
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a run panicked; the seed is in the message above"))?)
    })?;
    let mut report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.seconds = started.elapsed().as_secs_f64();
    report.first_seed = first;
    report.close();
    Ok(report)
}

/// Failing seeds after which no more are begun.
const FAILURES_MAX: usize = 5;
