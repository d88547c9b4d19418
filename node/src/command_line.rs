//! The command line of `warifu-node`.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rustix::process::{Resource, getrlimit};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use warifu_protocol::NodeId;

use crate::admin::{self, AdminReply, AdminRequest, RotationOutcome};
use crate::config::{LogFormat, LogSection, NodeConfig};
use crate::keys::NodeKeys;
use crate::{consent_command, replacement, upkeep};

/// A site's node of a Warifu cluster: holds key shares, checks every request itself, and gives signature shares.
#[derive(Parser, Debug)]
#[command(name = "warifu-node", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(after_help = "Examples:\n  warifu-node init --dir keys --id 3 --address site-3.example:7400 > node-3.toml\n  \
                        warifu-node --config node.toml --found    # first start of a new site only\n  \
                        warifu-node --config node.toml\n  warifu-node admin --socket data/admin.sock status\n  \
                        warifu-node admin --socket data/admin.sock consent --order order.json\n  \
                        warifu-node init --replace data --genesis genesis.toml --dir keys-2 --id 3 --address site-3.example:7400 > replacement-3.toml")]
struct Arguments {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Found empty stores. Only at the first start of a new site: a site that lost its disk must be repaired by order instead.
    #[arg(long, requires = "config")]
    found: bool,
    /// Stop when standard input ends; for a parent process that must leave nothing behind.
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
    #[command(subcommand)]
    command: Option<NodeCommand>,
}

#[derive(Subcommand, Debug)]
enum NodeCommand {
    /// Make the node's keys and print its entry for the genesis (TOML).
    Init {
        /// Directory for the keys; must not hold any yet.
        #[arg(long)]
        dir: PathBuf,
        /// Identifier, 1 to 15.
        #[arg(long)]
        id: u8,
        /// Advertised `host:port` of its QUIC endpoint.
        #[arg(long)]
        address: String,
        /// For a site that lost its disk: also found the new store in this directory, and print what the order that admits it needs.
        #[arg(long, value_name = "DATA", requires = "genesis")]
        replace: Option<PathBuf>,
        /// With --replace: the cluster's signed genesis.toml.
        #[arg(long, value_name = "FILE", requires = "replace")]
        genesis: Option<PathBuf>,
    },
    /// Put a backup's sealed shares onto this node's empty, replaced store, while the node is stopped; prints JSON. The store must still be admitted by
    /// order before it signs; then its shares count again.
    Restore {
        /// The node's configuration.
        #[arg(long)]
        config: PathBuf,
        /// The backup.
        #[arg(long)]
        from: PathBuf,
    },
    /// Read all of a stopped node's stores and name what is damaged; changes nothing. Exit code 1 if anything is.
    CheckStore {
        /// The node's configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Ask a running node over its admin socket; prints JSON.
    Admin {
        /// The socket.
        #[arg(long)]
        socket: PathBuf,
        #[command(subcommand)]
        request: AdminCommand,
    },
}

#[derive(Subcommand, Debug)]
enum AdminCommand {
    /// How the node is.
    Status,
    /// What is under way beside signing: missing shares, refreshes that are due, and how far a change of the members has come.
    Work,
    /// Size and root of the audit log.
    Checkpoint,
    /// Entries of the audit log.
    Audit {
        /// First position.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Make a snapshot now.
    Snapshot,
    /// Drop all unused nonces.
    DropNonces,
    /// How the key-encryption key (KEK) is.
    Kek,
    /// Make a new KEK generation, seal all shares again while the node goes on signing, and destroy the old generations. Backups sealed under them can
    /// never be restored again.
    RotateKek,
    /// Write the sealed shares and their wrapped record keys into a new file. It dies with the KEK generations that it names.
    Backup {
        /// The file; must not exist.
        #[arg(long)]
        out: PathBuf,
    },
    /// Show an order in words and consent to it for this site; the consent is added to the file.
    Consent {
        /// The order, as `warifu` wrote it.
        #[arg(long, value_name = "FILE")]
        order: PathBuf,
        /// Consent without asking.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs `warifu-node` with these arguments, the program's name first.
///
/// Exit codes: 0 stopped in order, 1 cannot start or go on, 2 wrong usage.
pub fn run_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed terminal cannot be told.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match carry_out(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "warifu-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Some(NodeCommand::Init { dir, id, address, replace, genesis }) => {
            let id = NodeId::new(id).context("a node id is 1 to 15")?;
            let text = match (replace, genesis) {
                (Some(data), Some(genesis)) => toml::to_string(&replacement::prepare(&dir, &data, &genesis, id, &address)?)?,
                _ => toml::to_string(&NodeKeys::init(&dir, id, &address).context("the keys cannot be made")?)?,
            };
            writeln!(std::io::stdout(), "{text}")?;
            Ok(())
        }
        Some(NodeCommand::Admin { socket, request: AdminCommand::Consent { order, yes } }) => {
            runtime()?.block_on(consent_command::run(&socket, &order, yes))
        }
        Some(NodeCommand::Admin { socket, request }) => runtime()?.block_on(ask(socket, request)),
        Some(NodeCommand::Restore { config, from }) => print(&upkeep::restore(&NodeConfig::load(&config)?, &from)?),
        Some(NodeCommand::CheckStore { config }) => {
            let report = upkeep::check(&NodeConfig::load(&config)?)?;
            print(&report)?;
            anyhow::ensure!(report.damage.is_empty(), "{} damages found; see runbooks/damaged-store.md", report.damage.len());
            Ok(())
        }
        None => {
            let path = arguments.config.context("--config FILE is needed")?;
            let config = NodeConfig::load(&path)?;
            start_logging(&config.log)?;
            harden();
            runtime()?.block_on(serve(config, arguments.found, arguments.exit_with_stdin))
        }
    }
}

async fn ask(socket: PathBuf, request: AdminCommand) -> anyhow::Result<()> {
    let request = match request {
        AdminCommand::Status => AdminRequest::Status,
        AdminCommand::Work => AdminRequest::Work,
        AdminCommand::Checkpoint => AdminRequest::Checkpoint,
        AdminCommand::Audit { from, limit } => AdminRequest::Audit { from, limit },
        AdminCommand::Snapshot => AdminRequest::Snapshot,
        AdminCommand::DropNonces => AdminRequest::DropNonces,
        AdminCommand::Kek => AdminRequest::Kek,
        AdminCommand::RotateKek => return rotate_kek(&socket).await,
        AdminCommand::Backup { out } => AdminRequest::Backup { out: std::path::absolute(out)? },
        AdminCommand::Consent { .. } => unreachable!("handled before"),
    };
    match admin::ask(&socket, &request).await? {
        AdminReply::Error(error) => anyhow::bail!(error),
        reply => print(&reply),
    }
}

fn print(value: &impl serde::Serialize) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(value)?)?;
    Ok(())
}

