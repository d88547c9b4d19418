//! A clinic on a cluster of whole nodes: a physician and a pharmacist with certificates and cards, who log in and sign.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use ed25519_dalek::{Signer as _, SigningKey};
use frost_ed25519::keys::PublicKeyPackage;
use frost_ed25519::round1::SigningCommitments;
use frost_ed25519::{SigningPackage, round2};
use warifu_core::signer::identifier;
use warifu_node::clock;
use warifu_prescription::{SignatureFields, render};
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::CRL_CHUNK_BYTES;
use warifu_protocol::wire::{
    CredentialState, CredentialView, OrderCall, OrderReply, Read, SignAnswer, SignItem, SignWork, SignerCommitments, View,
};
use warifu_protocol::{
    AuthenticatorKind, Binding, Blob, CertificateHash, Challenge, Command, CredentialId, DocumentDigest, DocumentKind, Enrolment, NodeId,
    ObjectVersion, OrderCommand, PublicKey, Purpose, Request, SessionClosing, SessionOpening, SignedRequest, Statement, SubjectFields,
    TerminalId, UnixMillis, closing_message,
};

use crate::signing::{answer, commitments};
use crate::support::{TestCluster, name, node_id};

const TERMINAL: TerminalId = TerminalId::new([0xd1; 16]);
const HOUR: u64 = 60 * 60 * 1000;
/// How old the lists of the cards and certificates are when a clinic opens.
pub(crate) const LISTS_AGE_MILLIS: u64 = HOUR;
/// Far longer than a test, so that requests may be held while a loaded machine restarts nodes.
const CLOCK_SKEW_MILLIS: u64 = 300_000;

/// A cluster with holders who can log in.
pub(crate) struct Clinic {
    pub(crate) cluster: TestCluster,
    pub(crate) physician: Holder,
    pub(crate) pharmacist: Holder,
    terminal: SigningKey,
}

/// A holder with a card.
pub(crate) struct Holder {
    pub(crate) view: CredentialView,
    pub(crate) certificate: CertificateHash,
    der: Blob,
    card: EcdsaKeyPair,
    card_certificate: Blob,
    pub(crate) card_serial: u64,
}

/// A session and the key that signs its requests.
pub(crate) struct Session {
    pub(crate) statement: Statement,
    key: SigningKey,
}

impl Session {
    /// A request for a document with this digest.
    pub(crate) fn request(&self, seq: u32, kind: DocumentKind, digest: u8) -> anyhow::Result<Request> {
        Ok(Request {
            session: self.statement.session(),
            seq,
            kind,
            document_id: format!("document-{digest}").parse()?,
            digest: DocumentDigest::new([digest; 32]),
            signing_time: UnixMillis(clock::now().as_secs() * 1000),
        })
    }

    pub(crate) fn sign(&self, request: Request) -> SignedRequest {
        SignedRequest { signature: signed(&self.key, &request.message()), request }
    }

    pub(crate) fn prescription(&self, seq: u32, digest: u8) -> anyhow::Result<SignedRequest> {
        Ok(self.sign(self.request(seq, DocumentKind::Prescription, digest)?))
    }

    pub(crate) fn closing(&self) -> SessionClosing {
        let session = self.statement.session();
        SessionClosing { session, signature: signed(&self.key, &closing_message(session)) }
    }
}

impl Holder {
    fn card_sign(&self, message: &[u8]) -> anyhow::Result<Blob> {
        Ok(Blob(self.card.sign(&SystemRandom::new(), message)?.as_ref().to_vec()))
    }

    /// Shares from these nodes, put together and verified under the holder's key.
    async fn must_sign(&self, clinic: &Clinic, nodes: &[NodeId], request: &SignedRequest) -> anyhow::Result<()> {
        let package = self.view.public_key_package.as_ref().context("a key")?;
        let package = PublicKeyPackage::deserialize(package.as_slice())?;
        let fields = SignatureFields {
            kind: request.request.kind,
            request: request.request.hash(),
            document: request.request.digest,
            signing_time: request.request.signing_time,
            certificate: self.der.as_slice(),
        };
        let item = clinic.item(self, nodes, request).await?;
        let (mut all, mut shares) = (BTreeMap::new(), BTreeMap::new());
        for signer in &item.signers {
            all.insert(identifier(signer.node), SigningCommitments::deserialize(signer.commitments.as_slice())?);
            match answer(&clinic.cluster, signer.node, &item).await? {
                SignAnswer::Share(share) => shares.insert(identifier(signer.node), round2::SignatureShare::deserialize(&share)?),
                other => bail!("node {} gave no share: {other:?}", signer.node),
            };
        }
        frost_ed25519::aggregate(&SigningPackage::new(all, &render(&fields)?.signed_info), &shares, &package)?;
        Ok(())
    }
}

