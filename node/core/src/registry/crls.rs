//! CRLs: announced by an order, brought in pieces, checked whole and activated with the last piece.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256 as Hasher};
use warifu_protocol::limits::{CRL_BYTES_MAX, CRL_CHUNK_BYTES, CRL_UPLOAD_MILLIS_MAX, CRL_UPLOADS_MAX};
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{AnchorKind, Blob, CertificateHash, CredentialId, OrderId, Refusal, Sha256, SpkiHash};

use super::apply::{Context, Stop};
use super::reader::{Registry, decode, encode, key, prefix_end, table};
use super::records::{CredentialRecord, CrlRecord, CrlUpload, SerialOwner};
use super::store::{Overlay, StateStore, StateStoreError};
use super::{bindings, cards, credentials, sessions};
use crate::pki::{Certificate, Crl, TrustAnchor, verify_authority};

const ANCHOR_KINDS: [AnchorKind; 3] = [AnchorKind::HpkiSigning, AnchorKind::HpkiAuthentication, AnchorKind::JpkiUserAuthentication];

/// What an order says of a list.
pub(super) struct Announced<'a> {
    pub(super) hash: Sha256,
    pub(super) number: u64,
    pub(super) size: u64,
    pub(super) pieces: &'a [Sha256],
    pub(super) issuer: Option<&'a Blob>,
}

pub(super) fn announce<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    order: OrderId,
    announced: &Announced<'_>,
) -> Result<Applied, Stop> {
    let Announced { hash, number, size, pieces, issuer } = *announced;
    if size == 0 || size > CRL_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "the CRL".to_owned(), limit: CRL_BYTES_MAX }.into());
    }
    if pieces.len() as u64 != size.div_ceil(CRL_CHUNK_BYTES as u64) {
        return Err(refused("its order does not name every piece").into());
    }
    // Looked at before anything is taken in, and again when the list is whole: the CA may be revoked in between.
    if let Some(der) = issuer {
        intermediate(state, context, der)?;
    }
    let mut running = 0;
    for (upload_key, value) in state.scan(&[table::CRL_UPLOAD], &[table::CRL_UPLOAD + 1], CRL_UPLOADS_MAX + 1)? {
        let upload: CrlUpload = decode(&value)?;
        if upload.expires < context.now {
            let id = upload_key.get(1..).unwrap_or_default().to_vec();
            drop_chunks(state, &id)?;
            state.delete(upload_key);
        } else {
            running += 1;
        }
    }
    if running >= CRL_UPLOADS_MAX {
        return Err(Refusal::TooLarge { what: "CRLs on their way".to_owned(), limit: CRL_UPLOADS_MAX as u64 }.into());
    }
    let expires = context.now.plus(CRL_UPLOAD_MILLIS_MAX);
    let upload = CrlUpload { hash, number, size, pieces: pieces.to_vec(), issuer: issuer.cloned(), next: 0, expires };
    state.put(key(table::CRL_UPLOAD, &[order.as_ref()]), encode(&upload));
    Ok(Applied::CrlExpected { order, next: 0 })
}

pub(super) fn chunk<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    order: OrderId,
    index: u32,
    bytes: &[u8],
) -> Result<Applied, Stop> {
    let unexpected = Refusal::CrlChunkUnexpected { index };
    let mut upload = state.crl_upload(order)?.ok_or_else(|| unexpected.clone())?;
    let start = u64::from(index) * CRL_CHUNK_BYTES as u64;
    if upload.expires < context.now || index != upload.next || start >= upload.size {
        return Err(unexpected.into());
    }
    let wanted = (upload.size - start).min(CRL_CHUNK_BYTES as u64);
    if bytes.len() as u64 != wanted {
        return Err(unexpected.into());
    }
    let named = usize::try_from(index).ok().and_then(|index| upload.pieces.get(index));
    if named != Some(&Sha256::new(Hasher::digest(bytes).into())) {
        return Err(refused("this piece is not the one that the order names").into());
    }
    state.put(key(table::CRL_CHUNK, &[order.as_ref(), &index.to_be_bytes()]), bytes.to_vec());
    if start + wanted < upload.size {
        upload.next += 1;
        state.put(key(table::CRL_UPLOAD, &[order.as_ref()]), encode(&upload));
        return Ok(Applied::CrlExpected { order, next: upload.next });
    }
    activate(state, context, order, &upload)
}

