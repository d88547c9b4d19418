//! One document's way: look at it, look at its session, gather, put the signature in.

use std::sync::Arc;

use warifu_api::{CsrAnswer, Problem, SignDocument, SignResult};
use warifu_coordinator_core::{DocumentJob, Job, SignFailure, Signed};
use warifu_core::pki::{assemble_csr, render_csr};
use warifu_protocol::limits::SIGNATURE_BYTES_MAX;
use warifu_protocol::{Blob, CredentialId, Fault, Name, Refusal, Request};

use super::gather::gather;
use super::problems::{document_problem, embed_problem, job_problem, sign_problem};
use super::views::{SigningView, Views};
use crate::document::{canonical_digest, document_id, embed};
use crate::nodes::Nodes;

/// A credential may change once while a document of it is signed; more often is not a change but a disagreement.
const VIEWS_MAX: u32 = 2;

/// Signs one document if its session is at one of these facilities.
pub(crate) async fn sign_document(
    nodes: &Arc<Nodes>,
    views: &Arc<Views>,
    document: SignDocument,
    facility: impl Fn(&Name) -> bool,
) -> SignResult {
    let SignDocument { xml, request } = document;
    let (session, seq) = (request.request.session, request.request.seq);
    let outcome = async {
        let size = request.signature.len();
        if size > SIGNATURE_BYTES_MAX {
            let detail = format!("the request's signature has {size} bytes, more than {SIGNATURE_BYTES_MAX}");
            return Err(Problem::new(400, "malformed", Fault::Request, detail));
        }
        let statement = views.statement(session, facility).await?;
        let xml = inspect(xml, request.request.clone()).await?;
        let (job, signed) = gather_with_view(nodes, views, statement.credential, |view| {
            let Some(certificate) = &view.certificate else {
                let (state, needs) = ("without certificate".to_owned(), "a certificate".to_owned());
                return Err(Problem::from(&Refusal::CredentialState { state, needs }));
            };
            let DocumentJob { job, rendered } = Job::document(request.clone(), certificate.as_slice(), view.epoch, Arc::clone(&view.key))
                .map_err(|error| job_problem(&error))?;
            Ok((job, rendered))
        })
        .await?;
        let (kind, signature) = (request.request.kind, signed.signature);
        let embedded = tokio::task::spawn_blocking(move || embed(xml.as_bytes(), kind, &job.signature_element(&signature))).await;
        let xml = embedded.map_err(|_| panicked())?.map_err(|error| embed_problem(&error))?;
        Ok((xml, signed))
    };
    match outcome.await {
        Ok((xml, Signed { signature, signers, attempts, .. })) => {
            SignResult::Signed { session, seq, xml, signature: Blob::from(signature.as_slice()), signers, attempts }
        }
        Err(problem) => SignResult::Failed { session, seq, problem },
    }
}

/// Has a credential's CSR signed by its own key.
pub(crate) async fn csr(nodes: &Arc<Nodes>, views: &Arc<Views>, credential: CredentialId) -> Result<CsrAnswer, Problem> {
    let (info, signed) = gather_with_view(nodes, views, credential, |view| {
        let info = render_csr(&view.subject, &view.key.to_bytes()).info;
        Ok((Job::csr(credential, info.clone(), view.epoch, Arc::clone(&view.key)), info))
    })
    .await?;
    let der = assemble_csr(&info, &signed.signature)
        .map_err(|error| Problem::new(500, "internal", Fault::Coordinator, format!("the CSR cannot be assembled: {error}")))?;
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der.clone()));
    Ok(CsrAnswer { credential, pem, der: der.into() })
}

/// Gathers, and once more with a new view of the credential if the nodes have another one.
async fn gather_with_view<T>(
    nodes: &Arc<Nodes>,
    views: &Arc<Views>,
    credential: CredentialId,
    make: impl Fn(&SigningView) -> Result<(Job, T), Problem>,
) -> Result<(T, Signed), Problem> {
    let mut views_left = VIEWS_MAX;
    loop {
        views_left -= 1;
        let (job, rest) = make(views.signing_view(credential).await?.as_ref())?;
        match gather(nodes, job).await {
            Ok(signed) => return Ok((rest, signed)),
            Err(failure) => {
                if failure == SignFailure::ViewStale {
                    views.forget(credential);
                }
                if failure != SignFailure::ViewStale || views_left == 0 {
                    return Err(sign_problem(&failure));
                }
            }
        }
    }
}

/// Checks that the document is the one that the request asks for, and gives it back. Nodes never see it; this is for the caller's sake, who would
/// otherwise get a document whose signature does not verify.
async fn inspect(xml: String, request: Request) -> Result<String, Problem> {
    let inspect = move || {
        let bytes = xml.as_bytes();
        let digest = canonical_digest(bytes, request.kind).map_err(|error| document_problem(&error))?;
        let id = document_id(bytes, request.kind).map_err(|error| document_problem(&error))?;
        if id != request.document_id {
            let detail = format!("the document's identifier is {id}, the request's {}", request.document_id);
            return Err(Problem::new(400, "document-id-mismatch", Fault::Request, detail));
        }
        if digest != request.digest {
            let detail =
                format!("the digest of the document's {} is {digest}, the request's {}", request.kind.signed_element_id(), request.digest);
            return Err(Problem::new(400, "digest-mismatch", Fault::Request, detail));
        }
        Ok(xml)
    };
    tokio::task::spawn_blocking(inspect).await.map_err(|_| panicked())?
}

fn panicked() -> Problem {
    Problem::new(500, "internal", Fault::Coordinator, "an internal error; see the coordinator's log")
}
