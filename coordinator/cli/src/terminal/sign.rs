//! Having documents signed in an open session.

use warifu_api::{ApiClient, SignBody, SignDocument, SignResult};
use warifu_coordinator::document::{XmlDocument, canonical_digest};
use warifu_core::pki::{Certificate, TrustAnchor};
use warifu_protocol::{DocumentKind, Request, SessionId, SignedRequest, UnixMillis};

use super::answer::check_answer;
use super::error::TerminalError;
use crate::keys::LocalKey;

/// A document with the request that the session's key signed for it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The document as it will be sent.
    pub xml: String,
    /// The request.
    pub request: SignedRequest,
}

/// A document that came back signed and was checked.
#[derive(Clone, Debug)]
pub struct SignedDocument {
    /// The signed document.
    pub xml: String,
    /// The holder's certificate.
    pub certificate: Certificate,
    /// Sets of sites that the coordinator asked; 1 if nothing went wrong.
    pub attempts: u32,
}

impl Prepared {
    /// Reads the document as it is shown, computes its digest, and signs the request for it.
    ///
    /// # Errors
    /// [`TerminalError::Document`], also when it is of another kind than `kind`; [`TerminalError::Key`].
    pub fn new(
        xml: String,
        kind: DocumentKind,
        session: SessionId,
        seq: u32,
        key: &LocalKey,
        now: UnixMillis,
    ) -> Result<Self, TerminalError> {
        let document_id = {
            let document = XmlDocument::parse(xml.as_bytes())?;
            document.expect_kind(kind)?;
            document.document_id()?
        };
        let digest = canonical_digest(xml.as_bytes(), kind)?;
        let signing_time = UnixMillis(now.0 - now.0 % MILLIS_PER_SECOND);
        let request = Request { session, seq, kind, document_id, digest, signing_time };
        let signature = key.sign(&request.message())?;
        Ok(Self { xml, request: SignedRequest { request, signature } })
    }

    /// As [`Self::sign_under`], for a holder whose certificate a pinned CA issued itself.
    ///
    /// # Errors
    /// See [`TerminalError`].
    pub async fn sign(&self, client: &ApiClient, anchors: &[TrustAnchor]) -> Result<SignedDocument, TerminalError> {
        self.sign_under(client, anchors, &[]).await
    }

    /// Has it signed, and checks the answer as [`check_answer`] does. May be repeated when the outcome is unknown.
    ///
    /// # Errors
    /// See [`TerminalError`].
    pub async fn sign_under(
        &self,
        client: &ApiClient,
        anchors: &[TrustAnchor],
        intermediates: &[Certificate],
    ) -> Result<SignedDocument, TerminalError> {
        let body = SignBody { documents: vec![SignDocument { xml: self.xml.clone(), request: self.request.clone() }] };
        let mut results = client.sign(&body).await?.results;
        let refused = |reason: &str| TerminalError::Answer { reason: reason.to_owned() };
        let (Some(result), true) = (results.pop(), results.is_empty()) else {
            return Err(refused("it is not one result for one document"));
        };
        match result {
            SignResult::Failed { problem, .. } => Err(TerminalError::Refused { problem: Box::new(problem) }),
            SignResult::Signed { xml, signature, attempts, .. } => {
                let certificate = check_answer(&self.xml, &self.request.request, &xml, signature.as_slice(), anchors, intermediates)?;
                Ok(SignedDocument { xml, certificate, attempts })
            }
        }
    }
}

/// The SigningTime of a request is in whole seconds.
const MILLIS_PER_SECOND: u64 = 1000;
