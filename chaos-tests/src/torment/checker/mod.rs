//! The promises, checked across all disks and all that clients were told. One file for each.

mod acknowledged_is_there;
mod applied_states_agree;
mod audit_on_t_sites_for_each_signature;
mod checkpoints_are_of_the_audit_logs;
mod client_was_never_misled;
mod evidence;
mod logs_agree;
mod nonce_used_at_most_once;
mod old_disk_gave_no_share;
mod one_document_per_session_seq;
mod receipts_are_on_disk;
mod released_signature_verifies;
mod signature_was_begun_before_the_stop;
mod signers_recorded_what_was_released;
mod stores_are_whole;
#[cfg(test)]
mod testing;
mod unconfirmed_node_never_signs;

use std::fmt;

use serde::Serialize;

pub(crate) use evidence::Evidence;
pub(super) use evidence::{TriedDisk, audit_size};

/// What came of one check.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// The promise.
    pub invariant: &'static str,
    /// How many things were looked at; a check that looked at nothing proves nothing.
    pub looked_at: u64,
    /// Where it was broken.
    pub violations: Vec<String>,
}

/// Violations of one promise that are shown.
const VIOLATIONS_SHOWN: usize = 10;

impl fmt::Display for Checked {
    /// Whole lines, for a report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.violations.is_empty(), self.looked_at) {
            (false, _) => "BROKEN",
            (true, 0) => "LOOKED AT NOTHING",
            (true, _) => "holds",
        };
        writeln!(f, "  {:<40} {:>7} looked at  {verdict}", self.invariant, self.looked_at)?;
        self.violations.iter().take(VIOLATIONS_SHOWN).try_for_each(|violation| writeln!(f, "    {violation}"))
    }
}

/// What a check found.
#[derive(Debug, Default)]
struct Finding {
    looked_at: u64,
    violations: Vec<String>,
}

impl Finding {
    /// Looks at one more thing.
    fn look(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        self.looked_at += 1;
        if !holds {
            self.violations.push(violation());
        }
    }
}

/// Makes all checks; that of old disks where there are any.
pub(super) fn check_all(evidence: &Evidence) -> Vec<Checked> {
    let checks: [(&'static str, Check); 14] = [
        ("released_signature_verifies", released_signature_verifies::check),
        ("audit_on_t_sites_for_each_signature", audit_on_t_sites_for_each_signature::check),
        ("signers_recorded_what_was_released", signers_recorded_what_was_released::check),
        ("checkpoints_are_of_the_audit_logs", checkpoints_are_of_the_audit_logs::check),
        ("nonce_used_at_most_once", nonce_used_at_most_once::check),
        ("one_document_per_session_seq", one_document_per_session_seq::check),
        ("signature_was_begun_before_the_stop", signature_was_begun_before_the_stop::check),
        ("receipts_are_on_disk", receipts_are_on_disk::check),
        ("unconfirmed_node_never_signs", unconfirmed_node_never_signs::check),
        ("logs_agree", logs_agree::check),
        ("applied_states_agree", applied_states_agree::check),
        ("acknowledged_is_there", acknowledged_is_there::check),
        ("stores_are_whole", stores_are_whole::check),
        ("client_was_never_misled", client_was_never_misled::check),
    ];
    let mut checked = make(&checks, evidence);
    if !evidence.tried.is_empty() {
        checked.extend(make(&[("old_disk_gave_no_share", old_disk_gave_no_share::check as Check)], evidence));
    }
    checked
}

/// Makes those for which nothing needs to be known of clients.
pub(crate) fn check_stores(evidence: &Evidence) -> Vec<Checked> {
    let checks: [(&'static str, Check); 4] = [
        ("checkpoints_are_of_the_audit_logs", checkpoints_are_of_the_audit_logs::check),
        ("logs_agree", logs_agree::check),
        ("applied_states_agree", applied_states_agree::check),
        ("stores_are_whole", stores_are_whole::check),
    ];
    make(&checks, evidence)
}

type Check = fn(&Evidence) -> Finding;

fn make(checks: &[(&'static str, Check)], evidence: &Evidence) -> Vec<Checked> {
    let checked = checks.iter().map(|(invariant, check)| {
        let Finding { looked_at, violations } = check(evidence);
        Checked { invariant, looked_at, violations }
    });
    checked.collect()
}
