//! Opening and closing a session.

use warifu_protocol::{
    Blob, Challenge, ClusterId, CredentialId, Name, Purpose, SessionClosing, SessionId, SessionOpening, Statement, UnixMillis,
    closing_message,
};

use super::error::TerminalError;
use crate::card::{Card, Pin};
use crate::keys::{LocalKey, LocalKeyError, TerminalKey};

/// What the holder delegates to the session's key.
#[derive(Clone, Debug)]
pub struct LoginTerms {
    /// Cluster.
    pub cluster: ClusterId,
    /// The holder's credential.
    pub credential: CredentialId,
    /// Where the terminal stands.
    pub facility: Name,
    /// From when.
    pub not_before: UnixMillis,
    /// For how many milliseconds; policy allows at most 18 hours.
    pub life_millis: u64,
    /// For how many documents.
    pub max_signatures: u32,
}

/// Renders the statement from the terms and the terminal's own keys, and has card, terminal and session key sign it.
///
/// # Errors
/// [`TerminalError::Card`] or [`TerminalError::Key`].
pub fn prepare(
    terms: &LoginTerms,
    terminal: &TerminalKey,
    session_key: &LocalKey,
    card: &mut dyn Card,
    pin: &Pin,
    intermediates: Vec<Blob>,
) -> Result<SessionOpening, TerminalError> {
    let statement = Statement {
        cluster: terms.cluster,
        credential: terms.credential,
        session_key: session_key.public(),
        facility: terms.facility.clone(),
        terminal: terminal.terminal,
        purpose: Purpose::EPrescription,
        not_before: terms.not_before,
        not_after: terms.not_before.plus(terms.life_millis),
        max_signatures: terms.max_signatures,
        nonce: Challenge::new(rand::random()),
    };
    let card_certificate = Blob(card.certificate()?);
    let card_signature = Blob(card.sign(pin, &statement.message())?);
    let terminal_signature = terminal.key.sign(&statement.terminal_message())?;
    let possession = session_key.sign(&statement.possession_message())?;
    Ok(SessionOpening { statement, card_certificate, intermediates, card_signature, terminal_signature, possession, ocsp: None })
}

/// The session key's request to end its session.
///
/// # Errors
/// [`LocalKeyError`].
pub fn close(session: SessionId, key: &LocalKey) -> Result<SessionClosing, LocalKeyError> {
    Ok(SessionClosing { session, signature: key.sign(&closing_message(session))? })
}
