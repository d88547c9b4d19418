//! Lists of holders to enrol.

use warifu_protocol::{CredentialId, Enrolment, Name, SubjectFields};

use super::error::CredentialError;

/// One holder of a list: `holder,common_name,serial_number[,organization[,country]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnrolmentRow {
    /// The CA's identifier of the holder.
    pub holder: Name,
    /// Subject of the certificate.
    pub subject: SubjectFields,
}

impl EnrolmentRow {
    /// Draws the identifier of the new credential.
    #[must_use]
    pub fn into_enrolment(self) -> Enrolment {
        Enrolment { credential: CredentialId::new(rand::random()), holder: self.holder, subject: self.subject }
    }
}

/// Reads a list: UTF-8, one holder a line, fields separated by commas. Empty lines and lines that begin with `#` do not count.
/// No quoting is understood, since no field of a subject needs a comma here; a quotation mark is refused.
///
/// # Errors
/// [`CredentialError::Row`] names the first line that is wrong.
pub fn parse_rows(text: &str) -> Result<Vec<EnrolmentRow>, CredentialError> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, text)| parse_row(text).map_err(|reason| CredentialError::Row { line, reason }))
        .collect()
}

fn parse_row(text: &str) -> Result<EnrolmentRow, String> {
    if text.contains('"') {
        return Err("quotation marks are not understood; fields are separated by commas alone".to_owned());
    }
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let (holder, name, number, organization, country) = match fields.as_slice() {
        [holder, name, number] => (holder, name, number, "", COUNTRY),
        [holder, name, number, organization] => (holder, name, number, *organization, COUNTRY),
        [holder, name, number, organization, country] => (holder, name, number, *organization, *country),
        _ => return Err("holder,common_name,serial_number[,organization[,country]] is needed".to_owned()),
    };
    let organization = Some(organization).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(EnrolmentRow {
        holder: holder.parse().map_err(|error| format!("holder `{holder}`: {error}"))?,
        subject: SubjectFields::new(country, organization, *name, *number).map_err(|error| error.to_string())?,
    })
}

/// Country of HPKI subjects.
pub(super) const COUNTRY: &str = "JP";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_line_by_line() {
        let rows =
            parse_rows("# desk 1\n\nh-1, Hanako Iryo, 123\nh-2,Taro Yaku,124,Trial Pharmacy\nh-3,Jane Doe,125,,US\n").expect("well-formed");
        let subjects: Vec<String> = rows.iter().map(|row| row.subject.to_string()).collect();
        assert_eq!(
            subjects,
            [
                "C=JP, CN=Hanako Iryo, serialNumber=123",
                "C=JP, O=Trial Pharmacy, CN=Taro Yaku, serialNumber=124",
                "C=US, CN=Jane Doe, serialNumber=125"
            ]
        );
        let (one, two) = (rows[0].clone().into_enrolment(), rows[0].clone().into_enrolment());
        assert_ne!(one.credential, two.credential);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, line, says) in [
            ("h-1,A", 1, "holder,common_name"),
            ("\nh-1,A,1,O,JP,x", 2, "holder,common_name"),
            ("# x\nH 1,A,1", 2, "holder `H 1`"),
            ("h-1,,1", 1, "common name"),
            ("h-1,山田,1", 1, "common name"),
            ("h-1,\"A, B\",1", 1, "quotation"),
            ("h-1,A,1,O,JPN", 1, "country"),
        ] {
            let Err(CredentialError::Row { line: found, reason }) = parse_rows(text) else { panic!("{text}") };
            assert_eq!(found, line, "{text}");
            assert!(reason.contains(says), "{text}: {reason}");
        }
    }
}
