//! What all commands that write an order have in common.

use std::path::{Path, PathBuf};

use serde::Serialize;
use warifu_core::describe;
use warifu_protocol::cluster::ROSTER_FILE_BYTES_MAX;
use warifu_protocol::genesis::GENESIS_BYTES_MAX;
use warifu_protocol::wire::ObjectRef;
use warifu_protocol::{
    Approval, ClusterId, ClusterRecord, Genesis, ImportPacket, KeyImport, ObjectVersion, OfficerRole, OrderCommand, OrderId, RosterFile,
    StopCommand, limits,
};

use super::file::{OrderError, OrderFile};
use super::stop::{StopArgs, follow};
use super::submit::{Enclosed, Submitted, submit_enclosed};
use crate::clock::now;
use crate::connection::ConnectionArgs;
use crate::console::Console;
use crate::files;
use crate::keys::{OfficerKey, OfficerKeyFile, PassphraseArgs};

/// Where an order goes: to a file for the officers, or through their approvals straight to the cluster.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Order")]
pub struct OrderArgs {
    /// The cluster's signed genesis.toml
    #[arg(long, value_name = "FILE", env = "WARIFU_GENESIS")]
    pub genesis: PathBuf,

    /// The orders that changed the cluster since, as `warifu roster export` writes them; needed when officers or approvals have changed
    #[arg(long, value_name = "FILE", env = "WARIFU_ROSTER")]
    pub roster: Option<PathBuf>,

    /// Where to write the order for the officers to approve; `order-<id>.json` unless given
    #[arg(long, value_name = "FILE", conflicts_with = "approve_with")]
    pub order_out: Option<PathBuf>,

    /// Hours for which the order may be submitted
    #[arg(long, value_name = "HOURS", default_value_t = VALID_HOURS, value_parser = clap::value_parser!(u64).range(1..=VALID_HOURS_MAX))]
    pub valid_hours: u64,

    /// Version of the object that the order changes; without it the coordinator is asked
    #[arg(long, value_name = "NUMBER")]
    pub object_version: Option<u64>,

    /// Approve at once with these officers' keys and submit
    #[arg(long, value_name = "KEY", num_args = 1..)]
    pub approve_with: Vec<PathBuf>,

    /// With --approve-with: approve without asking
    #[arg(long)]
    pub yes: bool,

    /// What to do when it stops somebody
    #[command(flatten)]
    pub stop: StopArgs,

    /// The key's passphrase
    #[command(flatten)]
    pub passphrase: PassphraseArgs,

    /// How to reach the coordinator
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// The cluster that orders are written for.
#[derive(Clone, Debug)]
pub struct OrderContext {
    /// Its genesis.
    pub genesis: Genesis,
    /// How it stands, as far as the roster file leads.
    pub cluster: ClusterRecord,
    /// How to talk to the person.
    pub console: Console,
}

/// What a command that writes an order says in JSON.
#[derive(Serialize)]
struct Written {
    order: OrderId,
    file: Option<PathBuf>,
    submitted: Option<Submitted>,
}

impl OrderArgs {
    /// Reads the genesis.
    ///
    /// # Errors
    /// [`OrderError::File`] or [`OrderError::Genesis`].
    pub fn context(&self, console: Console) -> Result<OrderContext, OrderError> {
        let genesis = load_genesis(&self.genesis)?;
        let cluster = load_cluster(&genesis, self.roster.as_deref())?;
        Ok(OrderContext { genesis, cluster, console })
    }

    /// Writes the order to its file, or has it approved and submits it.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn dispatch(&self, context: &OrderContext, command: OrderCommand, crl: Option<&[u8]>) -> Result<(), OrderError> {
        let version = self.version(&command).await?;
        let order = OrderFile::draft(context.cluster.cluster, command, version, now(), self.life_millis(context));
        self.send(context, order, crl.map_or(Enclosed::Nothing, Enclosed::Crl)).await
    }

