//! Orders in words, with what the certificates in them say: what an officer or a site's administrator reads before approving.

use warifu_protocol::limits::INTERMEDIATES_MAX;
use warifu_protocol::{AuthenticatorKind, Blob, OrderBody, OrderCommand};

use crate::pki::{Certificate, CertificateError, DistinguishedName};

/// The order in words, one fact a line: [`OrderBody::describe`] with the names, dates and roles of the certificates that it carries.
///
/// Nothing is verified here, and a certificate that cannot be read is said to be unreadable: every node judges it again. Texts out of
/// certificates are shown with control and direction characters escaped, so that none can rewrite the lines around it.
#[must_use]
pub fn order(body: &OrderBody) -> Vec<String> {
    let mut lines = body.describe();
    let facts = match &body.order {
        OrderCommand::InstallCertificate { certificate, intermediates, .. } => {
            let mut facts = holder_certificate(certificate);
            facts.extend(issuers(intermediates));
            facts
        }
        OrderCommand::BindAuthenticator { binding, certificate, intermediates, bound_card, .. } => {
            let mut facts = card_certificate("the card", Some(binding.kind), certificate);
            facts.extend(issuers(intermediates));
            if let Some(approval) = bound_card {
                facts.extend(card_certificate("the bound card that agrees", None, &approval.certificate));
            }
            facts
        }
        OrderCommand::BindWithNotice { binding, certificate, intermediates, .. } => {
            let mut facts = card_certificate("the card", Some(binding.kind), certificate);
            facts.extend(issuers(intermediates));
            facts
        }
        OrderCommand::Enrol { .. }
        | OrderCommand::UnbindAuthenticator { .. }
        | OrderCommand::EnrolFacility { .. }
        | OrderCommand::EnrolTerminal { .. }
        | OrderCommand::RetireTerminal { .. }
        | OrderCommand::Suspend { .. }
        | OrderCommand::SuspendBinding { .. }
        | OrderCommand::ResumeBinding { .. }
        | OrderCommand::Destroy { .. }
        | OrderCommand::Resume { .. }
        | OrderCommand::Revoke { .. }
        | OrderCommand::CloseSession { .. }
        | OrderCommand::UpdateCrl { .. }
        | OrderCommand::UpdatePolicy { .. }
        | OrderCommand::UpdateAnchors { .. }
        | OrderCommand::UpdateRoster { .. }
        | OrderCommand::ReplaceStore { .. }
        | OrderCommand::Refresh { .. }
        | OrderCommand::RefreshAll { .. }
        | OrderCommand::Import { .. } => Vec::new(),
    };
    let after_headline = 1.min(lines.len());
    lines.splice(after_headline..after_headline, facts);
    lines
}

fn holder_certificate(der: &Blob) -> Vec<String> {
    let certificate = match Certificate::parse(der.as_slice()) {
        Ok(certificate) => certificate,
        Err(error) => return vec![unreadable("the certificate", &error)],
    };
    let roles = match certificate.hc_roles() {
        Ok(roles) if roles.is_empty() => "  NO hcRole: nothing could be signed with it".to_owned(),
        Ok(roles) => format!("  hcRole: {}", plain(&roles.join(", "))),
        Err(error) => format!("  hcRole UNREADABLE: {error}"),
    };
    vec![format!("  of {}", name(certificate.subject())), roles, issued("the certificate", &certificate)]
}

/// A card of unknown kind is described without its subject: that of a My Number Card is a number that the law restricts the use of.
fn card_certificate(what: &str, kind: Option<AuthenticatorKind>, der: &Blob) -> Vec<String> {
    let certificate = match Certificate::parse(der.as_slice()) {
        Ok(certificate) => certificate,
        Err(error) => return vec![unreadable(what, &error)],
    };
    let mut lines = Vec::new();
    match kind {
        Some(AuthenticatorKind::MyNumberCard) => lines.push(
            "  a My Number Card's authentication certificate carries no name: compare the card's face with the person before you"
                .to_owned(),
        ),
        Some(AuthenticatorKind::HpkiCard) => {
            lines.push(format!("  of {}", name(certificate.subject())));
            lines.push("  every node compares this name with the credential's".to_owned());
        }
        None => {}
    }
    lines.push(issued(what, &certificate));
    lines
}

fn issued(what: &str, certificate: &Certificate) -> String {
    format!("  {what} was issued by {}, valid from {} to {}", name(certificate.issuer()), certificate.not_before(), certificate.not_after())
}

fn unreadable(what: &str, error: &CertificateError) -> String {
    format!("  {what} is UNREADABLE, every node will refuse it: {error}")
}

fn issuers(intermediates: &[Blob]) -> Vec<String> {
    let lines = intermediates.iter().take(INTERMEDIATES_MAX).map(|der| match Certificate::parse(der.as_slice()) {
        Ok(certificate) => {
            format!("  with the CA certificate of {}, issued by {}", name(certificate.subject()), name(certificate.issuer()))
        }
        Err(error) => unreadable("a CA certificate", &error),
    });
    lines.collect()
}

fn name(name: &DistinguishedName) -> String {
    let text = plain(&name.to_string());
    if text.is_empty() { "(no name)".to_owned() } else { text }
}

/// Escapes what a terminal would obey or show in another place than it stands.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let hidden = matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        );
        if character.is_control() || hidden {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_rewrite_a_line_are_shown_as_what_they_are() {
        let cases = [
            ("CN=Hanako Iryo, C=JP", "CN=Hanako Iryo, C=JP"),
            ("CN=医療 花子", "CN=医療 花子"),
            ("a\nAPPROVED", "a\\u{a}APPROVED"),
            ("\u{1b}[2K\rx", "\\u{1b}[2K\\u{d}x"),
            ("a\u{202e}b\u{200b}", "a\\u{202e}b\\u{200b}"),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected);
        }
    }
}
