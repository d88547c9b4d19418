//! The hcRole of HPKI certificates: which national licence the holder has.
//!
//! It is an attribute of the subjectDirectoryAttributes extension (RFC 5280 section 4.2.1.8), of the ISO 17090-2 type:
//!
//! ```text
//! HCActorData ::= SET OF HCActor
//! HCActor     ::= SEQUENCE { codedData [0] CodedData, regionalHCActorData [1] ... OPTIONAL }
//! CodedData   ::= SET { codingSchemeReference [0] OBJECT IDENTIFIER, codeDataValue [1] ... OPTIONAL,
//!                       codeDataFreeText [2] DirectoryString OPTIONAL }
//! ```
//!
//! The HPKI profile uses one coding scheme, writes the licence's English name into `codeDataFreeText` as UTF8String and uses neither of
//! the fields tagged `[1]`; a certificate that does otherwise is refused.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, ContextSpecific, SetOfVec, Utf8StringRef};
use der::{Any, Decode, Encode, Reader, SliceReader, Tag, TagMode, TagNumber};
use x509_cert::attr::Attribute;

/// id-hcpki-at-healthcareactor, the attribute type of ISO 17090-2.
pub const HEALTHCARE_ACTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.0.17090.0.1");
/// The HPKI table of licence names, the only coding scheme in use.
pub const HPKI_CODING_SCHEME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.392.100495.1.6.1.1");
/// Most roles in one certificate: there are about thirty licences, and nobody holds half of them.
pub const ROLES_MAX: usize = 16;
/// Longest name of a role in bytes; the longest in the policy's table has fewer than 40.
pub const ROLE_LEN_MAX: usize = 64;

/// Why an hcRole is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HcRoleError {
    /// Not DER, or not of the shape above.
    #[error("the hcRole is not DER of the HCActorData structure")]
    Malformed {
        /// What the decoder found.
        #[source]
        source: der::Error,
    },
    /// An element that the HPKI profile does not use.
    #[error("the hcRole has an element tagged {tag} that the HPKI profile does not use")]
    UnexpectedElement {
        /// Its tag.
        tag: Tag,
    },
    /// A part is missing.
    #[error("an HCActor of the hcRole has no {part}")]
    Missing {
        /// Which one.
        part: &'static str,
    },
    /// A coding scheme that is not the HPKI one.
    #[error("the hcRole uses coding scheme {scheme}, HPKI uses {HPKI_CODING_SCHEME}")]
    CodingScheme {
        /// What was found.
        scheme: ObjectIdentifier,
    },
    /// A role that is empty, too long or not plain text.
    #[error("a role of the hcRole has {len} bytes or is not printable ASCII; allowed are 1 to {ROLE_LEN_MAX}")]
    Text {
        /// Its length in bytes.
        len: usize,
    },
    /// Too many roles.
    #[error("the hcRole has more than {ROLES_MAX} roles")]
    TooMany,
}

/// Reads the roles out of the value of a subjectDirectoryAttributes extension, in the order in which they stand.
///
/// Other attributes are passed over; no hcRole attribute gives an empty list. Names are printable ASCII of 1 to [`ROLE_LEN_MAX`] bytes,
/// exact and case-sensitive, as in `DocumentKind::roles`.
///
/// # Errors
///
/// [`HcRoleError`] when the attribute is there and is not exactly of the HPKI profile.
pub fn parse_hc_roles(extension: &[u8]) -> Result<Vec<String>, HcRoleError> {
    let attributes = Vec::<Attribute>::from_der(extension).map_err(malformed)?;
    let mut roles = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.oid == HEALTHCARE_ACTOR) {
        if attribute.values.is_empty() {
            return Err(HcRoleError::Missing { part: "value" });
        }
        for value in attribute.values.iter() {
            let actors = elements(AnyRef::from(value), Tag::Set)?;
            if actors.is_empty() {
                return Err(HcRoleError::Missing { part: "HCActor" });
            }
            for actor in actors {
                if roles.len() == ROLES_MAX {
                    return Err(HcRoleError::TooMany);
                }
                roles.push(role_of_actor(actor)?);
            }
        }
    }
    Ok(roles)
}

