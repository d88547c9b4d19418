//! A platform with several coordinators: it asks another one when the first cannot be reached or goes away, with the same request.

use std::time::Duration;

use warifu::clock::now;
use warifu::error::chain;
use warifu::local_cluster::{LocalCluster, OpenSession};
use warifu::terminal::{Prepared, TerminalError, check_answer};
use warifu_api::{ApiClient, ApiError, SignBody, SignDocument, SignResult};
use warifu_coordinator::document::sample;
use warifu_core::pki::TrustAnchor;
use warifu_protocol::DocumentKind;

use super::oracle::{Oracle, Outcome};
use crate::open_loop::NotSigned;
use crate::scene::document_id;

/// Longer than a coordinator tries.
const CALL_DEADLINE: Duration = Duration::from_secs(8);

/// Clients of one platform at all coordinators. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    clients: Vec<ApiClient>,
    oracle: Oracle,
}

impl Desk {
    /// The clinic's.
    pub(super) fn new(cluster: &LocalCluster, coordinators: u8, oracle: Oracle) -> anyhow::Result<Self> {
        let client = |place| Ok(cluster.client_of(place, LocalCluster::CLIENT_CLINIC, CALL_DEADLINE)?);
        Ok(Self { clients: (0..coordinators.into()).map(client).collect::<anyhow::Result<_>>()?, oracle })
    }

    /// A client, another one with every number.
    pub(super) fn client(&self, number: usize) -> &ApiClient {
        &self.clients[number % self.clients.len()]
    }

    /// Has documents signed in one call to one coordinator, and no other: why those that it does not sign are not. What became of them is in the oracle
    /// if it answers; if it does not, the same documents are to be asked for again.
    pub(super) async fn sign_batch(&self, place: usize, batch: &[Prepared], anchors: &[TrustAnchor]) -> Result<Vec<String>, ApiError> {
        let document = |one: &Prepared| SignDocument { xml: one.xml.clone(), request: one.request.clone() };
        let results = self.client(place).sign(&SignBody { documents: batch.iter().map(document).collect() }).await?.results;
        if results.len() != batch.len() {
            self.oracle.broken(format!("{} results for {} documents", results.len(), batch.len()));
        }
        let mut unsigned: Vec<String> = batch.iter().skip(results.len()).map(|_| "it has no result".to_owned()).collect();
        for (Prepared { xml, request }, result) in batch.iter().zip(results) {
            let outcome = match result {
                SignResult::Failed { problem, .. } => Err(problem.detail),
                SignResult::Signed { xml: signed, signature, .. } => {
                    let checked = check_answer(xml, &request.request, &signed, signature.as_slice(), anchors, &[]);
                    checked.map(|_| signed).map_err(|error| {
                        let reason = chain(&error);
                        self.oracle.broken(format!("document {} of session {}: {reason}", request.request.seq, request.request.session));
                        reason
                    })
                }
            };
            let outcome = outcome.map_or_else(
                |reason| {
                    unsigned.push(reason);
                    Outcome::Failed
                },
                Outcome::Signed,
            );
            self.oracle.asked(request.request.clone(), outcome);
        }
        Ok(unsigned)
    }

    /// Has a fresh document signed under a number of the session: the sets of sites that a coordinator asked, or why it is not signed. A
    /// coordinator's no is final; only who does not answer is passed over.
    pub(super) async fn sign(&self, session: &OpenSession, seq: u32) -> Result<u32, NotSigned> {
        let xml = sample::prescription(&document_id());
        let prepared = Prepared::new(xml, DocumentKind::Prescription, session.session(), seq, &session.file.secret.key, now());
        let prepared = prepared.map_err(|error| NotSigned::Refused(chain(&error)))?;
        for step in 0..self.clients.len() {
            let outcome = prepared.sign(self.client(seq as usize + step), &session.anchors).await;
            let (outcome, answer) = match outcome {
                Ok(signed) => (Outcome::Signed(signed.xml), Ok(signed.attempts)),
                Err(TerminalError::Api(ApiError::Unreachable { .. } | ApiError::Deadline { .. })) if step + 1 < self.clients.len() => {
                    continue;
                }
                Err(error @ TerminalError::Api(ApiError::Unreachable { .. } | ApiError::Deadline { .. })) => {
                    (Outcome::Unknown, Err(NotSigned::Unanswered(chain(&error))))
                }
                Err(error) => {
                    let reason = chain(&error);
                    if matches!(error, TerminalError::Answer { .. }) {
                        self.oracle.broken(format!("document {seq} of session {}: {reason}", session.session()));
                    }
                    (Outcome::Failed, Err(NotSigned::Refused(reason)))
                }
            };
            self.oracle.asked(prepared.request.request.clone(), outcome);
            return answer;
        }
        unreachable!("the last client's outcome ends the loop, and there is one")
    }
}
