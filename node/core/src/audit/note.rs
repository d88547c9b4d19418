//! Checkpoints as signed notes, which anybody can check with the tools of transparency logs.

use std::fmt;

use ed25519_dalek::{Signer as _, VerifyingKey};
use signed_note::{Note, NoteError, Signer, Verifier, VerifierList, key_id};
use tlog_tiles::checkpoint::Checkpoint as TreeCheckpoint;
use tlog_tiles::tlog::Hash;
use warifu_protocol::{Checkpoint, ClusterId, NodeId, PublicKey, Sha256};

use crate::identity::NodeIdentity;

/// Largest note that is read; ours has about 250 bytes, and cosignatures of witnesses add 100 each.
pub const NOTE_BYTES_MAX: usize = 16 * 1024;
/// Signature type of Ed25519 in the C2SP `signed-note` specification.
const ALGORITHM_ED25519: u8 = 0x01;

/// Which log a checkpoint is of: `warifu/` with the first 16 digits of the cluster id, `/node-` and the node's number.
///
/// It is also the name of the key that the note is signed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointOrigin {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Whose log.
    pub node: NodeId,
}

/// Why a note is no checkpoint of that log.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Larger than [`NOTE_BYTES_MAX`].
    #[error("the checkpoint has {size} bytes, more than {NOTE_BYTES_MAX}")]
    TooLarge {
        /// Bytes found.
        size: usize,
    },
    /// The key is not the Ed25519 key that nodes have.
    #[error("checkpoints are signed with Ed25519; the key given is another")]
    KeyAlgorithm,
    /// Not a signed note, or not signed by that key under that name.
    #[error("the checkpoint is not signed by {origin}")]
    Note {
        /// By whom it should be.
        origin: String,
        /// What is wrong.
        #[source]
        source: NoteError,
    },
    /// A signed note that holds something else than a checkpoint of this log.
    #[error("the signed note is no checkpoint of {origin}")]
    Malformed {
        /// Of what it should be.
        origin: String,
    },
}

/// Signs a checkpoint of the node's own log.
///
/// # Panics
/// Never: the origin is a valid key name and the text of the checkpoint a valid note.
#[must_use]
pub fn checkpoint_note(identity: &NodeIdentity, checkpoint: &Checkpoint) -> String {
    let origin = CheckpointOrigin { cluster: identity.cluster(), node: identity.node() };
    let key = NoteKey { name: origin.to_string(), public: identity.key().verifying_key() };
    let body = TreeCheckpoint::new(&key.name, checkpoint.size, Hash(*checkpoint.root.as_bytes()), "").expect("the origin is not empty");
    let mut note = Note::new(&body.to_bytes(), &[]).expect("a checkpoint is text that ends with a line feed");
    note.add_sigs(&[&NoteSigner { key: &key, identity }]).expect("the origin is a valid key name");
    String::from_utf8(note.to_bytes()).expect("a note is UTF-8")
}

/// Checks a note against the log's origin and its node's identity key. Further signatures are those of witnesses and are passed over.
///
/// # Errors
/// See [`CheckpointError`].
pub fn verify_checkpoint(note: &str, origin: &CheckpointOrigin, identity: &PublicKey) -> Result<Checkpoint, CheckpointError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(CheckpointError::TooLarge { size: note.len() });
    }
    let PublicKey::Ed25519(public) = identity else { return Err(CheckpointError::KeyAlgorithm) };
    let public = VerifyingKey::from_bytes(public).map_err(|_| CheckpointError::KeyAlgorithm)?;
    let origin = origin.to_string();
    let unsigned = |source| CheckpointError::Note { origin: origin.clone(), source };
    let note = Note::from_bytes(note.as_bytes()).map_err(unsigned)?;
    note.verify(&VerifierList::new(vec![Box::new(NoteKey { name: origin.clone(), public })])).map_err(unsigned)?;
    match TreeCheckpoint::from_bytes(note.text()) {
        // An extension could say what no reader of ours looks at.
        Ok(body) if body.origin() == origin && body.extension().is_empty() => {
            Ok(Checkpoint { size: body.size(), root: Sha256::new(body.hash().0) })
        }
        Ok(_) | Err(_) => Err(CheckpointError::Malformed { origin }),
    }
}

impl fmt::Display for CheckpointOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster.to_string();
        write!(f, "warifu/{}/node-{}", cluster.get(..16).unwrap_or(&cluster), self.node)
    }
}

struct NoteKey {
    name: String,
    public: VerifyingKey,
}

impl NoteKey {
    fn id(&self) -> u32 {
        key_id(&self.name, &[&[ALGORITHM_ED25519], self.public.as_bytes().as_slice()].concat())
    }
}

impl Verifier for NoteKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id()
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature).is_ok_and(|signature| self.public.verify_strict(message, &signature).is_ok())
    }
}

struct NoteSigner<'a> {
    key: &'a NoteKey,
    identity: &'a NodeIdentity,
}

