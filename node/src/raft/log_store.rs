//! The durable log: entries, vote and positions in a redb file.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use openraft::alias::LogIdOf;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::APPEND_BYTES_MAX;
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::store::{Database, DatabaseOptions, StoreError, WriteDurability};

/// Index to postcard entry.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");

/// The single values.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

const FORMAT: &str = "format";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// What [`FORMAT`] holds: the layout of the tables and of what is in them.
const FORMAT_VERSION: u8 = 1;

/// Recent entries that are held in memory, by number and by bytes, so that replication rarely reads the file. Entries that are not yet on disk are held
/// however many there are.
const TAIL_ENTRIES_MAX: usize = 1024;
const TAIL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Durable log store. Clones share the log.
#[derive(Clone, Debug)]
pub(super) struct RaftLog {
    database: Database,
    cache: Arc<Mutex<Cache>>,
}

#[derive(Debug, Default)]
struct Cache {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The newest entries, without gaps, ending with `last`.
    tail: BTreeMap<u64, Entry>,
    tail_bytes: usize,
    /// One after the last entry that is on disk.
    flushed_end: u64,
    /// Counts truncations, so that a late report of an append that was truncated is not taken for one of what replaced it.
    truncations: u64,
}

impl RaftLog {
    /// Opens the log, or makes an empty one.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        Self::with(Database::open(path, DatabaseOptions { cache_bytes })?)
    }

    pub(super) fn with(database: Database) -> Result<Self, StoreError> {
        database.write_blocking(|transaction| {
            transaction.open_table(ENTRIES)?;
            let mut values = transaction.open_table(VALUES)?;
            let format = values.get(FORMAT)?.map(|value| value.value().to_vec());
            match format.as_deref() {
                None => values.insert(FORMAT, [FORMAT_VERSION].as_slice()).map(drop)?,
                Some([FORMAT_VERSION]) => {}
                Some(other) => return Err(StoreError::Corrupt { what: "format", detail: format!("{other:?} is not [{FORMAT_VERSION}]") }),
            }
            Ok(())
        })?;
        let cache = database.read(|transaction| {
            let values = transaction.open_table(VALUES)?;
            let entries = transaction.open_table(ENTRIES)?;
            let purged: Option<LogId> = value(&values, PURGED)?;
            let last = match entries.last()? {
                Some((_, bytes)) => Some(decode::<Entry>("entry", bytes.value())?.log_id()),
                None => purged,
            };
            Ok(Cache {
                vote: value(&values, VOTE)?,
                committed: value(&values, COMMITTED)?,
                purged,
                last,
                flushed_end: last.map_or(0, |last| last.index + 1),
                ..Cache::default()
            })
        })?;
        Ok(Self { database, cache: Arc::new(Mutex::new(cache)) })
    }

    /// The store underneath, for its health.
    pub(super) const fn database(&self) -> &Database {
        &self.database
    }

    /// Entries of `[start, end)` up to the last, in order, at least one if there is any, ending before the first that exceeds `bytes_max` in sum.
    pub(super) fn entries(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        let (end, tail_start, recent) = {
            let cache = self.cache.lock();
            let end = end.min(cache.last.map_or(0, |last| last.index + 1));
            let start = start.max(cache.purged.map_or(0, |purged| purged.index + 1));
            if start >= end {
                return Ok(Vec::new());
            }
            let tail_start = cache.tail.first_key_value().map_or(end, |(&first, _)| first).clamp(start, end);
            let recent: Vec<Entry> = cache.tail.range(tail_start..end).map(|(_, entry)| entry.clone()).collect();
            (end, tail_start, recent)
        };
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut take = |entry: Entry, found: &mut Vec<Entry>| {
            bytes += weight(&entry);
            let fits = found.is_empty() || bytes <= bytes_max;
            if fits {
                found.push(entry);
            }
            fits
        };
        if start < tail_start {
            let complete = self.database.read(|transaction| {
                for row in transaction.open_table(ENTRIES)?.range(start..tail_start.min(end))? {
                    if !take(decode("entry", row?.1.value())?, &mut found) {
                        return Ok(false);
                    }
                }
                Ok(true)
            })?;
            if !complete {
                return Ok(found);
            }
        }
        for entry in recent {
            if !take(entry, &mut found) {
                break;
            }
        }
        Ok(found)
    }

    /// As [`Self::entries`], which reads the file only where memory has too little.
    async fn read_entries(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, io::Error> {
        let in_memory = {
            let cache = self.cache.lock();
            let start = start.max(cache.purged.map_or(0, |purged| purged.index + 1));
            cache.tail.first_key_value().is_some_and(|(&first, _)| first <= start)
        };
        if in_memory {
            return self.entries(start, end, bytes_max).map_err(io_error);
        }
        let log = self.clone();
        crate::blocking::run(move || log.entries(start, end, bytes_max)).await.map_err(io::Error::other)?.map_err(io_error)
    }

    async fn put<T: Serialize + Sync>(&self, name: &'static str, new: &T) -> Result<(), StoreError> {
        let bytes = encode(new);
        self.database.write(move |transaction| set(transaction, name, &bytes)).await
    }
}

