//! `warifu trial-ca`: certification authorities for trials.

use std::path::PathBuf;

use serde::Serialize;
use warifu_protocol::UnixMillis;

use crate::clock::now;
use crate::console::Console;
use crate::files::{self, FileError, MODE_PUBLIC};
use crate::trial_pki::{TrialHpki, TrialHpkiAuthentication, TrialJpki, TrialPkiError, Validity};

/// CAs for TRIALS only: whatever they certify counts for nothing
#[derive(clap::Subcommand, Debug)]
pub enum TrialCaCommand {
    /// Make a CA in a directory
    New {
        /// What it stands in for
        #[arg(long, value_enum)]
        kind: TrialKind,
        /// The directory; it must not hold a CA yet
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Issue the signing certificate for a credential's CSR
    #[command(after_help = "Example:\n  warifu trial-ca certify --dir trial-hpki --csr dr-1.csr --role 'Medical Doctor' --out dr-1.pem")]
    Certify {
        /// Directory of a trial CA of kind `hpki`
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The CSR, PEM or DER
        #[arg(long, value_name = "FILE")]
        csr: PathBuf,
        /// A licence, such as 'Medical Doctor', 'Dentist' or 'Pharmacist'
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// Where to write the certificate
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Issue an empty revocation list
    Crl {
        /// What the CA stands in for
        #[arg(long, value_enum)]
        kind: TrialKind,
        /// Directory of the CA
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// CRLNumber; must grow from list to list
        #[arg(long)]
        number: u64,
        /// Where to write the list
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// What a trial CA stands in for
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrialKind {
    /// HPKI CA of signing certificates
    Hpki,
    /// HPKI CA of authentication cards
    HpkiAuthentication,
    /// JPKI user-authentication CA of My Number Cards
    Jpki,
}

/// Why a trial CA does not do it.
#[derive(Debug, thiserror::Error)]
pub enum TrialCaError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The CA.
    #[error(transparent)]
    TrialPki(#[from] TrialPkiError),
}

/// What was written, in JSON.
#[derive(Serialize)]
struct Made {
    written: PathBuf,
    policy: Option<String>,
}

/// Runs one of the commands.
///
/// # Errors
/// See [`TrialCaError`].
pub fn run(command: TrialCaCommand, console: Console) -> Result<(), TrialCaError> {
    let made = match command {
        TrialCaCommand::New { kind, dir } => {
            let anchor = match kind {
                TrialKind::Hpki => {
                    let ca = TrialHpki::new(now())?;
                    ca.save(&dir)?;
                    ca.anchor()
                }
                TrialKind::HpkiAuthentication => {
                    let ca = TrialHpkiAuthentication::new(now())?;
                    ca.save(&dir)?;
                    ca.anchor()
                }
                TrialKind::Jpki => {
                    let ca = TrialJpki::new(now())?;
                    ca.save(&dir)?;
                    ca.anchor()
                }
            };
            Made { written: dir.join("ca.crt"), policy: anchor.policies.into_iter().next() }
        }
        TrialCaCommand::Certify { dir, csr, roles, out } => {
            let csr = files::read_der(&csr, "certificate request", "CERTIFICATE REQUEST", CSR_BYTES_MAX)?;
            let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
            let certificate = TrialHpki::load(&dir)?.issue_signing_certificate(&csr, &roles, signing_validity(now()))?;
            write_pem(&out, "CERTIFICATE", certificate)?;
            Made { written: out, policy: None }
        }
        TrialCaCommand::Crl { kind, dir, number, out } => {
            let (from, until) = list_times(now());
            let list = match kind {
                TrialKind::Hpki => TrialHpki::load(&dir)?.crl(number, &[], from, until)?,
                TrialKind::HpkiAuthentication => TrialHpkiAuthentication::load(&dir)?.crl(number, &[], from, until)?,
                TrialKind::Jpki => TrialJpki::load(&dir)?.crl(number, &[], from, until)?,
            };
            write_pem(&out, "X509 CRL", list)?;
            Made { written: out, policy: None }
        }
    };
    console.data(&made, || {
        let policy = made.policy.as_ref().map(|policy| format!("; its policy is {policy}")).unwrap_or_default();
        format!("TRIAL ONLY: {} written{policy}", made.written.display())
    });
    Ok(())
}

/// Validity of a trial signing certificate made now: five years, as the real ones have.
#[must_use]
pub fn signing_validity(now: UnixMillis) -> Validity {
    let start = now.minus(HOUR_MILLIS);
    Validity { not_before: start, not_after: start.plus(5 * 365 * 24 * HOUR_MILLIS) }
}

/// thisUpdate and nextUpdate of a trial list made now: a minute ago, and 96 hours later as the real lists have it.
#[must_use]
pub const fn list_times(now: UnixMillis) -> (UnixMillis, UnixMillis) {
    let from = now.minus(60 * 1000);
    (from, from.plus(96 * HOUR_MILLIS))
}

fn write_pem(path: &std::path::Path, label: &str, der: Vec<u8>) -> Result<(), FileError> {
    files::write_new(path, pem::encode(&pem::Pem::new(label, der)).as_bytes(), MODE_PUBLIC)
}

const HOUR_MILLIS: u64 = 60 * 60 * 1000;
/// Largest request file; a request has under 1 KiB.
const CSR_BYTES_MAX: usize = 16 * 1024;
