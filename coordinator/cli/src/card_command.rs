//! `warifu card`: looking at cards, and making trial cards.

use std::path::{Path, PathBuf};

use serde::Serialize;
use warifu_core::pki::{Certificate, CertificateError, CertificateSerial};
use warifu_protocol::{AuthenticatorKind, CertificateHash, SubjectFields, SubjectFieldsError, UnixMillis};

use crate::card::{CardAlgorithm, CardArgs, CardError, Pin, SoftwareCard};
use crate::clock::now;
use crate::console::{Console, table};
use crate::credential::CardKind;
use crate::trial_pki::{TrialHpkiAuthentication, TrialJpki, TrialPkiError, Validity};

/// Cards
#[derive(clap::Subcommand, Debug)]
pub enum CardCommand {
    /// Show which card is there, its certificate, and how its PIN stands; needs no PIN
    Show {
        /// The card
        #[command(flatten)]
        card: Box<CardArgs>,
    },
    /// Make a TRIAL card in a file, certified by a trial CA; it locks after three wrong PINs
    #[command(
        after_help = "Example:\n  warifu trial-ca new --kind jpki --dir trial-jpki\n  warifu card new-trial --out card.json --kind mnc --trial-ca trial-jpki"
    )]
    NewTrial(Box<NewTrialArgs>),
}

/// A new trial card
#[derive(clap::Args, Debug)]
pub struct NewTrialArgs {
    /// Where to write the card
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Which card it stands in for
    #[arg(long, value_enum)]
    kind: CardKind,
    /// Directory of the trial CA that certifies it
    #[arg(long, value_name = "DIR")]
    trial_ca: PathBuf,
    /// ECDSA P-384 as the next cards have it, in place of RSA
    #[arg(long)]
    p384: bool,
    /// For an HPKI card: the holder's name in Latin letters
    #[arg(long, required_if_eq("kind", "hpki_card"))]
    common_name: Option<String>,
    /// For an HPKI card: the serial number in the holder's subject
    #[arg(long, required_if_eq("kind", "hpki_card"))]
    serial_number: Option<String>,
    /// For an HPKI card: the organization in the holder's subject
    #[arg(long)]
    organization: Option<String>,
    /// For an HPKI card: a licence, such as 'Medical Doctor'
    #[arg(long = "role", required_if_eq("kind", "hpki_card"))]
    roles: Vec<String>,
    /// File with the new card's PIN, readable by its owner only; without it the PIN is asked for
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

/// Why a card command is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CardCommandError {
    /// The card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The card's certificate.
    #[error("the card's certificate is refused")]
    Certificate(#[from] CertificateError),
    /// The trial CA.
    #[error(transparent)]
    TrialPki(#[from] TrialPkiError),
    /// The holder's subject.
    #[error("the holder's subject is wrong")]
    Subject(#[from] SubjectFieldsError),
}

/// A card, in JSON: no serial number, which is personal data.
#[derive(Serialize)]
struct Shown {
    name: String,
    location: String,
    trial: bool,
    kind: Option<AuthenticatorKind>,
    pin: String,
    certificate: CertificateHash,
    issuer: String,
    not_after: UnixMillis,
}

/// Runs one of the commands.
///
/// # Errors
/// See [`CardCommandError`].
pub fn run(command: CardCommand, console: Console) -> Result<(), CardCommandError> {
    match command {
        CardCommand::Show { card } => show(&card, console),
        CardCommand::NewTrial(args) => {
            let pin = match &args.pin_file {
                Some(path) => Pin::from_file(path).map_err(CardError::from)?,
                None => Pin::prompt_new().map_err(CardError::from)?,
            };
            let algorithm = if args.p384 { CardAlgorithm::EcdsaP384Sha384 } else { CardAlgorithm::RsaSha256 };
            let certificate = new_trial(&args, algorithm, &pin)?;
            let hash = Certificate::parse(&certificate)?.hash();
            console.data(&hash, || format!("TRIAL card with certificate {hash} written to {}", args.out.display()));
            Ok(())
        }
    }
}

fn show(args: &CardArgs, console: Console) -> Result<(), CardCommandError> {
    let mut card = args.open()?;
    let description = card.describe();
    let certificate = Certificate::parse(&card.certificate()?)?;
    let shown = Shown {
        name: description.name,
        location: description.location,
        trial: description.trial,
        kind: description.kind,
        pin: description.pin_state.to_string(),
        certificate: certificate.hash(),
        issuer: certificate.issuer().to_string(),
        not_after: certificate.not_after(),
    };
    console.data(&shown, || {
        let row = |name: &str, value: &dyn std::fmt::Display| [name.to_owned(), value.to_string()];
        table(
            ["", ""],
            [
                row("card", &shown.name),
                row("at", &shown.location),
                row("PIN", &shown.pin),
                row("certificate (SHA-256)", &shown.certificate),
                row("issued by", &shown.issuer),
                row("valid until", &shown.not_after),
            ],
        )
    });
    Ok(())
}

fn new_trial(args: &NewTrialArgs, algorithm: CardAlgorithm, pin: &Pin) -> Result<Vec<u8>, CardCommandError> {
    match args.kind {
        CardKind::Mnc => new_trial_my_number_card(&args.out, algorithm, &TrialJpki::load(&args.trial_ca)?, pin),
        CardKind::HpkiCard => {
            let ca = TrialHpkiAuthentication::load(&args.trial_ca)?;
            let name = args.common_name.clone().unwrap_or_default();
            let number = args.serial_number.clone().unwrap_or_default();
            let subject = SubjectFields::new("JP", args.organization.clone(), name, number)?;
            let roles: Vec<&str> = args.roles.iter().map(String::as_str).collect();
            let spki = SoftwareCard::create(&args.out, AuthenticatorKind::HpkiCard, algorithm, pin)?;
            let certificate = ca.issue_card_certificate(&spki, &subject, &roles, card_validity())?;
            SoftwareCard::set_certificate(&args.out, &certificate)?;
            Ok(certificate)
        }
    }
}

/// Makes a trial My Number Card at `path` and certifies it. Returns the DER of its certificate.
///
/// # Errors
/// See [`CardCommandError`].
pub fn new_trial_my_number_card(path: &Path, algorithm: CardAlgorithm, ca: &TrialJpki, pin: &Pin) -> Result<Vec<u8>, CardCommandError> {
    let mut serial = rand::random::<[u8; CARD_SERIAL_BYTES]>();
    serial[0] |= 1;
    let serial = CertificateSerial::new(&serial).expect("8 bytes that do not begin with zero are a serial number");
    let spki = SoftwareCard::create(path, AuthenticatorKind::MyNumberCard, algorithm, pin)?;
    let certificate = ca.issue_card_certificate(&spki, &serial, card_validity())?;
    SoftwareCard::set_certificate(path, &certificate)?;
    Ok(certificate)
}

fn card_validity() -> Validity {
    let start = now().minus(BACKDATING_MILLIS);
    Validity { not_before: start, not_after: start.plus(CARD_LIFE_MILLIS) }
}

/// Length of a card's serial number; random, so that no two trial cards of one CA collide.
const CARD_SERIAL_BYTES: usize = 8;
/// Certificates begin this much before they are made, for machines whose clocks are behind.
const BACKDATING_MILLIS: u64 = 60 * 60 * 1000;
/// Five years, as the real cards.
const CARD_LIFE_MILLIS: u64 = 5 * 365 * 24 * 60 * 60 * 1000;
