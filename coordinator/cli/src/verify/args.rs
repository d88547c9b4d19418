//! The command line of `warifu verify`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use warifu_coordinator::document::DOCUMENT_BYTES_MAX;
use warifu_protocol::UnixMillis;

use super::document::{VerifyOptions, verify};
use super::trust::load_anchors;

/// Verify the signatures of an electronic prescription or dispensing.
///
/// Exit code 0: the document is signed and every signature is valid; 1: it is not; 2: wrong usage, or a file cannot be read.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The XML document.
    pub file: PathBuf,
    /// CA certificate that is trusted, PEM or DER, or a directory of such files. Without it, chains are not checked.
    #[arg(long, value_name = "FILE_OR_DIR")]
    pub trust: Vec<PathBuf>,
    /// Check certificates at this time (RFC 3339), in place of the signing time that each signature claims.
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub at: Option<UnixMillis>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs `warifu verify` and prints the report.
///
/// # Errors
///
/// When the report cannot be written. A file that cannot be read is said on standard error and gives exit code 2.
pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let inputs = read_document(&args.file).and_then(|xml| Ok((xml, load_anchors(&args.trust)?)));
    let (xml, anchors) = match inputs {
        Ok(inputs) => inputs,
        Err(error) => {
            writeln!(std::io::stderr(), "error: {error:#}")?;
            return Ok(ExitCode::from(EXIT_UNREADABLE));
        }
    };
    let report = verify(&xml, &VerifyOptions { anchors, at: args.at });
    let mut output = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut output, &report)?;
        writeln!(output)?;
    } else {
        write!(output, "{report}")?;
    }
    Ok(ExitCode::from(if report.valid { 0 } else { EXIT_INVALID }))
}

/// Exit code for a document with an invalid signature or none.
const EXIT_INVALID: u8 = 1;

/// Exit code for files that cannot be read; the same as clap's for wrong usage.
const EXIT_UNREADABLE: u8 = 2;

/// Reads one byte more than a document may have, so that a larger one is refused as too large and never held whole.
fn read_document(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut xml = Vec::new();
    File::open(path)
        .and_then(|file| file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut xml))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(xml)
}

fn parse_instant(text: &str) -> Result<UnixMillis, String> {
    let instant: Timestamp = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    u64::try_from(instant.as_millisecond()).map(UnixMillis).map_err(|_| "times before 1970 are not supported".to_owned())
}
