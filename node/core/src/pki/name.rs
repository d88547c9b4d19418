//! Distinguished names.

use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::{CN, COUNTRY_NAME, O, SERIAL_NUMBER};
use der::asn1::{Ia5StringRef, PrintableStringRef, SetOfVec, TeletexStringRef, Utf8StringRef};
use der::{Any, Decode, Encode, Tag, Tagged};
use warifu_protocol::{SubjectFields, SubjectFieldsError};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

/// The subject or issuer of a certificate, kept as the bytes that were signed.
///
/// Names are compared by their DER, as issuers copy them; `Display` follows RFC 4514.
#[derive(Clone, PartialEq, Eq)]
pub struct DistinguishedName {
    der: Vec<u8>,
    attributes: Vec<(ObjectIdentifier, Option<String>)>,
    display: String,
}

/// Why a name is not the subject of a holder's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectMismatch {
    /// An attribute that the profile does not have, or one that occurs twice.
    #[error("attribute {attribute} does not belong in a holder's subject or occurs twice there")]
    Attribute {
        /// Its type.
        attribute: ObjectIdentifier,
    },
    /// An attribute that is not a text of a common string type.
    #[error("attribute {attribute} of the subject is not text")]
    NotText {
        /// Its type.
        attribute: ObjectIdentifier,
    },
    /// A mandatory attribute is missing.
    #[error("the subject has no {attribute}")]
    Missing {
        /// Which one.
        attribute: &'static str,
    },
    /// A text outside the profile.
    #[error("the subject has a field outside the profile")]
    Field {
        /// Which one and why.
        #[source]
        source: SubjectFieldsError,
    },
}

impl DistinguishedName {
    /// Reads a DER `Name`.
    pub(super) fn from_name(name: &Name) -> der::Result<Self> {
        let mut attributes = Vec::new();
        for relative in &name.0 {
            for attribute in relative.0.iter() {
                attributes.push((attribute.oid, text_of(&attribute.value)));
            }
        }
        Ok(Self { der: name.to_der()?, attributes, display: name.to_string() })
    }

    /// DER of the name.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The first text of this attribute type; `None` when there is none or it is not text.
    #[must_use]
    pub fn text(&self, attribute: ObjectIdentifier) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| *found == attribute).and_then(|(_, text)| text.as_deref())
    }

    /// `CN`.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.text(CN)
    }

    /// `O`.
    #[must_use]
    pub fn organization(&self) -> Option<&str> {
        self.text(O)
    }

    /// `C`.
    #[must_use]
    pub fn country(&self) -> Option<&str> {
        self.text(COUNTRY_NAME)
    }

    /// The attribute `serialNumber` (2.5.4.5), which is not the serial of the certificate.
    #[must_use]
    pub fn serial_number(&self) -> Option<&str> {
        self.text(SERIAL_NUMBER)
    }

    /// The name as a holder's subject: exactly C, CN and serialNumber, and O where there is one, in any order and string type.
    ///
    /// # Errors
    ///
    /// [`SubjectMismatch`] for more, fewer or repeated attributes, and for texts outside the profile.
    pub fn to_subject_fields(&self) -> Result<SubjectFields, SubjectMismatch> {
        let (mut country, mut organization, mut common_name, mut serial_number) = (None, None, None, None);
        for (attribute, text) in &self.attributes {
            let attribute = *attribute;
            let slot = match attribute {
                COUNTRY_NAME => &mut country,
                O => &mut organization,
                CN => &mut common_name,
                SERIAL_NUMBER => &mut serial_number,
                attribute => return Err(SubjectMismatch::Attribute { attribute }),
            };
            let text = text.clone().ok_or(SubjectMismatch::NotText { attribute })?;
            if slot.replace(text).is_some() {
                return Err(SubjectMismatch::Attribute { attribute });
            }
        }
        SubjectFields::new(
            country.ok_or(SubjectMismatch::Missing { attribute: "country" })?,
            organization,
            common_name.ok_or(SubjectMismatch::Missing { attribute: "common name" })?,
            serial_number.ok_or(SubjectMismatch::Missing { attribute: "serialNumber" })?,
        )
        .map_err(|source| SubjectMismatch::Field { source })
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display)
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DistinguishedName(<redacted>)")
    }
}

/// The name that a CSR asks for: C, O, CN, serialNumber, each an RDN of its own; C and serialNumber as PrintableString, which RFC 5280
/// appendix A.1 demands of them, O and CN as UTF8String, which section 4.1.2.4 prefers.
pub(super) fn encode_subject(subject: &SubjectFields) -> der::Result<Name> {
    let mut relative_names = Vec::new();
    let mut push = |oid: ObjectIdentifier, value: Any| -> der::Result<()> {
        let attribute = AttributeTypeAndValue { oid, value };
        relative_names.push(RelativeDistinguishedName(SetOfVec::try_from(vec![attribute])?));
        Ok(())
    };
    push(COUNTRY_NAME, Any::encode_from(&PrintableStringRef::new(subject.country())?)?)?;
    if let Some(organization) = subject.organization() {
        push(O, Any::encode_from(&Utf8StringRef::new(organization)?)?)?;
    }
    push(CN, Any::encode_from(&Utf8StringRef::new(subject.common_name())?)?)?;
    push(SERIAL_NUMBER, Any::encode_from(&PrintableStringRef::new(subject.serial_number())?)?)?;
    Ok(RdnSequence(relative_names))
}

/// Text of the string types that directory names use here; the rest (BMPString, UniversalString) is no text to us.
fn text_of(value: &Any) -> Option<String> {
    let der = value.to_der().ok()?;
    let text = match value.tag() {
        Tag::PrintableString => PrintableStringRef::from_der(&der).ok()?.as_str().to_owned(),
        Tag::Utf8String => Utf8StringRef::from_der(&der).ok()?.as_str().to_owned(),
        Tag::Ia5String => Ia5StringRef::from_der(&der).ok()?.as_str().to_owned(),
        Tag::TeletexString => TeletexStringRef::from_der(&der).ok()?.as_str().to_owned(),
        _ => return None,
    };
    Some(text)
}
