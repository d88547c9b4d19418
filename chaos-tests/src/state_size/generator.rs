//! Makes the log of a cluster that enrols, certifies and binds credentials, signed by everybody who must sign.

use anyhow::Context as _;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use frost_ed25519::keys::dkg;
use rand_chacha::ChaCha20Rng;
use rand_core::{OsRng, SeedableRng as _};
use warifu::trial_pki::Validity;
use warifu_core::pki::{CertificateSerial, assemble_csr, render_csr};
use warifu_core::signer::identifier;
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::{CEREMONY_CREDENTIALS_MAX, CRL_CHUNK_BYTES};
use warifu_protocol::{
    AuthenticatorKind, Binding, Blob, CeremonyConfirm, CeremonyId, CertificateHash, Challenge, Command, CredentialId, Enrolment, LogEntry,
    NodeId, ObjectVersion, OrderBody, OrderCommand, OrderId, Round1, Round2Hashes, Sha256, SubjectFields, UnixMillis,
};

use super::dealt::{DealtKeys, NODES, THRESHOLD};
use super::feed::Feed;
use super::founding::Founding;

const HOUR_MILLIS: u64 = 60 * 60 * 1000;
const DAY_MILLIS: u64 = 24 * HOUR_MILLIS;
/// Life of a holder's certificate and of a card's, as the real ones have.
const CERTIFICATE_MILLIS: u64 = 5 * 365 * DAY_MILLIS;
/// Versions of a credential: 1 when enrolled, one more for each change.
const GENERATED: ObjectVersion = ObjectVersion(2);
const CERTIFIED: ObjectVersion = ObjectVersion(3);
/// Serials of cards have eight bytes.
const CARD_SERIAL_FIRST: u64 = 1 << 56;
/// Keeps ids of ceremonies apart from other orders' random ones by more than chance.
const CEREMONY_MARK: u128 = 0xce << 120;

/// The maker of the log.
pub struct Generator<'a> {
    founding: &'a Founding,
    keys: &'a DealtKeys,
    now: UnixMillis,
    /// A card is bound to each credential whose number is divisible by this; 0 for none.
    bound_every: u64,
    /// Round-1 packages that each node sends in every ceremony: real ones, of keys that are not the dealt ones, since nobody finishes them here.
    round1: Vec<Vec<Blob>>,
    card: RsaKeyPair,
    rng: ChaCha20Rng,
}

