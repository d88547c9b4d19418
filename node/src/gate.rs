//! Whether this node may sign: confirmed since its start, and no alarm.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use warifu_core::registry::ProgramOutdated;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::{BootId, NodeId};

/// The one place that says yes. Every signature share asks it.
#[derive(Debug)]
pub struct Gate {
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    boot: BootId,
    confirmed: Option<Confirmed>,
    alarm: Option<String>,
    /// Why the shares cannot be opened, while they cannot.
    locked: Option<String>,
    /// Why the node belongs to the cluster no more, once an order took it out.
    retired: Option<String>,
    /// The log has gone over to entries that this program cannot read.
    outdated: Option<ProgramOutdated>,
    /// Nodes that did not let this one call them when it started.
    shut_out_by: Vec<NodeId>,
    stopping: bool,
}

/// By whom and where the node was confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// Index of its `NodeStarted`.
    pub index: u64,
    /// Nodes that signed the same state root.
    pub by: Vec<NodeId>,
}

impl Gate {
    /// Closed, for this start.
    #[must_use]
    pub const fn new(boot: BootId) -> Self {
        let inner = Inner {
            boot,
            confirmed: None,
            alarm: None,
            locked: None,
            retired: None,
            outdated: None,
            shut_out_by: Vec::new(),
            stopping: false,
        };
        Self { inner: RwLock::new(inner) }
    }

    /// The boot id that the node is, or wants to be, confirmed under.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.inner.read().boot
    }

    /// Whether shares may leave.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let inner = self.inner.read();
        let alarmed = inner.alarm.is_some() && !is_on(Mutant::SignUnderAlarm);
        let outdated = inner.outdated.is_some() && !is_on(Mutant::SignOutdated);
        let closed = alarmed || inner.locked.is_some() || inner.retired.is_some() || outdated || inner.stopping;
        (inner.confirmed.is_some() || is_on(Mutant::SignUnconfirmed)) && !closed
    }

    /// Opens, if the boot id is still the current one.
    pub fn confirm(&self, boot: BootId, confirmed: Confirmed) -> bool {
        let mut inner = self.inner.write();
        let current = inner.boot == boot;
        if current {
            inner.confirmed = Some(confirmed);
        }
        current
    }

    /// Closes until the node is confirmed again under a new boot id.
    pub fn unconfirm(&self, boot: BootId) {
        let mut inner = self.inner.write();
        inner.boot = boot;
        inner.confirmed = None;
    }

    /// Closes for good: a promise looks broken. The first alarm stays.
    pub fn raise_alarm(&self, text: String) {
        let mut inner = self.inner.write();
        inner.alarm.get_or_insert(text);
    }

    /// Closes while the key-encryption key is away, and says why.
    pub fn lock(&self, reason: String) {
        self.inner.write().locked = Some(reason);
    }

    /// Opens as far as the key-encryption key is concerned.
    pub fn unlock(&self) {
        self.inner.write().locked = None;
    }

    /// Closes for good: an order took the node out of the roster.
    pub fn retire(&self, text: String) {
        let mut inner = self.inner.write();
        if inner.retired.is_none() {
            tracing::warn!(text, "this node gives no signature share any more");
        }
        inner.retired = Some(text);
    }

    /// Closes for good: what others apply from here on, this program cannot read.
    pub fn outdate(&self, outdated: ProgramOutdated) {
        let mut inner = self.inner.write();
        if inner.outdated.replace(outdated).is_none() {
            tracing::error!(%outdated, "this node does not follow the log further, and gives no signature share");
        }
    }

    /// Notes which nodes did not let this one call them when it started; until it is confirmed, that is the most likely reason why it is not.
    pub fn note_shut_out(&self, by: &[NodeId]) {
        if !by.is_empty() {
            tracing::warn!(?by, "other nodes do not let this one in");
        }
        self.inner.write().shut_out_by = by.to_vec();
    }

    /// Closes for shutdown.
    pub fn stop(&self) {
        self.inner.write().stopping = true;
    }

    /// Why it is closed; empty when it is open.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let inner = self.inner.read();
        let mut reasons = BTreeMap::new();
        if inner.confirmed.is_none() {
            reasons
                .insert("unconfirmed", "not confirmed since its start: its state has not been compared with other nodes' yet".to_owned());
        }
        if inner.confirmed.is_none() && !inner.shut_out_by.is_empty() {
            let nodes = inner.shut_out_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            reasons.insert(
                "shut out",
                format!(
                    "nodes {nodes} do not let this node in: its keys are not those in their roster. If the site was replaced or removed by order, stop this node and erase its disk and keys: see runbooks/lost-disk.md"
                ),
            );
        }
        if let Some(alarm) = &inner.alarm {
            reasons.insert("alarm", format!("ALARM: {alarm}"));
        }
        if let Some(locked) = &inner.locked {
            reasons.insert("locked", format!("the shares are locked: {locked}"));
        }
        if let Some(retired) = &inner.retired {
            reasons.insert("retired", retired.clone());
        }
        if let Some(outdated) = inner.outdated {
            reasons.insert("outdated", format!("{outdated}: see runbooks/upgrade.md"));
        }
        if inner.stopping {
            reasons.insert("stopping", "shutting down".to_owned());
        }
        reasons.into_values().collect()
    }

    /// The alarm, if one was raised.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        self.inner.read().alarm.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_opens_only_for_the_current_boot_and_never_after_an_alarm() {
        let (first, second) = (BootId::new([1; 16]), BootId::new([2; 16]));
        let confirmed = Confirmed { index: 7, by: vec![] };
        let gate = Gate::new(first);
        assert!(!gate.is_open());
        gate.note_shut_out(&[NodeId::new(2).expect("a node id")]);
        assert!(gate.reasons().iter().any(|reason| reason.contains("do not let this node in")), "{:?}", gate.reasons());
        assert!(gate.confirm(first, confirmed.clone()) && gate.is_open());
        assert_eq!(gate.reasons(), Vec::<String>::new(), "it was let in after all");
        gate.unconfirm(second);
        assert!(!gate.is_open());
        assert!(!gate.confirm(first, confirmed.clone()) && !gate.is_open(), "a late confirmation of an older start");
        assert!(gate.confirm(second, confirmed.clone()) && gate.is_open());
        gate.lock("no token".to_owned());
        assert!(!gate.is_open() && gate.reasons().iter().any(|reason| reason.contains("no token")));
        gate.unlock();
        assert!(gate.is_open());
        gate.raise_alarm("roots differ".to_owned());
        assert!(gate.confirm(second, confirmed) && !gate.is_open());
        assert_eq!(gate.reasons().len(), 1);
    }

    #[test]
    fn a_program_that_cannot_read_what_others_apply_signs_no_more_and_names_both_versions() {
        let boot = BootId::new([1; 16]);
        let gate = Gate::new(boot);
        assert!(gate.confirm(boot, Confirmed { index: 7, by: vec![] }) && gate.is_open());
        gate.outdate(ProgramOutdated { needs: 9, knows: 4 });
        assert!(!gate.is_open());
        let reasons = gate.reasons();
        let [reason] = reasons.as_slice() else { panic!("{reasons:?}") };
        assert!(reason.contains("uses version 9") && reason.contains("knows 4") && reason.contains("install the program"), "{reason}");
    }
}
