//! What was found, for people and for programs.

use std::error::Error;
use std::fmt;

use serde::Serialize;
use warifu_coordinator::document::SignaturePlace;
use warifu_core::pki::Certificate;
use warifu_protocol::DocumentKind;

use super::signer::instant;

/// The verdict on one document. Its JSON form is the output of `warifu verify --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the document has the signature of its own kind and every signature holds.
    pub valid: bool,
    /// What is wrong with the document as a whole.
    pub problem: Option<String>,
    /// What it is; `None` when it could not be read.
    pub kind: Option<DocumentKind>,
    /// The identifier that it gives itself, which no signature covers.
    pub document_id: Option<String>,
    /// Each signature, in the order in which they were made.
    pub signatures: Vec<SignatureReport>,
    /// The parts that no valid signature covers.
    pub uncovered: Vec<UncoveredPart>,
}

/// The verdict on one signature. Fields stay empty from where the check stopped; before `valid` is true they prove nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignatureReport {
    /// Path of the element that holds it.
    pub place: String,
    /// Path of the element that it is to cover.
    pub covers: String,
    /// Whether it is the doctor's (prescription) or the pharmacist's (dispensing).
    pub kind: DocumentKind,
    /// Whether every check passed.
    pub valid: bool,
    /// The first check that failed.
    pub problem: Option<String>,
    /// How it was made.
    pub algorithm: Option<&'static str>,
    /// Who signed.
    pub signer: Option<SignerReport>,
    /// SigningTime, in UTC: what the signer says, proved by nothing here.
    pub claimed_signing_time: Option<String>,
    /// The instant for which the certificates were checked.
    pub checked_at: Option<String>,
    /// Whether somebody trusted vouches for the certificate.
    pub trust: TrustReport,
}

/// The signer's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignerReport {
    /// Subject, RFC 4514.
    pub subject: String,
    /// Issuer, RFC 4514.
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Licences by their hcRole names; empty when it names none or cannot be read.
    pub roles: Vec<String>,
    /// First instant of validity.
    pub not_before: String,
    /// Last second of validity.
    pub not_after: String,
    /// SHA-256 of the DER.
    pub sha256: String,
}

/// What is known of the chain of certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum TrustReport {
    /// No trusted certificate was given.
    #[serde(rename = "not_checked")]
    NotAsked,
    /// An earlier check failed.
    NotReached,
    /// It chains to none of the trusted certificates.
    Refused {
        /// Why not.
        reason: String,
    },
    /// It chains to this one. Revocation is not checked.
    Chained {
        /// Subject of the trusted certificate.
        anchor: String,
    },
}

/// A part of the document that no valid signature covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UncoveredPart {
    /// Where it stands, in the manner of XPath and with prefixes as written.
    pub path: String,
    /// How many bytes it has in the file; for an attribute, in its value.
    pub bytes: usize,
}

impl Report {
    pub(super) const fn refused(problem: String) -> Self {
        Self { valid: false, problem: Some(problem), kind: None, document_id: None, signatures: Vec::new(), uncovered: Vec::new() }
    }
}

impl SignatureReport {
    pub(super) fn at(place: SignaturePlace, trust: TrustReport) -> Self {
        Self {
            place: Self::place_text(place),
            covers: format!("/{}", place.signed_path().join("/")),
            kind: place.kind(),
            valid: false,
            problem: None,
            algorithm: None,
            signer: None,
            claimed_signing_time: None,
            checked_at: None,
            trust,
        }
    }

    pub(super) fn place_text(place: SignaturePlace) -> String {
        format!("/{}", place.holder_path().join("/"))
    }
}

impl SignerReport {
    pub(super) fn of(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: hex::encode(certificate.serial().as_bytes()),
            roles: certificate.hc_roles().unwrap_or_default(),
            not_before: instant(certificate.not_before()).to_string(),
            not_after: instant(certificate.not_after()).to_string(),
            sha256: certificate.hash().to_string(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.map_or_else(|| "document".to_owned(), |kind| kind.to_string());
        writeln!(f, "{} {kind} {}", verdict(self.valid), harmless(self.document_id.as_deref().unwrap_or("without id")))?;
        if let Some(problem) = &self.problem {
            writeln!(f, "  problem      {}", harmless(problem))?;
        }
        for signature in &self.signatures {
            write!(f, "{signature}")?;
        }
        if !self.uncovered.is_empty() {
            writeln!(f, "Not covered by any valid signature:")?;
            for part in &self.uncovered {
                writeln!(f, "  {} ({} bytes)", harmless(&part.path), part.bytes)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for SignatureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: &str| writeln!(f, "  {name:<12} {}", harmless(text));
        let (doubt, holds) = if self.valid { ("", "") } else { ("claims to be ", " (not proved)") };
        line("signature", &format!("{} {}", verdict(self.valid), self.place))?;
        if let Some(problem) = &self.problem {
            line("  problem", problem)?;
        }
        line("  covers", &format!("{}{holds}", self.covers))?;
        if let Some(signer) = &self.signer {
            let roles = if signer.roles.is_empty() { "no hcRole".to_owned() } else { signer.roles.join(", ") };
            line("  by", &format!("{doubt}{} [{roles}]", signer.subject))?;
            line("  certificate", &format!("serial {}, {} to {}", signer.serial, signer.not_before, signer.not_after))?;
            line("  issuer", &signer.issuer)?;
        }
        if let Some(algorithm) = self.algorithm {
            line("  algorithm", algorithm)?;
        }
        if let Some(time) = &self.claimed_signing_time {
            line("  signed at", &format!("{time} (claimed by the signer; no timestamp was verified)"))?;
        }
        let at = self.checked_at.as_deref().unwrap_or("no time");
        let trust = match &self.trust {
            TrustReport::NotAsked => "not checked; a CA's certificate is given with --trust".to_owned(),
            TrustReport::NotReached => "not checked, since an earlier check failed".to_owned(),
            TrustReport::Refused { reason } => format!("refused at {at}: {reason}"),
            TrustReport::Chained { anchor } => format!("chains to {anchor}, valid at {at}; revocation not checked"),
        };
        line("  trust", &trust)
    }
}

const fn verdict(valid: bool) -> &'static str {
    if valid { "VALID" } else { "INVALID" }
}

/// Replaces what could move a terminal's cursor or turn the direction of writing: the texts come from the document.
fn harmless(text: &str) -> String {
    let dangerous = |character: char| {
        character.is_control() || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|character| if dangerous(character) { '\u{fffd}' } else { character }).collect()
}

/// An error with its causes on one line.
pub(super) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
