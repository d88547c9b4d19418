//! What is written down of a file's content, and how it is taken back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;

/// One record of the shim: `struct record` and the bytes behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// `new` was written at `offset`, where `old` was, in a file of `file_len` bytes.
    Written { offset: u64, old: Vec<u8>, new: Vec<u8>, file_len: u64 },
    /// A file of `file_len` bytes became one of `len`; `cut` was at its end.
    Resized { len: u64, cut: Vec<u8>, file_len: u64 },
    /// All before it is durable.
    Synced,
    /// An fsync failed: all before it that was not durable is lost.
    Lost,
}

/// What became of a file's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Undone {
    /// Changes that were not durable.
    pub(super) changes: u64,
    /// How many of them were taken back, whole or in part.
    pub(super) lost: u64,
}

/// Reads a journal. A record that was begun when the process was killed is left out: its change was not made.
pub(super) fn parse(mut bytes: &[u8]) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) {
        let words: Vec<u64> =
            head.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("chunks of eight bytes"))).collect();
        let &[kind, offset, old_len, new_len, file_len] = words.as_slice() else { unreachable!("five words") };
        let size = |len: u64| usize::try_from(len).map_err(io::Error::other);
        let Some((old, rest)) = rest.split_at_checked(size(old_len)?) else { break };
        let Some((new, rest)) = rest.split_at_checked(size(new_len)?) else { break };
        records.push(match kind {
            1 => Record::Written { offset, old: old.to_vec(), new: new.to_vec(), file_len },
            2 => Record::Resized { len: offset, cut: old.to_vec(), file_len },
            3 => Record::Synced,
            4 => Record::Lost,
            other => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a record of kind {other}"))),
        });
        bytes = rest;
    }
    Ok(records)
}

/// Puts the file back to its last durable content; with `pieces`, some of what was not durable is kept, as it draws.
pub(super) fn take_back(file: &File, records: &[Record], mut pieces: Option<&mut ChaCha8Rng>) -> io::Result<Undone> {
    for record in records.iter().rev() {
        match record {
            Record::Written { offset, old, file_len, .. } => {
                file.write_all_at(old, *offset)?;
                file.set_len(*file_len)?;
            }
            Record::Resized { len, cut, file_len } => {
                file.set_len(*file_len)?;
                file.write_all_at(cut, *len)?;
            }
            Record::Synced | Record::Lost => {}
        }
    }
    let durable = durable(records);
    let fate = pieces.as_deref_mut().map_or(Fate::NothingKept, Fate::draw);
    let mut undone = Undone::default();
    for (record, durable) in records.iter().zip(durable) {
        if durable {
            redo(file, record, |_| true)?;
        } else if !matches!(record, Record::Synced | Record::Lost) {
            undone.changes += 1;
            undone.lost += u64::from(!redo(file, record, |_| pieces.as_deref_mut().is_some_and(|draw| fate.keeps(draw)))?);
        }
    }
    Ok(undone)
}

/// Whether each record's change is durable.
fn durable(records: &[Record]) -> Vec<bool> {
    let (mut durable, mut open) = (vec![false; records.len()], Vec::new());
    for (place, record) in records.iter().enumerate() {
        match record {
            Record::Synced => open.drain(..).for_each(|place: usize| durable[place] = true),
            Record::Lost => open.clear(),
            Record::Written { .. } | Record::Resized { .. } => open.push(place),
        }
    }
    durable
}

/// Makes the pieces of a change that are kept; says whether all of them were.
fn redo(file: &File, record: &Record, mut keeps: impl FnMut(u64) -> bool) -> io::Result<bool> {
    let mut whole = true;
    match record {
        Record::Written { offset, new, .. } => {
            // Pieces as a disk has them, not as the write was cut.
            let mut at = *offset;
            let mut rest = new.as_slice();
            while !rest.is_empty() {
                let len = usize::try_from(SECTOR - at % SECTOR).expect("a sector is small").min(rest.len());
                let (piece, after) = rest.split_at(len);
                if keeps(at) {
                    file.write_all_at(piece, at)?
                } else {
                    whole = false
                }
                at += piece.len() as u64;
                rest = after;
            }
        }
        Record::Resized { len, .. } => {
            if keeps(*len) {
                file.set_len(*len)?
            } else {
                whole = false
            }
        }
        Record::Synced | Record::Lost => {}
    }
    Ok(whole)
}