fn activate<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, order: OrderId, upload: &CrlUpload) -> Result<Applied, Stop> {
    let prefix = key(table::CRL_CHUNK, &[order.as_ref()]);
    let mut der = Vec::new();
    for (_, piece) in state.scan(&prefix, &prefix_end(&prefix), usize::MAX)? {
        der.extend_from_slice(&piece);
    }
    if Sha256::new(Hasher::digest(&der).into()) != upload.hash {
        return Err(refused("its bytes do not have the hash that the order names").into());
    }
    let crl = Crl::parse(&der).map_err(|error| refused(&cards::chain(&error)))?;
    if crl.number() != upload.number {
        return Err(refused("its number is not the one that the order names").into());
    }
    let (issuer, vouched_by) = match &upload.issuer {
        Some(der) => {
            let (certificate, digest, anchor) = intermediate(state, context, der)?;
            crl.verify(&certificate).map_err(|error| refused(&cards::chain(&error)))?;
            // From now on a list of the anchor that names it is noticed. One that was taken before ends with this: it is not on it.
            state.put(key(table::SERIAL, &[digest.as_ref()]), encode(&SerialOwner::Authority(certificate.spki_hash())));
            state.delete(key(table::AUTHORITY_REVOKED, &[certificate.spki_hash().as_ref()]));
            (certificate, Some(anchor))
        }
        None => (pinned(context, &crl)?, None),
    };
    let policy = &context.cluster.policy;
    crl.freshness(context.now, policy.crl_age_millis_max, policy.clock_skew_millis_max).map_err(|error| refused(&cards::chain(&error)))?;
    let record_key = key(table::CRL, &[issuer.spki_hash().as_ref(), crl.series().as_ref()]);
    if let Some(active) = super::reader::read::<_, CrlRecord>(state, &record_key)?
        && crl.number() <= active.number
    {
        return Err(Refusal::CrlOlder.into());
    }
    let record = CrlRecord {
        issuer: issuer.subject().to_string(),
        hash: crl.hash(),
        number: crl.number(),
        scope: crl.scope().clone(),
        vouched_by,
        this_update: crl.this_update(),
        next_update: crl.next_update(),
        revoked: crl.revoked().len() as u64,
    };
    state.put(record_key, encode(&record));
    replace_entries(state, &issuer, &crl)?;
    drop_chunks(state, order.as_ref())?;
    state.delete(key(table::CRL_UPLOAD, &[order.as_ref()]));
    Ok(Applied::CrlActive)
}

/// A CA that a pinned one issued, with the digest of its certificate's serial and the pinned CA's key: valid, allowed to sign, and on no list of the pinned CA,
/// of which there must be a fresh one.
fn intermediate<S: StateStore>(state: &S, context: &Context<'_>, der: &Blob) -> Result<(Certificate, Sha256, SpkiHash), Stop> {
    let certificate = Certificate::parse(der.as_slice()).map_err(|error| refused(&cards::chain(&error)))?;
    let mut anchors = Vec::new();
    for kind in ANCHOR_KINDS {
        anchors.extend(cards::anchors(context, kind)?);
    }
    let anchor = verify_authority(&certificate, &anchors, context.now).map_err(|error| refused(&cards::chain(&error)))?;
    if cards::authority_revoked(state, context, &certificate, &anchor.certificate)? {
        return Err(refused("its CA's certificate is revoked").into());
    }
    let anchor = anchor.certificate.spki_hash();
    let digest = cards::serial_digest(anchor, certificate.serial());
    Ok((certificate, digest, anchor))
}

/// The subjects of pinned CAs of which there is no active list: nothing that rests on their certificates is accepted.
///
/// # Errors
/// When the store fails.
pub fn crls_missing<S: StateStore>(state: &S) -> Result<BTreeSet<String>, StateStoreError> {
    let mut missing = BTreeSet::new();
    for entry in &state.cluster()?.anchors {
        // Every pinned certificate was parsed when it was pinned.
        let Ok(anchor) = TrustAnchor::from_entry(entry) else { continue };
        if state.crls_of(anchor.certificate.spki_hash())?.is_empty() {
            missing.insert(anchor.certificate.subject().to_string());
        }
    }
    Ok(missing)
}

fn refused(reason: &str) -> Refusal {
    Refusal::CrlRefused { reason: reason.to_owned() }
}