/// The value of a subjectDirectoryAttributes extension that carries these roles, for a trial CA.
///
/// # Errors
///
/// [`HcRoleError`] for names that [`parse_hc_roles`] would refuse, and for none or too many of them.
pub fn encode_hc_roles(roles: &[&str]) -> Result<Vec<u8>, HcRoleError> {
    if roles.is_empty() {
        return Err(HcRoleError::Missing { part: "role" });
    }
    if roles.len() > ROLES_MAX {
        return Err(HcRoleError::TooMany);
    }
    let actors = roles.iter().map(|role| encode_actor(role)).collect::<Result<Vec<_>, _>>()?;
    let encode = |actors: Vec<Any>| -> der::Result<Vec<u8>> {
        let data = Any::encode_from(&SetOfVec::try_from(actors)?)?;
        let attribute = Attribute { oid: HEALTHCARE_ACTOR, values: SetOfVec::try_from(vec![data])? };
        vec![attribute].to_der()
    };
    encode(actors).map_err(malformed)
}

fn role_of_actor(actor: AnyRef<'_>) -> Result<String, HcRoleError> {
    let mut role = None;
    for element in elements(actor, Tag::Sequence)? {
        match context_number(element) {
            Some(TagNumber::N0) if role.is_none() => {
                let coded_data = AnyRef::from_der(element.value()).map_err(malformed)?;
                role = Some(role_of_coded_data(coded_data)?);
            }
            _ => return Err(HcRoleError::UnexpectedElement { tag: der::Tagged::tag(&element) }),
        }
    }
    role.ok_or(HcRoleError::Missing { part: "codedData" })
}

fn role_of_coded_data(coded_data: AnyRef<'_>) -> Result<String, HcRoleError> {
    let (mut scheme, mut text) = (None, None);
    for element in elements(coded_data, Tag::Set)? {
        match context_number(element) {
            Some(TagNumber::N0) if scheme.is_none() => {
                scheme = Some(ObjectIdentifier::from_der(element.value()).map_err(malformed)?);
            }
            Some(TagNumber::N2) if text.is_none() => {
                text = Some(Utf8StringRef::from_der(element.value()).map_err(malformed)?);
            }
            _ => return Err(HcRoleError::UnexpectedElement { tag: der::Tagged::tag(&element) }),
        }
    }
    match scheme {
        Some(HPKI_CODING_SCHEME) => {}
        Some(scheme) => return Err(HcRoleError::CodingScheme { scheme }),
        None => return Err(HcRoleError::Missing { part: "codingSchemeReference" }),
    }
    let text = text.ok_or(HcRoleError::Missing { part: "codeDataFreeText" })?;
    check_text(text.as_str())?;
    Ok(text.as_str().to_owned())
}

fn encode_actor(role: &str) -> Result<Any, HcRoleError> {
    check_text(role)?;
    let encode = || -> der::Result<Any> {
        let explicit = TagMode::Explicit;
        let mut coded_data = ContextSpecific { tag_number: TagNumber::N0, tag_mode: explicit, value: HPKI_CODING_SCHEME }.to_der()?;
        let text = Utf8StringRef::new(role)?;
        coded_data.extend(ContextSpecific { tag_number: TagNumber::N2, tag_mode: explicit, value: text }.to_der()?);
        let coded_data = Any::new(Tag::Set, coded_data)?;
        let actor = ContextSpecific { tag_number: TagNumber::N0, tag_mode: explicit, value: coded_data }.to_der()?;
        Any::new(Tag::Sequence, actor)
    };
    encode().map_err(malformed)
}

/// The elements inside a constructed value that must have this tag.
fn elements<'a>(value: AnyRef<'a>, tag: Tag) -> Result<Vec<AnyRef<'a>>, HcRoleError> {
    der::Tagged::tag(&value).assert_eq(tag).map_err(malformed)?;
    let mut reader = SliceReader::new(value.value()).map_err(malformed)?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(AnyRef::decode(&mut reader).map_err(malformed)?);
    }
    Ok(elements)
}

fn context_number(element: AnyRef<'_>) -> Option<TagNumber> {
    match der::Tagged::tag(&element) {
        Tag::ContextSpecific { constructed: true, number } => Some(number),
        _ => None,
    }
}

fn check_text(text: &str) -> Result<(), HcRoleError> {
    let plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if text.is_empty() || text.len() > ROLE_LEN_MAX || !plain {
        return Err(HcRoleError::Text { len: text.len() });
    }
    Ok(())
}

