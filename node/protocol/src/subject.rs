//! The name of a holder as it stands in the subject of an HPKI certificate.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The subject of a holder's certificate: country, optional organization, common name and serial number, in this order.
///
/// HPKI subjects are written in Latin letters (the Japanese name stands in a subjectAltName), so every field is printable ASCII; each is
/// 1 to [`SubjectFields::LEN_MAX`] characters, the bound that RFC 5280 appendix A.1 sets for a common name. The constructor and
/// deserialization check this, so that a value of this type can always be encoded.
///
/// # Security
///
/// This is personal data: it belongs in orders and certificates, never in logs. `Debug` hides it, `Display` shows it to officers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawSubjectFields")]
pub struct SubjectFields {
    country: String,
    organization: Option<String>,
    common_name: String,
    serial_number: String,
}

/// A field of a subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubjectField {
    /// `C`, two capital letters.
    Country,
    /// `O`, printable ASCII.
    Organization,
    /// `CN`, printable ASCII.
    CommonName,
    /// `serialNumber`, the characters of a PrintableString.
    SerialNumber,
}

/// Why texts do not make a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectFieldsError {
    /// A field is empty or too long.
    #[error("the subject's {field} has {len} bytes, allowed are 1 to {max}")]
    Length {
        /// Which one.
        field: SubjectField,
        /// Its length in bytes.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// A field has a character that it may not have, or a space where none may be.
    #[error("the subject's {field} may only have {allowed}")]
    Characters {
        /// Which one.
        field: SubjectField,
        /// What it may have.
        allowed: &'static str,
    },
}

impl SubjectFields {
    /// Longest field in bytes (`ub-common-name` and `ub-serial-number`, RFC 5280 appendix A.1).
    pub const LEN_MAX: usize = 64;

    /// Checks lengths and characters.
    ///
    /// # Errors
    ///
    /// [`SubjectFieldsError`] names the first field that is wrong.
    pub fn new(
        country: impl Into<String>,
        organization: Option<String>,
        common_name: impl Into<String>,
        serial_number: impl Into<String>,
    ) -> Result<Self, SubjectFieldsError> {
        let fields = Self { country: country.into(), organization, common_name: common_name.into(), serial_number: serial_number.into() };
        check(SubjectField::Country, &fields.country)?;
        if let Some(organization) = &fields.organization {
            check(SubjectField::Organization, organization)?;
        }
        check(SubjectField::CommonName, &fields.common_name)?;
        check(SubjectField::SerialNumber, &fields.serial_number)?;
        Ok(fields)
    }

    /// `C`, for HPKI always `JP`.
    #[must_use]
    pub fn country(&self) -> &str {
        &self.country
    }

    /// `O`, where the certificate has one.
    #[must_use]
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// `CN`: the holder's name in Latin letters.
    #[must_use]
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// `serialNumber`: what tells holders of one name apart. Not the serial of a certificate.
    #[must_use]
    pub fn serial_number(&self) -> &str {
        &self.serial_number
    }
}

impl fmt::Display for SubjectFields {
    /// In full, in words for whoever approves an order: `C=JP, O=..., CN=..., serialNumber=...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "C={}", self.country)?;
        if let Some(organization) = &self.organization {
            write!(f, ", O={organization}")?;
        }
        write!(f, ", CN={}, serialNumber={}", self.common_name, self.serial_number)
    }
}

impl fmt::Debug for SubjectFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectFields(<redacted>)")
    }
}

impl fmt::Display for SubjectField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Country => "country",
            Self::Organization => "organization",
            Self::CommonName => "common name",
            Self::SerialNumber => "serial number",
        })
    }
}

/// What deserialization reads before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubjectFields {
    country: String,
    organization: Option<String>,
    common_name: String,
    serial_number: String,
}

impl TryFrom<RawSubjectFields> for SubjectFields {
    type Error = SubjectFieldsError;

    fn try_from(raw: RawSubjectFields) -> Result<Self, Self::Error> {
        Self::new(raw.country, raw.organization, raw.common_name, raw.serial_number)
    }
}

