//! The command.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use warifu_coordinator::document::sample;
use warifu_protocol::{NodeId, Policy};

use super::error::QuickstartError;
use super::keep;
use super::load::document_id;
use super::report::Recorder;
use super::story::{Plan, SIGNED_DIRECTORY, Told, read_prescription, tell};
use crate::console::Console;
use crate::error::{Exit, chain};
use crate::files::{self, MODE_PUBLIC};
use crate::local_cluster::LocalClusterOptions;

/// Try the whole story on this machine: a cluster of real processes, a prescription, a dispensing, an outage under load
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  warifu quickstart\n  warifu quickstart --nodes 3 --document prescription.xml --out signed.xml\n  warifu quickstart --keep --dir /tmp/warifu"
)]
pub struct QuickstartArgs {
    /// How many sites
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub nodes: u8,
    /// How many of them must take part in a signature [default: a majority]
    #[arg(long, value_name = "T")]
    pub threshold: Option<u8>,
    /// The unsigned prescription to sign [default: a sample]
    #[arg(long, value_name = "FILE")]
    pub document: Option<PathBuf>,
    /// Where to write the signed prescription [default: into the directory]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// A new or empty directory for everything; it is not removed [default: a fresh temporary one, of which only the signed files stay]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Stay up afterwards, and print what can be done with the cluster
    #[arg(long)]
    pub keep: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs quickstart. What goes wrong after the start is in its report and its exit code.
///
/// # Errors
/// [`QuickstartError`] for what is wrong before anything is started.
pub async fn run(args: QuickstartArgs) -> Result<Exit, QuickstartError> {
    let console = Console::new(args.json);
    let threshold = threshold(args.nodes, args.threshold)?;
    let document = match &args.document {
        Some(path) => Some((path.clone(), read_prescription(path)?)),
        None => None,
    };
    if let Some(out) = args.out.as_ref().filter(|out| out.exists()) {
        return Err(files::exists(out).into());
    }
    let program = env::current_exe().map_err(QuickstartError::Program)?;
    let (directory, own) = match &args.dir {
        Some(path) => (path.clone(), false),
        None => (temporary_directory()?, true),
    };
    let options = LocalClusterOptions {
        directory: directory.clone(),
        nodes: args.nodes,
        threshold,
        policy: Policy::default(),
        program: program.clone(),
    };
    let mut recorder = Recorder::new(console);
    let plan = Plan { options, document, out: args.out.clone() };
    let outcome = tokio::select! {
        outcome = tell(plan, &mut recorder) => outcome,
        () = interrupted() => Err(QuickstartError::Interrupted),
    };
    recorder.report.directory = Some(directory.clone()).filter(|_| !own || args.keep || outcome.is_err());
    match outcome {
        Err(error) => {
            let problem = chain(&error);
            recorder.finish(Some(problem.clone()));
            console.complain(problem);
            Ok(Exit::Refused)
        }
        Ok(told) => {
            recorder.finish(None);
            if args.keep {
                stay(&told, &program, console).await?;
            }
            told.cluster.stop();
            if own && !args.keep {
                remove_all_but_signed(&directory);
            }
            Ok(Exit::Done)
        }
    }
}

async fn stay(told: &Told, program: &Path, console: Console) -> Result<(), QuickstartError> {
    let unsigned = told.cluster.directory().join(keep::UNSIGNED_FILE);
    files::write_new(&unsigned, sample::prescription(&document_id()).as_bytes(), MODE_PUBLIC)?;
    console.say(keep::text(told, program));
    interrupted().await;
    Ok(())
}

/// Ends at Ctrl-C or SIGTERM; never where the system does not say.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn threshold(nodes: u8, wanted: Option<u8>) -> Result<u8, QuickstartError> {
    let wrong = |reason: String| Err(QuickstartError::Size { reason });
    if !(NODES_MIN..=NodeId::MAX).contains(&nodes) {
        return wrong(format!("--nodes must be {NODES_MIN} to {}, not {nodes}", NodeId::MAX));
    }
    let (majority, most) = (nodes / 2 + 1, nodes - 1);
    let threshold = wanted.unwrap_or(majority);
    if (majority..=most).contains(&threshold) {
        Ok(threshold)
    } else {
        wrong(format!("--threshold must be {majority} (a majority) to {most} (one site may fail) for {nodes} sites, not {threshold}"))
    }
}

fn temporary_directory() -> Result<PathBuf, QuickstartError> {
    let path = env::temp_dir().join(format!("warifu-quickstart-{}", hex::encode(rand::random::<[u8; 6]>())));
    files::make_directory(&path)?;
    Ok(path)
}

/// Removes keys, stores and logs of a trial that is over. What cannot be removed stays; it is worth nothing.
fn remove_all_but_signed(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !path.ends_with(SIGNED_DIRECTORY)) {
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

/// Fewest sites: with t = 2, one may fail.
const NODES_MIN: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked_before_anything_starts() {
        for (nodes, wanted, threshold_is) in [(5, None, 3), (3, None, 2), (4, None, 3), (15, None, 8), (5, Some(4), 4)] {
            assert_eq!(threshold(nodes, wanted).expect("a cluster"), threshold_is, "{nodes} {wanted:?}");
        }
        for (nodes, wanted) in [(0, None), (2, None), (16, None), (5, Some(2)), (5, Some(5)), (5, Some(0)), (5, Some(255)), (4, Some(2))] {
            assert!(matches!(threshold(nodes, wanted), Err(QuickstartError::Size { .. })), "{nodes} {wanted:?}");
        }
    }

    #[test]
    fn only_signed_files_stay() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["signed", "node-1"] {
            fs::create_dir(directory.path().join(name)).expect("makes a directory");
            fs::write(directory.path().join(name).join("file"), "x").expect("writes");
        }
        fs::write(directory.path().join("genesis.toml"), "x").expect("writes");
        remove_all_but_signed(directory.path());
        let left: Vec<_> = fs::read_dir(directory.path()).expect("lists").map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(left, ["signed"]);
        assert!(directory.path().join("signed/file").exists());
    }
}
