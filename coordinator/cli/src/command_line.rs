//! The command line of `warifu`.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use crate::card_command::{self, CardCommand};
use crate::connection::ConnectionArgs;
use crate::console::Console;
use crate::credential::{self, CredentialCommand, CrlCommand, FacilityCommand, SessionCommand};
use crate::error::{CommandError, Exit, chain};
use crate::genesis::{self, GenesisCommand};
use crate::officer::{self, OfficerCommand};
use crate::orders::{self, ReceiptsCommand};
use crate::roster::{self, AnchorsCommand, PolicyCommand, RosterCommand};
use crate::status;
use crate::terminal::{self, TerminalCommand};
use crate::trial_command::{self, TrialCaCommand};
use crate::verify::{self, VerifyArgs};

/// Threshold remote signing of e-prescriptions for the Japanese health-care PKI.
///
/// Exit codes: 0 done, 1 refused or invalid, 2 wrong usage, 3 the cluster cannot be reached or the outcome is unknown.
#[derive(Parser, Debug)]
#[command(name = "warifu", version, arg_required_else_help = true)]
#[command(after_help = "Begin with:\n  warifu quickstart")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Try the whole story on this machine: a cluster, a prescription, a dispensing, an outage
    #[cfg(feature = "embedded")]
    Quickstart(Box<crate::quickstart::QuickstartArgs>),
    /// Found a cluster
    Genesis(Group<GenesisCommand>),
    /// Keys of officers, and what they do with orders
    Officer(Group<OfficerCommand>),
    /// Holders' credentials
    Credential(Group<CredentialCommand>),
    /// Nodes, coordinators and officers
    Roster(Group<RosterCommand>),
    /// The policy
    Policy(Group<PolicyCommand>),
    /// The pinned CAs
    Anchors(Group<AnchorsCommand>),
    /// Clinics and pharmacies
    Facility(Group<FacilityCommand>),
    /// Certificate revocation lists
    Crl(Group<CrlCommand>),
    /// Holders' sessions, as officers see them
    Session(Group<SessionCommand>),
    /// Cards
    Card(Group<CardCommand>),
    /// The clinic's or pharmacy's machine
    Terminal(Group<TerminalCommand>),
    /// Verify the signatures of a prescription or dispensing; needs no cluster
    Verify(VerifyArgs),
    /// Receipts of what was stopped
    Receipts(Group<ReceiptsCommand>),
    /// How the cluster is; exit code 3 when it cannot sign
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// CAs for TRIALS only
    TrialCa(Group<TrialCaCommand>),
    /// The node daemon's own code, for quickstart
    #[cfg(feature = "embedded")]
    #[command(name = crate::local_cluster::NODE_COMMAND, hide = true, disable_help_flag = true)]
    Node(Daemon),
    /// The coordinator daemon's own code, for quickstart
    #[cfg(feature = "embedded")]
    #[command(name = crate::local_cluster::COORDINATOR_COMMAND, hide = true, disable_help_flag = true)]
    Coordinator(Daemon),
}

/// Commands of one subject.
#[derive(clap::Args, Debug)]
struct Group<C: clap::Subcommand> {
    /// Print data as JSON; texts for people go to standard error
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: C,
}

/// Arguments for a daemon, as its own program takes them.
#[cfg(feature = "embedded")]
#[derive(clap::Args, Debug)]
struct Daemon {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs `warifu` with these arguments, the program's name first.
pub fn run_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed terminal cannot be told.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    match arguments.command {
        #[cfg(feature = "embedded")]
        Command::Node(daemon) => warifu_node::run_main(std::iter::once("warifu-node".into()).chain(daemon.arguments)),
        #[cfg(feature = "embedded")]
        Command::Coordinator(daemon) => crate::local_cluster::run_coordinator(daemon.arguments),
        Command::Verify(args) => verify::run(&args).unwrap_or_else(|error| fail(&format!("{error:#}"), Exit::Refused)),
        command => match run_command(command) {
            Ok(exit) => exit.into(),
            Err(error) => fail(&chain(&error), error.exit()),
        },
    }
}

fn run_command(command: Command) -> Result<Exit, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CommandError::Runtime)?;
    runtime.block_on(async {
        match command {
            #[cfg(feature = "embedded")]
            Command::Quickstart(args) => return Ok(crate::quickstart::run(*args).await?),
            Command::Genesis(group) => genesis::run(group.command, Console::new(group.json))?,
            Command::Officer(group) => officer::run(group.command, Console::new(group.json)).await?,
            Command::Credential(group) => credential::run(group.command, Console::new(group.json)).await?,
            Command::Roster(group) => roster::run(group.command, Console::new(group.json)).await?,
            Command::Policy(group) => roster::run_policy(group.command, Console::new(group.json)).await?,
            Command::Anchors(group) => roster::run_anchors(group.command, Console::new(group.json)).await?,
            Command::Facility(group) => credential::run_facility(group.command, Console::new(group.json)).await?,
            Command::Crl(group) => credential::run_crl(group.command, Console::new(group.json)).await?,
            Command::Session(group) => credential::run_session(group.command, Console::new(group.json)).await?,
            Command::Card(group) => card_command::run(group.command, Console::new(group.json))?,
            Command::Terminal(group) => terminal::run(group.command, Console::new(group.json)).await?,
            Command::TrialCa(group) => trial_command::run(group.command, Console::new(group.json))?,
            Command::Status { json, connection } => {
                let able = status::run(&connection, Console::new(json)).await?;
                return Ok(if able { Exit::Done } else { Exit::Unknown });
            }
            Command::Receipts(group) => {
                let proved = orders::run_receipts(group.command, Console::new(group.json)).await?;
                return Ok(if proved { Exit::Done } else { Exit::Refused });
            }
            Command::Verify(_) => unreachable!("handled without a runtime"),
            #[cfg(feature = "embedded")]
            Command::Node(_) | Command::Coordinator(_) => unreachable!("daemons have a runtime of their own"),
        }
        Ok(Exit::Done)
    })
}

fn fail(text: &str, exit: Exit) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {text}");
    exit.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
