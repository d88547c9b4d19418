//! What can go wrong while a cluster is founded.

use std::path::PathBuf;

use warifu_protocol::transport::IdentityError;
use warifu_protocol::{GenesisError, Name};

use crate::console::ConfirmError;
use crate::files::FileError;
use crate::keys::{LocalKeyError, OfficerKeyError, PassphraseError};

/// Why a genesis cannot be written or signed.
#[derive(Debug, thiserror::Error)]
pub enum GenesisCommandError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What the founders put together cannot be a cluster.
    #[error("the founding members and terms cannot be a cluster")]
    Draft {
        /// Why.
        #[source]
        source: GenesisError,
    },
    /// The genesis in a file is refused.
    #[error("the genesis `{}` is refused", path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: GenesisError,
    },
    /// A CA's certificate that is no anchor.
    #[error("`{}` cannot be a trust anchor", path.display())]
    Anchor {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: warifu_core::pki::AnchorError,
    },
    /// The genesis does not name this officer with this key.
    #[error("the genesis does not name officer {officer} with this key and role")]
    OfficerUnknown {
        /// Who.
        officer: Name,
    },
    /// The officer has signed it already.
    #[error("officer {officer} has signed this genesis already")]
    SignedAlready {
        /// Who.
        officer: Name,
    },
    /// The passphrase of a key.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// An officer's key.
    #[error(transparent)]
    OfficerKey(#[from] OfficerKeyError),
    /// A coordinator's TLS identity.
    #[error("the coordinator's identity cannot be made")]
    Identity(#[from] IdentityError),
    /// Signing.
    #[error(transparent)]
    Key(#[from] LocalKeyError),
    /// Nobody agreed.
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
}