impl Clinic {
    /// Three nodes of which two sign.
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let cluster = TestCluster::start_with(3, 2, |policy| policy.clock_skew_millis_max = CLOCK_SKEW_MILLIS).await?;
        let terminal = SigningKey::generate(&mut rand_core::OsRng);
        let mut orders = load_lists(&cluster, 0).await?;
        let facility = name("clinic-1");
        orders.must(0, OrderCommand::EnrolFacility { facility: facility.clone() }).await?;
        let key = public(&terminal);
        orders.must(0, OrderCommand::EnrolTerminal { terminal: TERMINAL, facility, key }).await?;
        let enrolled = [(0x0a, "doctor-1", "Hanako Iryo"), (0x0b, "pharmacist-1", "Taro Yakuzai")];
        let enrolments = enrolled.map(|(id, holder, common_name)| {
            let subject = SubjectFields::new("JP", None, common_name, holder)?;
            anyhow::Ok(Enrolment { credential: CredentialId::new([id; 16]), holder: name(holder), subject })
        });
        let enrolments = enrolments.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        orders.must(0, OrderCommand::Enrol { enrolments }).await?;
        let physician = orders.equip(CredentialId::new([0x0a; 16]), 1, "Medical Doctor").await?;
        let pharmacist = orders.equip(CredentialId::new([0x0b; 16]), 2, "Pharmacist").await?;
        Ok(Self { cluster, physician, pharmacist, terminal })
    }

    /// The holder logs in; every node knows of it. Sessions of one holder have different nonces.
    pub(crate) async fn log_in(&self, holder: &Holder, nonce: u8) -> anyhow::Result<Session> {
        let session = self.session(holder, nonce);
        self.must_apply(Command::SessionOpened(self.opening(holder, &session)?)).await?;
        Ok(session)
    }

    /// A session that is not opened yet.
    pub(crate) fn session(&self, holder: &Holder, nonce: u8) -> Session {
        let key = SigningKey::generate(&mut rand_core::OsRng);
        let statement = Statement {
            cluster: self.cluster.genesis.cluster(),
            credential: holder.view.credential,
            session_key: public(&key),
            facility: name("clinic-1"),
            terminal: TERMINAL,
            purpose: Purpose::EPrescription,
            not_before: clock::now(),
            not_after: clock::now().plus(8 * HOUR),
            max_signatures: 100,
            nonce: Challenge::new([nonce; 32]),
        };
        Session { statement, key }
    }

    /// What opens a session: the word of the card, of the terminal and of the session key.
    pub(crate) fn opening(&self, holder: &Holder, session: &Session) -> anyhow::Result<SessionOpening> {
        let statement = session.statement.clone();
        Ok(SessionOpening {
            card_certificate: holder.card_certificate.clone(),
            intermediates: Vec::new(),
            card_signature: holder.card_sign(&statement.message())?,
            terminal_signature: signed(&self.terminal, &statement.terminal_message()),
            possession: signed(&session.key, &statement.possession_message()),
            ocsp: None,
            statement,
        })
    }

    /// Brings a command into the log and waits for all nodes.
    pub(crate) async fn must_apply(&self, command: Command) -> anyhow::Result<()> {
        let verdict = self.cluster.until_proposed(node_id(1), command).await?;
        verdict.outcome.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        for node in [1, 2, 3].map(node_id) {
            self.cluster.until(node, "up to date", |status| status.applied >= verdict.index).await?;
        }
        Ok(())
    }

    /// What a coordinator sends to have a document signed with a holder's key.
    pub(crate) async fn item(&self, holder: &Holder, nodes: &[NodeId], request: &SignedRequest) -> anyhow::Result<SignItem> {
        let mut signers = Vec::new();
        for node in nodes {
            let fresh = commitments(&self.cluster, *node).await?;
            signers.push(SignerCommitments { node: *node, nonce: fresh.nonce, commitments: fresh.commitments });
        }
        let work = SignWork::Document { request: request.clone(), certificate: holder.certificate };
        Ok(SignItem { work, epoch: holder.view.epoch, signers })
    }

    /// The answer of the first of these nodes.
    pub(crate) async fn ask(&self, holder: &Holder, nodes: &[NodeId], request: &SignedRequest) -> anyhow::Result<SignAnswer> {
        let item = self.item(holder, nodes, request).await?;
        answer(&self.cluster, *nodes.first().context("a node")?, &item).await
    }

    /// Has these nodes sign for the physician, and verifies what they made together.
    pub(crate) async fn must_sign(&self, nodes: &[NodeId], request: &SignedRequest) -> anyhow::Result<()> {
        self.physician.must_sign(self, nodes, request).await
    }
}

