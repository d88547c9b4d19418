//! The commands.

use std::path::{Path, PathBuf};

use serde::Serialize;
use warifu_coordinator::document::DOCUMENT_BYTES_MAX;
use warifu_core::pki::{Certificate, TrustAnchor};
use warifu_protocol::limits::SESSION_SIGNATURES_MAX;
use warifu_protocol::{
    AnchorEntry, Blob, CredentialId, DocumentKind, Name, OrderCommand, PublicKey, Request, SessionId, TerminalId, UnixMillis,
};

use super::error::{SERVER_ERROR_STATUS, TerminalError};
use super::login::{LoginTerms, close, prepare};
use super::session_file::{Numbering, SessionFile, SessionSecret};
use crate::card::CardArgs;
use crate::clock::now;
use crate::connection::ConnectionArgs;
use crate::console::Console;
use crate::files::{self, MODE_PUBLIC};
use crate::keys::{KeyKind, LocalKey, TerminalKey};
use crate::orders::{OrderArgs, load_cluster, load_genesis};

/// The clinic's or pharmacy's machine
#[derive(clap::Subcommand, Debug)]
pub enum TerminalCommand {
    /// Make this terminal's identifier and key
    #[command(after_help = "Example:\n  warifu terminal new-key --out terminal.key")]
    NewKey {
        /// Where to write the key
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// ECDSA P-256 in place of Ed25519
        #[arg(long)]
        p256: bool,
    },
    /// Order a terminal's enrolment at a facility (for an officer)
    Enrol {
        /// The terminal's identifier, as `new-key` prints it
        #[arg(long)]
        terminal: TerminalId,
        /// The terminal's public key, as `new-key` prints it
        #[arg(long)]
        public_key: PublicKey,
        /// Where it stands
        #[arg(long)]
        facility: Name,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Order the end of a terminal's enrolment (for an officer)
    Retire {
        /// The terminal's identifier
        terminal: TerminalId,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Open a session with the holder's card: one PIN, then documents are signed without it
    #[command(
        after_help = "Example:\n  warifu terminal login --credential 6f1e... --facility 1310000001 --terminal-key terminal.key \\\n    --pkcs11-module /usr/lib/opensc-pkcs11.so --genesis genesis.toml --hours 10 --max 300 --out session.json"
    )]
    Login(Box<LoginArgs>),
    /// Have a document signed in an open session
    ///
    /// Run again for the same document after an unknown outcome, it sends the same request under the same number.
    #[command(after_help = "Example:\n  warifu terminal sign prescription.xml --session session.json --kind prescription --out signed.xml")]
    Sign(Box<SignArgs>),
    /// Close a session and remove its key
    Logout {
        /// The session, as `login` wrote it
        #[arg(long, value_name = "FILE")]
        session: PathBuf,
        /// How to reach the coordinator
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// What the holder delegates, and with which card
#[derive(clap::Args, Debug)]
pub struct LoginArgs {
    /// The holder's credential
    #[arg(long)]
    credential: CredentialId,
    /// Where the terminal stands
    #[arg(long)]
    facility: Name,
    /// The terminal's key
    #[arg(long, value_name = "FILE")]
    terminal_key: PathBuf,
    /// The cluster's signed genesis.toml
    #[arg(long, value_name = "FILE", env = "WARIFU_GENESIS")]
    genesis: PathBuf,
    /// The orders that changed the cluster since, as `warifu roster export` writes them; needed when policy or pinned CAs have changed
    #[arg(long, value_name = "FILE", env = "WARIFU_ROSTER")]
    roster: Option<PathBuf>,
    /// Hours for which the session lasts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SESSION_HOURS_MAX))]
    hours: u64,
    /// Documents that the session may sign
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=i64::from(SESSION_SIGNATURES_MAX)))]
    max: u32,
    /// CA certificate between the card's and a pinned CA
    #[arg(long = "intermediate", value_name = "FILE")]
    intermediates: Vec<PathBuf>,
    /// An ECDSA P-256 session key in place of Ed25519
    #[arg(long)]
    p256: bool,
    /// Where to write the session with its key
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The card
    #[command(flatten)]
    card: CardArgs,
    /// How to reach the coordinator
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What is signed
#[derive(clap::Args, Debug)]
pub struct SignArgs {
    /// The document, XML with an empty place for its signature
    document: PathBuf,
    /// The session, as `login` wrote it
    #[arg(long, value_name = "FILE")]
    session: PathBuf,
    /// What kind of document it is
    #[arg(long, value_enum)]
    kind: Kind,
    /// Where to write the signed document
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// With --roster: the cluster's signed genesis.toml
    #[arg(long, value_name = "FILE", env = "WARIFU_GENESIS")]
    genesis: Option<PathBuf>,
    /// The orders that changed the cluster, as `warifu roster export` writes them; needed when pinned CAs have changed since the login
    #[arg(long, value_name = "FILE", env = "WARIFU_ROSTER", requires = "genesis")]
    roster: Option<PathBuf>,
    /// CA certificate between the holder's and a pinned CA
    #[arg(long = "intermediate", value_name = "FILE")]
    intermediates: Vec<PathBuf>,
    /// How to reach the coordinator
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Kinds of document
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Signed by a physician or dentist
    Prescription,
    /// Signed by a pharmacist
    Dispensing,
}

