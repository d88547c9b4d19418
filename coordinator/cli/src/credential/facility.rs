//! The commands on facilities, CRLs and sessions.

use std::path::PathBuf;

use warifu_core::pki::Crl;
use warifu_protocol::canonical::sha256;
use warifu_protocol::{Name, OrderCommand, SessionId, Sha256};

use super::error::CredentialError;
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
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
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
        CrlCommand::Update { file, order } => {
            let der = files::read_der(&file, "CRL", "X509 CRL", CRL_FILE_BYTES_MAX)?;
            let command = crl_command(&der)?;
            let context = order.context(console)?;
            order.dispatch(&context, command, Some(&der)).await?;
        }
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

/// The order that announces a CRL.
///
/// # Errors
/// [`CredentialError::Crl`] for what every node would refuse to read.
pub fn crl_command(der: &[u8]) -> Result<OrderCommand, CredentialError> {
    let crl = Crl::parse(der).map_err(|source| CredentialError::Crl { source })?;
    Ok(OrderCommand::UpdateCrl { hash: Sha256::new(sha256(der)), number: crl.number(), size: der.len() as u64 })
}

/// The largest CRL as PEM.
const CRL_FILE_BYTES_MAX: usize = 2 * warifu_protocol::limits::CRL_BYTES_MAX as usize;
