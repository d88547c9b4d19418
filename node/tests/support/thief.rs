//! Somebody who has every byte of a site's disks and backups, and the key-encryption key as it is today.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use warifu_core::signer::ShareRecord;
use warifu_node::sealing::{KekProvider, WrappedKey};
use warifu_protocol::{ClusterId, CredentialId, Epoch, NodeId};

/// A wrapped record key: nonce, AES-256 key, tag. Both providers write it so.
const WRAPPED_LEN: usize = 12 + 32 + 16;
/// Different bytes that a wrapped key has at least: 60 random ones have about 54, and fewer than this once in more than 2^40 times.
const DIFFERENT_MIN: usize = 38;
/// Version, generation and nonce of a sealed record.
const HEADER_LEN: usize = 1 + 4 + 12;
/// Generations that a record may say it is of.
const GENERATION_MAX: u32 = 64;
/// What the thief has of one site.
pub(crate) struct Thief {
    cluster: ClusterId,
    node: NodeId,
    /// Lengths that sealed shares have, header and tag included.
    lengths: BTreeSet<usize>,
    files: Vec<Vec<u8>>,
}

impl Thief {
    /// Takes every file under these paths, knowing how long sealed shares are.
    pub(crate) fn of(cluster: ClusterId, node: NodeId, lengths: BTreeSet<usize>, paths: &[&Path]) -> Self {
        let mut files = Vec::new();
        for path in paths {
            must_take(path, &mut files);
        }
        assert!(!files.is_empty(), "there is something to look through");
        Self { cluster, node, lengths, files }
    }

    /// Whether these very bytes lie somewhere.
    pub(crate) fn has(&self, bytes: &[u8]) -> bool {
        self.files.iter().any(|file| file.windows(bytes.len()).any(|window| window == bytes))
    }

    /// Wrapped record keys at every place where there could be one.
    pub(crate) fn wrapped_keys(&self) -> BTreeSet<Vec<u8>> {
        self.files.iter().flat_map(|file| random_looking(file)).collect()
    }

    /// The record keys that the key-encryption key gives back for any of these, under any generation that it still has.
    pub(crate) fn record_keys(&self, kek: &dyn KekProvider, wrapped: &BTreeSet<Vec<u8>>) -> BTreeSet<[u8; 32]> {
        let context = [b"warifu-record-key-v1".as_slice(), self.cluster.as_ref(), &[self.node.get()]].concat();
        let generations = kek.generations().expect("the key-encryption key is there");
        assert!(!generations.is_empty());
        let mut keys = BTreeSet::new();
        for generation in generations {
            let opened = wrapped.iter().filter_map(|wrapped| kek.unwrap(generation, &WrappedKey(wrapped.clone()), &context).ok());
            keys.extend(opened.map(|key| *key));
        }
        keys
    }

    /// The shares of these credentials, of an epoch up to `epoch_max`, that open under any of these keys, whatever generation their records
    /// claim, with how often each was found.
    pub(crate) fn shares(
        &self,
        keys: &BTreeSet<[u8; 32]>,
        credentials: &[CredentialId],
        epoch_max: u32,
    ) -> BTreeMap<(CredentialId, Epoch), usize> {
        let keys: Vec<LessSafeKey> =
            keys.iter().map(|key| LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).expect("a key's length"))).collect();
        let mut found = BTreeMap::new();
        for record in self.files.iter().flat_map(|file| records(file)) {
            for credential in credentials {
                for epoch in (0..=epoch_max).map(Epoch) {
                    let aad = [&record[..5], &ShareRecord::aad(self.cluster, self.node, *credential, epoch)].concat();
                    let tried = self.lengths.iter().filter_map(|len| record.get(..*len));
                    if tried.into_iter().any(|sealed| keys.iter().any(|key| opens(key, sealed, &aad))) {
                        *found.entry((*credential, epoch)).or_default() += 1;
                    }
                }
            }
        }
        found
    }
}

fn must_take(path: &Path, files: &mut Vec<Vec<u8>>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            must_take(&entry.expect("an entry").path(), files);
        }
    } else if path.is_file() {
        files.push(fs::read(path).expect("a file"));
    }
}

/// The stretches of a wrapped key's length that have as many different bytes as one.
fn random_looking(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut counts, mut different, mut found) = ([0_u8; 256], 0, Vec::new());
    for (at, byte) in file.iter().enumerate() {
        let count = &mut counts[usize::from(*byte)];
        *count += 1;
        different += usize::from(*count == 1);
        if at >= WRAPPED_LEN {
            let count = &mut counts[usize::from(file[at - WRAPPED_LEN])];
            *count -= 1;
            different -= usize::from(*count == 0);
        }
        if different >= DIFFERENT_MIN && at + 1 >= WRAPPED_LEN {
            found.push(file[at + 1 - WRAPPED_LEN..=at].to_vec());
        }
    }
    found
}

/// The rest of the file from wherever something begins as a sealed record does.
fn records(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let begins = |window: &[u8]| match window {
        [1, generation @ ..] => (1..=GENERATION_MAX).contains(&u32::from_be_bytes(generation.try_into().expect("four bytes"))),
        _ => false,
    };
    file.windows(5).enumerate().filter(move |(_, window)| begins(window)).map(|(at, _)| &file[at..])
}

fn opens(key: &LessSafeKey, sealed: &[u8], aad: &[u8]) -> bool {
    let Some((nonce, ciphertext)) = sealed.get(5..).and_then(|rest| rest.split_first_chunk::<{ HEADER_LEN - 5 }>()) else { return false };
    key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut ciphertext.to_vec()).is_ok()
}
