//! The commands on facilities, CRLs and sessions.

use std::path::{Path, PathBuf};

use warifu_core::pki::{Certificate, Crl};
use warifu_protocol::{Blob, Name, OrderCommand, SessionId};

use super::error::CredentialError;
use super::fetch::{FetchedCrl, fetch_crl};
use super::watch::{WatchArgs, watch};
use crate::connection::ConnectionArgs;
use crate::console::{Console, table};
use crate::files;
use crate::orders::OrderArgs;

/// Clinics and pharmacies
#[derive(clap::Subcommand, Debug)]
pub enum FacilityCommand {
    /// Enrol a clinic or pharmacy
    Enrol {
        /// Its identifier, for instance the ten-digit institution code
        facility: Name,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
}

/// Certificate revocation lists
#[derive(clap::Subcommand, Debug)]
pub enum CrlCommand {
    /// Bring a CRL into the cluster; it is checked and becomes active when all of it has arrived
    #[command(after_help = "Example:\n  warifu crl update jpki.crl --genesis genesis.toml --approve-with op-1.key")]
    Update {
        /// The CRL, DER or PEM
        file: PathBuf,
        /// Certificate of its CA, where that is not pinned itself but was issued by a pinned one
        #[arg(long, value_name = "FILE")]
        issuer: Option<PathBuf>,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Fetch CRLs from their CAs, and bring those that are new into the cluster
    #[command(
        after_help = "A source is an http:// address (a CRL's distribution point) or a file. Lists that are active already are left out.\nRun it by a timer with the key of an operator who has no other task.\n\nExample:\n  warifu crl fetch http://crl.example.jp/cards.crl --dir lists --genesis genesis.toml --approve-with crl-op.key --yes"
    )]
    Fetch {
        /// Where the lists are
        #[arg(required = true, value_name = "SOURCE")]
        sources: Vec<String>,
        /// Certificate of a CA that is not pinned itself and issued one of them
        #[arg(long = "issuer", value_name = "FILE")]
        issuers: Vec<PathBuf>,
        /// Where to keep the lists, for `officer submit --crl`
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// As `fetch`, again and again until Ctrl-C or SIGTERM; what fails is tried again
    #[command(
        after_help = "The process holds an operator's key, which can approve all that one operator may: give it a key and a machine of its own.\n\nExample:\n  warifu crl watch http://crl.example.jp/cards.crl --dir lists --every 21600 --genesis genesis.toml --approve-with crl-op.key --passphrase-file crl-op.pass --yes"
    )]
    Watch(Box<WatchArgs>),
    /// List the active CRLs
    List {
        /// How to reach the coordinator
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// Holders' sessions, as officers see them
#[derive(clap::Subcommand, Debug)]
pub enum SessionCommand {
    /// Close a session by order
    Close {
        /// The session
        session: SessionId,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
}

/// Runs a command on facilities.
///
/// # Errors
/// See [`CredentialError`].
pub async fn run_facility(command: FacilityCommand, console: Console) -> Result<(), CredentialError> {
    let FacilityCommand::Enrol { facility, order } = command;
    let context = order.context(console)?;
    order.dispatch(&context, OrderCommand::EnrolFacility { facility }, None).await?;
    Ok(())
}

/// Runs a command on CRLs.
///
/// # Errors
/// See [`CredentialError`].
pub async fn run_crl(command: CrlCommand, console: Console) -> Result<(), CredentialError> {
    match command {
        CrlCommand::Update { file, issuer, order } => {
            let der = files::read_der(&file, "CRL", "X509 CRL", CRL_FILE_BYTES_MAX)?;
            let issuer = issuer.map(|path| files::read_certificate(&path)).transpose()?.map(Blob);
            let command = crl_command(&der, issuer)?;
            let context = order.context(console)?;
            order.dispatch(&context, command, Some(&der)).await?;
        }
        CrlCommand::Fetch { sources, issuers, dir, order } => fetch(&sources, &issuers, &dir, &order, console).await?,
        CrlCommand::Watch(args) => watch(&args, console).await?,
        CrlCommand::List { connection } => {
            let answer = connection.client()?.crls().await?;
            console.data(&answer, || {
                let rows = answer.crls.iter().map(|crl| {
                    [
                        crl.issuer.clone(),
                        crl.number.clone(),
                        crl.this_update.to_string(),
                        crl.next_update.to_string(),
                        crl.revoked.to_string(),
                    ]
                });
                table(["issuer", "number", "this update", "next update", "revoked"], rows)
            });
        }
    }
    Ok(())
}

/// Goes through all sources; one that fails does not keep the others back, but is told at the end.
pub(super) async fn fetch(
    sources: &[String],
    issuers: &[PathBuf],
    dir: &Path,
    order: &OrderArgs,
    console: Console,
) -> Result<(), CredentialError> {
    let issuers = issuers.iter().map(|path| files::read_certificate(path)).collect::<Result<Vec<_>, _>>()?;
    let context = order.context(console)?;
    let active = order.connection.client()?.crls().await?.crls;
    let mut failed = None;
    for source in sources {
        let fetched = match fetch_crl(source).await {
            Ok(fetched) => fetched,
            Err(error) => {
                console.say(format!("{source}: FAILED: {error}"));
                failed = failed.or(Some(error));
                continue;
            }
        };
        let FetchedCrl { der, crl } = fetched;
        let (issuer, number) = (crl.issuer().to_string(), crl.number().to_string());
        if active.iter().any(|known| known.issuer == issuer && known.number == number && known.this_update == crl.this_update()) {
            console.say(format!("{source}: number {number} of {issuer} is active already"));
            continue;
        }
        let certificate = issuers.iter().find(|der| Certificate::parse(der).is_ok_and(|ca| crl.verify(&ca).is_ok()));
        let path = dir.join(format!("crl-{}.crl", crl.hash()));
        if !path.exists() {
            files::write_new(&path, &der, files::MODE_PUBLIC)?;
        }
        console.say(format!("{source}: number {number} of {issuer}, kept as {}", path.display()));
        order.dispatch(&context, crl_command(&der, certificate.cloned().map(Blob))?, Some(&der)).await?;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Runs a command on sessions.
///
/// # Errors
/// See [`CredentialError`].
pub async fn run_session(command: SessionCommand, console: Console) -> Result<(), CredentialError> {
    let SessionCommand::Close { session, order } = command;
    let context = order.context(console)?;
    order.dispatch(&context, OrderCommand::CloseSession { session }, None).await?;
    Ok(())
}

/// The order that announces a CRL; `issuer` is the certificate of its CA where that is not pinned.
///
/// # Errors
/// [`CredentialError::Crl`] for what every node would refuse to read.
pub fn crl_command(der: &[u8], issuer: Option<Blob>) -> Result<OrderCommand, CredentialError> {
    let crl = Crl::parse(der).map_err(|source| CredentialError::Crl { source })?;
    Ok(OrderCommand::update_crl(der, crl.number(), issuer))
}

/// The largest CRL as PEM.
const CRL_FILE_BYTES_MAX: usize = 2 * warifu_protocol::limits::CRL_BYTES_MAX as usize;
