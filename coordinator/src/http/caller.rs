//! Who calls, and whether it may.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum_server::tls::TlsInfo;
use http::request::Parts;
use rustls::pki_types::CertificateDer;
use warifu_api::Problem;
use warifu_protocol::Fault;

use super::answer::ProblemAnswer;
use super::app::App;
use super::clients::Client;
use crate::config::ClientRole;

/// The roles that a handler serves.
pub(crate) trait Serves {
    const ROLES: &'static [ClientRole];
}

/// Platforms.
pub(crate) struct Platform;
/// The CA.
pub(crate) struct Authority;
/// Whoever may read the registry.
pub(crate) struct Reader;
/// Every client.
pub(crate) struct Anyone;

impl Serves for Platform {
    const ROLES: &'static [ClientRole] = &[ClientRole::Platform];
}
impl Serves for Authority {
    const ROLES: &'static [ClientRole] = &[ClientRole::Ca];
}
impl Serves for Reader {
    const ROLES: &'static [ClientRole] = &[ClientRole::Ca, ClientRole::Operations, ClientRole::Auditor];
}
impl Serves for Anyone {
    const ROLES: &'static [ClientRole] = &[ClientRole::Platform, ClientRole::Ca, ClientRole::Operations, ClientRole::Auditor];
}

/// A client with a role that the handler serves and calls left in its rate. As the first argument of a handler it is checked before any body is
/// read.
pub(crate) struct Caller<R> {
    pub(crate) client: Arc<Client>,
    role: PhantomData<fn() -> R>,
}

impl<R: Serves> FromRequestParts<Arc<App>> for Caller<R> {
    type Rejection = ProblemAnswer;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let client = identify(parts, app)?;
        tracing::Span::current().record("client", client.name.as_str());
        app.check_rate(&client.name)?;
        if !R::ROLES.contains(&client.role) {
            let detail = format!("{} has a role that may not call this", client.name);
            return Err(Problem::new(403, "wrong-role", Fault::Request, detail).into());
        }
        Ok(Self { client, role: PhantomData })
    }
}

/// The TLS handshake has admitted only configured keys; that it did is looked up and not assumed.
fn identify(parts: &Parts, app: &App) -> Result<Arc<Client>, Problem> {
    parts
        .extensions
        .get::<Arc<TlsInfo>>()
        .and_then(|tls| tls.peer_certificates.first())
        .and_then(|certificate| app.clients.by_certificate(&CertificateDer::from(certificate.as_slice())))
        .ok_or_else(|| Problem::new(401, "unauthenticated", Fault::Request, "connect with the certificate of a configured client"))
}
