//! Holders of a local cluster at their terminals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use warifu_api::ApiClient;
use warifu_core::pki::TrustAnchor;
use warifu_protocol::{ClusterRecord, CredentialId, DocumentKind, Name, SessionId};

use super::cluster::LocalCluster;
use super::error::LocalClusterError;
use crate::card::{CardAlgorithm, Pin, SoftwareCard};
use crate::card_command::new_trial_my_number_card;
use crate::clock::now;
use crate::files::{self, MODE_SECRET};
use crate::keys::{KeyKind, LocalKey, TerminalKey};
use crate::terminal::{LoginTerms, Prepared, SessionFile, SessionSecret, SignedDocument, close, prepare, trust_anchors};

/// A holder with a trial card and PIN, at a terminal of a facility.
#[derive(Debug)]
pub struct Holder {
    /// The credential.
    pub credential: CredentialId,
    /// Where they work.
    pub facility: Name,
    /// Name of the API client at that facility.
    pub client: &'static str,
    /// The terminal's key.
    pub terminal: TerminalKey,
    /// File of the terminal's key.
    pub terminal_file: PathBuf,
    /// File of the trial card.
    pub card_file: PathBuf,
    /// File of its PIN.
    pub pin_file: PathBuf,
}

/// A session with the client to use it by.
#[derive(Debug)]
pub struct OpenSession {
    /// The session's file, held.
    pub file: SessionFile,
    /// Where the file is.
    pub path: PathBuf,
    /// The client of its facility.
    pub client: ApiClient,
    /// The CAs that answers must chain to.
    pub anchors: Vec<TrustAnchor>,
}

impl Holder {
    /// Makes a trial My Number Card and its PIN in `directory`, and takes a terminal's key into use. Nothing is enrolled or bound.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub fn equip(
        cluster: &LocalCluster,
        directory: &Path,
        credential: CredentialId,
        facility: &str,
        client: &'static str,
        algorithm: CardAlgorithm,
        terminal: TerminalKey,
    ) -> Result<Self, LocalClusterError> {
        files::make_directory(directory)?;
        let holder = Self {
            credential,
            facility: facility.parse().expect("the facilities' names are names"),
            client,
            terminal,
            terminal_file: directory.join("terminal.key"),
            card_file: directory.join("card.json"),
            pin_file: directory.join("pin"),
        };
        holder.terminal.save(&holder.terminal_file)?;
        // Four digits as a My Number Card has them.
        let pin = format!("{:04}", rand::random::<u16>() % 10_000);
        files::write_new(&holder.pin_file, pin.as_bytes(), MODE_SECRET)?;
        new_trial_my_number_card(&holder.card_file, algorithm, &cluster.jpki, &holder.pin()?)?;
        Ok(holder)
    }

    /// The card's PIN, as the holder would type it.
    ///
    /// # Errors
    /// [`LocalClusterError::Card`].
    pub fn pin(&self) -> Result<Pin, LocalClusterError> {
        Ok(Pin::from_file(&self.pin_file).map_err(crate::card::CardError::from)?)
    }

    /// The card, in the reader.
    ///
    /// # Errors
    /// [`LocalClusterError::Card`].
    pub fn card(&self) -> Result<SoftwareCard, LocalClusterError> {
        Ok(SoftwareCard::open(&self.card_file)?)
    }

    /// Opens a session with the card's PIN and keeps it in the file `path`.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub async fn log_in(
        &self,
        cluster: &LocalCluster,
        path: &Path,
        kind: KeyKind,
        max_signatures: u32,
    ) -> Result<OpenSession, LocalClusterError> {
        let client = cluster.client(self.client, CALL_DEADLINE)?;
        let genesis = cluster.genesis();
        let terms = LoginTerms {
            cluster: genesis.cluster(),
            credential: self.credential,
            facility: self.facility.clone(),
            not_before: now(),
            life_millis: genesis.body().policy.session_millis_max,
            max_signatures,
        };
        let key = LocalKey::generate(kind)?;
        let opening = prepare(&terms, &self.terminal, &key, &mut self.card()?, &self.pin()?, Vec::new())?;
        let secret = SessionSecret::new(opening.statement.clone(), key, &ClusterRecord::founded(genesis));
        SessionFile::create(path, &secret)?;
        client.open_session(&opening).await?;
        let anchors = trust_anchors(&secret.anchors)?;
        Ok(OpenSession { file: SessionFile::open(path)?, path: path.to_owned(), client, anchors })
    }
}

impl OpenSession {
    /// The session's identifier.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.file.secret.session()
    }

    /// Has a document signed under the next number, and checks the answer.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub async fn sign(&mut self, xml: String, kind: DocumentKind) -> Result<SignedDocument, LocalClusterError> {
        let seq = self.file.take_seqs(1, now())?;
        let prepared = Prepared::new(xml, kind, self.session(), seq, &self.file.secret.key, now())?;
        Ok(prepared.sign(&self.client, &self.anchors).await?)
    }

    /// Closes the session.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub async fn log_out(self) -> Result<(), LocalClusterError> {
        let closing = close(self.session(), &self.file.secret.key)?;
        self.client.close_session(&closing).await?;
        Ok(self.file.remove()?)
    }
}

/// Longer than a coordinator tries.
const CALL_DEADLINE: Duration = Duration::from_secs(15);
