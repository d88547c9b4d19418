//! What must be true after every event: one file for each promise, with its source and a breach that it must see.

mod acked_request_has_exactly_one_outcome;
mod acknowledged_order_is_in_the_log;
mod applied_states_agree;
mod audit_entry_durable_before_signature_share;
mod audit_on_t_sites_for_each_signature;
mod blamed_node_was_faulty;
mod dead_nonce_makes_no_share;
mod destroyed_never_returns;
mod epoch_never_goes_back;
mod evaluations;
mod expunged_node_never_signs;
mod fewer_than_threshold_reveals_nothing_signable;
mod forged_command_changes_nothing;
mod forged_snapshot_yields_nothing;
mod held_order_survives_a_censoring_leader;
mod no_share_in_raft_log;
mod no_signature_after_acknowledged_revocation;
mod no_signature_without_open_session;
mod nonce_used_at_most_once;
mod old_epoch_never_signs_after_shred;
mod one_active_credential_per_holder;
mod one_document_per_session_seq;
mod one_message_per_nonce;
mod polynomial;
mod refresh_keeps_group_key;
mod released_signature_verifies;
mod removed_site_never_helps;
mod rolled_back_store_is_refused;
mod share_only_for_rendered_bytes;
mod shares_of_an_epoch_are_one_key;
mod stopped_site_gives_no_share;
mod t_minus_one_learn_nothing;
#[cfg(test)]
mod testing;
mod unconfirmed_node_never_signs;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use warifu_core::registry::{CredentialRecord, MemoryStore};
use warifu_protocol::{CertificateHash, CredentialId, NodeId, UnixMillis};

use super::fact::{CardLife, Fact};

/// What an invariant may know beside the facts.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// Every site that is, or was, in the roster.
    pub sites: &'a BTreeSet<NodeId>,
    /// t.
    pub threshold: u8,
    /// f.
    pub liars: u8,
    /// The true time of day.
    pub now: UnixMillis,
    /// Sites that are corrupt, or whose disk was set back: their own shares prove nothing against the cores.
    pub suspects: &'a BTreeSet<NodeId>,
    /// What the log comes to.
    pub truth: &'a MemoryStore,
    /// Every signing share that a site ever had.
    pub secrets: &'a BTreeSet<[u8; 32]>,
    /// Every card.
    pub cards: &'a BTreeMap<CertificateHash, CardLife>,
    /// All credentials in the log's state.
    pub credentials: &'a [(CredentialId, CredentialRecord)],
}

/// One promise.
pub trait Invariant {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Looks at what happened.
    ///
    /// # Errors
    /// What broke, in words.
    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String>;
}

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub what: String,
}

/// All promises.
pub struct Invariants(Vec<Box<dyn Invariant + Send>>);

impl Invariants {
    /// Every invariant, with nothing seen yet.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![
            Box::new(nonce_used_at_most_once::NonceUsedAtMostOnce::default()),
            Box::new(one_message_per_nonce::OneMessagePerNonce::default()),
            Box::new(no_share_in_raft_log::NoShareInRaftLog),
            Box::new(audit_entry_durable_before_signature_share::AuditEntryDurableBeforeSignatureShare::default()),
            Box::new(fewer_than_threshold_reveals_nothing_signable::FewerThanThresholdRevealsNothingSignable::default()),
            Box::new(released_signature_verifies::ReleasedSignatureVerifies),
            Box::new(epoch_never_goes_back::EpochNeverGoesBack::default()),
            Box::new(refresh_keeps_group_key::RefreshKeepsGroupKey::default()),
            Box::new(expunged_node_never_signs::ExpungedNodeNeverSigns::default()),
            Box::new(blamed_node_was_faulty::BlamedNodeWasFaulty),
            Box::new(acked_request_has_exactly_one_outcome::AckedRequestHasExactlyOneOutcome::default()),
            Box::new(acknowledged_order_is_in_the_log::AcknowledgedOrderIsInTheLog::default()),
            Box::new(share_only_for_rendered_bytes::ShareOnlyForRenderedBytes::default()),
            Box::new(no_signature_without_open_session::NoSignatureWithoutOpenSession),
            Box::new(no_signature_after_acknowledged_revocation::NoSignatureAfterAcknowledgedRevocation::default()),
            Box::new(stopped_site_gives_no_share::StoppedSiteGivesNoShare::default()),
            Box::new(dead_nonce_makes_no_share::DeadNonceMakesNoShare::default()),
            Box::new(audit_on_t_sites_for_each_signature::AuditOnTSitesForEachSignature::default()),
            Box::new(forged_command_changes_nothing::ForgedCommandChangesNothing),
            Box::new(forged_snapshot_yields_nothing::ForgedSnapshotYieldsNothing::default()),
            Box::new(destroyed_never_returns::DestroyedNeverReturns::default()),
            Box::new(old_epoch_never_signs_after_shred::OldEpochNeverSignsAfterShred::default()),
            Box::new(unconfirmed_node_never_signs::UnconfirmedNodeNeverSigns::default()),
            Box::new(rolled_back_store_is_refused::RolledBackStoreIsRefused::default()),
            Box::new(one_document_per_session_seq::OneDocumentPerSessionSeq::default()),
            Box::new(held_order_survives_a_censoring_leader::HeldOrderSurvivesACensoringLeader::default()),
            Box::new(one_active_credential_per_holder::OneActiveCredentialPerHolder),
            Box::new(t_minus_one_learn_nothing::TMinusOneLearnNothing::default()),
            Box::new(shares_of_an_epoch_are_one_key::SharesOfAnEpochAreOneKey::default()),
            Box::new(removed_site_never_helps::RemovedSiteNeverHelps::default()),
            Box::new(applied_states_agree::AppliedStatesAgree::default()),
        ])
    }

    /// Their names.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        Self::all().0.iter().map(|invariant| invariant.name()).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Has each look at a fact; gives what broke.
    pub fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Vec<Violation> {
        let mut broken = Vec::new();
        for invariant in &mut self.0 {
            if let Err(what) = invariant.check(fact, ground) {
                broken.push(Violation { invariant: invariant.name(), what });
            }
        }
        broken
    }
}