    /// As [`Self::dispatch`], for the order under whose identifier a key's shares were sealed.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn dispatch_import(
        &self,
        context: &OrderContext,
        id: OrderId,
        import: KeyImport,
        packets: &[ImportPacket],
    ) -> Result<(), OrderError> {
        let (cluster, command) = (context.cluster.cluster, OrderCommand::Import { import });
        let order = OrderFile::draft_as(id, cluster, command, ObjectVersion(0), now(), self.life_millis(context));
        self.send(context, order, Enclosed::Packets(packets)).await
    }

    /// Whether orders are approved and submitted at once.
    #[must_use]
    pub const fn submits(&self) -> bool {
        !self.approve_with.is_empty()
    }

    fn life_millis(&self, context: &OrderContext) -> u64 {
        (self.valid_hours * HOUR_MILLIS).min(context.cluster.policy.order_millis_max)
    }

    async fn send(&self, context: &OrderContext, mut order: OrderFile, enclosed: Enclosed<'_>) -> Result<(), OrderError> {
        let id = order.0.body.id;
        for line in describe::order(&order.0.body) {
            context.console.say(line);
        }
        let consent = order.0.body.order.class().needs_consent();
        if consent && !self.approve_with.is_empty() {
            let reason = "this order needs the consent of sites before it is submitted: leave --approve-with away and follow the steps";
            return Err(OrderError::Unfit { reason: reason.to_owned() });
        }
        if self.approve_with.is_empty() {
            let path = self.order_out.clone().unwrap_or_else(|| PathBuf::from(format!("order-{id}.json")));
            order.save_new(&path)?;
            context.console.say(next_steps(&context.cluster, &order, &path));
            context.console.data(&Written { order: id, file: Some(path), submitted: None }, || format!("order {id}"));
            return Ok(());
        }
        let client = self.connection.client()?;
        context.console.confirm("Approve this order?", self.yes)?;
        for path in &self.approve_with {
            let key = open_key(path, &self.passphrase)?;
            check_officer(&context.cluster, &key, &order)?;
            order.approve(&key, now())?;
        }
        let mut submitted = submit_enclosed(&client, &order, enclosed, context.console).await?;
        follow(&client, StopCommand::Order(order.0.clone()), &mut submitted, &self.stop, context.console).await?;
        let place = submitted.index.map(|index| format!(" at index {index}")).unwrap_or_default();
        context.console.data(&Written { order: id, file: None, submitted: Some(submitted) }, || format!("order {id} was applied{place}"));
        Ok(())
    }

    async fn version(&self, command: &OrderCommand) -> Result<ObjectVersion, OrderError> {
        let Some(object) = versioned_object(command) else { return Ok(ObjectVersion(0)) };
        match self.object_version {
            Some(version) => Ok(ObjectVersion(version)),
            None => Ok(self.connection.client()?.object_version(&object).await?),
        }
    }
}

/// Reads and checks a genesis.
///
/// # Errors
/// [`OrderError::File`] or [`OrderError::Genesis`].
pub fn load_genesis(path: &Path) -> Result<Genesis, OrderError> {
    let text = files::read_text(path, "genesis", GENESIS_BYTES_MAX)?;
    Genesis::from_toml(&text).map_err(|source| OrderError::Genesis { path: path.to_owned(), source })
}

/// Follows the orders of a roster file from the genesis; without a file the cluster is as it was founded.
///
/// # Errors
/// [`OrderError::File`] or [`OrderError::Roster`].
pub fn load_cluster(genesis: &Genesis, roster: Option<&Path>) -> Result<ClusterRecord, OrderError> {
    let Some(path) = roster else { return Ok(ClusterRecord::founded(genesis)) };
    let text = files::read_text(path, "roster", ROSTER_FILE_BYTES_MAX)?;
    RosterFile::follow(&text, genesis).map_err(|source| OrderError::Roster { path: path.to_owned(), source })
}

/// Opens an officer's key with the passphrase that the arguments give.
///
/// # Errors
/// See [`OrderError`].
pub fn open_key(path: &Path, passphrase: &PassphraseArgs) -> Result<OfficerKey, OrderError> {
    let file = OfficerKeyFile::read(path)?;
    let passphrase = passphrase.existing(&format!("officer {} ({})", file.officer.id, path.display()))?;
    Ok(file.open(&passphrase)?)
}