/// Brings in the first list of each CA, by the orders that come after the last one.
pub(crate) async fn load_lists(cluster: &TestCluster, last: u8) -> anyhow::Result<Orders<'_>> {
    let mut orders = Orders { cluster, last };
    for authority in [&cluster.holders_authority, &cluster.cards_authority] {
        orders.load_list(&authority.list(1, LISTS_AGE_MILLIS, &[])?).await?;
    }
    Ok(orders)
}

/// Orders that are given one after the other.
pub(crate) struct Orders<'a> {
    cluster: &'a TestCluster,
    last: u8,
}

impl Orders<'_> {
    async fn must(&mut self, version: u64, command: OrderCommand) -> anyhow::Result<()> {
        self.last += 1;
        let approvals = command.class().default_approvals().count;
        let order = self.cluster.order_at(self.last, version, command, usize::from(approvals));
        self.must_apply(Command::Order(order)).await
    }

    async fn must_apply(&self, command: Command) -> anyhow::Result<()> {
        let kind = command.kind();
        let verdict = self.cluster.until_proposed(node_id(1), command).await?;
        verdict.outcome.map(drop).map_err(|refusal| anyhow::anyhow!("{kind}: {refusal}"))
    }

    async fn load_list(&mut self, der: &[u8]) -> anyhow::Result<()> {
        self.must(0, OrderCommand::update_crl(der, 1, None)).await?;
        let order = warifu_protocol::OrderId::new([self.last; 16]);
        for (piece, index) in der.chunks(CRL_CHUNK_BYTES).zip(0..) {
            self.must_apply(Command::CrlChunk { order, index, bytes: piece.into() }).await?;
        }
        Ok(())
    }

    /// Certifies a holder once the key is generated, and binds a card.
    async fn equip(&mut self, credential: CredentialId, serial: u64, role: &str) -> anyhow::Result<Holder> {
        let generated = self.until(credential, "generated", |view| view.state == CredentialState::Generated).await?;
        let package = generated.public_key_package.as_ref().context("a key")?;
        let group_key = PublicKeyPackage::deserialize(package.as_slice())?.verifying_key().serialize()?;
        let group_key: [u8; 32] = group_key.try_into().map_err(|_| anyhow::anyhow!("32 bytes"))?;
        let der = self.cluster.holders_authority.certify_holder(serial, &group_key, &generated.subject, role)?;
        let install = OrderCommand::InstallCertificate { credential, certificate: der.clone(), intermediates: Vec::new() };
        self.must(generated.version.0, install).await?;

        let card = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?;
        let card_serial = 1000 + serial;
        let card_certificate = self.cluster.cards_authority.certify_card(card_serial, card.public_key().as_ref())?;
        let certified = self.until(credential, "certified", |view| view.state == CredentialState::Certified).await?;
        let certificate = CertificateHash::new(sha256(der.as_slice()));
        let mut holder = Holder { view: certified, certificate, der, card, card_certificate, card_serial };
        let binding = Binding {
            cluster: self.cluster.genesis.cluster(),
            credential,
            kind: AuthenticatorKind::MyNumberCard,
            card: CertificateHash::new(sha256(holder.card_certificate.as_slice())),
            nonce: Challenge::new([7; 32]),
        };
        let ObjectVersion(version) = holder.view.version;
        let bind = OrderCommand::BindAuthenticator {
            certificate: holder.card_certificate.clone(),
            intermediates: Vec::new(),
            card_signature: holder.card_sign(&binding.message())?,
            bound_card: None,
            binding,
        };
        self.must(version, bind).await?;
        holder.view = self.until(credential, "active", |view| view.state == CredentialState::Active).await?;
        Ok(holder)
    }

    async fn until(
        &self,
        credential: CredentialId,
        what: &str,
        reached: impl Fn(&CredentialView) -> bool,
    ) -> anyhow::Result<CredentialView> {
        for _ in 0..1200 {
            let read = OrderCall::Read(Read::Credential(credential));
            if let OrderReply::View(Some(View::Credential(view))) = self.cluster.call(node_id(1), &read).await?
                && reached(&view)
            {
                return Ok(*view);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the credential is not {what} in time")
    }
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::Ed25519(key.verifying_key().to_bytes())
}

fn signed(key: &SigningKey, message: &[u8]) -> Blob {
    Blob(key.sign(message).to_bytes().to_vec())
}