fn pinned(context: &Context<'_>, crl: &Crl) -> Result<Certificate, Refusal> {
    let mut reason = "no pinned CA has its issuer's name".to_owned();
    for kind in ANCHOR_KINDS {
        for anchor in cards::anchors(context, kind)? {
            match crl.verify(&anchor.certificate) {
                Ok(()) => return Ok(anchor.certificate),
                Err(error) if crl.issuer_der() == anchor.certificate.subject().der() => reason = cards::chain(&error),
                Err(_) => {}
            }
        }
    }
    Err(Refusal::CrlRefused { reason })
}

fn replace_entries<S: StateStore>(state: &mut Overlay<'_, S>, issuer: &Certificate, crl: &Crl) -> Result<(), Stop> {
    let prefix = key(table::CRL_ENTRY, &[crl.series().as_ref()]);
    let mut old: BTreeSet<Vec<u8>> = state.scan(&prefix, &prefix_end(&prefix), usize::MAX)?.into_iter().map(|(entry, _)| entry).collect();
    for entry in crl.revoked() {
        let digest = cards::serial_digest(issuer.spki_hash(), &entry.serial);
        let entry_key = key(table::CRL_ENTRY, &[crl.series().as_ref(), digest.as_ref()]);
        if old.remove(&entry_key) {
            continue;
        }
        state.put(entry_key, Vec::new());
        match state.serial_owner(digest)? {
            Some(SerialOwner::Certificate(credential)) => suspend(state, credential, issuer, digest)?,
            Some(SerialOwner::Card(credential)) => end_card(state, credential, digest)?,
            Some(SerialOwner::Authority(spki)) => end_authority(state, spki)?,
            None => {}
        }
    }
    for entry in old {
        state.delete(entry);
    }
    Ok(())
}

/// Suspends the credential unless it has another certificate than the revoked one by now.
fn suspend<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId, issuer: &Certificate, revoked: Sha256) -> Result<(), Stop> {
    if let Some(mut credential) = state.credential(id)?
        && matches!(credential.state, CredentialState::Certified | CredentialState::Active | CredentialState::Suspended)
        && is_its_certificate(&credential, issuer, revoked)
    {
        // A revoked certificate does not come back; another one may be installed.
        credential.certificate_listed = true;
        credential.settle();
        credentials::write_changed(state, id, credential);
        sessions::close_all(state, id, None)?;
    }
    Ok(())
}

fn is_its_certificate(credential: &CredentialRecord, issuer: &Certificate, digest: Sha256) -> bool {
    let installed = credential.certificate.as_ref().and_then(|record| Certificate::parse(record.der.as_slice()).ok());
    installed.is_some_and(|certificate| cards::serial_digest(issuer.spki_hash(), certificate.serial()) == digest)
}

fn end_card<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId, digest: Sha256) -> Result<(), Stop> {
    let Some(mut credential) = state.credential(id)? else { return Ok(()) };
    let card = card_of(&credential, digest);
    if bindings::end_pending(state, id, &mut credential, |pending| pending.authenticator.serial_digest == digest) {
        credentials::write_changed(state, id, credential);
    }
    if let Some(card) = card {
        sessions::close_all(state, id, Some(card))?;
    }
    Ok(())
}

/// Nothing that the CA issued counts from now on: nodes refuse its cards and certificates in open sessions, and without its lists no
/// session is opened.
fn end_authority<S: StateStore>(state: &mut Overlay<'_, S>, authority: SpkiHash) -> Result<(), Stop> {
    state.put(key(table::AUTHORITY_REVOKED, &[authority.as_ref()]), Vec::new());
    for (series, _) in state.crls_of(authority)? {
        state.delete(key(table::CRL, &[authority.as_ref(), series.as_ref()]));
        let prefix = key(table::CRL_ENTRY, &[series.as_ref()]);
        for (entry, _) in state.scan(&prefix, &prefix_end(&prefix), usize::MAX)? {
            state.delete(entry);
        }
    }
    Ok(())
}

fn card_of(credential: &CredentialRecord, digest: Sha256) -> Option<CertificateHash> {
    credential.authenticators.iter().find(|bound| bound.serial_digest == digest).map(|bound| bound.card)
}

fn drop_chunks<S: StateStore>(state: &mut Overlay<'_, S>, order: &[u8]) -> Result<(), Stop> {
    let prefix = key(table::CRL_CHUNK, &[order]);
    for (chunk, _) in state.scan(&prefix, &prefix_end(&prefix), usize::MAX)? {
        state.delete(chunk);
    }
    Ok(())
}
