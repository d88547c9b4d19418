//! Five nodes in one process of its own, so that the shim for disks can be under it, and what starts and stops them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use warifu::local_cluster::status_at;
use warifu_node::config::NodeConfig;
use warifu_node::daemon;
use warifu_protocol::NodeId;
use warifu_protocol::wire::NodeStatus;

use crate::preload::Disk;

/// Hidden command of `raft-lines` that is the process of the nodes.
pub const NODES_COMMAND: &str = "__nodes";
/// Time for a node to end once it is told to.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const POLL: Duration = Duration::from_millis(50);
/// Pause before a node that ended by itself is started again.
const RESTART: Duration = Duration::from_millis(500);
/// Commands that wait; the driver sends one and looks what comes of it.
const COMMANDS_MAX: usize = 16;
/// Where the process of the nodes prints.
const LOG: &str = "nodes.log";

/// The process of all nodes, and what each may be told.
#[derive(Debug)]
pub(super) struct Nodes {
    directory: PathBuf,
    process: Child,
    commands: ChildStdin,
}

impl Nodes {
    /// Starts the process, with no node in it, under the shim if there is one. `directory` has a directory `node-N` for each.
    pub(super) fn start(directory: &Path, disk: Option<&Disk>) -> anyhow::Result<Self> {
        let log = std::fs::File::create(directory.join(LOG))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(NODES_COMMAND).arg(directory).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        command.envs(disk.map(Disk::environment).unwrap_or_default());
        let mut process = command.spawn().context("the process of the nodes cannot be started")?;
        let commands = process.stdin.take().context("it has an input")?;
        Ok(Self { directory: directory.to_owned(), process, commands })
    }

    /// Starts a node that does not run; `found` allows it to make its stores.
    pub(super) async fn start_node(&mut self, node: NodeId, found: bool) -> anyhow::Result<()> {
        self.tell(&format!("{} {node}", if found { FOUND } else { START })).await
    }

    /// Stops a node in order, if it runs, and waits until its place is free again.
    pub(super) async fn stop_node(&mut self, node: NodeId) -> anyhow::Result<()> {
        self.tell(&format!("{STOP} {node}")).await?;
        let (config, end) = (config(&self.directory, node)?, Instant::now() + STOP_DEADLINE);
        // Its socket, and its HTTP address, are what the next start needs.
        while std::net::UdpSocket::bind(config.listen.quic).is_err() || std::net::TcpListener::bind(config.listen.http).is_err() {
            ensure!(Instant::now() < end, "node {node} has not stopped after {STOP_DEADLINE:?}");
            sleep(POLL).await;
        }
        Ok(())
    }

    /// How a node says that it is, at its own socket.
    pub(super) async fn status(&self, node: NodeId) -> Option<NodeStatus> {
        status_at(&admin_socket(&self.directory, node)).await
    }

    /// Refuses to go on when the process has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        let ended = self.process.try_wait()?;
        ensure!(ended.is_none(), "the process of the nodes ended: {ended:?}; see {}", self.directory.join(LOG).display());
        Ok(())
    }

    /// Kills all nodes in one instant.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        self.check()?;
        self.commands.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.commands.flush().await?)
    }
}

/// Where a node's administrator reaches it.
pub(super) fn admin_socket(directory: &Path, node: NodeId) -> PathBuf {
    directory.join(format!("node-{node}")).join("data").join("admin.sock")
}

fn config(directory: &Path, node: NodeId) -> anyhow::Result<NodeConfig> {
    Ok(NodeConfig::load(&directory.join(format!("node-{node}")).join("config.toml"))?)
}

/// The process of the nodes: does what the lines of its input say, and ends with it.
///
/// # Errors
/// When a line is none of those, or there is no runtime.
pub fn run_nodes(directory: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (sender, mut lines) = mpsc::channel(COMMANDS_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let directory = directory.to_owned();
    let outcome: anyhow::Result<()> = runtime.block_on(async move {
        let mut running = BTreeMap::new();
        while let Some(line) = lines.recv().await {
            obey(&line, &directory, &mut running).await?;
        }
        Ok(())
    });
    runtime.shutdown_background();
    outcome
}

/// Runs a node until it is stopped; one that ends by itself is started again, as a service manager does it.
async fn serve(config: NodeConfig, mut found: bool, mut stopped: watch::Receiver<bool>) {
    while let Err(error) = daemon::run(config.clone(), found, stopped.clone()).await {
        // Whoever reads the log has nobody else to hear it from.
        let _ = writeln!(std::io::stderr(), "node {} ended: {error:#}", config.node.id);
        found = false;
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = sleep(RESTART) => {}
        }
    }
}

type Running = BTreeMap<NodeId, (watch::Sender<bool>, JoinHandle<()>)>;

const FOUND: &str = "found";
const START: &str = "start";
const STOP: &str = "stop";

async fn obey(line: &str, directory: &Path, running: &mut Running) -> anyhow::Result<()> {
    let (what, node) = line.split_once(' ').context("a command and a node")?;
    let node = node.parse().ok().and_then(NodeId::new).context("a node")?;
    match what {
        FOUND | START => {
            let (stop, stopped) = watch::channel(false);
            let task = tokio::spawn(serve(config(directory, node)?, what == FOUND, stopped));
            running.insert(node, (stop, task));
        }
        STOP => {
            if let Some((stop, task)) = running.remove(&node) {
                let _ = stop.send(true);
                task.await?;
            }
        }
        other => bail!("no command: {other}"),
    }
    Ok(())
}
