//! The commands on credentials.

use std::path::{Path, PathBuf};

use serde::Serialize;
use warifu_api::limits::CREDENTIALS_PAGE_MAX;
use warifu_core::describe;
use warifu_core::pki::Certificate;
use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;
use warifu_protocol::{AuthenticatorKind, Blob, CertificateHash, CredentialId, Enrolment, Name, NodeId, OrderCommand, SubjectFields};

use super::binding::{self, agree, bind_command};
use super::csv::{COUNTRY, EnrolmentRow, parse_rows};
use super::error::CredentialError;
use super::import::{ImportArgs, import};
use super::view;
use crate::card::CardArgs;
use crate::connection::ConnectionArgs;
use crate::console::Console;
use crate::files::{self, MODE_PUBLIC};
use crate::orders::{OrderArgs, OrderFile};

/// Holders' credentials
#[derive(clap::Subcommand, Debug)]
pub enum CredentialCommand {
    /// Enrol holders and have the sites generate their keys
    #[command(
        after_help = "Examples:\n  warifu credential enrol --holder dr-1 --common-name 'Hanako Iryo' --serial-number 123456 --genesis genesis.toml\n  warifu credential enrol --csv holders.csv --genesis genesis.toml --approve-with op-1.key"
    )]
    Enrol(Box<EnrolArgs>),
    /// Import a key that exists already: split its seed for the sites; the credential says `imported` for ever
    #[command(
        after_help = "The key existed whole before, and whoever kept a copy of its seed signs without the sites: prefer `enrol`. Needs two\nsecurity officers. Run it on a machine without a network, and bring the two files over.\n\nExamples:\n  warifu credential import --seed seed.pem --holder dr-1 --common-name 'Hanako Iryo' --serial-number 123456 --genesis genesis.toml --order-out import.json --packets-out import.packets\n  warifu officer approve --order import.json --key so-1.key --genesis genesis.toml\n  warifu officer submit --order import.json --packets import.packets"
    )]
    Import(Box<ImportArgs>),
    /// Have a credential's CSR signed by its threshold key
    Csr {
        /// The credential
        credential: CredentialId,
        /// Where to write the PEM; without it, it is printed
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How to reach the coordinator
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Install the certificate that the CA issued
    Install {
        /// The credential
        credential: CredentialId,
        /// The certificate, PEM or DER
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// CA certificate between it and a pinned CA
        #[arg(long = "intermediate", value_name = "FILE")]
        intermediates: Vec<PathBuf>,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Bind a card to a credential; the card signs the binding with its PIN
    #[command(
        after_help = "A first card needs two operators. A further one needs a bound card's word beside them: write the order to a file and\nhave the bound card `agree` to it. A holder who has lost every card gets one --with-notice.\n\nExample:\n  warifu credential bind 6f1e... --kind mnc --pkcs11-module /usr/lib/opensc-pkcs11.so --genesis genesis.toml --order-out bind.json"
    )]
    Bind {
        /// The credential
        credential: CredentialId,
        /// How the card is recognised
        #[arg(long, value_enum)]
        kind: CardKind,
        /// CA certificate between the card's and a pinned CA
        #[arg(long = "intermediate", value_name = "FILE")]
        intermediates: Vec<PathBuf>,
        /// For a holder who had cards and has none to agree: also needs two security officers, and takes effect only after the policy's
        /// delay
        #[arg(long)]
        with_notice: bool,
        /// The card
        #[command(flatten)]
        card: Box<CardArgs>,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// For a further card: have a card that is bound already agree to the order, before officers approve it
    Agree {
        /// The order that binds the further card
        #[arg(long, value_name = "FILE")]
        order: PathBuf,
        /// The card
        #[command(flatten)]
        card: Box<CardArgs>,
    },
    /// End a card's binding; its sessions end
    Unbind {
        /// The credential
        credential: CredentialId,
        /// SHA-256 of the card's certificate, as `credential show` prints it
        #[arg(long, value_name = "HASH")]
        bound: CertificateHash,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// A card is lost: end its sessions and open no more with it; ends a pending binding for good
    SuspendCard {
        /// The credential
        credential: CredentialId,
        /// SHA-256 of the card's certificate, as `credential show` prints it
        #[arg(long, value_name = "HASH")]
        bound: CertificateHash,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// A suspended card was found: let it open sessions again
    ResumeCard {
        /// The credential
        credential: CredentialId,
        /// SHA-256 of the card's certificate, as `credential show` prints it
        #[arg(long, value_name = "HASH")]
        bound: CertificateHash,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Suspend a credential; its sessions end
    Suspend(#[command(flatten)] OneArgs),
    /// Resume a suspended credential
    Resume(#[command(flatten)] OneArgs),
    /// Revoke a credential for good; its sessions end
    Revoke(#[command(flatten)] OneArgs),
    /// Give the sites new shares of these keys; keys and certificates stay, and old shares are worth nothing afterwards
    #[command(
        after_help = "All credentials must be held by the same sites, at least one more than sign. Needs two security officers.\n\nExample:\n  warifu credential refresh 6f1e... 8c02... --genesis genesis.toml --order-out refresh.json"
    )]
    Refresh {
        /// The credentials
        #[arg(required = true, num_args = 1..=CEREMONY_CREDENTIALS_MAX)]
        credentials: Vec<CredentialId>,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Have every key refreshed that has its shares now, or every key of which one site was given shares; the nodes do it in the background
    #[command(
        after_help = "One order of two security officers for any number of keys. Progress: `warifu-node admin work` at a node, `refreshes_due`.\n\nExamples:\n  warifu credential refresh-all --genesis genesis.toml --order-out refresh.json\n  warifu credential refresh-all --held-by 3 --genesis genesis.toml --order-out refresh.json"
    )]
    RefreshAll {
        /// Only keys of which this node was given shares, for instance one whose lost disk may be in wrong hands
        #[arg(long, value_name = "NODE", value_parser = node_id)]
        held_by: Option<NodeId>,
        /// The order
        #[command(flatten)]
        order: Box<OrderArgs>,
    },
    /// Destroy a credential's key at every site; `--receipts` writes the certificate of destruction
    Destroy(#[command(flatten)] OneArgs),
    /// List credentials
    List {
        /// Begin after this credential
        #[arg(long)]
        after: Option<CredentialId>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=i64::from(CREDENTIALS_PAGE_MAX)))]
        limit: u16,
        /// How to reach the coordinator
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Show one credential
    Show {
        /// The credential
        credential: CredentialId,
        /// How to reach the coordinator
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// Who is enrolled
#[derive(clap::Args, Debug)]
pub struct EnrolArgs {
    /// The CA's identifier of the holder: 1 to 64 characters of a-z 0-9 - _ .
    #[arg(long, required_unless_present = "csv", requires_all = ["common_name", "serial_number"])]
    holder: Option<Name>,
    /// The holder's name in Latin letters
    #[arg(long, requires = "holder")]
    common_name: Option<String>,
    /// What tells holders of one name apart, as it stands in the certificate's subject
    #[arg(long, requires = "holder")]
    serial_number: Option<String>,
    /// Organization in the certificate's subject
    #[arg(long, requires = "holder")]
    organization: Option<String>,
    /// Country in the certificate's subject
    #[arg(long, default_value = COUNTRY)]
    country: String,
    /// A list of holders: `holder,common_name,serial_number[,organization[,country]]`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["holder", "common_name", "serial_number", "organization"])]
    csv: Option<PathBuf>,
    /// The order
    #[command(flatten)]
    order: OrderArgs,
}

/// One credential and an order about it
#[derive(clap::Args, Debug)]
pub struct OneArgs {
    /// The credential
    credential: CredentialId,
    /// The order
    #[command(flatten)]
    order: Box<OrderArgs>,
}

/// How a card is recognised
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardKind {
    /// My Number Card, user-authentication certificate
    Mnc,
    /// HPKI card, authentication certificate
    #[value(name = "hpki_card", alias = "hpki-card")]
    HpkiCard,
}

impl From<CardKind> for AuthenticatorKind {
    fn from(kind: CardKind) -> Self {
        match kind {
            CardKind::Mnc => Self::MyNumberCard,
            CardKind::HpkiCard => Self::HpkiCard,
        }
    }
}

/// One new credential, in JSON.
#[derive(Serialize)]
struct Enrolled<'a> {
    credential: CredentialId,
    holder: &'a Name,
}

/// Runs one of the commands.
///
/// # Errors
/// See [`CredentialError`].
pub async fn run(command: CredentialCommand, console: Console) -> Result<(), CredentialError> {
    match command {
        CredentialCommand::Enrol(args) => enrol(&args, console).await,
        CredentialCommand::Import(args) => import(&args, console).await,
        CredentialCommand::Csr { credential, out, connection } => csr(credential, out.as_deref(), &connection, console).await,
        CredentialCommand::Install { credential, certificate, intermediates, order } => {
            let certificate = read_checked(&certificate)?;
            let intermediates = intermediates.iter().map(|path| read_checked(path)).collect::<Result<_, _>>()?;
            let context = order.context(console)?;
            order.dispatch(&context, OrderCommand::InstallCertificate { credential, certificate, intermediates }, None).await?;
            Ok(())
        }
        CredentialCommand::Bind { credential, kind, intermediates, with_notice, card, order } => {
            let context = order.context(console)?;
            let intermediates = intermediates.iter().map(|path| read_checked(path)).collect::<Result<_, _>>()?;
            let mut opened = card.open()?;
            let cluster = context.genesis.cluster();
            console.say(format!("The card signs its binding to credential {credential} in cluster {cluster}."));
            let pin = card.pin(opened.as_ref())?;
            let command = bind_command(cluster, credential, kind.into(), intermediates, opened.as_mut(), &pin)?;
            let command = if with_notice { binding::with_notice(command) } else { command };
            order.dispatch(&context, command, None).await?;
            Ok(())
        }
        CredentialCommand::Agree { order: path, card } => {
            let mut order = OrderFile::load(&path)?;
            for line in describe::order(&order.0.body) {
                console.say(line);
            }
            let mut opened = card.open()?;
            let pin = card.pin(opened.as_ref())?;
            agree(&mut order, opened.as_mut(), &pin)?;
            order.save(&path)?;
            console.data(&order.0.body.id, || format!("the card agrees; officers may now approve {}", path.display()));
            Ok(())
        }
        CredentialCommand::Unbind { credential, bound, order } => {
            let context = order.context(console)?;
            order.dispatch(&context, OrderCommand::UnbindAuthenticator { credential, card: bound }, None).await?;
            Ok(())
        }
        CredentialCommand::SuspendCard { credential, bound, order } => {
            let context = order.context(console)?;
            order.dispatch(&context, OrderCommand::SuspendBinding { credential, card: bound }, None).await?;
            Ok(())
        }
        CredentialCommand::ResumeCard { credential, bound, order } => {
            let context = order.context(console)?;
            order.dispatch(&context, OrderCommand::ResumeBinding { credential, card: bound }, None).await?;
            Ok(())
        }
        CredentialCommand::Suspend(args) => one(&args, console, |credential| OrderCommand::Suspend { credential }).await,
        CredentialCommand::Resume(args) => one(&args, console, |credential| OrderCommand::Resume { credential }).await,
        CredentialCommand::Destroy(args) => one(&args, console, |credential| OrderCommand::Destroy { credential }).await,
        CredentialCommand::Revoke(args) => one(&args, console, |credential| OrderCommand::Revoke { credential }).await,
        CredentialCommand::Refresh { mut credentials, order } => {
            credentials.sort_unstable();
            credentials.dedup();
            let context = order.context(console)?;
            order.dispatch(&context, OrderCommand::Refresh { credentials }, None).await?;
            Ok(())
        }
        CredentialCommand::RefreshAll { held_by, order } => {
            let context = order.context(console)?;
            order.dispatch(&context, OrderCommand::RefreshAll { held_by }, None).await?;
            Ok(())
        }
        CredentialCommand::List { after, limit, connection } => {
            let page = connection.client()?.credentials(after, limit).await?;
            console.data(&page, || {
                let more = page.next.map(|next| format!("\nmore: --after {next}")).unwrap_or_default();
                format!("{}{more}", view::list(&page.credentials))
            });
            Ok(())
        }
        CredentialCommand::Show { credential, connection } => {
            let client = connection.client()?;
            let story = view::Story { credential: client.credential(credential).await?, history: client.history(credential).await? };
            console.data(&story, || view::story(&story));
            Ok(())
        }
    }
}

fn node_id(text: &str) -> Result<NodeId, String> {
    text.parse().ok().and_then(NodeId::new).ok_or_else(|| format!("a node id is 1 to {}", NodeId::MAX))
}

async fn enrol(args: &EnrolArgs, console: Console) -> Result<(), CredentialError> {
    let enrolments: Vec<Enrolment> = rows(args)?.into_iter().map(EnrolmentRow::into_enrolment).collect();
    if enrolments.is_empty() || enrolments.len() > CEREMONY_CREDENTIALS_MAX {
        return Err(CredentialError::Count { count: enrolments.len(), max: CEREMONY_CREDENTIALS_MAX });
    }
    let context = args.order.context(console)?;
    let enrolled: Vec<Enrolled<'_>> = enrolments.iter().map(|one| Enrolled { credential: one.credential, holder: &one.holder }).collect();
    if !console.is_json() {
        for one in &enrolled {
            console.say(format!("holder {} gets credential {}", one.holder, one.credential));
        }
    }
    args.order.dispatch(&context, OrderCommand::Enrol { enrolments: enrolments.clone() }, None).await?;
    Ok(())
}

fn rows(args: &EnrolArgs) -> Result<Vec<EnrolmentRow>, CredentialError> {
    if let Some(path) = &args.csv {
        return parse_rows(&files::read_text(path, "list of holders", CSV_BYTES_MAX)?);
    }
    let (Some(holder), Some(name), Some(number)) = (&args.holder, &args.common_name, &args.serial_number) else {
        return Ok(Vec::new());
    };
    let subject = SubjectFields::new(args.country.as_str(), args.organization.clone(), name.as_str(), number.as_str())?;
    Ok(vec![EnrolmentRow { holder: holder.clone(), subject }])
}

async fn csr(credential: CredentialId, out: Option<&Path>, connection: &ConnectionArgs, console: Console) -> Result<(), CredentialError> {
    let answer = connection.client()?.csr(credential).await?;
    match out {
        Some(path) => {
            files::write_new(path, answer.pem.as_bytes(), MODE_PUBLIC)?;
            console.data(&answer, || format!("CSR of {credential} written to {}", path.display()));
        }
        None => console.data(&answer, || answer.pem.trim_end().to_owned()),
    }
    Ok(())
}

async fn one(args: &OneArgs, console: Console, command: impl FnOnce(CredentialId) -> OrderCommand) -> Result<(), CredentialError> {
    let context = args.order.context(console)?;
    args.order.dispatch(&context, command(args.credential), None).await?;
    Ok(())
}

/// Reads a certificate and refuses what every node would refuse to read.
fn read_checked(path: &Path) -> Result<Blob, CredentialError> {
    let der = files::read_certificate(path)?;
    Certificate::parse(&der).map_err(|source| CredentialError::Certificate { source })?;
    Ok(Blob(der))
}

/// Largest list: a ceremony's credentials with the longest fields.
const CSV_BYTES_MAX: usize = 256 * 1024;
