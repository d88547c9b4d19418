//! CRLs kept fresh by a process that fetches them again and again.

use std::path::PathBuf;
use std::time::Duration;

use super::error::CredentialError;
use super::facility::fetch;
use crate::console::Console;
use crate::error::chain;
use crate::orders::{OrderArgs, OrderError};

/// What to fetch, how often, and how it is approved
#[derive(clap::Args, Debug)]
pub struct WatchArgs {
    /// Where the lists are
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Certificate of a CA that is not pinned itself and issued one of them
    #[arg(long = "issuer", value_name = "FILE")]
    issuers: Vec<PathBuf>,
    /// Where to keep the lists
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Seconds from one round to the next, give or take a tenth, so that several watchers do not ask at once
    #[arg(long, value_name = "SECONDS", default_value_t = EVERY_SECONDS, value_parser = clap::value_parser!(u64).range(EVERY_SECONDS_MIN..=EVERY_SECONDS_MAX))]
    every: u64,
    /// The order
    #[command(flatten)]
    order: Box<OrderArgs>,
}

/// Fetches in rounds until the process is told to stop by Ctrl-C or SIGTERM. What fails is said and tried again, sooner than the next round.
///
/// # Errors
/// [`OrderError::Unfit`] without keys and `--yes`: nobody is there to be asked; and when the genesis cannot be read at the start.
pub(super) async fn watch(args: &WatchArgs, console: Console) -> Result<(), CredentialError> {
    let WatchArgs { sources, issuers, dir, every, order } = args;
    if order.approve_with.is_empty() || !order.yes {
        let reason = "nobody is asked later: give --approve-with and --yes".to_owned();
        return Err(OrderError::Unfit { reason }.into());
    }
    order.context(console)?;
    let every = Duration::from_secs(*every);
    let rounds = async {
        let mut failures = 0;
        loop {
            let pause = match fetch(sources, issuers, dir, order, console).await {
                Ok(()) => {
                    failures = 0;
                    every
                }
                Err(error) => {
                    console.complain(chain(&error));
                    failures += 1;
                    retry_pause(failures).min(every)
                }
            };
            tokio::time::sleep(pause.mul_f64(0.9 + 0.2 * rand::random::<f64>())).await;
        }
    };
    tokio::select! {
        () = rounds => Ok(()),
        () = told_to_stop() => Ok(()),
    }
}

/// The pause after so many failed rounds in a row.
fn retry_pause(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Four times a day: lists are made daily, and two missed rounds leave time to act.
const EVERY_SECONDS: u64 = 6 * 60 * 60;
/// More often would only load a CA that publishes daily.
const EVERY_SECONDS_MIN: u64 = 10;
/// Beyond a day a list that is made daily is missed.
const EVERY_SECONDS_MAX: u64 = 24 * 60 * 60;
/// After the first failed round; it doubles, up to the pause between rounds.
const RETRY_MIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_rounds_are_tried_again_ever_later_and_the_pause_never_overflows() {
        let pauses: Vec<u64> = (1..=4).map(|failures| retry_pause(failures).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40]);
        assert!(retry_pause(u32::MAX) >= Duration::from_secs(EVERY_SECONDS_MAX));
    }
}
