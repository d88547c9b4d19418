//! The process: what is started, in which order, and how it ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warifu_protocol::cluster::RosterFileError;
use warifu_protocol::transport::{ClientError, IdentityError, TlsIdentity};
use warifu_protocol::{ClusterRecord, Genesis, GenesisError, Name, RosterFile, SpkiHash};

use crate::config::{Config, ConfigError, Log, LogFormat};
use crate::http::{App, Clients, LimitConnections, TlsError, pages, router, server_config};
use crate::limits::CLIENT_HEAD_DEADLINE;
use crate::metrics::Metrics;
use crate::nodes::{CallNode, Nodes, QuicNodes, Stops};

/// Arguments of the program.
#[derive(Parser, Debug, Clone)]
#[command(
    name = "warifu-coordinator",
    version,
    about = "Relays sessions, orders and documents to the nodes and gathers their signature shares."
)]
pub struct Args {
    /// Configuration file (TOML).
    #[arg(long)]
    pub config: PathBuf,
}

/// A coordinator that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The genesis cannot be used.
    #[error("genesis {}", path.display())]
    Genesis {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: GenesisError,
    },
    /// The TLS identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The roster cannot be used.
    #[error("roster {}", path.display())]
    Roster {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: RosterFileError,
    },
    /// Genesis and roster name no coordinator of this name.
    #[error("the roster known here names no coordinator {name}; if an order added it, give `roster`, as `warifu roster export` writes it")]
    NotInRoster {
        /// Name of the configuration.
        name: Name,
    },
    /// The roster gives this coordinator another key.
    #[error("the roster known here gives {name} the key {expected}, the configured identity has {found}")]
    OtherKey {
        /// Which coordinator.
        name: Name,
        /// In the roster.
        expected: SpkiHash,
        /// In the file.
        found: SpkiHash,
    },
    /// No socket for calls to the nodes.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server's TLS files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Signals cannot be received, or threads not started.
    #[error("the system refuses what the process needs")]
    System {
        /// What it said.
        source: std::io::Error,
    },
}

/// A coordinator at work.
#[derive(Debug)]
pub struct Running {
    /// Where clients connect, with the port that was taken.
    pub https: SocketAddr,
    /// Where the operator's pages are.
    pub metrics: SocketAddr,
    stop: Stop,
}

struct Stop {
    app: Arc<App>,
    handle: Handle<SocketAddr>,
    server: JoinHandle<std::io::Result<()>>,
    background: CancellationToken,
    pages: JoinHandle<()>,
    tasks: TaskTracker,
    config: Config,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}

/// Runs a coordinator until `shutdown` ends, then lets running requests end.
///
/// # Errors
/// [`RunError`] when it cannot start.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let cluster = read_cluster(&config)?;
    let identity = identity(&config, &cluster)?;
    let client = Arc::new(QuicNodes::new(&cluster, config.addresses(), &identity)?);
    let id = cluster.cluster;
    let running = start(config, cluster, Arc::clone(&client) as _).await?;
    tracing::info!(https = %running.https, metrics = %running.metrics, cluster = %id, "the coordinator runs");
    shutdown.await;
    tracing::info!("the coordinator stops");
    running.stop().await;
    client.shutdown().await;
    Ok(())
}

/// Starts a coordinator with the given way to the nodes.
///
/// # Errors
/// [`RunError`] when files cannot be used or addresses are taken.
pub async fn start(config: Config, cluster: ClusterRecord, calls: Arc<dyn CallNode>) -> Result<Running, RunError> {
    let background = CancellationToken::new();
    let tasks = TaskTracker::new();
    let clients = Arc::new(Clients::new(&config.clients));
    let tls = server_config(&config.https.tls(), Arc::clone(&clients))?;
    let listener = listen(config.https.listen).await?;
    let https = local(&listener, config.https.listen)?;
    let pages_listener = listen(config.metrics).await?;
    let metrics_address = local(&pages_listener, config.metrics)?;

    let nodes = Nodes::start(cluster, config.name.clone(), calls, Arc::new(Metrics::new()), &background, &tasks);
    let stops = Stops::new(Arc::clone(&nodes), background.clone(), tasks.clone());
    let app = Arc::new(App::new(nodes, stops, clients, &config.limits));

    let handle = Handle::new();
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls))).handshake_timeout(CLIENT_HEAD_DEADLINE);
    let mut server = axum_server::Server::<SocketAddr>::from_listener(listener)
        .acceptor(LimitConnections::new(acceptor, config.limits.connections))
        .first_request_timeout(CLIENT_HEAD_DEADLINE)
        .handle(handle.clone())
        .http1_only();
    server.http_builder().http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(CLIENT_HEAD_DEADLINE);
    let service = router(Arc::clone(&app)).into_make_service();
    let server = tokio::spawn(server.serve(service));

    let (router, ended) = (pages(Arc::clone(&app)), background.clone());
    let pages = tokio::spawn(async move {
        if let Err(error) = axum::serve(pages_listener, router).with_graceful_shutdown(ended.cancelled_owned()).await {
            tracing::error!(%error, "the pages are not served any more");
        }
    });
    Ok(Running { https, metrics: metrics_address, stop: Stop { app, handle, server, background, pages, tasks, config } })
}

impl Running {
    /// Stops: not ready first, then no new connections, then running requests end or are cut off, then the rest.
    pub async fn stop(self) {
        let Stop { app, handle, server, background, pages, tasks, config } = self.stop;
        app.begin_stopping();
        handle.graceful_shutdown(Some(config.shutdown_deadline));
        match server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the HTTPS server ended badly"),
            Err(error) => tracing::error!(%error, "the HTTPS server ended badly"),
        }
        background.cancel();
        tasks.close();
        tasks.wait().await;
        // A page that is being read is not worth waiting for.
        pages.abort();
    }
}

/// The program: reads the configuration, sets up the log, and runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`], for the caller to print.
pub fn run_daemon(args: &Args) -> Result<(), RunError> {
    let config = Config::load(&args.config)?;
    start_log(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|source| RunError::System { source })?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(|source| RunError::System { source })?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|source| RunError::System { source })?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        run(config, shutdown).await
    })
}

fn start_log(log: &Log) {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.filter).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process is refused, and the first one serves.
    let _ = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

fn read_cluster(config: &Config) -> Result<ClusterRecord, RunError> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source });
    let genesis =
        Genesis::from_toml(&read(&config.genesis)?).map_err(|source| RunError::Genesis { path: config.genesis.clone(), source })?;
    match &config.roster {
        None => Ok(ClusterRecord::founded(&genesis)),
        Some(path) => RosterFile::follow(&read(path)?, &genesis).map_err(|source| RunError::Roster { path: path.clone(), source }),
    }
}

fn identity(config: &Config, cluster: &ClusterRecord) -> Result<TlsIdentity, RunError> {
    let identity = TlsIdentity::load(&config.identity.certificate, &config.identity.key)?;
    let entry = cluster.coordinator(&config.name).ok_or_else(|| RunError::NotInRoster { name: config.name.clone() })?;
    if entry.tls_spki != identity.spki_hash() {
        return Err(RunError::OtherKey { name: config.name.clone(), expected: entry.tls_spki, found: identity.spki_hash() });
    }
    Ok(identity)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, RunError> {
    listener.local_addr().map_err(|source| RunError::Listen { address, source })
}
