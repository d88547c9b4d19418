//! Talking to the person: facts to standard output, questions and progress to standard error.

use std::io::{self, BufRead, IsTerminal, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Why nothing was done: the person did not agree.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// The person said no.
    #[error("not confirmed: nothing was done")]
    Declined,
    /// Nobody is there to ask.
    #[error("nobody to ask: standard input is not a terminal; give `--yes` to confirm what is shown")]
    NoTerminal,
    /// The terminal failed.
    #[error("the answer could not be read")]
    Input(#[source] io::Error),
}

/// How a command talks. Every command writes through it, so that `--json` output is one JSON value and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    json: bool,
}

impl Console {
    /// With `json`, standard output carries JSON only; texts for people go to standard error.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether standard output carries JSON.
    #[must_use]
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Writes a line for people. A reader that has gone away is no error of the command.
    pub fn say(self, text: impl AsRef<str>) {
        let _ = if self.json { writeln!(io::stderr(), "{}", text.as_ref()) } else { writeln!(io::stdout(), "{}", text.as_ref()) };
    }

    /// Writes what went wrong to standard error.
    pub fn complain(self, text: impl AsRef<str>) {
        let _ = writeln!(io::stderr(), "error: {}", text.as_ref());
    }

    /// Writes the command's data: as JSON, or as `text` makes it for people.
    ///
    /// # Panics
    /// Never for this program's types: they hold no map with keys that are no text.
    pub fn data<T: Serialize>(self, data: &T, text: impl FnOnce() -> String) {
        let text = if self.json { serde_json::to_string_pretty(data).expect("the program's types serialize to JSON") } else { text() };
        let _ = writeln!(io::stdout(), "{text}");
    }

    /// Asks for a `yes` unless it was given beforehand.
    ///
    /// # Errors
    /// See [`ConfirmError`].
    pub fn confirm(self, question: &str, yes: bool) -> Result<(), ConfirmError> {
        if yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(ConfirmError::NoTerminal);
        }
        let _ = write!(io::stderr(), "{question} Type `yes`: ").and_then(|()| io::stderr().flush());
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(ConfirmError::Input)?;
        if answer.trim() == "yes" { Ok(()) } else { Err(ConfirmError::Declined) }
    }

    /// A spinner on standard error; nothing where that is no terminal.
    #[must_use]
    pub fn spinner(self, text: &str) -> ProgressBar {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("a valid template"));
        bar.set_message(text.to_owned());
        bar.enable_steady_tick(SPINNER_TICK);
        bar
    }
}

/// A table in the form that all commands have.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

const SPINNER_TICK: std::time::Duration = std::time::Duration::from_millis(120);
