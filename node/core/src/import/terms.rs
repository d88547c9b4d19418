//! What every node checks of an import: the public part alone, then its own packet against it.

use std::collections::BTreeSet;

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity as _;
use frost_ed25519::Identifier;
use frost_ed25519::keys::{KeyPackage, PublicKeyPackage, SecretShare, SigningShare, VerifiableSecretSharingCommitment};
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::IMPORT_PACKET_BYTES_MAX;
use warifu_protocol::{ClusterId, EncodedPoint, ImportPacket, KeyImport, NodeId, PacketError, Refusal, SealingKey, Sha256, Threshold};
use zeroize::Zeroizing;

use super::weak::is_published_key;
use crate::signer::identifier;

/// Version of a packet's plaintext.
const PLAINTEXT_VERSION: u8 = 1;

/// The plaintext of a packet: version, then the share.
#[must_use]
pub fn packet_plaintext(share: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut plaintext = Zeroizing::new(Vec::with_capacity(1 + share.len()));
    plaintext.push(PLAINTEXT_VERSION);
    plaintext.extend_from_slice(share);
    plaintext
}

/// Checks an import against the cluster's threshold and nodes (ascending), and makes the public key package that its shares belong to.
///
/// # Errors
/// [`Refusal::ImportRefused`] for other numbers or nodes, [`Refusal::KeyRefused`] for points that are none, that generate no group of prime
/// order, or whose private half is public.
pub fn check_import(import: &KeyImport, threshold: Threshold, nodes: &[NodeId]) -> Result<PublicKeyPackage, Refusal> {
    let refused = |reason: String| Err(Refusal::ImportRefused { reason });
    if import.commitment.len() != usize::from(threshold.0) {
        return refused(format!("it is split so that {} sites sign, and {} do here", import.commitment.len(), threshold.0));
    }
    if !import.packets.iter().map(|(node, _)| node).eq(nodes) {
        return refused("its packets are not for exactly the sites of the roster, ascending".to_owned());
    }
    let mut distinct = BTreeSet::new();
    if !import.packets.iter().all(|(_, hash)| distinct.insert(hash)) {
        return refused("two sites would get the same packet".to_owned());
    }
    for (place, point) in import.commitment.iter().enumerate() {
        if let Some(flaw) = flaw(point) {
            let what = if place == 0 { "the public key".to_owned() } else { format!("commitment {place}") };
            return Err(Refusal::KeyRefused { reason: format!("{what} {flaw}") });
        }
    }
    let unusable = |_| Refusal::KeyRefused { reason: "a site's share would be the zero of the group".to_owned() };
    let commitment = commitment(import).map_err(unusable)?;
    let identifiers: BTreeSet<Identifier> = nodes.iter().map(|node| identifier(*node)).collect();
    let package = PublicKeyPackage::from_commitment(&identifiers, &commitment).map_err(unusable)?;
    // A share of zero has no encoding.
    package.serialize().map_err(unusable)?;
    Ok(package)
}

/// Opens what was sealed for one node.
pub trait OpenPacket {
    /// Opens a packet that was sealed with the same context.
    ///
    /// # Errors
    /// When it was sealed for another node or context, or changed.
    fn open(&self, context: &[u8], packet: &[u8]) -> Result<Zeroizing<Vec<u8>>, PacketError>;
}

impl OpenPacket for SealingKey {
    fn open(&self, context: &[u8], packet: &[u8]) -> Result<Zeroizing<Vec<u8>>, PacketError> {
        Self::open(self, context, packet)
    }
}

