//! What is offered over HTTP, and to whom.

mod answer;
mod app;
mod body;
mod caller;
mod clients;
mod connections;
mod imports;
mod orders;
mod pages;
mod reads;
mod router;
mod sessions;
mod sign;
mod status;
mod stops;
mod tls;
mod trace;

pub(crate) use app::App;
pub(crate) use clients::Clients;
pub(crate) use connections::LimitConnections;
pub(crate) use pages::pages;
pub(crate) use router::router;
pub(crate) use tls::{TlsError, server_config};
