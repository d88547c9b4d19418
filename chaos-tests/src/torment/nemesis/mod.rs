//! What is done to the cluster, one file for each kind.

mod clock_skew;
mod coordinator_killed;
mod disk;
mod disk_wiped;
mod everything_killed;
mod killed;
mod leader_killed;
mod network;
mod old_disk;
mod paused;
mod power_cut;
mod revoked;
mod rolling_restart;
mod rolling_upgrade;
mod second;
mod site_loss;
mod too_many_lost;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tokio::time::Instant;
use warifu_protocol::NodeId;

use super::plan::Planned;
use super::stage::Stage;
use crate::scene::THRESHOLD;
use second::Second;

/// How a note ends that says why nothing was done.
pub(super) const NOT_DONE: &str = "not done";
/// How a note begins that is about the second fault of a round.
pub(super) const MEANWHILE: &str = "meanwhile ";
/// What is said where there is no C compiler.
const NO_SHIM: &str = "the shim for disks is not there: not done";

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nemesis {
    /// SIGKILL of one to n - t nodes, which are started again.
    Killed,
    /// SIGSTOP of one to n - t nodes for a while.
    Paused,
    /// SIGKILL of the leader, again and again.
    LeaderKilled,
    /// n - t sites away at once, the leader among them.
    SiteLoss,
    /// n - t + 1 sites away: nothing may be signed.
    TooManyLost,
    /// Every node killed in one instant.
    EverythingKilled,
    /// Every node killed in one instant, and of every disk what was not fsynced is lost, or pieces of it.
    PowerCut,
    /// The leader cut off from all other nodes, but not from coordinators.
    LeaderIsolated,
    /// The nodes in two parts, the smaller of n - t.
    Split,
    /// A site that is heard and hears nobody.
    Deaf,
    /// The lines of one site come and go.
    Flapping,
    /// 150 ms of round trip and 5 % loss on all lines of n - t sites.
    SlowSites,
    /// The same on every line.
    WideArea,
    /// Loss, duplicates and reordering on every line.
    Untidy,
    /// SIGKILL of one coordinator and then the other, under load.
    CoordinatorKilled,
    /// Every node stopped in order and started, one after the other.
    RollingRestart,
    /// Every node stopped in order and started with the program of the next version, one after the other.
    RollingUpgrade,
    /// A site loses its disk and is replaced by order.
    DiskWiped,
    /// A site's disk of yesterday in place of today's.
    OldDisk,
    /// A site's disk is full.
    DiskFull,
    /// A site's disk fails or tears one write or fsync.
    DiskFails,
    /// Every fsync of a site takes five seconds.
    DiskSlow,
    /// A site's wall clock is wrong.
    ClockSkew,
    /// A physician's key is revoked while lines are untidy.
    Revoked,
}

/// How many sites are away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Away {
    /// At most n - t: every document must be signed.
    Spare,
    /// More: nothing may be signed meanwhile, and everything afterwards.
    TooMany,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Injection {
    /// How often.
    pub(super) times: u32,
    /// How often the second was done, if there is one.
    pub(super) second_times: Option<u32>,
    /// How long each node took to sign again after its start.
    pub(super) recoveries: Vec<(NodeId, Duration)>,
    /// When fewer than t sites were there.
    pub(super) dark: Vec<(Instant, Instant)>,
    /// When documents may fail: from the beginning of the dark until t sites gave shares again.
    pub(super) excused: Vec<(Instant, Instant)>,
    /// What is worth telling.
    pub(super) notes: Vec<String>,
}

impl Injection {
    fn of(times: u32, note: impl Into<String>) -> Self {
        Self { times, notes: vec![note.into()], ..Self::default() }
    }

    /// It was dark from `down` until sites were `started`, each of which took so long to serve, beside those that were `left`.
    fn darkened(mut self, down: Instant, started: Instant, recoveries: &BTreeMap<NodeId, Duration>, left: usize) -> Self {
        self.dark.push((down, started));
        self.excused.push((down, started + until_enough(recoveries, left)));
        self.recovered(recoveries.clone())
    }

    fn recovered(mut self, recoveries: BTreeMap<NodeId, Duration>) -> Self {
        self.recoveries.extend(recoveries);
        self
    }
}

impl Nemesis {
    /// How many sites it takes away.
    #[must_use]
    pub const fn away(self) -> Away {
        match self {
            Self::TooManyLost | Self::EverythingKilled | Self::PowerCut => Away::TooMany,
            Self::Killed
            | Self::Paused
            | Self::LeaderKilled
            | Self::SiteLoss
            | Self::LeaderIsolated
            | Self::Split
            | Self::Deaf
            | Self::Flapping
            | Self::SlowSites
            | Self::WideArea
            | Self::Untidy
            | Self::CoordinatorKilled
            | Self::RollingRestart
            | Self::RollingUpgrade
            | Self::DiskWiped
            | Self::OldDisk
            | Self::DiskFull
            | Self::DiskFails
            | Self::DiskSlow
            | Self::ClockSkew
            | Self::Revoked => Away::Spare,
        }
    }

