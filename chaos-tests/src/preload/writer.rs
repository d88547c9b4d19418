//! A process that does nothing but write to a node's kind of store: what the shim is tried on.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use redb::{ReadableTable as _, TableDefinition};
use warifu_node::store::{Database, DatabaseOptions, StoreError, WriteDurability};

/// Hidden command of `disk-faults` that is this process.
pub const WRITER_COMMAND: &str = "__writer";

const NUMBERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("numbers");
/// Some pages of each number, so that a commit is torn in many ways.
const VALUE_BYTES: usize = 10_000;

/// Writes numbers into the store at a path, each in a commit of its own, and prints each when it is told that it is written, until it is killed. With
/// `later` after the path, commits wait for no fsync.
///
/// # Errors
/// When the store fails: a line that begins with `failed` says so before.
pub fn run_writer(arguments: &[String]) -> anyhow::Result<()> {
    let (path, durability) = match arguments {
        [path] => (path, WriteDurability::Fsync),
        [path, later] if later == "later" => (path, WriteDurability::Later),
        _ => bail!("a path, and `later` or nothing"),
    };
    let database = Database::open(Path::new(path), DatabaseOptions { cache_bytes: 1 << 20 })?;
    let mut out = std::io::stdout().lock();
    for number in numbers(&database)?.len() as u64.. {
        let write = move |transaction: &redb::WriteTransaction| {
            transaction.open_table(NUMBERS)?.insert(number, vec![number as u8; VALUE_BYTES].as_slice())?;
            Ok(())
        };
        let (answer, waiting) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(database.submit(durability, write, move |outcome| drop(answer.send(outcome))))?;
        match waiting.recv().context("the store's writer is gone")? {
            Ok(()) => writeln!(out, "{number}")?,
            Err(error) => {
                writeln!(out, "failed")?;
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// The numbers in a store, which are those from 0 on.
///
/// # Errors
/// When it cannot be read.
pub fn numbers(database: &Database) -> Result<Vec<u64>, StoreError> {
    database.read(|transaction| {
        let table = match transaction.open_table(NUMBERS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut found = Vec::new();
        for row in table.iter()? {
            found.push(row?.0.value());
        }
        Ok(found)
    })
}
