//! Whether the signer was one who may sign, at the time.

use jiff::Timestamp;
use warifu_core::pki::{Certificate, KeyUsage};
use warifu_protocol::{DocumentKind, UnixMillis};

use super::problem::SignatureProblem;

/// Reads SigningTime, an XML Schema `dateTime` with its time zone.
pub(super) fn parse_signing_time(text: &str) -> Result<UnixMillis, SignatureProblem> {
    let instant: Option<Timestamp> = text.parse().ok();
    instant
        .and_then(|instant| u64::try_from(instant.as_millisecond()).ok())
        .map(UnixMillis)
        .ok_or(SignatureProblem::Content { part: "SigningTime", expected: "a date and time with a time zone" })
}

/// Checks that the certificate is for signing documents, that it was valid at `at`, and that its hcRole allows this kind of document.
pub(super) fn check_signer(certificate: &Certificate, kind: DocumentKind, at: UnixMillis) -> Result<(), SignatureProblem> {
    if !certificate.key_usage().is_some_and(|usage| usage.contains(KeyUsage::NON_REPUDIATION)) || certificate.is_ca() {
        return Err(SignatureProblem::KeyUsage);
    }
    if !certificate.is_valid_at(at) {
        let (not_before, not_after) = (instant(certificate.not_before()), instant(certificate.not_after()));
        return Err(SignatureProblem::Validity { not_before, not_after, at: instant(at) });
    }
    let found = certificate.hc_roles().map_err(|source| SignatureProblem::HcRole { source })?;
    let allowed = kind.roles();
    if found.iter().any(|role| allowed.contains(&role.as_str())) { Ok(()) } else { Err(SignatureProblem::Role { kind, allowed, found }) }
}

/// An instant for people; instants that no calendar has are shown as the last one that it has.
pub(super) fn instant(at: UnixMillis) -> Timestamp {
    i64::try_from(at.0).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or(Timestamp::MAX)
}
