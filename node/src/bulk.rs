//! The thread for bulk work. Ceremonies compute for seconds; at the lowest priority they take only what signing leaves of the processor.

use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::oneshot;

/// Pieces of work that may wait; whoever hands in more waits with them, for bulk work has time.
const WAITING_MAX: usize = 16;
/// The lowest priority that a thread without privileges can give itself (`nice(2)`): a thread of normal priority that wants the processor
/// gets about seventy times as much of it.
const NICE: i32 = 19;

type Work = Box<dyn FnOnce() + Send>;

/// One thread that does what it is given, in order, at the lowest priority. It ends when the last handle is dropped and the work that
/// waits is done.
#[derive(Clone, Debug)]
pub struct BulkThread {
    queue: SyncSender<Work>,
}

impl BulkThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let (queue, work) = sync_channel::<Work>(WAITING_MAX);
        std::thread::Builder::new().name("bulk".to_owned()).spawn(move || {
            // On Linux a thread's own priority, not the process's. Without it bulk work is only less polite.
            if let Err(error) = rustix::process::nice(NICE) {
                tracing::warn!(%error, "the priority of bulk work cannot be lowered; signing may be slower during ceremonies");
            }
            for piece in work {
                piece();
            }
        })?;
        Ok(Self { queue })
    }

    /// Does a piece of work; `None` if it panicked, which ends only that piece.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = oneshot::channel();
        let piece: Work = Box::new(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // Whoever asked may have gone.
            let _ = done.send(outcome.ok());
        });
        let queue = self.queue.clone();
        // The queue may be full, and waiting for it must not hold up the reactor.
        crate::blocking::run(move || queue.send(piece)).await.ok()?.ok()?;
        result.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bulk_work_runs_in_order_at_the_lowest_priority_and_outlives_a_panic() {
        let bulk = BulkThread::start().expect("a thread");
        let priority = || rustix::process::getpriority_process(None).expect("the thread's own priority");
        assert_eq!(bulk.run(priority).await, Some(NICE));
        assert_eq!(priority(), 0, "other threads keep theirs");
        assert_eq!(bulk.run(|| -> u8 { panic!("a piece that fails") }).await, None);
        assert_eq!(bulk.run(|| 7).await, Some(7));
    }
}