impl Cache {
    fn push(&mut self, entry: Entry) {
        self.last = Some(entry.log_id());
        self.tail_bytes += weight(&entry);
        self.tail.insert(entry.log_id.index, entry);
    }

    /// Lets go of entries that are on disk and too many to hold.
    fn trim(&mut self) {
        while (self.tail.len() > TAIL_ENTRIES_MAX || self.tail_bytes > TAIL_BYTES_MAX)
            && let Some(first) = self.tail.first_entry()
            && *first.key() < self.flushed_end
        {
            self.tail_bytes -= weight(&first.remove());
        }
    }

    fn keep_tail(&mut self, keep: impl Fn(u64) -> bool) {
        self.tail.retain(|&index, _| keep(index));
        self.tail_bytes = self.tail.values().map(weight).sum();
    }
}

/// Memory that an entry takes, near enough.
fn weight(entry: &Entry) -> usize {
    /// An entry without payload.
    const BASE: usize = 64;
    match &entry.payload {
        EntryPayload::Normal(payload) => BASE + payload.0.len(),
        EntryPayload::Blank => BASE,
        EntryPayload::Membership(membership) => BASE + membership.nodes().count() * 2 * BASE,
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("log types have neither sequences of unknown length nor floats")
}

fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| StoreError::Corrupt { what, detail: error.to_string() })
}

fn value<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<Option<T>, StoreError> {
    table.get(name)?.map(|bytes| decode(name, bytes.value())).transpose()
}

fn set(transaction: &WriteTransaction, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    transaction.open_table(VALUES)?.insert(name, bytes)?;
    Ok(())
}

fn io_error(error: StoreError) -> io::Error {
    io::Error::other(error)
}

impl RaftLogReader<TypeConfig> for RaftLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        self.read_entries(start, end, usize::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.cache.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read_entries(start, end, APPEND_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let cache = self.cache.lock();
        Ok(LogState { last_purged_log_id: cache.purged, last_log_id: cache.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.put(VOTE, vote).await.map_err(io_error)?;
        self.cache.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        self.cache.lock().committed = committed;
        let Some(committed) = committed else { return Ok(()) };
        let bytes = encode(&committed);
        // The leader tells again after a crash, so this can wait for the next fsync; a failed one is reported to whoever needs it.
        self.database.submit(WriteDurability::Later, move |transaction| set(transaction, COMMITTED, &bytes), drop).await.map_err(io_error)
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<TypeConfig>>, io::Error> {
        Ok(self.cache.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (encoded, end, truncations) = {
            let mut cache = self.cache.lock();
            let mut encoded = Vec::new();
            for entry in entries {
                encoded.push((entry.log_id.index, encode(&entry)));
                cache.push(entry);
            }
            (encoded, cache.last.map_or(0, |last| last.index + 1), cache.truncations)
        };
        let cache = Arc::clone(&self.cache);
        let write = move |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            for (index, bytes) in &encoded {
                table.insert(index, bytes.as_slice())?;
            }
            Ok(())
        };
        let done = move |outcome: Result<(), StoreError>| {
            if outcome.is_ok() {
                let mut cache = cache.lock();
                if cache.truncations == truncations {
                    cache.flushed_end = cache.flushed_end.max(end);
                    cache.trim();
                }
            }
            callback.io_completed(outcome.map_err(io_error));
        };
        self.database.submit(WriteDurability::Fsync, write, done).await.map_err(io_error)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let end = last_log_id.map_or(0, |last| last.index + 1);
        {
            // Readers stop at `last`, so what is being removed from the file is out of sight at once.
            let mut cache = self.cache.lock();
            cache.truncations += 1;
            if cache.last.is_some_and(|last| last.index >= end) {
                cache.last = last_log_id.or(cache.purged);
            }
            cache.flushed_end = cache.flushed_end.min(end);
            cache.keep_tail(|index| index < end);
        }
        let write = move |transaction: &WriteTransaction| {
            transaction.open_table(ENTRIES)?.retain_in(end.., |_, _| false)?;
            Ok(())
        };
        self.database.write(write).await.map_err(io_error)
    }

    async fn purge(&mut self, log_id: LogIdOf<TypeConfig>) -> Result<(), io::Error> {
        let end = log_id.index + 1;
        {
            let mut cache = self.cache.lock();
            cache.purged = Some(log_id);
            if cache.last.is_none_or(|last| last.index < log_id.index) {
                cache.last = Some(log_id);
            }
            cache.flushed_end = cache.flushed_end.max(end);
            cache.keep_tail(|index| index >= end);
        }
        let bytes = encode(&log_id);
        let write = move |transaction: &WriteTransaction| {
            transaction.open_table(ENTRIES)?.retain_in(..end, |_, _| false)?;
            set(transaction, PURGED, &bytes)
        };
        self.database.write(write).await.map_err(io_error)
    }
}
