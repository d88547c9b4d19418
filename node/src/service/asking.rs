//! Ceremonies that this node has asked the log for and not heard of yet.

use std::sync::Arc;

use warifu_protocol::Command;

/// What to ask for next is told from applied state, which does not show what is on its way: nothing more is asked for until that is answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking(Arc<()>);

impl Asking {
    /// Something to keep until the answer, for a command that asks for a ceremony.
    pub(super) fn begin(&self, command: &Command) -> Option<Self> {
        matches!(command, Command::RepairStarted(_) | Command::RefreshStarted(_)).then(|| self.clone())
    }

    /// Whether an answer is still awaited.
    pub(super) fn is_under_way(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}
