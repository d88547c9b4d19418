//! The commands.

use std::path::PathBuf;

use serde::Serialize;
use warifu_core::describe;
use warifu_protocol::canonical::sha256;
use warifu_protocol::{Name, OfficerEntry, OfficerRole, Sha256, StopCommand};

use crate::clock::now;
use crate::connection::ConnectionArgs;
use crate::console::Console;
use crate::files;
use crate::keys::{OfficerKeyFile, PassphraseArgs};
use crate::orders::{
    Enclosed, OrderError, OrderFile, StopArgs, approvals_text, check_officer, follow, load_cluster, load_genesis, open_key, read_packets,
    submit_enclosed,
};

/// Keys of officers, and what they do with orders
#[derive(clap::Subcommand, Debug)]
pub enum OfficerCommand {
    /// Make an officer's key and print the entry for the genesis
    #[command(after_help = "Example:\n  warifu officer new-key --id op-1 --role operator --out op-1.key > op-1.toml")]
    NewKey {
        /// Name of the officer: 1 to 64 characters of a-z 0-9 - _ .
        #[arg(long)]
        id: Name,
        /// What the officer may approve
        #[arg(long, value_enum)]
        role: Role,
        /// Where to write the key
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The key's passphrase
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Print the public entry of an officer's key; needs no passphrase
    Show {
        /// The officer's key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Show an order in words and approve it
    #[command(after_help = "Example:\n  warifu officer approve --order order.json --key op-1.key --genesis genesis.toml")]
    Approve {
        /// The order; the approval is added to this file
        #[arg(long, value_name = "FILE")]
        order: PathBuf,
        /// The officer's key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The cluster's signed genesis.toml
        #[arg(long, value_name = "FILE", env = "WARIFU_GENESIS")]
        genesis: PathBuf,
        /// The orders that changed the cluster since, as `warifu roster export` writes them
        #[arg(long, value_name = "FILE", env = "WARIFU_ROSTER")]
        roster: Option<PathBuf>,
        /// Approve without asking
        #[arg(long)]
        yes: bool,
        /// The key's passphrase
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Send an approved order to the cluster; safe to repeat when the outcome is unknown
    #[command(
        after_help = "Example:\n  warifu officer submit --order order.json --api https://coordinator:8443 --ca ca.pem --cert ca-desk.pem --key ca-desk.key"
    )]
    Submit {
        /// The approved order
        #[arg(long, value_name = "FILE")]
        order: PathBuf,
        /// For an order that announces a CRL: the CRL, DER or PEM
        #[arg(long, value_name = "FILE")]
        crl: Option<PathBuf>,
        /// For an order that imports a key: its sealed packets, brought to every site until all have confirmed
        #[arg(long, value_name = "FILE", conflicts_with = "crl")]
        packets: Option<PathBuf>,
        /// What to do when it stops somebody
        #[command(flatten)]
        stop: StopArgs,
        /// How to reach the coordinator
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// Roles of EN 419 241-1
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Decides on keys, roster, policy and anchors
    SecurityOfficer,
    /// Runs the machines
    Administrator,
    /// Enrols, certifies, binds, revokes
    Operator,
    /// Reads
    Auditor,
}

impl From<Role> for OfficerRole {
    fn from(role: Role) -> Self {
        match role {
            Role::SecurityOfficer => Self::SecurityOfficer,
            Role::Administrator => Self::Administrator,
            Role::Operator => Self::Operator,
            Role::Auditor => Self::Auditor,
        }
    }
}

/// Runs one of the commands.
///
/// # Errors
/// See [`OrderError`].
pub async fn run(command: OfficerCommand, console: Console) -> Result<(), OrderError> {
    match command {
        OfficerCommand::NewKey { id, role, out, passphrase } => {
            let passphrase = passphrase.new_one(&format!("the new key of officer {id}"))?;
            let file = OfficerKeyFile::create(&out, id, role.into(), &passphrase)?;
            print_entry(console, &file.officer);
        }
        OfficerCommand::Show { key } => print_entry(console, &OfficerKeyFile::read(&key)?.officer),
        OfficerCommand::Approve { order: path, key, genesis, roster, yes, passphrase } => {
            let cluster = load_cluster(&load_genesis(&genesis)?, roster.as_deref())?;
            let mut order = OrderFile::load(&path)?;
            for line in describe::order(&order.0.body) {
                console.say(line);
            }
            let changes = cluster.describe_change(&order.0.body.order);
            if !changes.is_empty() {
                console.say("against the cluster as it is known here:");
                changes.iter().for_each(|line| console.say(format!("  {line}")));
            }
            let hash = Sha256::new(sha256(&order.0.body.message()));
            console.say(format!("SHA-256 of what is approved: {hash}"));
            console.confirm("Approve this order?", yes)?;
            let key = open_key(&key, &passphrase)?;
            check_officer(&cluster, &key, &order)?;
            order.approve(&key, now())?;
            order.save(&path)?;
            let state = approvals_text(&cluster, &order);
            console.data(&Approved { order: order.0.body.id.to_string(), hash, approvals: order.0.approvals.len() }, || {
                format!("approved: {} has {state}", path.display())
            });
        }
        OfficerCommand::Submit { order, crl, packets, stop, connection } => {
            let order = OrderFile::load(&order)?;
            let crl = crl.map(|path| files::read_der(&path, "CRL", "X509 CRL", CRL_FILE_BYTES_MAX)).transpose()?;
            let packets = packets.map(|path| read_packets(&path)).transpose()?;
            let enclosed = match (&crl, &packets) {
                (Some(der), _) => Enclosed::Crl(der),
                (None, Some(packets)) => Enclosed::Packets(packets),
                (None, None) => Enclosed::Nothing,
            };
            let client = connection.client()?;
            let mut answer = submit_enclosed(&client, &order, enclosed, console).await?;
            follow(&client, StopCommand::Order(order.0.clone()), &mut answer, &stop, console).await?;
            let place = answer.index.map(|index| format!(" at index {index}")).unwrap_or_default();
            console.data(&answer, || format!("order {} was applied{place}", order.0.body.id));
        }
    }
    Ok(())
}

fn print_entry(console: Console, entry: &OfficerEntry) {
    console.data(entry, || toml::to_string(entry).expect("an officer entry has only values that TOML can hold").trim_end().to_owned());
}

#[derive(Serialize)]
struct Approved {
    order: String,
    hash: Sha256,
    approvals: usize,
}

/// The largest CRL as PEM.
pub(crate) const CRL_FILE_BYTES_MAX: usize = 2 * warifu_protocol::limits::CRL_BYTES_MAX as usize;