impl<'a> Generator<'a> {
    /// Prepares what all ceremonies share.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn new(founding: &'a Founding, keys: &'a DealtKeys, now: UnixMillis, bound_every: u64) -> anyhow::Result<Self> {
        let mut rng = ChaCha20Rng::from_rng(OsRng).context("randomness")?;
        let mut round1 = Vec::new();
        for identity in &founding.identities {
            let participant = identifier(identity.node());
            let package = |rng: &mut ChaCha20Rng| -> anyhow::Result<Blob> {
                Ok(Blob(dkg::part1(participant, NODES.into(), THRESHOLD.into(), rng)?.1.serialize()?))
            };
            round1.push((0..CEREMONY_CREDENTIALS_MAX).map(|_| package(&mut rng)).collect::<anyhow::Result<_>>()?);
        }
        let card = RsaKeyPair::generate(KeySize::Rsa2048).ok().context("a card's key")?;
        Ok(Self { founding, keys, now, bound_every, round1, card, rng })
    }

    /// The revocation lists, without which nothing is certified or bound.
    ///
    /// # Errors
    /// When a list cannot be made.
    pub fn lists(&mut self) -> anyhow::Result<Feed> {
        let until = self.now.plus(DAY_MILLIS);
        let mut commands = Vec::new();
        for der in [self.founding.hpki.crl(1, &[], self.now, until)?, self.founding.jpki.crl(1, &[], self.now, until)?] {
            let announcement = OrderCommand::update_crl(&der, 1, None);
            let order = self.order(ObjectVersion(0), announcement, 1);
            let id = order.body.id;
            commands.push(Command::Order(order));
            for (piece, index) in der.chunks(CRL_CHUNK_BYTES).zip(0..) {
                commands.push(Command::CrlChunk { order: id, index, bytes: piece.into() });
            }
        }
        self.entries(commands)
    }

    /// One ceremony for the credentials with the numbers `start..end`, their certificates, and the cards of some of them: what is fed, in
    /// order.
    ///
    /// # Errors
    /// When something cannot be made or signed.
    pub fn ceremony(&mut self, start: u64, end: u64) -> anyhow::Result<Vec<Feed>> {
        let mut fed = vec![self.enrolment(start, end)?];
        // A node has its share on disk before it confirms.
        fed.push(Feed::Shares { start, end });
        let ceremony = Self::ceremony_of(start);
        fed.push(self.confirmations(ceremony, start, end)?);
        let installations = (start..end).map(|number| self.installation(number)).collect::<anyhow::Result<_>>()?;
        fed.push(self.entries(installations)?);
        let bound: Vec<u64> = (start..end).filter(|number| self.is_bound(*number)).collect();
        if !bound.is_empty() {
            let bindings = bound.into_iter().map(|number| self.binding(number)).collect::<anyhow::Result<_>>()?;
            fed.push(self.entries(bindings)?);
        }
        Ok(fed)
    }

    fn enrolment(&mut self, start: u64, end: u64) -> anyhow::Result<Feed> {
        let enrolments = (start..end)
            .map(|number| {
                let holder = format!("holder-{number:08}").parse()?;
                Ok(Enrolment { credential: credential_id(number), holder, subject: subject(number)? })
            })
            .collect::<anyhow::Result<_>>()?;
        let mut body = self.body(ObjectVersion(0), OrderCommand::Enrol { enrolments });
        body.id = OrderId::new(*Self::ceremony_of(start).as_bytes());
        let mut commands = vec![Command::Order(self.founding.approve(body, 1))];
        let ceremony = Self::ceremony_of(start);
        let count = usize::try_from(end - start)?;
        for (identity, packages) in self.founding.identities.iter().zip(&self.round1) {
            let packages = packages.iter().take(count).cloned().collect();
            commands.push(Command::CeremonyRound1(identity.sign(Round1 { ceremony, attempt: 1, packages })));
        }
        for identity in &self.founding.identities {
            let others = self.founding.identities.iter().map(|other| other.node()).filter(|other| *other != identity.node());
            let hashes = others.map(|other| (other, hash_between(identity.node(), other))).collect();
            commands.push(Command::CeremonyRound2Hash(identity.sign(Round2Hashes { ceremony, attempt: 1, hashes })));
        }
        self.entries(commands)
    }

    fn confirmations(&self, ceremony: CeremonyId, start: u64, end: u64) -> anyhow::Result<Feed> {
        let public_key_packages: Vec<Blob> = (start..end).map(|number| self.keys.of(number).public_key_package.clone()).collect();
        let confirm = CeremonyConfirm { ceremony, attempt: 1, transcript: Sha256::new([0x7a; 32]), public_key_packages };
        let confirmed = self.founding.identities.iter().map(|identity| Command::CeremonyConfirm(identity.sign(confirm.clone())));
        self.entries(confirmed.collect())
    }

    fn installation(&mut self, number: u64) -> anyhow::Result<Command> {
        let subject = subject(number)?;
        let key = self.keys.of(number);
        let info = render_csr(&subject, &key.group_key).info;
        let csr = assemble_csr(&info, &key.sign(&mut self.rng, &info)?)?;
        let certificate = Blob(self.founding.hpki.issue_signing_certificate(&csr, &["Medical Doctor"], self.validity())?);
        let command = OrderCommand::InstallCertificate { credential: credential_id(number), certificate, intermediates: Vec::new() };
        Ok(Command::Order(self.order(GENERATED, command, 1)))
    }

    fn binding(&mut self, number: u64) -> anyhow::Result<Command> {
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(self.card.public_key()).ok().context("the card's key")?;
        let serial = CertificateSerial::new(&(CARD_SERIAL_FIRST + number).to_be_bytes())?;
        let certificate = Blob(self.founding.jpki.issue_card_certificate(spki.as_ref(), &serial, self.validity())?);
        let binding = Binding {
            cluster: self.founding.genesis.cluster(),
            credential: credential_id(number),
            kind: AuthenticatorKind::MyNumberCard,
            card: CertificateHash::new(sha256(certificate.as_slice())),
            nonce: Challenge::new(rand::random()),
        };
        let mut signature = vec![0; self.card.public_modulus_len()];
        self.card.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &binding.message(), &mut signature).ok().context("the card's signature")?;
        let command = OrderCommand::BindAuthenticator {
            binding,
            certificate,
            intermediates: Vec::new(),
            card_signature: Blob(signature),
            bound_card: None,
        };
        Ok(Command::Order(self.order(CERTIFIED, command, 2)))
    }

    /// Whether a card is bound to the credential with this number.
    #[must_use]
    pub const fn is_bound(&self, number: u64) -> bool {
        self.bound_every != 0 && number.is_multiple_of(self.bound_every)
    }

    fn order(&self, object_version: ObjectVersion, order: OrderCommand, operators: u8) -> warifu_protocol::Order {
        self.founding.approve(self.body(object_version, order), operators)
    }

    fn body(&self, object_version: ObjectVersion, order: OrderCommand) -> OrderBody {
        let id = OrderId::new(rand::random());
        OrderBody { cluster: self.founding.genesis.cluster(), id, not_after: self.now.plus(HOUR_MILLIS), object_version, order }
    }

    /// A ceremony has the id of the order that started it.
    fn ceremony_of(start: u64) -> CeremonyId {
        CeremonyId::new((u128::from(start) | CEREMONY_MARK).to_be_bytes())
    }

    fn entries(&self, commands: Vec<Command>) -> anyhow::Result<Feed> {
        let encoded = commands.into_iter().map(|command| Ok(Blob(LogEntry::new(self.now, command).encode()?)));
        Ok(Feed::Entries(encoded.collect::<anyhow::Result<_>>()?))
    }

    const fn validity(&self) -> Validity {
        Validity { not_before: self.now.minus(DAY_MILLIS), not_after: self.now.plus(CERTIFICATE_MILLIS) }
    }
}

/// The id of the credential with this number, as scattered as ids that are drawn at random.
pub(super) fn credential_id(number: u64) -> CredentialId {
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = sha256(&number.to_be_bytes());
    CredentialId::new(id)
}

fn subject(number: u64) -> anyhow::Result<SubjectFields> {
    Ok(SubjectFields::new("JP", Some("Trial Clinic".to_owned()), format!("Trial Holder {number:08}"), format!("TRIAL-{number:08}"))?)
}

fn hash_between(from: NodeId, to: NodeId) -> Sha256 {
    Sha256::new(sha256(&[from.get(), to.get()]))
}