impl From<Kind> for DocumentKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Prescription => Self::Prescription,
            Kind::Dispensing => Self::Dispensing,
        }
    }
}

/// A new terminal, in JSON.
#[derive(Serialize)]
struct NewTerminal {
    terminal: TerminalId,
    key: PublicKey,
}

/// An opened session, in JSON.
#[derive(Serialize)]
struct Opened {
    session: SessionId,
    not_after: UnixMillis,
    max_signatures: u32,
    index: Option<u64>,
}

/// A signed document, in JSON.
#[derive(Serialize)]
struct Signed<'a> {
    document: &'a Path,
    session: SessionId,
    seq: u32,
    holder: String,
    roles: Vec<String>,
    signing_time: UnixMillis,
}

/// Runs one of the commands.
///
/// # Errors
/// See [`TerminalError`].
pub async fn run(command: TerminalCommand, console: Console) -> Result<(), TerminalError> {
    match command {
        TerminalCommand::NewKey { out, p256 } => {
            let key = TerminalKey::generate(kind(p256))?;
            key.save(&out)?;
            let new = NewTerminal { terminal: key.terminal, key: key.public() };
            console.data(&new, || {
                format!(
                    "terminal {}\nkey      {}\nnext, by an officer: warifu terminal enrol --terminal {} --public-key {} --facility FACILITY --genesis FILE",
                    new.terminal, new.key, new.terminal, new.key
                )
            });
            Ok(())
        }
        TerminalCommand::Enrol { terminal, public_key, facility, order } => {
            let context = order.context(console)?;
            order.dispatch(&context, OrderCommand::EnrolTerminal { terminal, facility, key: public_key }, None).await?;
            Ok(())
        }
        TerminalCommand::Retire { terminal, order } => {
            let context = order.context(console)?;
            order.dispatch(&context, OrderCommand::RetireTerminal { terminal }, None).await?;
            Ok(())
        }
        TerminalCommand::Login(args) => login(&args, console).await,
        TerminalCommand::Sign(args) => sign(&args, console).await,
        TerminalCommand::Logout { session, connection } => {
            let file = SessionFile::open(&session)?;
            let id = file.secret.session();
            let answer = connection.client()?.close_session(&close(id, &file.secret.key)?).await?;
            file.remove()?;
            console.data(&answer, || format!("session {id} is closed, its key removed"));
            Ok(())
        }
    }
}