/// How often a rotation's progress is asked for.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

async fn rotate_kek(socket: &Path) -> anyhow::Result<()> {
    let mut request = AdminRequest::RotateKek;
    let mut told = None;
    loop {
        let status = match admin::ask(socket, &request).await? {
            AdminReply::Kek(status) => status,
            AdminReply::Error(error) => anyhow::bail!(error),
            other => anyhow::bail!("the node answered something else: {other:?}"),
        };
        if !status.rotation_pending {
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&status)?)?;
            return match status.last {
                Some(RotationOutcome::Done { .. }) => Ok(()),
                Some(RotationOutcome::Failed(reason)) => anyhow::bail!("not rotated to the end: {reason}"),
                None => anyhow::bail!("the node was restarted meanwhile; ask `admin kek`"),
            };
        }
        if told != Some(status.kek.records_left) {
            told = Some(status.kek.records_left);
            writeln!(std::io::stderr(), "sealing again: {} shares left", status.kek.records_left)?;
        }
        request = AdminRequest::Kek;
        tokio::time::sleep(PROGRESS_INTERVAL).await;
    }
}

async fn serve(config: NodeConfig, found: bool, exit_with_stdin: bool) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).context("SIGINT")?;
    let (ended, stdin_ended) = tokio::sync::oneshot::channel();
    if exit_with_stdin {
        std::thread::spawn(move || {
            // Whatever comes or goes wrong, the end is the end.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = ended.send(());
        });
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            Ok(()) = stdin_ended => {}
        }
        let _ = stop.send(true);
    });
    crate::daemon::run(config, found, stopped).await
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the async runtime")
}

fn start_logging(log: &LogSection) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).with_context(|| format!("log.filter `{}`", log.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging: {error}"))
}

/// No core dumps, no debugger, and memory that is not swapped where the limit allows it.
fn harden() {
    if let Err(error) = secmem_proc::harden_process() {
        tracing::warn!(%error, "the process could not be hardened: a core dump could hold secrets");
    }
    // With a limit, locking what comes later would make allocations fail.
    if getrlimit(Resource::Memlock).current.is_some() {
        tracing::warn!("memory is not locked: set LimitMEMLOCK=infinity (systemd) or disable swap");
        return;
    }
    let everything = rustix::mm::MlockAllFlags::CURRENT | rustix::mm::MlockAllFlags::FUTURE | rustix::mm::MlockAllFlags::ONFAULT;
    if let Err(error) = rustix::mm::mlockall(everything) {
        tracing::warn!(%error, "memory could not be locked");
    }
}
