//! What happened, in order: a rolling hash over all of it, the last of it for whoever looks at a failure, and all of it for replaying.

use std::collections::VecDeque;

use sha2::{Digest as _, Sha256 as Hasher};

use super::fact::Fact;

/// Facts that are shown with a failure.
const LAST_SHOWN: usize = 40;

/// The record of one run.
#[derive(Debug)]
pub(super) struct Trace {
    hasher: Hasher,
    count: u64,
    last: VecDeque<(u64, Fact)>,
    all: Option<Vec<(u64, Fact)>>,
}

impl Trace {
    /// Starts one; `keep` keeps every fact, for an event log.
    #[must_use]
    pub(super) fn new(keep: bool) -> Self {
        Self { hasher: Hasher::new(), count: 0, last: VecDeque::new(), all: keep.then(Vec::new) }
    }

    /// Takes a fact.
    ///
    /// # Panics
    /// Never: facts serialize.
    pub(super) fn record(&mut self, at: u64, fact: Fact) {
        let bytes = postcard::to_stdvec(&(at, &fact)).expect("facts serialize");
        self.hasher.update((bytes.len() as u64).to_be_bytes());
        self.hasher.update(&bytes);
        self.count += 1;
        if let Some(all) = &mut self.all {
            all.push((at, fact.clone()));
        }
        if self.last.len() == LAST_SHOWN {
            self.last.pop_front();
        }
        self.last.push_back((at, fact));
    }

    /// Facts so far.
    #[must_use]
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The hash over all facts so far, as hexadecimal.
    #[must_use]
    pub(super) fn hash(&self) -> String {
        hex::encode(self.hasher.clone().finalize())
    }

    /// The last facts, oldest first.
    #[must_use]
    pub(super) fn last(&self) -> Vec<String> {
        self.last.iter().map(|(at, fact)| format!("{at:>8} ms  {}", shorten(format!("{fact:?}")))).collect()
    }

    /// All facts, if they were kept.
    #[must_use]
    pub(super) fn all(&self) -> &[(u64, Fact)] {
        self.all.as_deref().unwrap_or_default()
    }
}

fn shorten(mut text: String) -> String {
    const LENGTH: usize = 400;
    if text.len() > LENGTH {
        let end = (0..=LENGTH).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