async fn login(args: &LoginArgs, console: Console) -> Result<(), TerminalError> {
    let genesis = load_genesis(&args.genesis)?;
    let terminal = TerminalKey::load(&args.terminal_key)?;
    let client = args.connection.client()?;
    let mut intermediates = Vec::new();
    for path in &args.intermediates {
        intermediates.push(Blob(files::read_certificate(path)?));
    }
    let cluster = load_cluster(&genesis, args.roster.as_deref())?;
    let policy = &cluster.policy;
    let terms = LoginTerms {
        cluster: genesis.cluster(),
        credential: args.credential,
        facility: args.facility.clone(),
        not_before: now(),
        life_millis: (args.hours * HOUR_MILLIS).min(policy.session_millis_max),
        max_signatures: args.max.min(policy.session_signatures_max),
    };
    let key = LocalKey::generate(kind(args.p256))?;
    let mut card = args.card.open()?;
    console.say(format!(
        "The card opens a session for credential {} at facility {}: up to {} documents until {}, signed without its PIN.",
        terms.credential,
        terms.facility,
        terms.max_signatures,
        terms.not_before.plus(terms.life_millis)
    ));
    let pin = args.card.pin(card.as_ref())?;
    let opening = prepare(&terms, &terminal, &key, card.as_mut(), &pin, intermediates)?;
    let secret = SessionSecret::new(opening.statement.clone(), key, &cluster);
    // Before it is sent: a session whose answer is lost can still be used and closed.
    SessionFile::create(&args.out, &secret)?;
    let answer = match client.open_session(&opening).await {
        Ok(answer) => answer,
        Err(error) => {
            // A 5xx leaves it open whether the session was opened.
            if error.problem().is_some_and(|problem| problem.status < SERVER_ERROR_STATUS) {
                files::remove(&args.out)?;
            }
            return Err(error.into());
        }
    };
    let expected = secret.session();
    if answer.session != expected {
        files::remove(&args.out)?;
        return Err(TerminalError::SessionMismatch { found: answer.session, expected });
    }
    let opened = Opened {
        session: expected,
        not_after: opening.statement.not_after,
        max_signatures: opening.statement.max_signatures,
        index: answer.index,
    };
    console.data(&opened, || format!("session {expected} is open until {}; its key is in {}", opened.not_after, args.out.display()));
    Ok(())
}

async fn sign(args: &SignArgs, console: Console) -> Result<(), TerminalError> {
    let xml = files::read_text(&args.document, "document", DOCUMENT_BYTES_MAX)?;
    let client = args.connection.client()?;
    if args.out.exists() {
        return Err(files::exists(&args.out).into());
    }
    let mut file = SessionFile::open(&args.session)?;
    let session = file.secret.session();
    if let (Some(genesis), Some(roster)) = (&args.genesis, &args.roster) {
        file.secret.follow(&load_cluster(&load_genesis(genesis)?, Some(roster))?)?;
    }
    let intermediates = read_intermediates(&args.intermediates)?;
    let anchors = trust_anchors(&file.secret.anchors)?;
    let (prepared, numbering) = file.prepare(xml, args.kind.into(), now())?;
    let Request { seq, signing_time, .. } = prepared.request.request;
    match numbering {
        Numbering::New => {}
        Numbering::Again => {
            console.say(format!("Number {seq} was sent at {signing_time} without a definite answer: the same request is sent again."))
        }
        Numbering::InPlaceOf { seq: earlier } => console.say(format!(
            "Number {earlier} was sent for this document without a definite answer, and its signing time is too old to be sent again: \
             it may have been signed. This is number {seq}."
        )),
    }
    let signed = match prepared.sign_under(&client, &anchors, &intermediates).await {
        Ok(signed) => signed,
        Err(error) => {
            if error.is_definite() {
                file.settle(&prepared.request)?;
            }
            return Err(error);
        }
    };
    files::write_new(&args.out, signed.xml.as_bytes(), MODE_PUBLIC)?;
    // Only now: an answer that is not kept is no better than a lost one.
    file.settle(&prepared.request)?;
    let certificate = &signed.certificate;
    let data = Signed {
        document: &args.out,
        session,
        seq,
        holder: certificate.subject().to_string(),
        roles: certificate.hc_roles().unwrap_or_default(),
        signing_time,
    };
    console.data(&data, || {
        format!("signed by {} ({}) as number {seq} of the session: {}", data.holder, data.roles.join(", "), args.out.display())
    });
    Ok(())
}

fn read_intermediates(paths: &[PathBuf]) -> Result<Vec<Certificate>, TerminalError> {
    let read = |path: &PathBuf| {
        let der = files::read_certificate(path)?;
        Ok(Certificate::parse(&der).map_err(|error| files::malformed(path, "CA certificate", &error.to_string()))?)
    };
    paths.iter().map(read).collect()
}

/// Reads pinned CAs.
///
/// # Errors
/// [`TerminalError::Anchor`] when one cannot be read.
pub fn trust_anchors(entries: &[AnchorEntry]) -> Result<Vec<TrustAnchor>, TerminalError> {
    entries.iter().map(|entry| TrustAnchor::from_entry(entry).map_err(TerminalError::from)).collect()
}

const fn kind(p256: bool) -> KeyKind {
    if p256 { KeyKind::P256 } else { KeyKind::Ed25519 }
}

const HOUR_MILLIS: u64 = 60 * 60 * 1000;
const SESSION_HOURS_MAX: u64 = warifu_protocol::limits::SESSION_MILLIS_MAX / HOUR_MILLIS;
