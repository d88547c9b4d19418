//! The commands.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use warifu_protocol::{
    ClusterRecord, CoordinatorEntry, Name, NodeEntry, NodeId, OfficerEntry, OrderCommand, Policy, RosterFile, Sha256, StoreId,
    verify_roster_chain,
};

use super::change::{self, Change, unfit};
use super::show;
use crate::connection::ConnectionArgs;
use crate::console::Console;
use crate::files::{self, FileError, MODE_PUBLIC};
use crate::genesis::AnchorArgument;
use crate::orders::{OrderArgs, OrderContext, OrderError, load_cluster, load_genesis};

/// Nodes, coordinators and officers. A change needs 2 security officers and the consent of t sites
#[derive(clap::Subcommand, Debug)]
pub enum RosterCommand {
    /// Fetch every order that changed the cluster, verify them from the genesis, and write the file that new sites and coordinators need
    #[command(after_help = "Example:\n  warifu roster export --genesis genesis.toml --out roster.json")]
    Export {
        /// The cluster's signed genesis.toml
        #[arg(long, value_name = "FILE", env = "WARIFU_GENESIS")]
        genesis: PathBuf,
        /// Where to write; an older file there is replaced
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How to reach the coordinator
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Show the cluster as a genesis and a roster file make it; needs no cluster
    #[command(after_help = "Example:\n  warifu roster show --genesis genesis.toml --roster roster.json")]
    Show {
        /// The cluster's signed genesis.toml
        #[arg(long, value_name = "FILE", env = "WARIFU_GENESIS")]
        genesis: PathBuf,
        /// As `warifu roster export` writes it; without it the genesis is shown
        #[arg(long, value_name = "FILE", env = "WARIFU_ROSTER")]
        roster: Option<PathBuf>,
    },
    /// Take a site in; it starts with `--found` and the exported roster once the order is applied
    #[command(after_help = "Example:\n  warifu-node init --dir keys --id 6 --address site-6.example:7400 > node-6.toml\n  \
                            warifu roster add-node node-6.toml --genesis genesis.toml --order-out add-6.json")]
    AddNode {
        /// The site's entry, as `warifu-node init` printed it
        file: PathBuf,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Take a site out for good; its shares are lost, so the rest must be enough
    #[command(after_help = "Example:\n  warifu roster remove-node 6 --genesis genesis.toml --roster roster.json --order-out remove-6.json")]
    RemoveNode {
        /// Which
        id: u8,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Admit a site that lost its disk on a new store; needs 2 security officers, no consent
    #[command(
        after_help = "Example:\n  warifu-node init --replace data --genesis genesis.toml --dir keys-2 --id 3 --address site-3.example:7400 > replacement-3.toml\n  \
                            warifu roster replace-store replacement-3.toml --genesis genesis.toml --approve-with so-1.key so-2.key"
    )]
    ReplaceStore {
        /// Store and entry, as `warifu-node init --replace` printed them
        file: PathBuf,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Take a coordinator in, or give one new keys
    PutCoordinator {
        /// Its entry, as `warifu genesis new-coordinator` printed it
        file: PathBuf,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Take a coordinator out
    RemoveCoordinator {
        /// Which
        id: Name,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Take an officer in, or give one another role or key
    PutOfficer {
        /// The entry, as `warifu officer new-key` printed it
        file: PathBuf,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Take an officer out
    RemoveOfficer {
        /// Who
        id: Name,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
}

/// The policy. A change needs 2 security officers and the consent of t sites
#[derive(clap::Subcommand, Debug)]
pub enum PolicyCommand {
    /// Print the policy as TOML, to be edited for `set`
    Show {
        /// The cluster's signed genesis.toml
        #[arg(long, value_name = "FILE", env = "WARIFU_GENESIS")]
        genesis: PathBuf,
        /// As `warifu roster export` writes it
        #[arg(long, value_name = "FILE", env = "WARIFU_ROSTER")]
        roster: Option<PathBuf>,
    },
    /// Put another policy in the place of the whole present one
    #[command(after_help = "Example:\n  warifu policy show --genesis genesis.toml > policy.toml\n  \
                            warifu policy set policy.toml --genesis genesis.toml --order-out policy.json")]
    Set {
        /// The policy, TOML; fields that are left out have their default
        file: PathBuf,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
}

/// The pinned CAs. A change needs 2 security officers and the consent of t sites
#[derive(clap::Subcommand, Debug)]
pub enum AnchorsCommand {
    /// Pin further CAs, drop others, or both at once
    #[command(
        after_help = "Example:\n  warifu anchors update --add hpki-signing:1.2.392.100495.1.5.1.1.3.1:new-ca.pem --genesis genesis.toml --order-out anchors.json"
    )]
    Update {
        /// A CA to pin, KIND:POLICY[+POLICY]:FILE
        #[arg(long, value_name = "ANCHOR")]
        add: Vec<AnchorArgument>,
        /// A CA to drop, by the SHA-256 of its certificate as `warifu roster show` lists it
        #[arg(long, value_name = "HASH")]
        remove: Vec<Sha256>,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
}

/// As `warifu-node init --replace` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replacement {
    store: StoreId,
    node: NodeEntry,
}

/// Runs a command on the roster.
///
/// # Errors
/// See [`OrderError`].
pub async fn run(command: RosterCommand, console: Console) -> Result<(), OrderError> {
    match command {
        RosterCommand::Export { genesis, out, connection } => export(&genesis, &out, &connection, console).await,
        RosterCommand::Show { genesis, roster } => {
            let cluster = load_cluster(&load_genesis(&genesis)?, roster.as_deref())?;
            console.data(&cluster, || show::cluster(&cluster));
            Ok(())
        }
        RosterCommand::AddNode { file, order } => {
            let entry = read_toml::<NodeEntry>(&file, "node entry")?;
            update(console, &order, Change::AddNode(entry)).await
        }
        RosterCommand::RemoveNode { id, order } => {
            let id = NodeId::new(id).ok_or_else(|| unfit(format!("a node id is 1 to {}", NodeId::MAX)))?;
            update(console, &order, Change::RemoveNode(id)).await
        }
        RosterCommand::ReplaceStore { file, order } => {
            let Replacement { store, node } = read_toml(&file, "replacement")?;
            order.dispatch(&order.context(console)?, OrderCommand::ReplaceStore { node, store }, None).await
        }
        RosterCommand::PutCoordinator { file, order } => {
            let entry = read_toml::<CoordinatorEntry>(&file, "coordinator entry")?;
            update(console, &order, Change::PutCoordinator(entry)).await
        }
        RosterCommand::RemoveCoordinator { id, order } => update(console, &order, Change::RemoveCoordinator(id)).await,
        RosterCommand::PutOfficer { file, order } => {
            let entry = read_toml::<OfficerEntry>(&file, "officer entry")?;
            update(console, &order, Change::PutOfficer(entry)).await
        }
        RosterCommand::RemoveOfficer { id, order } => update(console, &order, Change::RemoveOfficer(id)).await,
    }
}

/// Runs a command on the policy.
///
/// # Errors
/// See [`OrderError`].
pub async fn run_policy(command: PolicyCommand, console: Console) -> Result<(), OrderError> {
    match command {
        PolicyCommand::Show { genesis, roster } => {
            let cluster = load_cluster(&load_genesis(&genesis)?, roster.as_deref())?;
            console.data(&cluster.policy, || toml::to_string_pretty(&cluster.policy).unwrap_or_default());
            Ok(())
        }
        PolicyCommand::Set { file, order } => {
            let policy = read_toml::<Policy>(&file, "policy")?;
            let context = order.context(console)?;
            let cluster = current(&context, &order).await?;
            policy.check(&cluster.officers).map_err(|error| unfit(error.to_string()))?;
            changed(console, &order, context, cluster, OrderCommand::UpdatePolicy { policy }).await
        }
    }
}

/// Runs a command on the pinned CAs.
///
/// # Errors
/// See [`OrderError`].
pub async fn run_anchors(command: AnchorsCommand, console: Console) -> Result<(), OrderError> {
    let AnchorsCommand::Update { add, remove, order } = command;
    let add = add.iter().map(AnchorArgument::read).collect::<Result<Vec<_>, _>>().map_err(|error| unfit(crate::error::chain(&error)))?;
    let context = order.context(console)?;
    let cluster = current(&context, &order).await?;
    let command = change::anchors(&cluster, add, &remove)?;
    changed(console, &order, context, cluster, command).await
}

async fn update(console: Console, order: &OrderArgs, change: Change) -> Result<(), OrderError> {
    let context = order.context(console)?;
    let cluster = current(&context, order).await?;
    let command = change::roster(&cluster, change)?;
    changed(console, order, context, cluster, command).await
}

/// Shows what changes, and writes the order for the cluster as it stands.
async fn changed(
    console: Console,
    order: &OrderArgs,
    mut context: OrderContext,
    cluster: ClusterRecord,
    command: OrderCommand,
) -> Result<(), OrderError> {
    console.say("against the cluster as it stands:");
    cluster.describe_change(&command).iter().for_each(|line| console.say(format!("  {line}")));
    context.cluster = cluster;
    order.dispatch(&context, command, None).await
}

/// The cluster as it stands: from the roster file if one is given, otherwise from the coordinator. Verified from the genesis either way.
async fn current(context: &OrderContext, order: &OrderArgs) -> Result<ClusterRecord, OrderError> {
    if order.roster.is_some() {
        return Ok(context.cluster.clone());
    }
    let orders = order.connection.client()?.roster().await?;
    verify_roster_chain(&context.genesis, &orders).map_err(|error| unfit(format!("the coordinator's orders do not follow: {error}")))
}

async fn export(genesis: &Path, out: &Path, connection: &ConnectionArgs, console: Console) -> Result<(), OrderError> {
    let genesis = load_genesis(genesis)?;
    let orders = connection.client()?.roster().await?;
    let cluster =
        verify_roster_chain(&genesis, &orders).map_err(|error| unfit(format!("the coordinator's orders do not follow: {error}")))?;
    files::replace(out, &files::json_bytes(&RosterFile { orders }), MODE_PUBLIC)?;
    let revision = cluster.revision();
    console.data(&cluster, || format!("written to {}: {revision} orders since the genesis", out.display()));
    Ok(())
}

fn read_toml<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, FileError> {
    let text = files::read_text(path, what, ENTRY_BYTES_MAX)?;
    toml::from_str(&text).map_err(|error| files::malformed(path, what, error.to_string().trim_end()))
}

/// Largest entry: a node's has about 2 KiB, most of it its sealing key.
const ENTRY_BYTES_MAX: usize = 64 * 1024;
