//! What is to notice each weakening.

use warifu_protocol::mutants::Mutant;

use super::programs::{Program, Test};
use crate::simulate::Focus::{self, Custody, Stops};

/// One weakening. Whatever is named must notice it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) mutant: Mutant,
    /// This breaks in one of the first seeds.
    pub(super) by_seeds: Option<BySeeds>,
    /// This test fails.
    pub(super) test: Option<Test>,
    /// These too, with whole processes.
    pub(super) whole: &'static [Test],
}

/// What seeds are to notice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct BySeeds {
    /// What runs are mostly about.
    pub(super) focus: Focus,
    /// The invariant that breaks: nothing else that breaks counts. Any, where that is to be found out.
    pub(super) invariant: Option<&'static str>,
}

impl Row {
    /// The tests that are to fail.
    pub(super) fn tests(&self) -> impl Iterator<Item = Test> {
        self.test.into_iter().chain(self.whole.iter().copied())
    }
}

const CORE: Program = Program::Library("warifu_core");
const NODE: Program = Program::Library("warifu_node");
const PROTOCOL: Program = Program::Library("warifu_protocol");
const COORDINATOR_CORE: Program = Program::Library("warifu_coordinator_core");
const REGISTRY: Program = Program::Beside("node/core", "registry");
const NODES: Program = Program::Beside("node", "cluster");
const STARTS: Program = Program::Beside("node", "starts");
const STORE: Program = Program::Beside("node", "store");
const REMAINS: Program = Program::Beside("node", "remains");
const SEALING: Program = Program::Beside("node", "sealing");
const TRANSPORT: Program = Program::Beside("node", "transport");
const GATHERING: Program = Program::Beside("coordinator/core", "signing");
const RECEIPTS: Program = Program::Beside("coordinator/core", "stop");
const DISK_FAULTS: Program = Program::Beside("chaos-tests", "disk_faults");
const TORMENT: Program = Program::Beside("chaos-tests", "torment_cluster");
const API: Program = Program::Beside("coordinator", "api");
const PROCESSES: Program = Program::Beside("coordinator/cli", "cluster");

const fn test(mutant: Mutant, program: Program, name: &'static str) -> Row {
    Row { mutant, by_seeds: None, test: Some(Test { program, name }), whole: &[] }
}

/// By seeds about this, in which this invariant breaks, and by a test.
const fn both(mutant: Mutant, focus: Focus, invariant: &'static str, program: Program, name: &'static str) -> Row {
    Row { by_seeds: Some(BySeeds { focus, invariant: Some(invariant) }), ..test(mutant, program, name) }
}

/// The same guard, seen to be gone by whole processes as well.
const fn and_whole(row: Row, whole: &'static [Test]) -> Row {
    Row { whole, ..row }
}

/// What loses its power at once and forgets what was not fsynced.
const POWER_CUTS: &[Test] = &[
    Test { program: DISK_FAULTS, name: "nothing_that_was_acknowledged_is_lost_when_all_nodes_lose_their_power_at_once" },
    Test { program: TORMENT, name: "power_that_all_sites_lose_at_once_costs_nothing_that_was_acknowledged" },
];

