//! The officers of a local cluster, all at one desk.

use std::path::{Path, PathBuf};

use warifu_protocol::{Name, OfficerEntry, OfficerRole};
use zeroize::Zeroizing;

use super::error::LocalClusterError;
use crate::files::{self, MODE_SECRET};
use crate::keys::{OfficerKey, OfficerKeyFile, Passphrase};

/// Two operators and two security officers, their keys open.
#[derive(Debug)]
pub struct Officers {
    /// The keys; operators first.
    pub keys: Vec<OfficerKey>,
    /// The key files, in the same order.
    pub files: Vec<PathBuf>,
    /// The passphrase of all of them.
    pub passphrase_file: PathBuf,
}

impl Officers {
    /// Makes keys in `directory`, under one random passphrase.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub(super) fn create(directory: &Path) -> Result<Self, LocalClusterError> {
        let text = Zeroizing::new(hex::encode(rand::random::<[u8; PASSPHRASE_BYTES]>()));
        let passphrase_file = directory.join("passphrase");
        files::write_new(&passphrase_file, text.as_bytes(), MODE_SECRET)?;
        let passphrase = Passphrase::new(text.to_string())?;
        let (mut keys, mut paths) = (Vec::new(), Vec::new());
        for (id, role) in OFFICERS {
            let path = directory.join(format!("{id}.key"));
            let id: Name = id.parse().expect("the officers' names are names");
            keys.push(OfficerKeyFile::create(&path, id, role, &passphrase)?.open(&passphrase)?);
            paths.push(path);
        }
        Ok(Self { keys, files: paths, passphrase_file })
    }

    /// What the genesis says of them.
    #[must_use]
    pub fn entries(&self) -> Vec<OfficerEntry> {
        self.keys.iter().map(|key| key.officer().clone()).collect()
    }

    /// The first `count` officers of a role.
    pub fn of_role(&self, role: OfficerRole, count: usize) -> impl Iterator<Item = &OfficerKey> {
        self.keys.iter().filter(move |key| key.officer().role == role).take(count)
    }
}

const OFFICERS: [(&str, OfficerRole); 4] = [
    ("operator-1", OfficerRole::Operator),
    ("operator-2", OfficerRole::Operator),
    ("security-1", OfficerRole::SecurityOfficer),
    ("security-2", OfficerRole::SecurityOfficer),
];

/// Random bytes of the passphrase.
const PASSPHRASE_BYTES: usize = 16;
