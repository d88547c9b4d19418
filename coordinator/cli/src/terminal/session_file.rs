//! An open session in a file: its key, its bounds, the next number, and the requests whose outcome is not known.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use warifu_protocol::{AnchorEntry, AnchorKind, ClusterRecord, DocumentKind, Request, SessionId, SignedRequest, Statement, UnixMillis};

use super::error::TerminalError;
use super::sign::Prepared;
use crate::files::{self, FileError, MODE_SECRET};
use crate::keys::{LocalKey, danger_plain};

/// A session with the key that signs its requests.
///
/// # Security
/// Whoever has it signs as the holder within the session's bounds; the file has mode 0600 and is removed at logout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSecret {
    format: Format,
    /// What the card signed.
    pub statement: Statement,
    /// The session's key.
    #[serde(with = "danger_plain")]
    pub key: LocalKey,
    /// The number that no request has used yet; 1 at first.
    pub next_seq: u32,
    /// The CAs that holders' certificates must chain to, as the cluster was known at the login or [later](Self::follow).
    pub anchors: Vec<AnchorEntry>,
    /// How far a signing time may lie from the nodes' clocks, by the policy that was known then. A file without it repeats no request.
    #[serde(default)]
    pub clock_skew_millis_max: u64,
    /// Requests that were sent, or were about to be, and got no definite answer; the oldest first, at most `PENDING_MAX`.
    #[serde(default)]
    pub pending: Vec<SignedRequest>,
}

/// Where the number of a request comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbering {
    /// It was not used before.
    New,
    /// The request was sent before, and nobody knows what came of it: it is the same one again.
    Again,
    /// A request for the same document was sent before, and nobody knows what came of it; the cluster takes its signing time no more.
    InPlaceOf {
        /// Its number.
        seq: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "warifu-session-v1")]
    V1,
}

impl SessionSecret {
    /// A session whose first request is number 1, with the CAs and the policy of this cluster.
    #[must_use]
    pub fn new(statement: Statement, key: LocalKey, cluster: &ClusterRecord) -> Self {
        let anchors = signing_anchors(cluster);
        let clock_skew_millis_max = cluster.policy.clock_skew_millis_max;
        Self { format: Format::V1, statement, key, next_seq: 1, anchors, clock_skew_millis_max, pending: Vec::new() }
    }

    /// Takes the CAs and the policy of the cluster as it is known now.
    ///
    /// # Errors
    /// [`TerminalError::WrongCluster`] when it is not the session's.
    pub fn follow(&mut self, cluster: &ClusterRecord) -> Result<(), TerminalError> {
        if cluster.cluster != self.statement.cluster {
            return Err(TerminalError::WrongCluster { session: self.session(), expected: self.statement.cluster, found: cluster.cluster });
        }
        self.anchors = signing_anchors(cluster);
        self.clock_skew_millis_max = cluster.policy.clock_skew_millis_max;
        Ok(())
    }

    /// The session's identifier.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.statement.session()
    }

    /// Takes the next `count` numbers.
    ///
    /// # Errors
    /// [`TerminalError::SessionEnded`] past the session's end, [`TerminalError::SessionSpent`] past its last number; then none is taken.
    pub fn take_seqs(&mut self, count: u32, now: UnixMillis) -> Result<u32, TerminalError> {
        self.check_open(now)?;
        let max = self.statement.max_signatures;
        let spent = TerminalError::SessionSpent { session: self.session(), max };
        let Some(next) = self.next_seq.checked_add(count).filter(|next| next - 1 <= max) else { return Err(spent) };
        Ok(std::mem::replace(&mut self.next_seq, next))
    }

    fn check_open(&self, now: UnixMillis) -> Result<(), TerminalError> {
        let not_after = self.statement.not_after;
        if now > not_after { Err(TerminalError::SessionEnded { session: self.session(), not_after }) } else { Ok(()) }
    }

    /// The request for a document: the pending one again, or one under the next number, which is pending from now on.
    fn prepare(&mut self, xml: String, kind: DocumentKind, now: UnixMillis) -> Result<(Prepared, Numbering), TerminalError> {
        self.check_open(now)?;
        // Refuses what cannot be signed before a number is spent on it.
        let draft = Prepared::new(xml, kind, self.session(), self.next_seq, &self.key, now)?;
        let same = |pending: &&SignedRequest| is_for_same_document(&pending.request, &draft.request.request);
        let earlier = self.pending.iter().rev().find(same).cloned();
        let numbering = match earlier {
            Some(request) if request.request.signing_time.distance(now) <= self.clock_skew_millis_max => {
                return Ok((Prepared { xml: draft.xml, request }, Numbering::Again));
            }
            Some(request) => Numbering::InPlaceOf { seq: request.request.seq },
            None => Numbering::New,
        };
        // The draft has the number that is taken here.
        self.take_seqs(1, now)?;
        self.pending.retain(|pending| !is_for_same_document(&pending.request, &draft.request.request));
        if self.pending.len() == PENDING_MAX {
            self.pending.remove(0);
        }
        self.pending.push(draft.request.clone());
        Ok((draft, numbering))
    }
}

