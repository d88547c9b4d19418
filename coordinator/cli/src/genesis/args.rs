//! The commands.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use warifu_protocol::genesis::GENESIS_BYTES_MAX;
use warifu_protocol::transport::TlsIdentity;
use warifu_protocol::{ClusterId, CoordinatorEntry, Genesis, GenesisDocument, Name, Policy, Threshold};

use super::describe::describe;
use super::draft::{AnchorArgument, Draft, liars_default};
use super::error::GenesisCommandError;
use crate::clock::now;
use crate::console::Console;
use crate::files::{self, FileError, MODE_PUBLIC};
use crate::keys::{KeyKind, LocalKey, OfficerKeyFile, PassphraseArgs};

/// Founding a cluster
#[derive(clap::Subcommand, Debug)]
pub enum GenesisCommand {
    /// Put a genesis together from the members' public entries; it is not signed yet
    #[command(
        after_help = "Example:\n  warifu genesis new --name hpki --threshold 3 --node n1.toml --node n2.toml --node n3.toml --node n4.toml --node n5.toml \\\n    --coordinator c1.toml --officer op-1.toml --officer op-2.toml --officer so-1.toml --officer so-2.toml \\\n    --anchor hpki-signing:1.2.392.100495.1.5.1.1.3.1:medis.pem --anchor jpki-user-authentication:1.2.392.200149.8.5.1.3.30:jpki.pem --out genesis.toml"
    )]
    New(Box<NewArgs>),
    /// Make a coordinator's identity and print its entry for the genesis (TOML)
    #[command(after_help = "Example:\n  warifu genesis new-coordinator --id coordinator-1 --dir keys > coordinator-1.toml")]
    NewCoordinator {
        /// Name of the coordinator: 1 to 64 characters of a-z 0-9 - _ .
        #[arg(long)]
        id: Name,
        /// Directory for identity.pem and identity.key
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Show a genesis in words and add an officer's signature
    #[command(after_help = "Example:\n  warifu genesis sign --genesis genesis.toml --officer-key op-1.key")]
    Sign {
        /// The genesis; the signature is added to this file
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// The officer's key
        #[arg(long, value_name = "FILE")]
        officer_key: PathBuf,
        /// Sign without asking
        #[arg(long)]
        yes: bool,
        /// The key's passphrase
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Show a genesis in words, signed or not
    Show {
        /// The genesis
        file: PathBuf,
    },
    /// Check that a genesis is whole and signed by every officer, and print the cluster id
    Check {
        /// The genesis
        file: PathBuf,
    },
}

/// Members and terms of a new cluster
#[derive(clap::Args, Debug)]
pub struct NewArgs {
    /// Name for people: 1 to 64 characters of a-z 0-9 - _ .
    #[arg(long)]
    name: Name,
    /// How many sites must take part in a signature
    #[arg(long, value_name = "T")]
    threshold: u8,
    /// How many sites may lie at once without an acknowledgement being worth less [default: 1 from five sites on, else 0]
    #[arg(long, value_name = "F")]
    liars: Option<u8>,
    /// Allow a threshold that is not a majority of the sites
    #[arg(long)]
    minority_threshold: bool,
    /// TOML entry of a site, as `warifu-node init` prints it
    #[arg(long = "node", value_name = "FILE", required = true)]
    nodes: Vec<PathBuf>,
    /// TOML entry of a coordinator
    #[arg(long = "coordinator", value_name = "FILE", required = true)]
    coordinators: Vec<PathBuf>,
    /// TOML entry of an officer, as `warifu officer new-key` prints it
    #[arg(long = "officer", value_name = "FILE", required = true)]
    officers: Vec<PathBuf>,
    /// CA to pin, with the certificate policies accepted under it
    #[arg(long = "anchor", value_name = "KIND:POLICY[+POLICY]:FILE", required = true)]
    anchors: Vec<AnchorArgument>,
    /// TOML file with the terms that differ from the defaults
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where to write the genesis
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What `check` says in JSON.
#[derive(Serialize)]
struct Checked {
    cluster: ClusterId,
    name: Name,
    nodes: usize,
    threshold: u8,
}

/// Runs one of the commands.
///
/// # Errors
/// See [`GenesisCommandError`].
pub fn run(command: GenesisCommand, console: Console) -> Result<(), GenesisCommandError> {
    match command {
        GenesisCommand::New(args) => new(&args, console),
        GenesisCommand::NewCoordinator { id, dir } => {
            let entry = new_coordinator(&dir, id)?;
            console.data(&entry, || {
                let text = toml::to_string(&entry).expect("a coordinator's entry has only values that TOML can hold");
                text.trim_end().to_owned()
            });
            Ok(())
        }
        GenesisCommand::Sign { genesis, officer_key, yes, passphrase } => sign(&genesis, &officer_key, yes, &passphrase, console),
        GenesisCommand::Show { file } => {
            let document = load(&file)?;
            console.data(&document, || describe(&document));
            Ok(())
        }
        GenesisCommand::Check { file } => {
            let genesis = Genesis::new(load(&file)?).map_err(|source| GenesisCommandError::Refused { path: file, source })?;
            let body = genesis.body();
            let checked =
                Checked { cluster: genesis.cluster(), name: body.name.clone(), nodes: body.nodes.len(), threshold: body.threshold.0 };
            console
                .data(&checked, || format!("cluster {} ({}), {} of {}", checked.cluster, checked.name, checked.threshold, checked.nodes));
            Ok(())
        }
    }
}

fn new(args: &NewArgs, console: Console) -> Result<(), GenesisCommandError> {
    let policy = match &args.policy {
        Some(path) => read_toml::<Policy>(path, "policy")?,
        None => Policy::default(),
    };
    let nodes = args.nodes.iter().map(|path| read_toml(path, "node's entry")).collect::<Result<Vec<_>, _>>()?;
    let document = Draft {
        name: args.name.clone(),
        created: now(),
        threshold: Threshold(args.threshold),
        liars: args.liars.unwrap_or_else(|| liars_default(nodes.len())),
        minority_threshold: args.minority_threshold,
        policy,
        nodes,
        coordinators: args.coordinators.iter().map(|path| read_toml(path, "coordinator's entry")).collect::<Result<_, _>>()?,
        officers: args.officers.iter().map(|path| read_toml(path, "officer's entry")).collect::<Result<_, _>>()?,
        anchors: args.anchors.iter().map(AnchorArgument::read).collect::<Result<_, _>>()?,
    }
    .into_document()?;
    files::write_new(&args.out, document.to_toml().as_bytes(), MODE_PUBLIC)?;
    let out = args.out.display();
    console.say(format!("written to {out}; every officer must sign it: warifu genesis sign --genesis {out} --officer-key KEY"));
    console.data(&document, || format!("cluster {}", document.genesis.cluster()));
    Ok(())
}

fn sign(path: &Path, officer_key: &Path, yes: bool, passphrase: &PassphraseArgs, console: Console) -> Result<(), GenesisCommandError> {
    let mut document = load(path)?;
    let refused = |source| GenesisCommandError::Refused { path: path.to_owned(), source };
    document.genesis.check().map_err(refused)?;
    let key_file = OfficerKeyFile::read(officer_key)?;
    let officer = &key_file.officer;
    if !document.genesis.officers.contains(officer) {
        return Err(GenesisCommandError::OfficerUnknown { officer: officer.id.clone() });
    }
    if document.signatures.iter().any(|signature| signature.officer == officer.id) {
        return Err(GenesisCommandError::SignedAlready { officer: officer.id.clone() });
    }
    console.say(describe(&document));
    console.confirm(&format!("Sign this genesis as {} ({})?", officer.id, officer.role), yes)?;
    let passphrase = passphrase.existing(&format!("officer {} ({})", officer.id, officer_key.display()))?;
    document.signatures.push(key_file.open(&passphrase)?.sign_genesis(&document.genesis)?);
    files::replace(path, document.to_toml().as_bytes(), MODE_PUBLIC)?;
    let missing: Vec<Name> = document
        .genesis
        .officers
        .iter()
        .filter(|officer| !document.signatures.iter().any(|signature| signature.officer == officer.id))
        .map(|officer| officer.id.clone())
        .collect();
    console.data(&missing, || {
        if missing.is_empty() {
            format!("signed; every officer has signed {}", path.display())
        } else {
            let names: Vec<&str> = missing.iter().map(Name::as_str).collect();
            format!("signed; still to sign: {}", names.join(", "))
        }
    });
    Ok(())
}

/// Makes `identity.pem` and `identity.key` in a directory and returns what the genesis says of the coordinator.
///
/// # Errors
/// [`GenesisCommandError::File`] or [`GenesisCommandError::Identity`], also when the files exist.
pub fn new_coordinator(directory: &Path, id: Name) -> Result<CoordinatorEntry, GenesisCommandError> {
    files::make_directory(directory)?;
    let tls = TlsIdentity::generate()?;
    tls.save(&directory.join("identity.pem"), &directory.join("identity.key"))?;
    // Nothing that a coordinator says is signed, so nobody needs the private half: it is known by its TLS key.
    let identity = LocalKey::generate(KeyKind::Ed25519)?.public();
    Ok(CoordinatorEntry { id, tls_spki: tls.spki_hash(), identity })
}

fn load(path: &Path) -> Result<GenesisDocument, GenesisCommandError> {
    let text = files::read_text(path, "genesis", GENESIS_BYTES_MAX)?;
    GenesisDocument::from_toml(&text).map_err(|source| GenesisCommandError::Refused { path: path.to_owned(), source })
}

fn read_toml<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, FileError> {
    let text = files::read_text(path, what, ENTRY_BYTES_MAX)?;
    toml::from_str(&text).map_err(|error| files::malformed(path, what, error.to_string().trim_end()))
}

/// Largest entry: a node's has about 2 KiB, most of it its sealing key.
const ENTRY_BYTES_MAX: usize = 64 * 1024;
