//! How what went wrong looks to the caller.

use warifu_api::Problem;
use warifu_coordinator_core::{JobError, SignFailure};
use warifu_protocol::Fault;

use crate::document::DocumentError;
use crate::nodes::ReadError;

/// Callers may try again after this; the coordinator has tried for its whole deadline by then.
const RETRY_AFTER_SECONDS: u32 = 1;

pub(crate) fn sign_problem(failure: &SignFailure) -> Problem {
    match failure {
        SignFailure::Refused { refusal, .. } => Problem::from(refusal),
        SignFailure::ViewStale => {
            Problem::new(503, "credential-moved", Fault::Cluster, failure.to_string()).retry_after(RETRY_AFTER_SECONDS)
        }
        SignFailure::Unavailable { .. } => {
            Problem::new(503, "signers-unavailable", Fault::Cluster, failure.to_string()).retry_after(RETRY_AFTER_SECONDS)
        }
    }
}

pub(crate) fn read_problem(error: &ReadError) -> Problem {
    Problem::new(503, "nodes-disagree", Fault::Cluster, error.to_string()).retry_after(RETRY_AFTER_SECONDS)
}

pub(super) fn document_problem(error: &DocumentError) -> Problem {
    let code = match error {
        DocumentError::TooLarge { .. } => "document-too-large",
        DocumentError::WrongKind { .. } => "document-kind",
        DocumentError::AlreadySigned { .. } => "document-signed",
        _ => "document-refused",
    };
    Problem::new(400, code, Fault::Request, causes(error))
}

pub(super) fn job_problem(error: &JobError) -> Problem {
    Problem::new(400, "malformed", Fault::Request, causes(error))
}

/// The bytes to sign were right and the document was read before, so only this program can be wrong.
pub(super) fn embed_problem(error: &DocumentError) -> Problem {
    tracing::error!(%error, "a signature could not be put into its document");
    Problem::new(500, "internal", Fault::Coordinator, "the signature could not be put into the document")
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
