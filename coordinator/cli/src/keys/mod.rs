//! Keys that lie in files on this machine: of officers, terminals and sessions.

mod local;
mod officer;
mod passphrase;
mod terminal;

pub(crate) use local::danger_plain;
pub use local::{KeyKind, LocalKey, LocalKeyError};
pub use officer::{OfficerKey, OfficerKeyError, OfficerKeyFile};
pub use passphrase::{PASSPHRASE_ENVIRONMENT, Passphrase, PassphraseArgs, PassphraseError};
pub use terminal::TerminalKey;