/// The pinned CAs of signing certificates.
fn signing_anchors(cluster: &ClusterRecord) -> Vec<AnchorEntry> {
    cluster.anchors.iter().filter(|anchor| anchor.kind == AnchorKind::HpkiSigning).cloned().collect()
}

fn is_for_same_document(one: &Request, other: &Request) -> bool {
    (one.kind, &one.document_id, one.digest) == (other.kind, &other.document_id, other.digest)
}

/// A session's file, held against other processes, so that no number is ever used for two documents.
#[derive(Debug)]
pub struct SessionFile {
    path: PathBuf,
    /// The session.
    pub secret: SessionSecret,
    _lock: File,
}

impl SessionFile {
    /// Writes the file of a new session.
    ///
    /// # Errors
    /// [`FileError::System`], also when the file exists.
    pub fn create(path: &Path, secret: &SessionSecret) -> Result<(), FileError> {
        files::write_new(path, &files::json_bytes(secret), MODE_SECRET)
    }

    /// Reads a session and holds its file.
    ///
    /// # Errors
    /// [`TerminalError::SessionBusy`] while another process holds it, or [`TerminalError::File`].
    pub fn open(path: &Path) -> Result<Self, TerminalError> {
        let lock = files::try_lock_beside(path)?.ok_or(TerminalError::SessionBusy)?;
        let bytes = files::read_secret(path, WHAT, SESSION_FILE_BYTES_MAX)?;
        let secret = serde_json::from_slice(&bytes).map_err(|error| files::malformed(path, WHAT, &error.to_string()))?;
        Ok(Self { path: path.to_owned(), secret, _lock: lock })
    }

    /// Takes the next `count` numbers, durably: after a crash they are not used again, for what was sent under them is not known.
    ///
    /// # Errors
    /// As [`SessionSecret::take_seqs`], or [`TerminalError::File`].
    pub fn take_seqs(&mut self, count: u32, now: UnixMillis) -> Result<u32, TerminalError> {
        let first = self.secret.take_seqs(count, now)?;
        self.save()?;
        Ok(first)
    }

    /// The request to send for a document, durable before this returns. Until it is [settled](Self::settle), the same document gets the same
    /// request again, as long as the cluster takes its signing time.
    ///
    /// # Errors
    /// As [`Prepared::new`] and [`SessionSecret::take_seqs`], or [`TerminalError::File`].
    pub fn prepare(&mut self, xml: String, kind: DocumentKind, now: UnixMillis) -> Result<(Prepared, Numbering), TerminalError> {
        let prepared = self.secret.prepare(xml, kind, now)?;
        if prepared.1 != Numbering::Again {
            self.save()?;
        }
        Ok(prepared)
    }

    /// Forgets a request, durably: its document is signed and kept, or was refused.
    ///
    /// # Errors
    /// [`FileError::System`].
    pub fn settle(&mut self, request: &SignedRequest) -> Result<(), FileError> {
        self.secret.pending.retain(|pending| pending.request.seq != request.request.seq);
        self.save()
    }

    fn save(&self) -> Result<(), FileError> {
        files::replace(&self.path, &files::json_bytes(&self.secret), MODE_SECRET)
    }

