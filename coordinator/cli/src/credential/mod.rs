//! `warifu credential`, `facility`, `crl` and `session`: what the CA's desk does.

mod args;
mod binding;
mod csv;
mod error;
mod facility;
mod fetch;
mod import;
mod view;
mod watch;

pub use args::{CardKind, CredentialCommand, run};
pub use binding::{agree, bind_command, with_notice};
pub use csv::{EnrolmentRow, parse_rows};
pub use error::CredentialError;
pub use facility::{CrlCommand, FacilityCommand, SessionCommand, crl_command, run_crl, run_facility, run_session};
pub use fetch::{FetchError, FetchedCrl, fetch_crl};
pub use import::{ImportArgs, ImportError};
