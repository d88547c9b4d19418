//! Names of algorithms and namespaces that stand in a signature.

/// Namespace of XML Signature, <https://www.w3.org/TR/xmldsig-core1/>.
pub const XMLDSIG: &str = "http://www.w3.org/2000/09/xmldsig#";

/// Namespace of XAdES, ETSI TS 101 903 v1.3.2.
pub const XADES: &str = "http://uri.etsi.org/01903/v1.3.2#";

/// `Type` of the Reference to SignedProperties, ETSI TS 101 903 section 6.3.1.
pub const SIGNED_PROPERTIES_TYPE: &str = "http://uri.etsi.org/01903#SignedProperties";

/// Exclusive XML Canonicalization 1.0 without comments.
pub const EXCLUSIVE_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

/// Canonical XML 1.0 without comments: what applies to a Reference that names no transform.
pub const INCLUSIVE_C14N: &str = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";

/// SHA-256 as a digest method.
pub const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";

/// Pure Ed25519 as a signature method, RFC 9231 section 2.3.12.
pub const ED25519: &str = "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519";