fn check(field: SubjectField, text: &str) -> Result<(), SubjectFieldsError> {
    if text.is_empty() || text.len() > SubjectFields::LEN_MAX {
        return Err(SubjectFieldsError::Length { field, len: text.len(), max: SubjectFields::LEN_MAX });
    }
    let (holds, allowed) = match field {
        SubjectField::Country => (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()), "two capital letters A-Z"),
        SubjectField::Organization | SubjectField::CommonName => (
            text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && is_trimmed(text),
            "printable ASCII, with no space at either end and no two together",
        ),
        SubjectField::SerialNumber => {
            (text.bytes().all(is_printable_string_byte) && is_trimmed(text), "A-Z a-z 0-9 ' ( ) + , - . / : = ? and single spaces inside")
        }
    };
    if holds { Ok(()) } else { Err(SubjectFieldsError::Characters { field, allowed }) }
}

/// X.520 compares names with spaces folded; a text in this form compares the same byte by byte.
fn is_trimmed(text: &str) -> bool {
    !text.starts_with(' ') && !text.ends_with(' ') && !text.contains("  ")
}

/// The alphabet of PrintableString, X.680 clause 41.4.
fn is_printable_string_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(country: &str, organization: Option<&str>, name: &str, number: &str) -> Result<SubjectFields, SubjectFieldsError> {
        SubjectFields::new(country, organization.map(str::to_owned), name, number)
    }

    #[test]
    fn a_subject_has_bounded_fields_of_closed_alphabets() {
        let long = "x".repeat(SubjectFields::LEN_MAX + 1);
        let full = "x".repeat(SubjectFields::LEN_MAX);
        assert!(subject("JP", None, &full, &full).is_ok());
        assert!(subject("JP", Some("Ward & Sons"), "Hanako Yakuzai", "HPKI-000123").is_ok());
        let refused: &[(&str, Option<&str>, &str, &str, SubjectField)] = &[
            ("", None, "A", "1", SubjectField::Country),
            ("jp", None, "A", "1", SubjectField::Country),
            ("JPN", None, "A", "1", SubjectField::Country),
            ("JP", Some(""), "A", "1", SubjectField::Organization),
            ("JP", Some(&long), "A", "1", SubjectField::Organization),
            ("JP", Some("A\u{202e}B"), "A", "1", SubjectField::Organization),
            ("JP", None, "", "1", SubjectField::CommonName),
            ("JP", None, &long, "1", SubjectField::CommonName),
            ("JP", None, "A\nB", "1", SubjectField::CommonName),
            ("JP", None, "山田", "1", SubjectField::CommonName),
            ("JP", None, " A", "1", SubjectField::CommonName),
            ("JP", None, "A  B", "1", SubjectField::CommonName),
            ("JP", None, "A", "", SubjectField::SerialNumber),
            ("JP", None, "A", "1_2", SubjectField::SerialNumber),
            ("JP", None, "A", "1 ", SubjectField::SerialNumber),
            ("JP", None, "A", &long, SubjectField::SerialNumber),
        ];
        for (country, organization, name, number, wrong) in refused {
            match subject(country, *organization, name, number) {
                Err(SubjectFieldsError::Length { field, .. } | SubjectFieldsError::Characters { field, .. }) => assert_eq!(field, *wrong),
                Ok(_) => panic!("{country:?} {organization:?} {name:?} {number:?} was accepted"),
            }
        }
    }

    #[test]
    fn deserialization_checks_what_the_constructor_checks() {
        let good = r#"{"country":"JP","organization":null,"common_name":"A","serial_number":"1"}"#;
        assert!(serde_json::from_str::<SubjectFields>(good).is_ok());
        for bad in [good.replace("JP", "jp"), good.replace("\"1\"", "\"\""), good.replace("null", "null,\"extra\":1")] {
            assert!(serde_json::from_str::<SubjectFields>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_subject_does_not_print_itself() {
        let text = format!("{:?}", subject("JP", None, "Hanako", "77").expect("a valid subject"));
        assert!(!text.contains("Hanako") && !text.contains("77"), "{text}");
    }
}