fn malformed(source: der::Error) -> HcRoleError {
    HcRoleError::Malformed { source }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The value of the extension in a certificate of a real HPKI CA, for a physician.
    const PHYSICIAN: &str = "30343032060628818542000131283126302 4a0223120a00c060a2a830886910f01060101a2100c0e4d65646963616c20446f63746f72";

    fn physician() -> Vec<u8> {
        hex::decode(PHYSICIAN.replace(' ', "")).unwrap()
    }

    #[test]
    fn the_real_encoding_is_read_and_written() {
        assert_eq!(parse_hc_roles(&physician()).unwrap(), ["Medical Doctor"]);
        assert_eq!(encode_hc_roles(&["Medical Doctor"]).unwrap(), physician());
    }

    #[test]
    fn several_roles_survive_a_round_trip() {
        let mut roles = parse_hc_roles(&encode_hc_roles(&["Pharmacist", "Medical Doctor", "Dentist"]).unwrap()).unwrap();
        roles.sort();
        assert_eq!(roles, ["Dentist", "Medical Doctor", "Pharmacist"]);
    }

    #[test]
    fn other_attributes_alone_give_no_role() {
        let other =
            Attribute { oid: ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.9.1"), values: SetOfVec::try_from(vec![Any::null()]).unwrap() };
        assert!(parse_hc_roles(&vec![other].to_der().unwrap()).unwrap().is_empty());
    }

    #[test]
    fn every_truncation_and_trailing_byte_is_refused() {
        let whole = physician();
        for len in 0..whole.len() {
            assert!(parse_hc_roles(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(parse_hc_roles(&[whole, vec![0]].concat()).is_err());
    }

    #[test]
    fn what_the_profile_does_not_use_is_refused() {
        let inside = |from: &str, to: &str| hex::decode(PHYSICIAN.replace(' ', "").replace(from, to)).unwrap();
        // codeDataFreeText tagged [1], as codeDataValue would be.
        assert_eq!(
            parse_hc_roles(&inside("a2100c0e", "a1100c0e")),
            Err(HcRoleError::UnexpectedElement { tag: Tag::ContextSpecific { constructed: true, number: TagNumber::N1 } })
        );
        // HCActor with regionalHCActorData alone.
        assert!(matches!(parse_hc_roles(&inside("a02231", "a12231")), Err(HcRoleError::UnexpectedElement { .. })));
        // The last arc of the scheme changed.
        assert!(matches!(parse_hc_roles(&inside("01060101", "01060102")), Err(HcRoleError::CodingScheme { .. })));
        // PrintableString in place of UTF8String.
        assert!(matches!(parse_hc_roles(&inside("0c0e4d", "130e4d")), Err(HcRoleError::Malformed { .. })));
        // A line break inside the name.
        assert_eq!(parse_hc_roles(&inside("6c20446f", "6c0a446f")), Err(HcRoleError::Text { len: 14 }));
        // SEQUENCE in place of the SET of actors.
        assert!(matches!(parse_hc_roles(&inside("3126302", "3026302")), Err(HcRoleError::Malformed { .. })));
    }

    #[test]
    fn roles_are_bounded_in_number_and_length() {
        let many = vec!["Dentist"; ROLES_MAX + 1];
        assert_eq!(encode_hc_roles(&many), Err(HcRoleError::TooMany));
        let actors: Vec<Any> = many.iter().map(|role| encode_actor(role).unwrap()).collect();
        let actors: Vec<u8> = actors.iter().flat_map(|actor| actor.to_der().unwrap()).collect();
        let values = SetOfVec::try_from(vec![Any::new(Tag::Set, actors).unwrap()]).unwrap();
        let attribute = Attribute { oid: HEALTHCARE_ACTOR, values };
        assert_eq!(parse_hc_roles(&vec![attribute].to_der().unwrap()), Err(HcRoleError::TooMany));

        let long = "x".repeat(ROLE_LEN_MAX + 1);
        assert_eq!(encode_hc_roles(&[&long]), Err(HcRoleError::Text { len: ROLE_LEN_MAX + 1 }));
        assert_eq!(encode_hc_roles(&[""]), Err(HcRoleError::Text { len: 0 }));
        assert_eq!(encode_hc_roles(&[]), Err(HcRoleError::Missing { part: "role" }));
    }
}
