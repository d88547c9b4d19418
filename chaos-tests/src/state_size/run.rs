//! The run: makes the log, feeds it to the measured process, and gathers the figures.

use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use warifu_core::signer::identifier;
use warifu_node::config::StoreSection;
use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;
use warifu_protocol::{Command as LogCommand, LogEntry, NodeId, OrderCommand, UnixMillis};

use super::dealt::DealtKeys;
use super::feed::Feed;
use super::founding::Founding;
use super::generator::Generator;
use super::holder::{self, GENESIS};
use super::options::{Options, Phase};
use super::report::{HolderReport, Report};
use crate::command::Progress;
use crate::measure::load_average;

/// Frames made ahead of the holder, so that making and applying overlap; each has at most some megabytes.
const FRAMES_AHEAD: usize = 4;
/// Whose progress is told.
const PROGRESS: Progress = Progress("state-size");
/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Does what a measured process does and prints its report as JSON.
///
/// # Errors
/// When it fails; the figures are worth nothing then.
pub fn run_phase(options: &Options, phase: &Phase) -> anyhow::Result<()> {
    let report = match phase {
        Phase::Load { directory } => {
            holder::load(directory, options.credentials, options.reads, &mut BufReader::new(std::io::stdin().lock()))?
        }
        Phase::Reopen { directory } => holder::reopen(directory, options.credentials, options.reads)?,
        Phase::Install { directory } => holder::install(directory)?,
    };
    Ok(serde_json::to_writer(std::io::stdout().lock(), &report)?)
}

/// Runs the measurement.
///
/// # Errors
/// When stores cannot be made or a process fails.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let before = load_average();
    let directory = options.common.working_directory(PROGRESS)?;
    let now = UnixMillis(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?);
    let founding = Founding::new(now)?;
    std::fs::write(directory.path().join(GENESIS), founding.genesis.document().to_toml())?;
    let (load, certificate_bytes) = load(options, directory.path(), &founding, now)?;
    PROGRESS.tell("opening the stores again")?;
    let reopen = collect(spawn(options, "__reopen", directory.path())?)?;
    PROGRESS.tell("installing the snapshot")?;
    let install = collect(spawn(options, "__install", directory.path())?)?;
    let caches = StoreSection::default();
    Ok(Report {
        credentials: options.credentials,
        bound: if options.bound_every == 0 { 0 } else { options.credentials.div_ceil(options.bound_every) },
        caches_bytes: [caches.state_cache_bytes as u64, caches.local_cache_bytes as u64],
        certificate_bytes,
        load,
        reopen,
        install,
        load_average: [before, load_average()],
        simplified: simplified(options, certificate_bytes),
    })
}

fn simplified(options: &Options, certificate_bytes: u64) -> Vec<String> {
    let bound = match options.bound_every {
        0 => "no credential has a card".to_owned(),
        1 => "all cards have one RSA-2048 key, with certificates of their own".to_owned(),
        every => format!("one in {every} credentials has a card; all cards have one RSA-2048 key, with certificates of their own"),
    };
    vec![
        format!("shares and group keys are dealer-made: {CEREMONY_CREDENTIALS_MAX} keys, the same in every ceremony"),
        "round-1 packages are real but of other keys, round-2 hashes and transcripts are made up: the registry does not read them"
            .to_owned(),
        format!(
            "certificates of {certificate_bytes} bytes are issued by a trial HPKI CA (RSA-2048), without the Japanese alternative name of real ones"
        ),
        bound,
        "entries are handed to the node's own apply; there is no raft log (its cache is configured apart), no network and no session"
            .to_owned(),
    ]
}

fn load(options: &Options, directory: &Path, founding: &Founding, now: UnixMillis) -> anyhow::Result<(HolderReport, u64)> {
    let keys = DealtKeys::deal(identifier(NodeId::new(1).context("a node id")?))?;
    let mut generator = Generator::new(founding, &keys, now, options.bound_every)?;
    let mut child = spawn(options, "__load", directory)?;
    let mut pipe = BufWriter::new(child.stdin.take().context("the holder's standard input")?);
    let (frames, waiting) = sync_channel::<Feed>(FRAMES_AHEAD);
    let writer = std::thread::spawn(move || -> anyhow::Result<()> {
        for frame in waiting {
            frame.write_to(&mut pipe)?;
        }
        Ok(pipe.flush()?)
    });
    let made = make(options, &mut generator, &frames);
    drop(frames);
    let written = writer.join().ok().context("the writer panicked")?;
    // A holder that no longer listens has failed itself and says why; one that heard no end was failed by the maker.
    if written.is_ok() && made.is_err() {
        child.kill()?;
    }
    let report = collect(child);
    let certificate_bytes = if written.is_ok() { made? } else { 0 };
    Ok((report?, certificate_bytes))
}

/// Makes all frames. Returns the size of a certificate.
fn make(options: &Options, generator: &mut Generator<'_>, frames: &SyncSender<Feed>) -> anyhow::Result<u64> {
    let send = |frame| frames.send(frame).ok().context("the holder is gone");
    send(generator.lists()?)?;
    let (start, mut told, mut certificate_bytes) = (Instant::now(), Instant::now(), 0);
    let mut number = 0;
    while number < options.credentials {
        let end = options.credentials.min(number + CEREMONY_CREDENTIALS_MAX as u64);
        for frame in generator.ceremony(number, end)? {
            certificate_bytes = certificate_size(&frame).unwrap_or(certificate_bytes);
            send(frame)?;
        }
        number = end;
        if told.elapsed() >= PROGRESS_INTERVAL || number == options.credentials {
            told = Instant::now();
            let rate = number as f64 / start.elapsed().as_secs_f64();
            PROGRESS.tell(&format!("{number} of {} credentials, {rate:.0}/s", options.credentials))?;
        }
    }
    send(Feed::End)?;
    Ok(certificate_bytes)
}

fn certificate_size(frame: &Feed) -> Option<u64> {
    let Feed::Entries(entries) = frame else { return None };
    match LogEntry::decode(entries.first()?.as_slice()).ok()?.command {
        LogCommand::Order(order) => match order.body.order {
            OrderCommand::InstallCertificate { certificate, .. } => Some(certificate.as_slice().len() as u64),
            _ => None,
        },
        _ => None,
    }
}

fn spawn(options: &Options, phase: &str, directory: &Path) -> anyhow::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--credentials", &options.credentials.to_string(), "--reads", &options.reads.to_string(), phase])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the measured process")
}

fn collect(child: Child) -> anyhow::Result<HolderReport> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the measured process failed ({})", output.status);
    serde_json::from_slice(&output.stdout).context("the measured process printed no report")
}
