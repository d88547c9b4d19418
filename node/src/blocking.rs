//! Work that may wait for a disk: never on a thread that runs async code, where it would hold up everything else that runs there.

use std::cell::Cell;

use tokio::task::JoinHandle;

thread_local! {
    static MAY_WAIT: Cell<bool> = const { Cell::new(false) };
}

/// Does it on a thread that may wait, as [`tokio::task::spawn_blocking`] does. Stores are read in here, and on threads that are no runtime's.
pub fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(move || {
        // A thread that may wait now may run async code later.
        let _end = End(MAY_WAIT.replace(true));
        work()
    })
}

struct End(bool);

impl Drop for End {
    fn drop(&mut self) {
        MAY_WAIT.set(self.0);
    }
}

/// Where stores were read by async code so far, as far as it was noted. Always empty in a build without debug assertions.
#[must_use]
pub fn reads_by_async_code() -> Vec<String> {
    #[cfg(debug_assertions)]
    return noted::all();
    #[cfg(not(debug_assertions))]
    Vec::new()
}

/// Called at each read of a store.
pub(crate) fn note_read() {
    #[cfg(debug_assertions)]
    if !MAY_WAIT.get() && tokio::runtime::Handle::try_current().is_ok() {
        noted::here();
    }
}

#[cfg(debug_assertions)]
mod noted {
    use std::backtrace::Backtrace;

    use parking_lot::Mutex;

    /// Reads that are noted with where they come from, which takes milliseconds.
    const NOTED_MAX: usize = 64;
    /// Calls of this program that are kept of each, from the store upwards.
    const CALLS: usize = 8;

    static NOTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

    pub(super) fn here() {
        if NOTED.lock().len() >= NOTED_MAX {
            return;
        }
        let trace = Backtrace::force_capture().to_string();
        let ours = trace.lines().map(str::trim).filter(|line| line.contains("warifu_node::") && !line.contains("::blocking::"));
        let calls: Vec<&str> = ours.take(CALLS).collect();
        let text = calls.join(" < ");
        let mut noted = NOTED.lock();
        if !noted.contains(&text) {
            noted.push(text);
        }
    }

    pub(super) fn all() -> Vec<String> {
        NOTED.lock().clone()
    }
}
