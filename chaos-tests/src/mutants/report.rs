//! What noticed each weakening: a table, or JSON.

use std::fmt;

use serde::Serialize;

use super::catalogue::Row;
use crate::command::Outcome;

/// The report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// One for each weakening.
    pub entries: Vec<Entry>,
    /// Seeds that noticed one, and break nothing in a program that is not weakened.
    pub sound_seeds: usize,
    /// Seeds that break something in a program that is not weakened, and what: they prove nothing, and something is wrong.
    pub unsound: Vec<String>,
    /// Tests that noticed one, and pass in a program that is not weakened.
    pub sound_tests: usize,
    /// Real time, with building the tests.
    pub seconds: f64,
    /// Whether this is only the list.
    pub is_list: bool,
}

/// One weakening.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its name.
    pub mutant: &'static str,
    /// What the program does differently.
    pub words: &'static str,
    /// Seeds of the simulator, if they are to notice it.
    pub seeds: Option<Notice>,
    /// The tests that are to notice it.
    pub tests: Vec<Notice>,
    #[serde(skip)]
    expected: String,
}

/// What one search came to.
#[derive(Clone, Debug, Serialize)]
pub struct Notice {
    /// The invariant or test that noticed; nothing if it survived.
    pub by: Option<String>,
    /// The seed in which it was noticed.
    pub seed: Option<u64>,
    /// Seeds up to that one.
    pub tried: u64,
    /// How often the weakened check was asked: 0 means that the seeds never come there.
    pub times_asked: u64,
    /// Real time.
    pub seconds: f64,
}

impl Report {
    pub(super) fn list(rows: &[Row]) -> Self {
        Self { entries: rows.iter().map(Entry::new).collect(), is_list: true, ..Self::default() }
    }
}

impl Entry {
    pub(super) fn new(row: &Row) -> Self {
        let tests = row.tests().map(|test| test.describe());
        let seeds = row.by_seeds.map(|by| match by.invariant {
            Some(invariant) => format!("`{invariant}` in seeds about {:?}", by.focus),
            None => format!("seeds about {:?}", by.focus),
        });
        let expected = seeds.into_iter().chain(tests).collect::<Vec<_>>().join(", ");
        Self { mutant: row.mutant.name(), words: row.mutant.words(), seeds: None, tests: Vec::new(), expected }
    }

    /// Whether everything that is to notice it did.
    #[must_use]
    pub fn is_noticed(&self) -> bool {
        let mut notices = self.seeds.iter().chain(&self.tests).peekable();
        notices.peek().is_some() && notices.all(|notice| notice.by.is_some())
    }

    /// By what, after how many seeds and in what time.
    pub(super) fn line(&self) -> String {
        let (by, seeds, seconds) = self.cells();
        format!("{}: {by}, {seeds} seeds, {seconds} s", self.mutant)
    }

    fn cells(&self) -> (String, String, String) {
        let seeds = self.seeds.as_ref().map(|notice| match &notice.by {
            Some(by) => format!("`{by}`"),
            None => format!("**SURVIVED** {} seeds (asked {} times): {}", notice.tried, notice.times_asked, self.expected),
        });
        let tests = self.tests.iter().map(|notice| match &notice.by {
            Some(by) => format!("`{by}`"),
            None => format!("**SURVIVED** {}", self.expected),
        });
        let by = seeds.into_iter().chain(tests).collect::<Vec<_>>().join(", ");
        let tried = self.seeds.as_ref().map_or_else(|| "-".to_owned(), |notice| notice.tried.to_string());
        let seconds: f64 = self.seeds.iter().chain(&self.tests).map(|notice| notice.seconds).sum();
        (by, tried, format!("{seconds:.1}"))
    }
}

impl Outcome for Report {
    fn passes(&self) -> bool {
        self.is_list || (!self.entries.is_empty() && self.unsound.is_empty() && self.entries.iter().all(Entry::is_noticed))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_list {
            writeln!(f, "| weakening | what the program does then | is to be noticed by |\n|---|---|---|")?;
            for entry in &self.entries {
                writeln!(f, "| `{}` | {} | {} |", entry.mutant, entry.words, entry.expected)?;
            }
            return write!(f, "{} weakenings", self.entries.len());
        }
        writeln!(f, "| weakening | what the program does then | noticed by | seeds | s |\n|---|---|---|---|---|")?;
        for entry in &self.entries {
            let (by, seeds, seconds) = entry.cells();
            writeln!(f, "| `{}` | {} | {by} | {seeds} | {seconds} |", entry.mutant, entry.words)?;
        }
        let survived = self.entries.iter().filter(|entry| !entry.is_noticed()).count();
        let (weakenings, seeds, tests) = (self.entries.len(), self.sound_seeds, self.sound_tests);
        writeln!(f, "\nnot weakened: {seeds} of these seeds break nothing, {tests} of these tests pass; {:.0} s in all", self.seconds)?;
        for unsound in &self.unsound {
            writeln!(f, "NOT WEAKENED, and all the same {unsound}")?;
        }
        if survived == 0 {
            write!(f, "all {weakenings} weakenings were noticed")
        } else {
            write!(f, "{survived} of {weakenings} weakenings SURVIVED")
        }
    }
}