    /// Whether untidy lines may come on top.
    #[must_use]
    pub const fn bears_weather(self) -> bool {
        matches!(
            self,
            Self::Killed
                | Self::Paused
                | Self::LeaderKilled
                | Self::SiteLoss
                | Self::CoordinatorKilled
                | Self::RollingRestart
                | Self::RollingUpgrade
        )
    }

    /// Whether it may be at one site while something else is done to others.
    #[must_use]
    pub const fn may_be_second(self) -> bool {
        matches!(self, Self::Killed | Self::Paused | Self::DiskFull | Self::DiskFails | Self::DiskSlow)
    }

    /// Whether it needs disks that forget and fail.
    #[must_use]
    pub const fn needs_disks(self) -> bool {
        matches!(self, Self::PowerCut | Self::DiskFull | Self::DiskFails | Self::DiskSlow)
    }

    /// As it is written on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Does it, and takes it back.
    async fn strike(self, stage: &mut Stage) -> anyhow::Result<Injection> {
        match self {
            Self::Killed => killed::strike(stage).await,
            Self::Paused => paused::strike(stage).await,
            Self::LeaderKilled => leader_killed::strike(stage).await,
            Self::SiteLoss => site_loss::strike(stage).await,
            Self::TooManyLost => too_many_lost::strike(stage).await,
            Self::EverythingKilled => everything_killed::strike(stage).await,
            Self::PowerCut => power_cut::strike(stage).await,
            Self::LeaderIsolated => network::leader_isolated(stage).await,
            Self::Split => network::split(stage).await,
            Self::Deaf => network::deaf(stage).await,
            Self::Flapping => network::flapping(stage).await,
            Self::SlowSites => network::slow_sites(stage).await,
            Self::WideArea => network::wide_area(stage).await,
            Self::Untidy => network::untidy(stage).await,
            Self::CoordinatorKilled => coordinator_killed::strike(stage).await,
            Self::RollingRestart => rolling_restart::strike(stage).await,
            Self::RollingUpgrade => rolling_upgrade::strike(stage).await,
            Self::DiskWiped => disk_wiped::strike(stage).await,
            Self::OldDisk => old_disk::strike(stage).await,
            Self::DiskFull => disk::strike(stage, disk::Kind::Full).await,
            Self::DiskFails => disk::strike(stage, disk::Kind::Fails).await,
            Self::DiskSlow => disk::strike(stage, disk::Kind::Slow).await,
            Self::ClockSkew => clock_skew::strike(stage).await,
            Self::Revoked => revoked::strike(stage).await,
        }
    }
}

impl Planned {
    /// Does what is planned, and takes it back.
    pub(super) async fn strike(self, stage: &mut Stage) -> anyhow::Result<Injection> {
        let Some(kind) = self.second else { return self.nemesis.strike(stage).await };
        let second = Second::begin(stage, kind).await?;
        let mut injection = self.nemesis.strike(stage).await?;
        let Injection { times, recoveries, notes, second_times: _, dark: _, excused: _ } = second.end(stage).await?;
        injection.second_times = Some(times);
        injection.recoveries.extend(recoveries);
        injection.notes.extend(notes.into_iter().map(|note| format!("{MEANWHILE}{note}")));
        Ok(injection)
    }
}

/// How long it took until t sites served, with those that were left.
fn until_enough(recoveries: &BTreeMap<NodeId, Duration>, left: usize) -> Duration {
    let mut times: Vec<Duration> = recoveries.values().copied().collect();
    times.sort_unstable();
    let missing = usize::from(THRESHOLD).saturating_sub(left);
    times.into_iter().take(missing).next_back().unwrap_or_default()
}

/// Node ids in words.
fn named(nodes: &[NodeId]) -> String {
    let ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    format!("{} {}", if ids.len() == 1 { "node" } else { "nodes" }, ids.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_may_fail_until_as_many_sites_serve_as_a_signature_takes_and_no_longer() {
        let seconds = [9, 2, 5, 7].map(Duration::from_secs);
        let recoveries: BTreeMap<NodeId, Duration> = (1..).filter_map(NodeId::new).zip(seconds).collect();
        assert_eq!(until_enough(&recoveries, 0), Duration::from_secs(7), "the third of them");
        assert_eq!(until_enough(&recoveries, 2), Duration::from_secs(2), "two were left");
        let down = Instant::now();
        let started = down + Duration::from_secs(1);
        let injection = Injection::of(1, "dark").darkened(down, started, &recoveries, 1);
        assert_eq!(injection.dark, [(down, started)]);
        assert_eq!(injection.excused, [(down, started + Duration::from_secs(5))]);
        assert_eq!(injection.recoveries.len(), 4);
    }
}
