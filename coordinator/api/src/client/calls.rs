//! The calls.

use bytes::Bytes;
use http::Method;
use warifu_protocol::wire::{CeremonyView, CredentialView, ObjectRef, SessionView};
use warifu_protocol::{
    CeremonyId, CredentialEvent, CredentialId, ImportPacket, ObjectVersion, Order, OrderId, SessionClosing, SessionId, SessionOpening,
    StopId,
};

use super::error::ApiError;
use super::transport::ApiClient;
use crate::limits::ROSTER_ORDERS_MAX;
use crate::messages::{
    CeremonyAnswer, CredentialAnswer, CredentialsAnswer, CrlsAnswer, CsrAnswer, HistoryAnswer, OrderAnswer, PacketsAnswer, PacketsBody,
    RosterAnswer, SessionAnswer, SessionOpened, SignAnswerBody, SignBody, StatusAnswer, StopAnswerBody, StopReport, VersionAnswer,
};
use crate::paths;

/// # Errors
/// Every call fails with [`ApiError`]; after [`ApiError::Unreachable`] and [`ApiError::Deadline`] it may have been carried out, and may be repeated.
impl ApiClient {
    /// Opens a session.
    pub async fn open_session(&self, opening: &SessionOpening) -> Result<SessionOpened, ApiError> {
        self.post(paths::SESSIONS, opening).await
    }

    /// Reads a session.
    pub async fn session(&self, session: SessionId) -> Result<SessionView, ApiError> {
        let answer: SessionAnswer = self.get(&fill(paths::SESSION, &[session.to_string()])).await?;
        Ok(answer.session)
    }

    /// Closes a session.
    pub async fn close_session(&self, closing: &SessionClosing) -> Result<OrderAnswer, ApiError> {
        self.post(&fill(paths::SESSION_CLOSE, &[closing.session.to_string()]), closing).await
    }

    /// Signs documents; each may fail by itself.
    pub async fn sign(&self, body: &SignBody) -> Result<SignAnswerBody, ApiError> {
        self.post(paths::SIGN, body).await
    }

    /// Relays an order.
    pub async fn order(&self, order: &Order) -> Result<OrderAnswer, ApiError> {
        self.post(paths::ORDERS, order).await
    }

    /// Sends the CRL, in DER, that an applied order announced.
    pub async fn upload_crl(&self, order: OrderId, der: Vec<u8>) -> Result<OrderAnswer, ApiError> {
        self.call(Method::POST, &fill(paths::CRL, &[order.to_string()]), Some("application/octet-stream"), Bytes::from(der)).await
    }

    /// Brings the packets of an applied import to the nodes. May be repeated, until the ceremony of the same identifier has ended.
    pub async fn bring_packets(&self, order: OrderId, packets: Vec<ImportPacket>) -> Result<PacketsAnswer, ApiError> {
        self.post(&fill(paths::IMPORT, &[order.to_string()]), &PacketsBody { packets }).await
    }

    /// Reads the active CRLs.
    pub async fn crls(&self) -> Result<CrlsAnswer, ApiError> {
        self.get(paths::CRLS).await
    }

    /// Reads every order that changed the cluster since its genesis. They are to be verified: see `warifu_protocol::verify_roster_chain`.
    pub async fn roster(&self) -> Result<Vec<Order>, ApiError> {
        let mut orders = Vec::new();
        loop {
            let answer: RosterAnswer = self.get(&format!("{}?after={}", paths::ROSTER, orders.len())).await?;
            if answer.orders.is_empty() || orders.len() >= ROSTER_ORDERS_MAX {
                return Ok(orders);
            }
            orders.extend(answer.orders);
        }
    }

    /// Reads a page of at most `limit` credentials after a given one.
    pub async fn credentials(&self, after: Option<CredentialId>, limit: u16) -> Result<CredentialsAnswer, ApiError> {
        let after = after.map(|credential| format!("&after={credential}")).unwrap_or_default();
        self.get(&format!("{}?limit={limit}{after}", paths::CREDENTIALS)).await
    }

    /// Reads a credential.
    pub async fn credential(&self, credential: CredentialId) -> Result<CredentialView, ApiError> {
        let answer: CredentialAnswer = self.get(&fill(paths::CREDENTIAL, &[credential.to_string()])).await?;
        Ok(answer.credential)
    }

    /// Reads what happened to a credential.
    pub async fn history(&self, credential: CredentialId) -> Result<Vec<CredentialEvent>, ApiError> {
        let answer: HistoryAnswer = self.get(&fill(paths::HISTORY, &[credential.to_string()])).await?;
        Ok(answer.events)
    }

    /// Has a credential's CSR signed by its threshold key.
    pub async fn csr(&self, credential: CredentialId) -> Result<CsrAnswer, ApiError> {
        self.get(&fill(paths::CSR, &[credential.to_string()])).await
    }

    /// Reads the version of an object, 0 if it does not exist.
    pub async fn object_version(&self, object: &ObjectRef) -> Result<ObjectVersion, ApiError> {
        let (kind, id) = match object {
            ObjectRef::Credential(id) => ("credential", id.to_string()),
            ObjectRef::Facility(id) => ("facility", id.to_string()),
            ObjectRef::Terminal(id) => ("terminal", id.to_string()),
            ObjectRef::Roster => ("cluster", "roster".to_owned()),
            ObjectRef::Policy => ("cluster", "policy".to_owned()),
            ObjectRef::Anchors => ("cluster", "anchors".to_owned()),
        };
        let answer: VersionAnswer = self.get(&fill(paths::OBJECT_VERSION, &[kind.to_owned(), id])).await?;
        Ok(answer.version)
    }

    /// Reads a ceremony.
    pub async fn ceremony(&self, ceremony: CeremonyId) -> Result<CeremonyView, ApiError> {
        let answer: CeremonyAnswer = self.get(&fill(paths::CEREMONY, &[ceremony.to_string()])).await?;
        Ok(answer.ceremony)
    }

    /// Asks how far a stop is.
    pub async fn stop(&self, stop: StopId) -> Result<StopReport, ApiError> {
        let answer: StopAnswerBody = self.get(&fill(paths::STOP, &[stop.to_string()])).await?;
        Ok(answer.stop)
    }

    /// Asks how the nodes are.
    pub async fn status(&self) -> Result<StatusAnswer, ApiError> {
        self.get(paths::STATUS).await
    }
}

/// Puts values into the braces of a path. Ids and names have no character that a path would have to escape.
fn fill(path: &str, values: &[String]) -> String {
    let mut values = values.iter();
    let segments = path.split('/').map(|segment| match segment.starts_with('{') {
        true => values.next().map_or(segment, String::as_str),
        false => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_filled_in_order() {
        assert_eq!(
            fill(paths::OBJECT_VERSION, &["facility".to_owned(), "1310000000".to_owned()]),
            "/v1/objects/facility/1310000000/version"
        );
        assert_eq!(fill(paths::SIGN, &[]), "/v1/sign");
    }
}
