//! A coordinator that has been taken over: it keeps commitments and signature shares back, and puts them together when it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use frost_ed25519::keys::PublicKeyPackage;
use frost_ed25519::round1::SigningCommitments;
use frost_ed25519::{Identifier, SigningPackage, round2};
use warifu::local_cluster::LocalCluster;
use warifu_prescription::{SignatureFields, render};
use warifu_protocol::canonical::sha256;
use warifu_protocol::transport::{PeerClient, PeerEntry, PeerId, PeerRoster, Role, TlsIdentity};
use warifu_protocol::wire::{
    CredentialView, NodeStatus, OrderCall, OrderReply, SignAnswer, SignCall, SignItem, SignReply, SignWork, SignerCommitments,
};
use warifu_protocol::{CertificateHash, NodeId, SignedRequest};

/// Time for one call: a node that is not cut off answers in a fraction of it.
const CALL: Duration = Duration::from_secs(5);

/// The identity of a real coordinator in the wrong hands. It calls nodes at their own addresses.
pub(crate) struct Hoarder {
    client: PeerClient,
    package: PublicKeyPackage,
    certificate: Vec<u8>,
    view: CredentialView,
}

/// One signature begun: what its signers were asked, and what came of it.
pub(crate) struct Begun {
    item: SignItem,
    message: Vec<u8>,
    shares: BTreeMap<NodeId, [u8; 32]>,
    /// What each signer said last, where it gave no share.
    pub(crate) said: BTreeMap<NodeId, SignAnswer>,
}

impl Hoarder {
    /// Takes the identity of the coordinator at this place, to have documents of this credential signed.
    pub(crate) fn take_over(cluster: &LocalCluster, coordinator: usize, view: CredentialView) -> anyhow::Result<Self> {
        let directory = cluster.coordinator_directory(coordinator).context("a coordinator")?;
        let tls = TlsIdentity::load(&directory.join("identity.pem"), &directory.join("identity.key"))?;
        let entries = cluster.genesis().body().nodes.iter();
        let entries = entries.map(|node| (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address: node.address.clone() }));
        let client = PeerClient::new(&tls, Arc::new(PeerRoster::new(cluster.genesis().cluster(), entries.collect())))?;
        let package = PublicKeyPackage::deserialize(view.public_key_package.as_ref().context("a key")?.as_slice())?;
        let certificate = view.certificate.as_ref().context("a certificate")?.as_slice().to_vec();
        Ok(Self { client, package, certificate, view })
    }

    /// Has these nodes make nonces for one document, and asks nobody for a share yet.
    pub(crate) async fn begin(&self, request: &SignedRequest, signers: &[NodeId]) -> anyhow::Result<Begun> {
        let mut all = Vec::new();
        for node in signers {
            let reply = self.call(*node, &SignCall::Commitments { count: 1 }).await?;
            let fresh = reply.commitments.into_iter().next().context("no commitments")?;
            all.push(SignerCommitments { node: *node, nonce: fresh.nonce, commitments: fresh.commitments });
        }
        let asked = &request.request;
        let fields = SignatureFields {
            kind: asked.kind,
            request: asked.hash(),
            document: asked.digest,
            signing_time: asked.signing_time,
            certificate: &self.certificate,
        };
        let work = SignWork::Document { request: request.clone(), certificate: CertificateHash::new(sha256(&self.certificate)) };
        let item = SignItem { work, epoch: self.view.epoch, signers: all };
        Ok(Begun { item, message: render(&fields)?.signed_info, shares: BTreeMap::new(), said: BTreeMap::new() })
    }

    /// Asks those of the signers for their shares that have not given one.
    pub(crate) async fn ask(&self, begun: &mut Begun, nodes: &[NodeId]) {
        for node in nodes.iter().filter(|node| begun.item.signers.iter().any(|signer| signer.node == **node)) {
            if begun.shares.contains_key(node) {
                continue;
            }
            let reply = self.call(*node, &SignCall::SignBatch { items: vec![begun.item.clone()], refill: 0 }).await;
            match reply.ok().and_then(|reply| reply.answers.into_iter().next()) {
                Some(SignAnswer::Share(share)) => {
                    begun.said.remove(node);
                    begun.shares.insert(*node, share);
                }
                Some(other) => {
                    begun.said.insert(*node, other);
                }
                None => {}
            }
        }
    }

    /// The signature, if every signer has given its share. Whether it verifies is checked by another library than made it.
    pub(crate) fn finish(&self, begun: &Begun) -> anyhow::Result<Option<[u8; 64]>> {
        let signers: BTreeSet<NodeId> = begun.item.signers.iter().map(|signer| signer.node).collect();
        if !signers.iter().all(|node| begun.shares.contains_key(node)) {
            return Ok(None);
        }
        let identifier = |node: NodeId| Identifier::try_from(u16::from(node.get()));
        let (mut commitments, mut shares) = (BTreeMap::new(), BTreeMap::new());
        for signer in &begun.item.signers {
            commitments.insert(identifier(signer.node)?, SigningCommitments::deserialize(signer.commitments.as_slice())?);
            shares.insert(identifier(signer.node)?, round2::SignatureShare::deserialize(&begun.shares[&signer.node])?);
        }
        let signature = frost_ed25519::aggregate(&SigningPackage::new(commitments, &begun.message), &shares, &self.package)?;
        let signature: [u8; 64] = signature.serialize()?.try_into().map_err(|_| anyhow::anyhow!("64 bytes"))?;
        let key: [u8; 32] = self.package.verifying_key().serialize()?.try_into().map_err(|_| anyhow::anyhow!("32 bytes"))?;
        ed25519_dalek::VerifyingKey::from_bytes(&key)?
            .verify_strict(&begun.message, &ed25519_dalek::Signature::from_bytes(&signature))
            .context("shares of honest nodes make a signature")?;
        Ok(Some(signature))
    }

    /// What a node says of itself.
    pub(crate) async fn status(&self, node: NodeId) -> anyhow::Result<NodeStatus> {
        let reply = self.client.call(node, Role::Order, &postcard::to_stdvec(&OrderCall::Status)?, CALL).await?;
        match postcard::from_bytes(&reply)? {
            OrderReply::Status(status) => Ok(*status),
            other => bail!("not a status: {other:?}"),
        }
    }

    async fn call(&self, node: NodeId, call: &SignCall) -> anyhow::Result<SignReply> {
        let reply = self.client.call(node, Role::Sign, &postcard::to_stdvec(call)?, CALL).await?;
        Ok(postcard::from_bytes(&reply)?)
    }
}
