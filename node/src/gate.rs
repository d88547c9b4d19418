//! Whether this node may sign: confirmed since its start, and no alarm.

use std::collections::BTreeMap;

use parking_lot::RwLock;
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
        Self { inner: RwLock::new(Inner { boot, confirmed: None, alarm: None, locked: None, retired: None, stopping: false }) }
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
        let closed = inner.alarm.is_some() || inner.locked.is_some() || inner.retired.is_some() || inner.stopping;
        inner.confirmed.is_some() && !closed
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
        if let Some(alarm) = &inner.alarm {
            reasons.insert("alarm", format!("ALARM: {alarm}"));
        }
        if let Some(locked) = &inner.locked {
            reasons.insert("locked", format!("the shares are locked: {locked}"));
        }
        if let Some(retired) = &inner.retired {
            reasons.insert("retired", retired.clone());
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
        assert!(gate.confirm(first, confirmed.clone()) && gate.is_open());
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
}