impl Signer for NoteSigner<'_> {
    fn name(&self) -> &str {
        &self.key.name
    }

    fn key_id(&self) -> u32 {
        self.key.id()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ed25519_dalek::SignatureError> {
        Ok(self.identity.key().sign(message).to_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use ed25519_dalek::SigningKey;

    const CLUSTER: ClusterId = ClusterId::new([0xab; 32]);

    fn identity(seed: u8, number: u8) -> NodeIdentity {
        NodeIdentity::new(NodeId::new(number).unwrap(), CLUSTER, SigningKey::from_bytes(&[seed; 32]))
    }

    fn origin(number: u8) -> CheckpointOrigin {
        CheckpointOrigin { cluster: CLUSTER, node: NodeId::new(number).unwrap() }
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { size: 42, root: Sha256::new([3; 32]) }
    }

    /// A note with any text, signed by node 1.
    fn must_sign(text: &str) -> String {
        let identity = identity(1, 1);
        let key = NoteKey { name: origin(1).to_string(), public: identity.key().verifying_key() };
        let mut note = Note::new(text.as_bytes(), &[]).unwrap();
        note.add_sigs(&[&NoteSigner { key: &key, identity: &identity }]).unwrap();
        String::from_utf8(note.to_bytes()).unwrap()
    }

    #[test]
    fn a_checkpoint_is_a_note_that_other_tools_can_check() {
        let identity = identity(1, 1);
        let note = checkpoint_note(&identity, &checkpoint());
        let lines: Vec<&str> = note.lines().collect();
        assert_eq!(lines[0], "warifu/abababababababab/node-1");
        assert_eq!(lines[1], "42");
        assert_eq!(lines[3], "");
        assert!(lines[4].starts_with("— warifu/abababababababab/node-1 "));
        assert_eq!(verify_checkpoint(&note, &origin(1), &identity.public_key()).unwrap(), checkpoint());

        let key = signed_note::new_ed25519_verifier_key(&origin(1).to_string(), &identity.key().verifying_key());
        let verifier = signed_note::StandardVerifier::new(&key).unwrap();
        let (verified, _) = Note::from_bytes(note.as_bytes()).unwrap().verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
        assert_eq!(verified.len(), 1);
    }

    #[test]
    fn a_changed_note_or_another_key_or_log_is_refused() {
        let (own, other) = (identity(1, 1), identity(2, 1));
        let key = own.public_key();
        let note = checkpoint_note(&own, &checkpoint());
        let refused = |note: &str, origin: &CheckpointOrigin, key: &PublicKey| {
            matches!(verify_checkpoint(note, origin, key), Err(CheckpointError::Note { .. }))
        };
        assert!(refused(&note.replace("\n42\n", "\n43\n"), &origin(1), &key));
        assert!(refused(&note.replace("node-1", "node-2"), &origin(2), &key));
        assert!(refused(&note, &origin(2), &key));
        assert!(refused(&note, &CheckpointOrigin { cluster: ClusterId::new([1; 32]), ..origin(1) }, &key));
        assert!(refused(&note, &origin(1), &other.public_key()));
        assert!(refused("", &origin(1), &key));
        assert!(refused(&note[..note.len() - 1], &origin(1), &key));
        let unsigned = note.split_inclusive('\n').take(4).collect::<String>();
        assert!(refused(&unsigned, &origin(1), &key));
    }

    #[test]
    fn a_witness_may_sign_too() {
        let note = checkpoint_note(&identity(1, 1), &checkpoint());
        let witness = checkpoint_note(&identity(9, 9), &checkpoint());
        let both = note + witness.lines().last().unwrap() + "\n";
        assert_eq!(verify_checkpoint(&both, &origin(1), &identity(1, 1).public_key()).unwrap(), checkpoint());
    }

    #[test]
    fn a_signed_note_that_is_no_checkpoint_of_the_log_is_refused() {
        let root = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";
        let own = origin(1).to_string();
        let key = identity(1, 1).public_key();
        assert!(verify_checkpoint(&must_sign(&format!("{own}\n42\n{root}\n")), &origin(1), &key).is_ok());
        for text in [
            "hello\n".to_owned(),
            format!("{}\n42\n{root}\n", origin(2)),
            format!("{own}\n042\n{root}\n"),
            format!("{own}\n-1\n{root}\n"),
            format!("{own}\n42\nAwM=\n"),
            format!("{own}\n42\n{root}\nextension\n"),
        ] {
            let verdict = verify_checkpoint(&must_sign(&text), &origin(1), &key);
            assert!(matches!(verdict, Err(CheckpointError::Malformed { .. })), "{text:?}: {verdict:?}");
        }
    }

    #[test]
    fn notes_and_keys_that_cannot_be_are_refused_first() {
        let key = identity(1, 1).public_key();
        let large = "x".repeat(NOTE_BYTES_MAX + 1);
        assert!(matches!(verify_checkpoint(&large, &origin(1), &key), Err(CheckpointError::TooLarge { .. })));
        let other = PublicKey::EcdsaP256([4; 65]);
        assert!(matches!(verify_checkpoint("", &origin(1), &other), Err(CheckpointError::KeyAlgorithm)));
    }
}
