//! Putting a genesis together.

use std::path::PathBuf;
use std::str::FromStr;

use warifu_core::pki::TrustAnchor;
use warifu_protocol::{
    AnchorEntry, AnchorKind, Blob, CoordinatorEntry, GenesisBody, GenesisDocument, Name, NodeEntry, OfficerEntry, Policy, Threshold,
    UnixMillis,
};

use super::error::GenesisCommandError;
use crate::files;

/// All that founders decide.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Name for people.
    pub name: Name,
    /// When it is written.
    pub created: UnixMillis,
    /// t
    pub threshold: Threshold,
    /// f
    pub liars: u8,
    /// Whether t may be less than a majority.
    pub minority_threshold: bool,
    /// Terms.
    pub policy: Policy,
    /// The sites.
    pub nodes: Vec<NodeEntry>,
    /// The coordinators.
    pub coordinators: Vec<CoordinatorEntry>,
    /// The officers.
    pub officers: Vec<OfficerEntry>,
    /// The pinned CAs.
    pub anchors: Vec<AnchorEntry>,
}

impl Draft {
    /// Makes the unsigned genesis, with the nodes in the order of their identifiers.
    ///
    /// # Errors
    /// [`GenesisCommandError::Draft`] names the first rule that is broken.
    pub fn into_document(mut self) -> Result<GenesisDocument, GenesisCommandError> {
        self.nodes.sort_by_key(|node| node.id);
        let genesis = GenesisBody {
            format: GENESIS_FORMAT,
            name: self.name,
            created: self.created,
            threshold: self.threshold,
            liars: self.liars,
            minority_threshold: self.minority_threshold,
            policy: self.policy,
            nodes: self.nodes,
            coordinators: self.coordinators,
            officers: self.officers,
            anchors: self.anchors,
        };
        genesis.check().map_err(|source| GenesisCommandError::Draft { source })?;
        Ok(GenesisDocument { genesis, signatures: Vec::new() })
    }
}

/// f when nobody says otherwise: one site may lie from five sites on.
#[must_use]
pub const fn liars_default(nodes: usize) -> u8 {
    if nodes >= 5 { 1 } else { 0 }
}

/// `KIND:POLICY[+POLICY...]:FILE`, a CA to pin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnchorArgument {
    kind: AnchorKind,
    policies: Vec<String>,
    file: PathBuf,
}

impl AnchorArgument {
    /// Reads the certificate and checks that it can be an anchor.
    ///
    /// # Errors
    /// [`GenesisCommandError::File`] or [`GenesisCommandError::Anchor`].
    pub fn read(&self) -> Result<AnchorEntry, GenesisCommandError> {
        let certificate = Blob(files::read_certificate(&self.file)?);
        let entry = AnchorEntry { kind: self.kind, certificate, policies: self.policies.clone() };
        TrustAnchor::from_entry(&entry).map_err(|source| GenesisCommandError::Anchor { path: self.file.clone(), source })?;
        Ok(entry)
    }
}

impl FromStr for AnchorArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || "KIND:POLICY[+POLICY]:FILE is needed, such as hpki-signing:1.2.392.100495.1.5.1.1.3.1:ca.pem".to_owned();
        let mut parts = text.splitn(3, ':');
        let (Some(kind), Some(policies), Some(file)) = (parts.next(), parts.next(), parts.next()) else { return Err(form()) };
        let kind = match kind {
            "hpki-signing" => AnchorKind::HpkiSigning,
            "hpki-authentication" => AnchorKind::HpkiAuthentication,
            "jpki-user-authentication" => AnchorKind::JpkiUserAuthentication,
            other => {
                return Err(format!("`{other}` is none of hpki-signing, hpki-authentication and jpki-user-authentication"));
            }
        };
        let policies: Vec<String> = policies.split('+').map(str::to_owned).collect();
        if let Some(wrong) = policies.iter().find(|policy| const_oid::ObjectIdentifier::new(policy).is_err()) {
            return Err(format!("`{wrong}` is no policy OID such as 1.2.392.100495.1.5.1.1.3.1"));
        }
        if file.is_empty() { Err(form()) } else { Ok(Self { kind, policies, file: PathBuf::from(file) }) }
    }
}

/// The only format of a genesis.
const GENESIS_FORMAT: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_names_its_kind_its_policies_and_a_file_that_may_have_colons() {
        let anchor: AnchorArgument = "jpki-user-authentication:1.2.3+1.2.4:C:/ca.pem".parse().expect("well-formed");
        assert_eq!(anchor.kind, AnchorKind::JpkiUserAuthentication);
        assert_eq!(anchor.policies, ["1.2.3", "1.2.4"]);
        assert_eq!(anchor.file, PathBuf::from("C:/ca.pem"));
        for wrong in
            ["", "ca.pem", "hpki-signing:ca.pem", "hpki-signing::ca.pem", "web:1.2.3:ca.pem", "hpki-signing:1.2.3:", "hpki-signing:x:f"]
        {
            assert!(wrong.parse::<AnchorArgument>().is_err(), "{wrong}");
        }
    }
}
