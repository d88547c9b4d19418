//! Paths, and the roles of clients that may call them.

/// `POST` a `SessionOpening` (platform): opens a session at one of the caller's facilities.
pub const SESSIONS: &str = "/v1/sessions";
/// `GET` (platform): a session at one of the caller's facilities.
pub const SESSION: &str = "/v1/sessions/{session}";
/// `POST` a `SessionClosing` (platform): closes it.
pub const SESSION_CLOSE: &str = "/v1/sessions/{session}/close";
/// `POST` [`SignBody`](crate::SignBody) (platform): signs documents.
pub const SIGN: &str = "/v1/sign";
/// `POST` an `Order` (ca): relays it.
pub const ORDERS: &str = "/v1/orders";
/// `POST` DER (ca): the CRL that an applied order announced.
pub const CRL: &str = "/v1/crls/{order}";
/// `POST` [`PacketsBody`](crate::PacketsBody) (ca): brings the sealed packets of an applied import to the nodes; may be repeated.
pub const IMPORT: &str = "/v1/imports/{order}";
/// `GET` (ca, operations, auditor): the active CRLs.
pub const CRLS: &str = "/v1/crls";
/// `GET` (ca, operations, auditor): a page of credentials; query `after`, `limit`.
pub const CREDENTIALS: &str = "/v1/credentials";
/// `GET` (ca, operations, auditor): one credential.
pub const CREDENTIAL: &str = "/v1/credentials/{credential}";
/// `GET`: what happened to the credential.
pub const HISTORY: &str = "/v1/credentials/{credential}/history";
/// `GET` (ca): the credential's CSR, signed by its threshold key.
pub const CSR: &str = "/v1/credentials/{credential}/csr";
/// `GET` (ca, operations, auditor): the version of an object, for the next order; `kind` is `credential`, `facility` or `terminal`.
pub const OBJECT_VERSION: &str = "/v1/objects/{kind}/{id}/version";
/// `GET` (ca, operations, auditor): orders that changed the cluster since the genesis; query `after`, a revision.
pub const ROSTER: &str = "/v1/roster";
/// `GET` (ca, operations, auditor): a ceremony.
pub const CEREMONY: &str = "/v1/ceremonies/{ceremony}";
/// `GET` (any role; a platform for its own sessions): how far a stop is, and who obeys.
pub const STOP: &str = "/v1/stops/{stop}";
/// `GET` (any role): how the nodes are.
pub const STATUS: &str = "/v1/status";
/// `GET` (any role): this interface in OpenAPI.
pub const OPENAPI: &str = "/openapi.json";
