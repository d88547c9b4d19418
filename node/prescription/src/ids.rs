//! `Id` attributes of one signature.

use sha2::{Digest, Sha256};
use warifu_protocol::{DocumentKind, RequestHash};

/// The `Id` of every part of one signature, each derived from the kind of document and the hash of the request.
///
/// Derived ids let every site render the same bytes without being told them, and keep the two signatures of a dispensing apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartIds {
    /// Of `SignedInfo`.
    pub signed_info: String,
    /// Of the Reference to the document's element.
    pub document_reference: String,
    /// Of the Reference to `KeyInfo`.
    pub key_info_reference: String,
    /// Of the Reference to `SignedProperties`.
    pub signed_properties_reference: String,
    /// Of `SignatureValue`.
    pub signature_value: String,
    /// Of `KeyInfo`.
    pub key_info: String,
    /// Of `QualifyingProperties`.
    pub qualifying_properties: String,
    /// Of `SignedProperties`.
    pub signed_properties: String,
}

impl PartIds {
    /// Derives the ids of the signature that `request` asks for.
    #[must_use]
    pub fn derive(kind: DocumentKind, request: RequestHash) -> Self {
        let id = |suffix: &str| derive_id(kind, request, suffix);
        Self {
            signed_info: id("SignedInfo"),
            document_reference: id("Reference1-Detached"),
            key_info_reference: id("Reference2-KeyInfo"),
            signed_properties_reference: id("Reference3-SignedProperties"),
            signature_value: id("SignatureValue"),
            key_info: id("KeyInfo"),
            qualifying_properties: id("QualifyingProperties"),
            signed_properties: id("SignedProperties"),
        }
    }
}

fn derive_id(kind: DocumentKind, request: RequestHash, suffix: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(ID_TAG);
    hash.update(kind.signature_id());
    hash.update([0]);
    hash.update(request.as_bytes());
    hash.update(suffix);
    let digest: [u8; 32] = hash.finalize().into();
    format!("id{}-{suffix}", hex::encode(&digest[..ID_HASH_BYTES]))
}

const ID_TAG: &[u8] = b"warifu-signature-part-id-v1\0";

/// A dispensing holds the prescription's signature beside its own, and equal ids would make it unsignable. Eight bytes keep that from
/// happening at the rate of a whole country (4 bytes, as some signers use, would collide every few months).
const ID_HASH_BYTES: usize = 8;
