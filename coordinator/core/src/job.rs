//! What is to be signed.

use std::sync::Arc;

use warifu_prescription::{RenderError, RenderedSignature, SignatureFields, render};
use warifu_protocol::limits::SIGNATURE_BYTES_MAX;
use warifu_protocol::wire::SignWork;
use warifu_protocol::{CertificateHash, CredentialId, Epoch, SignedRequest, canonical};

use crate::GroupKey;

/// One signature to gather: what the nodes are asked, and the bytes that they must all come to by themselves.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) work: SignWork,
    pub(crate) message: Vec<u8>,
    pub(crate) epoch: Epoch,
    pub(crate) key: Arc<GroupKey>,
}

/// A document's job with the parts of its signature, to be put into the document once the value is there.
#[derive(Clone, Debug)]
pub struct DocumentJob {
    /// To gather.
    pub job: Job,
    /// To embed.
    pub rendered: RenderedSignature,
}

/// Why there is nothing to gather.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The fields cannot be rendered; the request or the certificate is at fault.
    #[error("the signature cannot be rendered: {source}")]
    Render {
        /// Which field.
        #[source]
        source: RenderError,
    },
    /// No algorithm that is allowed makes so long a signature.
    #[error("the request's signature has {size} bytes, more than {SIGNATURE_BYTES_MAX}")]
    SignatureTooLong {
        /// Its size.
        size: usize,
    },
}

impl Job {
    /// A holder's document. Renders the signature from the request and the certificate (DER), as every node does.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn document(request: SignedRequest, certificate: &[u8], epoch: Epoch, key: Arc<GroupKey>) -> Result<DocumentJob, JobError> {
        let size = request.signature.len();
        if size > SIGNATURE_BYTES_MAX {
            return Err(JobError::SignatureTooLong { size });
        }
        let fields = SignatureFields {
            kind: request.request.kind,
            request: request.request.hash(),
            document: request.request.digest,
            signing_time: request.request.signing_time,
            certificate,
        };
        let rendered = render(&fields).map_err(|source| JobError::Render { source })?;
        let certificate = CertificateHash::new(canonical::sha256(certificate));
        let job = Self { work: SignWork::Document { request, certificate }, message: rendered.signed_info.clone(), epoch, key };
        Ok(DocumentJob { job, rendered })
    }

    /// An enrolled credential's CSR; `info` is the DER of the CertificationRequestInfo that every node renders from the enrolment.
    #[must_use]
    pub const fn csr(credential: CredentialId, info: Vec<u8>, epoch: Epoch, key: Arc<GroupKey>) -> Self {
        Self { work: SignWork::Csr { credential }, message: info, epoch, key }
    }
}

#[cfg(test)]
mod tests {
    use frost_ed25519::keys::{IdentifierList, generate_with_dealer};
    use rand_core::SeedableRng;
    use warifu_protocol::{DocumentDigest, DocumentKind, NodeId, Request, SessionId, Threshold, UnixMillis};

    use super::*;

    fn must_key() -> Arc<GroupKey> {
        let rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let (_, package) = generate_with_dealer(3, 2, IdentifierList::Default, rng).expect("valid sizes");
        Arc::new(GroupKey::parse(&package.serialize().expect("serializes"), Threshold(2)).expect("valid"))
    }

    fn must_request(signature: usize) -> SignedRequest {
        let request = Request {
            session: SessionId::new([1; 32]),
            seq: 1,
            kind: DocumentKind::Prescription,
            document_id: "a".parse().expect("an id"),
            digest: DocumentDigest::new([2; 32]),
            signing_time: UnixMillis(1_000),
        };
        SignedRequest { request, signature: vec![0; signature].into() }
    }

    #[test]
    fn a_job_asks_for_the_bytes_that_it_renders_under_the_certificate_that_it_names() {
        let DocumentJob { job, rendered } = Job::document(must_request(64), b"certificate", Epoch(1), must_key()).expect("renders");
        assert_eq!(job.message, rendered.signed_info);
        let SignWork::Document { certificate, .. } = job.work else { panic!("a document's job") };
        assert_eq!(certificate, CertificateHash::new(canonical::sha256(b"certificate")));
    }

    #[test]
    fn what_cannot_be_rendered_or_carried_is_refused_before_any_node_is_asked() {
        let refused = Job::document(must_request(64), b"", Epoch(1), must_key()).map(|_| ());
        assert_eq!(refused, Err(JobError::Render { source: RenderError::CertificateEmpty }));
        let refused = Job::document(must_request(SIGNATURE_BYTES_MAX + 1), b"c", Epoch(1), must_key()).map(|_| ());
        assert_eq!(refused, Err(JobError::SignatureTooLong { size: SIGNATURE_BYTES_MAX + 1 }));
    }

    #[test]
    fn nodes_that_lost_their_shares_are_not_among_the_signers() {
        let node = |number| NodeId::new(number).expect("a node id");
        let key = || GroupKey::clone(&must_key());
        assert_eq!(key().held_by(&[node(1), node(3), node(9)]).map(|key| key.holders().clone()), Ok([node(1), node(3)].into()));
        assert_eq!(key().held_by(&[node(3)]), Err(crate::GroupKeyError::Holders));
    }

    #[test]
    fn a_group_key_is_of_the_clusters_threshold() {
        let package = must_key().package().serialize().expect("serializes");
        let refused = GroupKey::parse(&package, Threshold(3));
        assert_eq!(refused, Err(crate::GroupKeyError::Threshold { found: Some(2), threshold: 3 }));
        let cut = package.split_last().expect("not empty").1;
        for bytes in [cut, &[], &[0xff; 64]] {
            assert!(GroupKey::parse(bytes, Threshold(2)).is_err());
        }
    }
}
