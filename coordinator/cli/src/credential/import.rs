//! Import of a key that exists already: its seed is split here, and leaves this process in sealed packets only.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use rand_core::OsRng;
use warifu_core::import::{ImportSeed, PrepareError, SeedError, prepare};
use warifu_protocol::{CredentialId, Enrolment, Name, OrderId, SubjectFields, seal_packet};
use zeroize::Zeroizing;

use super::csv::COUNTRY;
use super::error::CredentialError;
use crate::console::Console;
use crate::files::{self, FileError, MODE_SECRET};
use crate::orders::OrderArgs;

/// Whose key, and where its seed is
#[derive(clap::Args, Debug)]
pub struct ImportArgs {
    /// The seed: 32 raw bytes, 64 hexadecimal digits, or unencrypted PKCS#8 in PEM or DER, in a file that its owner alone can read; `-` is
    /// standard input. Without it the digits are asked for
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// The CA's identifier of the holder: 1 to 64 characters of a-z 0-9 - _ .
    #[arg(long)]
    holder: Name,
    /// The holder's name in Latin letters
    #[arg(long)]
    common_name: String,
    /// What tells holders of one name apart, as it stands in the certificate's subject
    #[arg(long)]
    serial_number: String,
    /// Organization in the certificate's subject
    #[arg(long)]
    organization: Option<String>,
    /// Country in the certificate's subject
    #[arg(long, default_value = COUNTRY)]
    country: String,
    /// Where to write the sealed packets, to be submitted with the order; `order-<id>.packets.json` unless given. With --approve-with they
    /// are written only if this is given
    #[arg(long, value_name = "FILE")]
    packets_out: Option<PathBuf>,
    /// The order
    #[command(flatten)]
    order: OrderArgs,
}

/// Why a key is not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The seed.
    #[error("the seed is refused")]
    Seed(#[source] SeedError),
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Standard input or the terminal.
    #[error("the seed could not be read")]
    Input(#[source] io::Error),
    /// Nobody is there to type it.
    #[error("no seed: standard input is not a terminal; give `--seed FILE`, or `--seed -` to read it from standard input")]
    NoTerminal,
    /// Making the import of it.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
}

pub(super) async fn import(args: &ImportArgs, console: Console) -> Result<(), CredentialError> {
    let subject =
        SubjectFields::new(args.country.as_str(), args.organization.clone(), args.common_name.as_str(), args.serial_number.as_str())?;
    let context = args.order.context(console)?;
    let (order, credential) = (OrderId::new(rand::random()), CredentialId::new(rand::random()));
    let enrolment = Enrolment { credential, holder: args.holder.clone(), subject };
    let (import, packets) = {
        let seed = read_seed(args.seed.as_deref())?;
        prepare(&context.cluster, order, enrolment, &seed, &mut OsRng, seal_packet).map_err(ImportError::from)?
    };
    let public_key = import.group_key().expect("a split key has a public key");
    console.say(format!("holder {} gets credential {credential} with the imported key ed25519:{public_key}", args.holder));
    let is_kept = args.packets_out.is_some() || !args.order.submits();
    let path = args.packets_out.clone().unwrap_or_else(|| PathBuf::from(format!("order-{order}.packets.json")));
    if is_kept {
        // Before the order, which is worth nothing without them.
        files::write_new(&path, &files::json_bytes(&packets), MODE_SECRET)?;
        console.say(format!("the sealed packets are in {}: submit them with the order, then delete them", path.display()));
    }
    args.order.dispatch_import(&context, order, import, &packets).await?;
    console.say("once it is in use: destroy every copy of the seed, or whoever finds one signs as the holder");
    Ok(())
}

fn read_seed(path: Option<&Path>) -> Result<ImportSeed, ImportError> {
    let bytes = match path {
        Some(path) if path == Path::new("-") => {
            // Full capacity from the start: growing would leave copies of the secret behind.
            let mut bytes = Zeroizing::new(Vec::with_capacity(SEED_FILE_BYTES_MAX + 1));
            io::stdin().lock().take(SEED_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(ImportError::Input)?;
            bytes
        }
        Some(path) => files::read_secret(path, "seed", SEED_FILE_BYTES_MAX)?,
        None if io::stdin().is_terminal() => {
            let digits = rpassword::prompt_password("The seed's 64 hexadecimal digits: ").map_err(ImportError::Input)?;
            Zeroizing::new(digits.into_bytes())
        }
        None => return Err(ImportError::NoTerminal),
    };
    ImportSeed::parse(&bytes).map_err(ImportError::Seed)
}

/// Largest file with a seed: PKCS#8 with a public key is under 200 bytes of PEM.
const SEED_FILE_BYTES_MAX: usize = 4096;
