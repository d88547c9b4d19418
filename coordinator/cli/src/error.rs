//! How a command ends.

use std::process::ExitCode;

use warifu_api::ApiError;
use warifu_protocol::Fault;

use crate::card_command::CardCommandError;
use crate::connection::ConnectionError;
use crate::credential::CredentialError;
use crate::genesis::GenesisCommandError;
use crate::orders::OrderError;
use crate::terminal::TerminalError;
use crate::trial_command::TrialCaError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Founding a cluster.
    #[error(transparent)]
    Genesis(#[from] GenesisCommandError),
    /// Officers and orders.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The CA's desk.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A card.
    #[error(transparent)]
    Card(#[from] CardCommandError),
    /// A terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// A trial CA.
    #[error(transparent)]
    TrialCa(#[from] TrialCaError),
    /// Reaching a coordinator.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The system gives the program no threads.
    #[error("the program cannot start")]
    Runtime(#[source] std::io::Error),
    /// Quickstart.
    #[cfg(feature = "embedded")]
    #[error(transparent)]
    Quickstart(#[from] crate::quickstart::QuickstartError),
}

/// The exit codes of `warifu`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused or invalid; nothing was changed.
    Refused = 1,
    /// Wrong usage.
    Usage = 2,
    /// The cluster cannot be reached or is not able now; what was asked may or may not have been done.
    Unknown = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl CommandError {
    /// The exit code for it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        if self.is_usage() {
            return Exit::Usage;
        }
        match self.api() {
            Some(error) => api_exit(error),
            None => match self {
                Self::Terminal(TerminalError::Refused { problem }) => fault_exit(problem.fault),
                Self::Order(OrderError::ImportIncomplete { .. })
                | Self::Credential(CredentialError::Order(OrderError::ImportIncomplete { .. })) => Exit::Unknown,
                _ => Exit::Refused,
            },
        }
    }

    const fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Order(error) => order_api(error),
            Self::Credential(CredentialError::Api(error) | CredentialError::Connection(ConnectionError::Api(error)))
            | Self::Terminal(TerminalError::Api(error) | TerminalError::Connection(ConnectionError::Api(error)))
            | Self::Connection(ConnectionError::Api(error)) => Some(error),
            Self::Credential(CredentialError::Order(error)) | Self::Terminal(TerminalError::Order(error)) => order_api(error),
            _ => None,
        }
    }

    const fn is_usage(&self) -> bool {
        #[cfg(feature = "embedded")]
        if matches!(self, Self::Quickstart(crate::quickstart::QuickstartError::Size { .. })) {
            return true;
        }
        matches!(
            self,
            Self::Connection(ConnectionError::Missing { .. })
                | Self::Order(OrderError::Connection(ConnectionError::Missing { .. }) | OrderError::Unfit { .. })
                | Self::Credential(
                    CredentialError::Connection(ConnectionError::Missing { .. })
                        | CredentialError::Order(OrderError::Connection(ConnectionError::Missing { .. }) | OrderError::Unfit { .. })
                )
                | Self::Terminal(
                    TerminalError::Connection(ConnectionError::Missing { .. })
                        | TerminalError::Order(OrderError::Connection(ConnectionError::Missing { .. }) | OrderError::Unfit { .. })
                )
        )
    }
}

const fn order_api(error: &OrderError) -> Option<&ApiError> {
    match error {
        OrderError::Api(error) | OrderError::Connection(ConnectionError::Api(error)) => Some(error),
        _ => None,
    }
}

const fn api_exit(error: &ApiError) -> Exit {
    match error {
        ApiError::Url { .. } => Exit::Usage,
        ApiError::Tls { .. } => Exit::Refused,
        ApiError::Unreachable { .. } | ApiError::Deadline { .. } | ApiError::Unexpected { .. } => Exit::Unknown,
        ApiError::Problem(problem) => fault_exit(problem.fault),
    }
}

/// What the holder, the platform, the card or the officers can put right is a refusal; the rest may pass by itself.
const fn fault_exit(fault: Fault) -> Exit {
    match fault {
        Fault::Request | Fault::Card | Fault::Order => Exit::Refused,
        Fault::Coordinator | Fault::Node | Fault::Cluster => Exit::Unknown,
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