    /// Removes the file of a closed session.
    ///
    /// # Errors
    /// [`FileError::System`].
    pub fn remove(self) -> Result<(), FileError> {
        files::remove(&self.path)
    }
}

/// What the file holds, in messages.
const WHAT: &str = "session file";

/// Most requests without a definite answer that are remembered; one more, and the oldest is forgotten. More than a person tries while the
/// cluster is away, and little beside the file's bound.
const PENDING_MAX: usize = 64;

/// Largest session file: some pinned CA certificates of 8 KiB each, and `PENDING_MAX` requests of less than 1 KiB each.
const SESSION_FILE_BYTES_MAX: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use warifu_coordinator::document::sample;
    use warifu_protocol::{Challenge, ClusterId, CredentialId, ObjectVersion, Policy, Purpose, TerminalId, Threshold};

    use super::*;
    use crate::keys::KeyKind;
    use crate::trial_pki::TrialHpki;

    fn must_secret(max_signatures: u32) -> SessionSecret {
        let key = LocalKey::generate(KeyKind::P256).expect("keys can be made");
        let statement = Statement {
            cluster: ClusterId::new([1; 32]),
            credential: CredentialId::new([2; 16]),
            session_key: key.public(),
            facility: "1310000001".parse().expect("a name"),
            terminal: TerminalId::new([3; 16]),
            purpose: Purpose::EPrescription,
            not_before: UnixMillis(1000),
            not_after: UnixMillis(2000),
            max_signatures,
            nonce: Challenge::new([4; 32]),
        };
        SessionSecret {
            format: Format::V1,
            statement,
            key,
            next_seq: 1,
            anchors: Vec::new(),
            clock_skew_millis_max: SKEW,
            pending: Vec::new(),
        }
    }

    /// Far less than the session's life.
    const SKEW: u64 = 100;

    /// A request for this document at this time, from the file opened afresh as another process would.
    fn must_prepare(path: &Path, document_id: &str, at: u64) -> (SignedRequest, Numbering) {
        let mut file = SessionFile::open(path).expect("reads");
        let prepared = file.prepare(sample::prescription(document_id), DocumentKind::Prescription, UnixMillis(at));
        let (prepared, numbering) = prepared.expect("within the bounds");
        (prepared.request, numbering)
    }

    #[test]
    fn a_document_without_a_definite_answer_gets_the_same_request_again_until_its_signing_time_is_too_old() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("session.json");
        SessionFile::create(&path, &must_secret(9)).expect("writes");

        let (first, numbering) = must_prepare(&path, "a", 1000);
        assert_eq!((first.request.seq, numbering), (1, Numbering::New));
        let (other, numbering) = must_prepare(&path, "b", 1000);
        assert_eq!((other.request.seq, numbering), (2, Numbering::New), "another document has a number of its own");
        assert_eq!(must_prepare(&path, "a", 1000 + SKEW), (first, Numbering::Again), "byte for byte, though time passed");

        let (instead, numbering) = must_prepare(&path, "a", 1001 + SKEW);
        assert_eq!((instead.request.seq, numbering), (3, Numbering::InPlaceOf { seq: 1 }), "the cluster takes the first one no more");
        SessionFile::open(&path).expect("reads").settle(&instead).expect("writes");
        let (again, numbering) = must_prepare(&path, "a", 1000);
        assert_eq!((again.request.seq, numbering), (4, Numbering::New), "a settled one is not sent again, nor the one before it");
        assert_eq!(must_prepare(&path, "b", 1000), (other, Numbering::Again), "that settled nothing else");
        let file = SessionFile::open(&path).expect("reads");
        assert_eq!((file.secret.next_seq, file.secret.pending.len()), (5, 2));
    }

    #[test]
    fn a_session_follows_its_own_cluster_and_no_other() {
        let mut secret = must_secret(9);
        let ca = TrialHpki::new(UnixMillis(1_775_001_600_000)).expect("a CA").anchor();
        let card_ca = AnchorEntry { kind: AnchorKind::HpkiAuthentication, ..ca.clone() };
        let mut cluster = ClusterRecord {
            cluster: ClusterId::new([9; 32]),
            threshold: Threshold(2),
            liars: 0,
            minority_threshold: false,
            policy: Policy { clock_skew_millis_max: 7, ..Policy::default() },
            nodes: Vec::new(),
            coordinators: Vec::new(),
            officers: Vec::new(),
            anchors: vec![card_ca, ca.clone()],
            roster_version: ObjectVersion(1),
            policy_version: ObjectVersion(2),
            anchors_version: ObjectVersion(2),
            retired: Vec::new(),
        };
        assert!(matches!(secret.follow(&cluster), Err(TerminalError::WrongCluster { .. })));
        assert_eq!((secret.anchors.len(), secret.clock_skew_millis_max), (0, SKEW), "nothing of another cluster is taken");
        cluster.cluster = secret.statement.cluster;
        secret.follow(&cluster).expect("its own");
        assert_eq!((secret.anchors, secret.clock_skew_millis_max), (vec![ca], 7), "only CAs of signing certificates");
    }

    #[test]
    fn a_document_that_cannot_be_signed_takes_no_number_and_a_session_past_its_end_repeats_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("session.json");
        SessionFile::create(&path, &SessionSecret { clock_skew_millis_max: 5000, ..must_secret(9) }).expect("writes");
        let mut file = SessionFile::open(&path).expect("reads");
        let mut prepare = |kind, at| file.prepare(sample::prescription("a"), kind, UnixMillis(at)).map(|(_, numbering)| numbering);
        assert!(matches!(prepare(DocumentKind::Dispensing, 1500), Err(TerminalError::Document(_))));
        assert!(matches!(prepare(DocumentKind::Prescription, 1500), Ok(Numbering::New)));
        assert!(matches!(prepare(DocumentKind::Prescription, 2001), Err(TerminalError::SessionEnded { .. })));
        assert_eq!(file.secret.next_seq, 2, "only one was taken");
    }

    #[test]
    fn the_most_pending_requests_fit_in_the_file_and_the_oldest_is_forgotten_for_one_more() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("session.json");
        SessionFile::create(&path, &must_secret(200)).expect("writes");
        let mut file = SessionFile::open(&path).expect("reads");
        let id = |number| format!("{number:036}");
        let mut prepare = |number| {
            let (_, numbering) =
                file.prepare(sample::prescription(&id(number)), DocumentKind::Prescription, UnixMillis(1000)).expect("fits");
            numbering
        };
        for number in 0..=PENDING_MAX {
            assert_eq!(prepare(number), Numbering::New);
        }
        assert_eq!(prepare(1), Numbering::Again);
        assert_eq!(prepare(0), Numbering::New, "the oldest is forgotten");
        drop(file);
        assert_eq!(SessionFile::open(&path).expect("fits the bound").secret.pending.len(), PENDING_MAX);
    }

    #[test]
    fn numbers_are_taken_once_and_stay_taken_after_a_crash() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("session.json");
        let secret = must_secret(5);
        SessionFile::create(&path, &secret).expect("writes");
        let mut file = SessionFile::open(&path).expect("reads");
        assert!(matches!(SessionFile::open(&path), Err(TerminalError::SessionBusy)), "one process at a time");
        assert_eq!(file.take_seqs(1, UnixMillis(1500)).expect("within the bounds"), 1);
        assert_eq!(file.take_seqs(2, UnixMillis(1500)).expect("within the bounds"), 2);
        drop(file);
        let mut file = SessionFile::open(&path).expect("reads again");
        assert_eq!(file.secret.key.public(), secret.key.public());
        assert!(matches!(file.take_seqs(3, UnixMillis(1500)), Err(TerminalError::SessionSpent { max: 5, .. })), "not partly");
        assert!(matches!(file.take_seqs(1, UnixMillis(2001)), Err(TerminalError::SessionEnded { .. })));
        assert_eq!(file.take_seqs(2, UnixMillis(2000)).expect("the last two"), 4);
        assert!(matches!(file.take_seqs(1, UnixMillis(1500)), Err(TerminalError::SessionSpent { .. })));
        file.remove().expect("removes");
        assert!(!path.exists());
    }
}
