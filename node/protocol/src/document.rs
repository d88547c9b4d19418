//! The kinds of document that a cluster signs, and what follows from the kind.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which of the two documents of the e-prescription service is signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentKind {
    /// Signed by a physician or dentist; covers `#PrescriptionDocument`.
    Prescription,
    /// Signed by a pharmacist; covers `#Dispensing`, and with it the prescription inside.
    Dispensing,
}

impl DocumentKind {
    /// Id of the element that the first Reference covers.
    #[must_use]
    pub const fn signed_element_id(self) -> &'static str {
        match self {
            Self::Prescription => "PrescriptionDocument",
            Self::Dispensing => "Dispensing",
        }
    }

    /// Id of the `Signature` element, and name of the element that holds it.
    #[must_use]
    pub const fn signature_id(self) -> &'static str {
        match self {
            Self::Prescription => "PrescriptionSign",
            Self::Dispensing => "DispensingSign",
        }
    }

    /// The hcRole names that may sign it.
    #[must_use]
    pub const fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Prescription => &["Medical Doctor", "Dentist"],
            Self::Dispensing => &["Pharmacist"],
        }
    }
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prescription => "prescription",
            Self::Dispensing => "dispensing",
        })
    }
}
