//! What stands in for the sealing of packets: the program's own draws from the system's random numbers, so that no run with it could be repeated.

use warifu_core::import::OpenPacket;
use warifu_protocol::canonical::sha256;
use warifu_protocol::{Blob, PacketError};
use zeroize::Zeroizing;

const TAG_BYTES: usize = 16;

/// What one site opens, and whoever knows its public sealing key seals: nobody in a run looks inside otherwise.
pub(super) struct Sealing([u8; 32]);

impl Sealing {
    /// For the site with this public sealing key, in a run of this seed.
    pub(super) fn new(seed: u64, public: &[u8]) -> Self {
        Self(sha256(&[&seed.to_be_bytes()[..], b"sealing", public].concat()))
    }

    /// Seals for this context.
    pub(super) fn seal(&self, context: &[u8], plaintext: &[u8]) -> Blob {
        let mut sealed = self.mask(context, plaintext);
        sealed.extend_from_slice(&self.tag(context, &sealed));
        Blob(sealed)
    }

    fn mask(&self, context: &[u8], bytes: &[u8]) -> Vec<u8> {
        let block = |number: u64| sha256(&[&self.0[..], b"mask", &number.to_be_bytes(), context].concat());
        let stream = (0_u64..).flat_map(block);
        bytes.iter().zip(stream).map(|(byte, mask)| byte ^ mask).collect()
    }

    fn tag(&self, context: &[u8], masked: &[u8]) -> [u8; TAG_BYTES] {
        let length = (masked.len() as u64).to_be_bytes();
        let hash = sha256(&[&self.0[..], b"tag", &length, masked, context].concat());
        std::array::from_fn(|place| hash[place])
    }
}

impl OpenPacket for Sealing {
    fn open(&self, context: &[u8], packet: &[u8]) -> Result<Zeroizing<Vec<u8>>, PacketError> {
        let length = packet.len().checked_sub(TAG_BYTES).ok_or(PacketError::Malformed)?;
        let (masked, tag) = packet.split_at(length);
        if tag != self.tag(context, masked) {
            return Err(PacketError::Rejected);
        }
        Ok(Zeroizing::new(self.mask(context, masked)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_opens_unchanged_for_its_site_and_context_alone() {
        let (one, other) = (Sealing::new(1, b"one"), Sealing::new(1, b"other"));
        let packet = one.seal(b"context", &[7; 33]);
        assert_eq!(one.open(b"context", packet.as_slice()).expect("opens").as_slice(), [7; 33]);
        assert_ne!(packet.as_slice().get(..33), Some(&[7; 33][..]));
        assert_eq!(one.open(b"another", packet.as_slice()), Err(PacketError::Rejected));
        assert_eq!(other.open(b"context", packet.as_slice()), Err(PacketError::Rejected));
        let mut changed = packet;
        changed.0[3] ^= 1;
        assert_eq!(one.open(b"context", changed.as_slice()), Err(PacketError::Rejected));
    }
}