/// Every weakening. A test that notices one is named where the simulator cannot see it: daemons' shells, files, sockets, and what the
/// simulator's own people and liars never try.
pub(super) const CATALOGUE: &[Row] = &[
    test(Mutant::SkipRequestSignature, CORE, "signer::tests::refusals::a_request_is_signed_by_its_sessions_key"),
    both(
        Mutant::SkipSessionClosed,
        Stops,
        "no_signature_without_open_session",
        CORE,
        "signer::tests::refusals::a_session_signs_while_it_is_open_and_within_its_times",
    ),
    test(Mutant::SkipTerminalRetired, CORE, "signer::tests::refusals::the_sessions_of_a_retired_terminal_sign_nothing"),
    test(Mutant::SkipSessionTimes, CORE, "signer::tests::refusals::a_session_signs_while_it_is_open_and_within_its_times"),
    test(Mutant::SkipSequenceLimit, CORE, "signer::tests::refusals::a_request_has_a_number_that_its_session_allows"),
    test(Mutant::SkipSigningTime, CORE, "signer::tests::refusals::a_signing_time_is_in_whole_seconds_and_near"),
    test(Mutant::SkipCredentialState, CORE, "signer::tests::refusals::only_an_active_credential_signs_documents"),
    test(Mutant::SkipCertificateExpiry, CORE, "signer::tests::refusals::the_certificate_is_the_credentials_and_valid_now"),
    test(
        Mutant::SkipAuthorityRevoked,
        CORE,
        "signer::tests::refusals::nothing_is_signed_once_an_intermediate_ca_of_card_or_certificate_is_revoked",
    ),
    test(Mutant::SkipRole, CORE, "signer::tests::refusals::physicians_and_dentists_prescribe_and_pharmacists_dispense"),
    test(Mutant::SkipSignerSet, CORE, "signer::tests::refusals::the_signers_are_t_different_holders_with_this_node_among_them"),
    test(Mutant::SkipClockBehind, CORE, "signer::tests::refusals::a_node_whose_clock_is_behind_the_log_signs_nothing"),
    both(
        Mutant::KeepNonce,
        Stops,
        "nonce_used_at_most_once",
        CORE,
        "signer::nonces::tests::a_pair_is_given_once_and_only_to_its_coordinator",
    ),
    test(Mutant::OutdatedNonce, CORE, "signer::nonces::tests::a_pair_lives_thirty_seconds"),
    test(Mutant::ForeignNonce, CORE, "signer::nonces::tests::a_pair_is_given_once_and_only_to_its_coordinator"),
    test(Mutant::IgnoreAuditFailure, NODES, "failing_disk::a_node_that_cannot_write_its_audit_log_refuses_to_sign"),
    both(
        Mutant::ShareWithoutAudit,
        Stops,
        "audit_entry_durable_before_signature_share",
        NODE,
        "service::share_batch::tests::a_share_is_given_only_for_what_was_free_and_is_recorded",
    ),
    test(Mutant::SignUsedNumber, NODE, "service::share_batch::tests::a_share_is_given_only_for_what_was_free_and_is_recorded"),
    test(Mutant::SignUnconfirmed, NODE, "gate::tests::the_gate_opens_only_for_the_current_boot_and_never_after_an_alarm"),
    test(Mutant::SignUnderAlarm, NODE, "gate::tests::the_gate_opens_only_for_the_current_boot_and_never_after_an_alarm"),
    test(Mutant::IgnoreHolds, NODE, "holds::tests::a_hold_refuses_its_object_until_it_ends_and_nothing_else"),
    test(
        Mutant::KeepHoldsUnlogged,
        CORE,
        "stopping::tests::a_leader_that_does_not_log_a_stop_is_replaced_after_five_seconds_and_its_successor_gets_the_stop",
    ),
    and_whole(test(Mutant::ReplyBeforeFsync, STORE, "what_was_acknowledged_is_there_after_a_power_cut"), POWER_CUTS),
    test(Mutant::KeepDestroyedShares, REMAINS, "a_share_of_a_destroyed_credential_that_is_found_is_buried_again"),
    both(
        Mutant::OldEpochSurvives,
        Custody,
        "t_minus_one_learn_nothing",
        CORE,
        "signer::tests::refusals::an_epoch_is_over_once_only_a_later_one_signs",
    ),
    test(Mutant::SealWithoutPlace, SEALING, "a_record_opens_with_its_own_associated_data_only"),
    test(Mutant::AcceptOldIncarnation, REGISTRY, "nodes::a_node_may_only_go_forward_from_what_is_remembered_of_it"),
    test(Mutant::OldSharesWord, REGISTRY, "shares_lost::a_word_about_shares_counts_once_and_never_after_a_later_one"),
    test(Mutant::AcceptForgottenStart, REGISTRY, "nodes::a_node_may_only_go_forward_from_what_is_remembered_of_it"),
    test(Mutant::SkipNodeSignature, REGISTRY, "nodes::a_node_may_only_go_forward_from_what_is_remembered_of_it"),
    test(Mutant::SkipApprovalSignature, REGISTRY, "orders::approvals_are_checked_one_by_one"),
    test(Mutant::OneApprovalTooFew, REGISTRY, "orders::a_class_that_needs_two_operators_is_not_content_with_one"),
    test(Mutant::ReplayOrder, REGISTRY, "orders::an_order_is_applied_once_even_after_its_record_was_cleared"),
    test(Mutant::ExpiredOrder, REGISTRY, "orders::an_order_is_bound_to_its_cluster_its_time_and_its_object"),
    test(Mutant::SkipObjectVersion, REGISTRY, "orders::an_order_that_was_withheld_does_not_undo_a_later_one"),
    test(Mutant::SkipConsents, REGISTRY, "roster::consents_are_checked_one_by_one"),
    test(Mutant::SkipCardSignature, REGISTRY, "sessions::card_terminal_and_session_key_must_each_have_signed_this_statement"),
    test(Mutant::SkipTerminalSignature, REGISTRY, "sessions::card_terminal_and_session_key_must_each_have_signed_this_statement"),
    test(Mutant::SkipPossession, REGISTRY, "sessions::card_terminal_and_session_key_must_each_have_signed_this_statement"),
    test(Mutant::SkipClosingSignature, REGISTRY, "sessions::a_session_is_closed_by_its_own_key_once_or_twice"),
    test(Mutant::SkipCardCrl, REGISTRY, "sessions::a_revoked_card_or_a_stale_list_opens_nothing"),
    test(Mutant::AcceptStaleCrl, REGISTRY, "sessions::a_revoked_card_or_a_stale_list_opens_nothing"),
    test(Mutant::ReuseStatement, REGISTRY, "sessions::a_statement_opens_one_session_even_when_that_was_closed_or_cleared_away"),
    test(Mutant::BindWithoutBoundCard, REGISTRY, "bindings::a_further_card_needs_the_signature_of_a_bound_one"),
    test(Mutant::SecondCredential, REGISTRY, "enrolment::a_batch_is_enrolled_whole_or_not_at_all"),
    test(Mutant::AcceptTooFewConfirms, REGISTRY, "ceremonies::a_key_comes_into_use_only_when_all_have_confirmed_the_same"),
    test(Mutant::AcceptOldKeys, REGISTRY, "roster::a_replaced_store_is_the_only_one_that_counts"),
    test(Mutant::AcceptAnyMembership, REGISTRY, "roster::only_the_plan_and_the_one_before_may_stand_in_a_membership_entry"),
    test(Mutant::ConfirmByOne, CORE, "confirmation::tests::one_more_other_node_than_may_lie_confirms_or_contradicts"),
    test(Mutant::RootNotCompared, CORE, "confirmation::tests::one_more_other_node_than_may_lie_confirms_or_contradicts"),
    test(
        Mutant::SnapshotUnjudged,
        CORE,
        "confirmation::tests::a_snapshot_is_vouched_for_by_one_more_than_may_lie_and_forged_when_so_many_contradict_it",
    ),
    both(
        Mutant::RepairSendsRawShare,
        Custody,
        "t_minus_one_learn_nothing",
        CORE,
        "ceremony::tests::repair::a_node_on_a_new_store_gets_the_very_share_that_it_lost",
    ),
    both(
        Mutant::RepairReusesDelta,
        Custody,
        "t_minus_one_learn_nothing",
        CORE,
        "ceremony::tests::repair::no_delta_is_used_for_two_recipients_credentials_or_helpers",
    ),
    test(Mutant::SkipRepairContribution, CORE, "ceremony::tests::repair::a_helper_whose_commitments_do_not_fit_its_share_is_expelled"),
    test(Mutant::SkipRepairScalar, CORE, "ceremony::tests::repair::a_helper_that_lies_to_another_or_to_the_receiver_is_named_and_expelled"),
    test(
        Mutant::SkipRound2Hash,
        CORE,
        "ceremony::tests::key_generation::packages_that_are_not_those_in_the_log_are_held_against_their_sender",
    ),
    test(Mutant::SkipRound2Check, CORE, "ceremony::tests::key_generation::a_lie_in_round_2_is_proved_and_its_author_left_out"),
    test(Mutant::ReleaseUnverified, GATHERING, "a_node_that_gives_a_false_share_is_named_and_left_out_and_another_set_signs"),
    test(Mutant::ReuseCommitment, COORDINATOR_CORE, "commitments::tests::each_commitment_is_given_out_once_and_the_oldest_first"),
    test(Mutant::SkipReceiptSignature, RECEIPTS, "only_receipts_of_the_roster_for_this_very_stop_count_and_each_once"),
    test(Mutant::AcceptForeignReceipt, RECEIPTS, "only_receipts_of_the_roster_for_this_very_stop_count_and_each_once"),
    test(
        Mutant::OneReceiptTooFew,
        PROTOCOL,
        "stop::tests::the_nodes_that_gave_no_receipt_and_those_that_lied_are_fewer_than_the_threshold",
    ),
    test(Mutant::BelieveOneNode, API, "a_node_that_lies_about_a_credential_is_outvoted"),
    test(Mutant::AcceptAnyServer, TRANSPORT, "a_server_must_hold_the_key_of_exactly_the_node_that_is_called"),
    test(Mutant::AcceptAnyRole, TRANSPORT, "a_known_peer_is_turned_away_from_a_role_that_is_not_its_own"),
    test(Mutant::KeepNoncesOverGeneration, NODES, "generation::no_nonce_of_before_a_new_vm_generation_signs_and_new_ones_do"),
    test(Mutant::CountCaughtUpAudit, STARTS, "what_came_in_since_an_unconfirmed_start_does_not_count_as_what_the_store_had"),
    test(
        Mutant::BelieveForgedStart,
        NODE,
        "replicated::tests::a_start_in_this_nodes_name_that_it_has_not_signed_says_nothing_of_its_store",
    ),
    test(Mutant::CensorStops, PROCESSES, "censor::a_leader_that_keeps_a_stop_out_of_the_log_is_replaced_and_the_stop_is_logged"),
    test(
        Mutant::SkipBudgets,
        NODES,
        "flooding::a_member_that_fills_the_log_with_refused_commands_is_held_to_its_budget_and_nobody_else_is",
    ),
    test(Mutant::SignOutdated, NODE, "gate::tests::a_program_that_cannot_read_what_others_apply_signs_no_more_and_names_both_versions"),
    test(
        Mutant::WriteUnreadVersion,
        PROCESSES,
        "versions::five_sites_are_upgraded_one_by_one_under_load_and_an_older_program_says_what_it_lacks_and_signs_nothing",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::invariants::Invariants;

    #[test]
    fn what_seeds_are_to_break_is_an_invariant_and_three_of_them_turn_t_minus_one_learn_nothing_red() {
        let (names, by_seeds) = (Invariants::names(), || CATALOGUE.iter().filter_map(|row| Some((row.mutant, row.by_seeds?.invariant?))));
        assert!(by_seeds().count() > 0 && by_seeds().all(|(_, invariant)| names.contains(&invariant)));
        let red: Vec<Mutant> =
            by_seeds().filter(|(_, invariant)| *invariant == "t_minus_one_learn_nothing").map(|(mutant, _)| mutant).collect();
        assert_eq!(red, [Mutant::OldEpochSurvives, Mutant::RepairSendsRawShare, Mutant::RepairReusesDelta]);
    }

    #[test]
    fn every_weakening_has_something_that_is_to_notice_it() {
        for mutant in Mutant::ALL {
            let rows: Vec<&Row> = CATALOGUE.iter().filter(|row| row.mutant == *mutant).collect();
            assert_eq!(rows.len(), 1, "{mutant:?} has {} rows", rows.len());
            assert!(rows.iter().all(|row| row.by_seeds.is_some() || row.tests().next().is_some()), "nothing is to notice {mutant:?}");
        }
    }
}