/// Refuses what every node would refuse: an officer whom the roster does not name, or one of the wrong role, whose approval would spoil
/// the order.
///
/// # Errors
/// [`OrderError::WrongCluster`], [`OrderError::OfficerUnknown`] or [`OrderError::OfficerRole`].
pub fn check_officer(cluster: &ClusterRecord, key: &OfficerKey, order: &OrderFile) -> Result<(), OrderError> {
    check_cluster(cluster, order)?;
    let officer = key.officer();
    if cluster.officer(&officer.id) != Some(officer) {
        return Err(OrderError::OfficerUnknown { officer: officer.id.clone() });
    }
    let rules = cluster.policy.rules_for(order.0.body.order.class());
    match rules.first() {
        Some(first) if rules.iter().all(|rule| rule.role != officer.role) => {
            Err(OrderError::OfficerRole { officer: officer.id.clone(), role: officer.role, needed: first.role })
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses an order for another cluster.
///
/// # Errors
/// [`OrderError::WrongCluster`].
pub fn check_cluster(cluster: &ClusterRecord, order: &OrderFile) -> Result<(), OrderError> {
    let (found, expected): (ClusterId, ClusterId) = (order.0.body.cluster, cluster.cluster);
    if found == expected { Ok(()) } else { Err(OrderError::WrongCluster { found, expected }) }
}

/// How many approvals an order has and needs, in words.
#[must_use]
pub fn approvals_text(cluster: &ClusterRecord, order: &OrderFile) -> String {
    let of_role = |role: OfficerRole| {
        let approved = |approval: &&Approval| cluster.officer(&approval.officer).is_some_and(|officer| officer.role == role);
        order.0.approvals.iter().filter(approved).count()
    };
    let rules = cluster.policy.rules_for(order.0.body.order.class());
    let parts = rules.iter().map(|rule| format!("{} of {} approvals (role: {})", of_role(rule.role), rule.count, rule.role));
    parts.collect::<Vec<_>>().join(" and ")
}

/// The object whose version an order must name; `None` for what is new or has no version.
#[must_use]
pub fn versioned_object(command: &OrderCommand) -> Option<ObjectRef> {
    match command {
        OrderCommand::InstallCertificate { credential, .. }
        | OrderCommand::UnbindAuthenticator { credential, .. }
        | OrderCommand::ResumeBinding { credential, .. }
        | OrderCommand::Resume { credential } => Some(ObjectRef::Credential(*credential)),
        OrderCommand::BindAuthenticator { binding, .. } | OrderCommand::BindWithNotice { binding, .. } => {
            Some(ObjectRef::Credential(binding.credential))
        }
        OrderCommand::RetireTerminal { terminal } => Some(ObjectRef::Terminal(*terminal)),
        OrderCommand::UpdateRoster { .. } | OrderCommand::ReplaceStore { .. } => Some(ObjectRef::Roster),
        OrderCommand::UpdatePolicy { .. } => Some(ObjectRef::Policy),
        OrderCommand::UpdateAnchors { .. } => Some(ObjectRef::Anchors),
        OrderCommand::Enrol { .. }
        | OrderCommand::Import { .. }
        | OrderCommand::Refresh { .. }
        | OrderCommand::RefreshAll { .. }
        | OrderCommand::EnrolFacility { .. }
        | OrderCommand::EnrolTerminal { .. }
        | OrderCommand::Suspend { .. }
        | OrderCommand::SuspendBinding { .. }
        | OrderCommand::Destroy { .. }
        | OrderCommand::Revoke { .. }
        | OrderCommand::CloseSession { .. }
        | OrderCommand::UpdateCrl { .. } => None,
    }
}

fn next_steps(cluster: &ClusterRecord, order: &OrderFile, path: &Path) -> String {
    let enclosed = match order.0.body.order {
        OrderCommand::UpdateCrl { .. } => " --crl FILE",
        OrderCommand::Import { .. } => " --packets FILE",
        _ => "",
    };
    let file = path.display();
    let consent = if order.0.body.order.class().needs_consent() {
        format!("\nthen at {} sites, each at its own node: warifu-node admin --socket SOCKET consent --order {file}", cluster.threshold.0)
    } else {
        String::new()
    };
    format!(
        "written to {file}; it has {}\nnext: warifu officer approve --order {file} --key KEY --genesis FILE{consent}\nthen: warifu officer submit --order {file}{enclosed}",
        approvals_text(cluster, order)
    )
}

const HOUR_MILLIS: u64 = 60 * 60 * 1000;
/// A day: the officers may sit at different places.
const VALID_HOURS: u64 = 24;
const VALID_HOURS_MAX: u64 = limits::ORDER_MILLIS_MAX / HOUR_MILLIS;