/// How a disk treats what one file had in its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    NothingKept,
    AllKept,
    /// Of 256 pieces, this many.
    Some(u8),
}

impl Fate {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        match rng.next_u32() % 8 {
            0 => Self::AllKept,
            1 => Self::NothingKept,
            2 => Self::Some(250),
            3 => Self::Some(6),
            _ => Self::Some((rng.next_u32() & 0xff) as u8),
        }
    }

    fn keeps(self, rng: &mut ChaCha8Rng) -> bool {
        match self {
            Self::NothingKept => false,
            Self::AllKept => true,
            Self::Some(of_256) => (rng.next_u32() & 0xff) < u32::from(of_256),
        }
    }
}

/// Five words.
const HEAD_BYTES: usize = 40;
/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;

    fn must_have(content: &[u8]) -> (tempfile::TempDir, File) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        std::fs::write(&path, content).expect("writes");
        let file = File::options().read(true).write(true).open(path).expect("opens");
        (directory, file)
    }

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().expect("is there").len()).expect("small")];
        file.read_exact_at(&mut bytes, 0).expect("reads");
        bytes
    }

    fn written(offset: u64, old: &[u8], new: &[u8], file_len: u64) -> Record {
        Record::Written { offset, old: old.to_vec(), new: new.to_vec(), file_len }
    }

    #[test]
    fn what_was_not_synced_is_taken_back_in_order_and_what_was_stays() {
        // "abc" became "aXc", durably, then "aXYZ", then "aX".
        let (_directory, file) = must_have(b"aX");
        let records = [
            written(1, b"b", b"X", 3),
            Record::Synced,
            written(2, b"c", b"YZ", 3),
            Record::Resized { len: 2, cut: b"YZ".to_vec(), file_len: 4 },
        ];
        assert_eq!(take_back(&file, &records, None).expect("writes"), Undone { changes: 2, lost: 2 });
        assert_eq!(content(&file), b"aXc");
    }

    #[test]
    fn what_a_failed_fsync_lost_stays_lost_under_a_later_one_that_succeeded() {
        // "abc" became "Abc", which an fsync lost, then "AbC" under an fsync that succeeded.
        let (_directory, file) = must_have(b"AbC");
        let records = [written(0, b"a", b"A", 3), Record::Lost, written(2, b"c", b"C", 3), Record::Synced];
        assert_eq!(take_back(&file, &records, None).expect("writes"), Undone { changes: 1, lost: 1 });
        assert_eq!(content(&file), b"abC");
    }

    #[test]
    fn pieces_are_sectors_and_a_seed_draws_the_same_ones() {
        let new = vec![7; 8 * SECTOR as usize];
        let records = [written(0, &[], &new, 0)];
        let mut torn = false;
        for seed in 0..64 {
            let draw = || {
                let (_directory, file) = must_have(&new);
                let undone = take_back(&file, &records, Some(&mut ChaCha8Rng::seed_from_u64(seed))).expect("writes");
                (undone, content(&file))
            };
            let (undone, left) = draw();
            assert_eq!(draw(), (undone, left.clone()));
            for sector in left.chunks(SECTOR as usize) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
            }
            torn |= undone.lost == 1 && left.contains(&7);
        }
        assert!(torn, "some seed keeps a part");
    }

    #[test]
    fn a_record_that_was_begun_is_left_out() {
        let mut bytes: Vec<u8> = [1_u64, 0, 1, 1, 5].iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(*b"ab");
        let whole = vec![written(0, b"a", b"b", 5)];
        assert_eq!(parse(&bytes).expect("reads"), whole);
        for end in 1..bytes.len() {
            let mut more = bytes.clone();
            more.extend(&bytes[..end]);
            assert_eq!(parse(&more).expect("reads"), whole, "{end} bytes of the next");
        }
    }
}