/// Opens this node's packet and makes its share, if the packet is the one that was ordered and the share is the one of the commitment.
///
/// # Errors
/// [`Refusal::PacketRefused`].
pub fn open_packet(import: &KeyImport, cluster: ClusterId, packet: &ImportPacket, key: &impl OpenPacket) -> Result<KeyPackage, Refusal> {
    let refused = |reason: &str| Refusal::PacketRefused { node: packet.node, reason: reason.to_owned() };
    check_packet(import, packet)?;
    let context = import.packet_context(cluster, packet.order, packet.node);
    let plaintext = key.open(&context, packet.sealed.as_slice()).map_err(|error| refused(&error.to_string()))?;
    let share = match plaintext.split_first() {
        Some((&PLAINTEXT_VERSION, share)) => SigningShare::deserialize(share).map_err(|_| refused("it holds no share"))?,
        Some(_) | None => return Err(refused("it is of another version")),
    };
    let commitment = commitment(import).map_err(|_| refused("its import has no sound commitment"))?;
    // The conversion is the check: share·B against the commitment at this node's identifier.
    let share = SecretShare::new(identifier(packet.node), share, commitment);
    KeyPackage::try_from(share).map_err(|_| refused("its share is not the one that the order commits to"))
}

/// Whether a packet is the one that was ordered for its node.
///
/// # Errors
/// [`Refusal::PacketRefused`].
pub(crate) fn check_packet(import: &KeyImport, packet: &ImportPacket) -> Result<(), Refusal> {
    let refused = |reason: &str| Err(Refusal::PacketRefused { node: packet.node, reason: reason.to_owned() });
    if packet.sealed.len() > IMPORT_PACKET_BYTES_MAX {
        return refused("it is larger than a packet can be");
    }
    let hash = Sha256::new(sha256(packet.sealed.as_slice()));
    if import.packet(packet.node) == Some(hash) { Ok(()) } else { refused("it is not the packet that was ordered for this node") }
}

fn commitment(import: &KeyImport) -> Result<VerifiableSecretSharingCommitment, frost_ed25519::Error> {
    VerifiableSecretSharingCommitment::deserialize(import.commitment.iter().map(EncodedPoint::as_bytes))
}

/// What is wrong with a point, if anything.
fn flaw(point: &EncodedPoint) -> Option<&'static str> {
    let Some(found) = CompressedEdwardsY(*point.as_bytes()).decompress() else { return Some("is no point of the curve") };
    if found.compress().as_bytes() != point.as_bytes() {
        return Some("is not encoded as RFC 8032 says");
    }
    if EdwardsPoint::is_identity(&found) {
        return Some("is the zero of the group");
    }
    if found.is_small_order() {
        return Some("is of small order");
    }
    if !found.is_torsion_free() {
        return Some("is not in the group of prime order");
    }
    is_published_key(point.as_bytes()).then_some("is a test vector of RFC 8032, whose private key everybody has")
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};

    fn encode(point: EdwardsPoint) -> EncodedPoint {
        EncodedPoint::new(point.compress().0)
    }

    #[test]
    fn each_kind_of_bad_point_is_named() {
        let point = |text: &str| EncodedPoint::new(hex::decode(text).expect("hexadecimal").try_into().expect("32 bytes"));
        let mut identity = [0; 32];
        identity[0] = 1;
        // y = p + 1: the identity again.
        let non_canonical = point(&format!("ee{}7f", "ff".repeat(30)));
        let cases = [
            (point(&format!("02{}", "00".repeat(31))), "is no point"),
            (non_canonical, "is not encoded"),
            (EncodedPoint::new(identity), "is the zero"),
            (encode(EIGHT_TORSION[1]), "is of small order"),
            (encode(EIGHT_TORSION[4]), "is of small order"),
            (encode(ED25519_BASEPOINT_POINT + EIGHT_TORSION[1]), "is not in the group"),
            (point("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"), "is a test vector"),
        ];
        for (bad, says) in cases {
            let flaw = flaw(&bad);
            assert!(flaw.is_some_and(|flaw| flaw.starts_with(says)), "{bad}: {flaw:?}");
        }
        assert_eq!(flaw(&encode(ED25519_BASEPOINT_POINT)), None);
    }
}
