//! Serial numbers of certificates.

use std::cmp::Ordering;
use std::fmt;

/// A certificate's serial number: 1 to 20 bytes, big-endian, without leading zeros, in numeric order.
///
/// # Security
///
/// The serial of a card certificate identifies a person and its use is restricted by law, so `Debug` hides it and there is no `Display`;
/// whoever writes one out asks for the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificateSerial {
    len: u8,
    bytes: [u8; Self::LEN_MAX],
}

/// Bytes that are no serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a serial number is 1 to {} bytes without leading zeros, not {len}", CertificateSerial::LEN_MAX)]
pub struct SerialError {
    /// How many bytes were given, leading zeros included.
    pub len: usize,
}

impl CertificateSerial {
    /// Longest serial in bytes (RFC 5280 section 4.1.2.2).
    pub const LEN_MAX: usize = 20;

    /// Takes the magnitude of a positive integer.
    ///
    /// # Errors
    ///
    /// [`SerialError`] when it is empty, zero, longer than 20 bytes or has a leading zero byte.
    pub fn new(magnitude: &[u8]) -> Result<Self, SerialError> {
        let error = SerialError { len: magnitude.len() };
        if magnitude.first().is_none_or(|first| *first == 0) {
            return Err(error);
        }
        let mut bytes = [0; Self::LEN_MAX];
        bytes.get_mut(..magnitude.len()).ok_or(error)?.copy_from_slice(magnitude);
        Ok(Self { len: u8::try_from(magnitude.len()).expect("at most 20"), bytes })
    }

    /// The magnitude, 1 to 20 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

impl Ord for CertificateSerial {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.len, self.bytes).cmp(&(other.len, other.bytes))
    }
}

impl PartialOrd for CertificateSerial {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateSerial(<redacted>)")
    }
}

/// From the content of a decoded INTEGER, which has a leading zero byte when the highest bit of a positive number is set.
pub(super) fn from_integer(content: &[u8]) -> Result<CertificateSerial, SerialError> {
    match content {
        [0, rest @ ..] if rest.first().is_some_and(|byte| *byte >= 0x80) => CertificateSerial::new(rest),
        // Two's complement: a first bit that is set makes a negative number.
        [first, ..] if *first >= 0x80 => Err(SerialError { len: content.len() }),
        _ => CertificateSerial::new(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_positive_and_at_most_twenty_bytes() {
        for (content, holds) in [
            (&[1_u8][..], true),
            (&[0x01, 0x5e], true),
            (&[0x7f; 20], true),
            (&[0, 0x80], true),
            (&[], false),
            (&[0], false),
            (&[0, 1], false),
            (&[0x80], false),
            (&[0x7f; 21], false),
        ] {
            assert_eq!(from_integer(content).is_ok(), holds, "{content:02x?}");
        }
    }

    #[test]
    fn serials_sort_as_numbers() {
        let serial = |bytes: &[u8]| CertificateSerial::new(bytes).expect("a serial");
        assert!(serial(&[0xff]) < serial(&[1, 0]));
        assert!(serial(&[1, 2]) < serial(&[1, 3]));
    }
}
