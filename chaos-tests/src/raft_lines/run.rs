//! The run: faults while clients write, then none until everything is whole, then every disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use warifu::local_cluster::status_at;
use warifu_protocol::NodeId;

use super::checks::check;
use super::clients::{CALLERS, Clients, Outcome, Write};
use super::faults::{Fault, Planned};
use super::nodes::{Nodes, admin_socket};
use super::options::Options;
use super::report::{Report, Round, SLICE};
use crate::command::Progress;
use crate::meanwhile::Meanwhile;
use crate::measure::{Latencies, Spread, load_average};
use crate::preload::{Disk, Occasion, Shim};
use crate::proxy::Mesh;
use crate::scene::{self, NODES, Scene};
use crate::simulate::{Dice, SeedTree};
use crate::torment::{Checked, lay};

const PROGRESS: Progress = Progress("raft-lines");
/// Time for the founded cluster to be there.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// How often nodes are looked at.
const POLL: Duration = Duration::from_millis(50);
/// A disk fails once at most so many fsyncs of that node later.
const SYNCS_MAX: u64 = 20;

/// What is tormented.
struct Stage {
    mesh: Mesh,
    nodes: Nodes,
    disk: Option<Disk>,
    directory: std::path::PathBuf,
    dice: Dice,
}

/// Founds, has clients write under faults, heals, checks.
///
/// # Errors
/// When the cluster cannot be set up, or its disks not be read. Broken promises are in the report.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let (before, start) = (load_average(), Instant::now());
    let seed = options.seed.unwrap_or_else(rand::random);
    let directory = options.common.working_directory(PROGRESS)?;
    PROGRESS.tell(&format!("seed {seed}: founding a cluster"))?;
    let path = directory.path().join("cluster");
    let mut cluster = Scene::found(&path, &std::env::current_exe()?, CALLERS).await?;
    let mesh = lay(&mut cluster, CALLERS, None, seed).await?;
    let disk = match Shim::build(directory.path()) {
        Ok(shim) => Some(Disk::new(&shim, &path, "nodes.log", &directory.path().join("journal"))?),
        Err(error) => {
            PROGRESS.tell(&format!("disks do not fail: {error:#}"))?;
            None
        }
    };
    let mut nodes = Nodes::start(&path, disk.as_ref())?;
    for node in scene::nodes() {
        nodes.start_node(node, true).await?;
    }
    let (cluster, seeds) = (Arc::new(cluster), SeedTree::new(seed));
    let mut stage = Stage { mesh, nodes, disk, directory: path.clone(), dice: seeds.rng("faults", 0) };
    stage.until_whole(READY_DEADLINE).await.context("the cluster does not come up")?;
    let watching = Leaders::watch(&path);
    let mut clients = Clients::start(&cluster, &stage.mesh, options.clients, seeds)?;
    let started = Instant::now();
    let mut dice = seeds.rng("rounds", 0);
    let mut rounds = Vec::new();
    while started.elapsed() < Duration::from_secs(options.seconds) && options.rounds.is_none_or(|most| (rounds.len() as u64) < most) {
        let planned = Planned::draw(&mut dice, Duration::from_millis(options.round_millis));
        rounds.push((stage.round(&planned).await?, Instant::now()));
    }
    let safe = Instant::now();
    PROGRESS.tell("the faults are over")?;
    stage.mesh.weather().clear();
    let heal = Duration::from_secs(options.heal);
    let mut stuck = Vec::new();
    if !clients.finish(heal).await? {
        stuck.push(format!("a client was not told what became of its write within {heal:?} without faults"));
    }
    let acknowledged = Instant::now();
    if let Err(error) = stage.until_whole(heal).await {
        stuck.push(format!("{error:#}"));
    }
    let whole = Instant::now();
    let leaders = watching.stop().await?;
    let datagrams = stage.mesh.weather().injected();
    let Stage { nodes, mesh, .. } = stage;
    nodes.kill().await?;
    drop(mesh);
    PROGRESS.tell("reading every disk")?;
    let writes = clients.writes();
    let checked = {
        let (genesis, writes, path) = (cluster.genesis().clone(), writes.clone(), path.clone());
        tokio::task::spawn_blocking(move || check(&genesis, &path, &writes, leaders)).await??
    };
    let since = |at: Instant| at.saturating_duration_since(started).as_secs_f64();
    let rounds = rounds.into_iter().map(|(struck, until)| struck.round(&writes, started, until)).collect();
    let kept = options.keep.then(|| directory.keep().display().to_string());
    let report = Report {
        seed,
        again: options.again(seed),
        nodes: NODES,
        clients: options.clients,
        load_average: [before, load_average()],
        rounds,
        writes: spread(&writes, started, whole),
        acknowledged: writes.iter().filter(|write| matches!(write.outcome, Outcome::Acknowledged(_))).count(),
        unknown: writes.iter().filter(|write| write.outcome == Outcome::Unknown).count(),
        datagrams,
        healed: [since(acknowledged) - since(safe), since(whole) - since(safe)],
        stuck,
        checked,
        seconds: start.elapsed().as_secs_f64(),
        kept,
        over_time: over_time(&writes, started, whole),
    };
    if let Some(path) = &options.html {
        std::fs::write(path, report.html()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}

/// One round as it went.
struct Struck {
    title: String,
    from: Instant,
    times: u64,
    notes: Vec<String>,
}

impl Stage {
    async fn round(&mut self, planned: &Planned) -> anyhow::Result<Struck> {
        let (from, mut times, mut notes) = (Instant::now(), u64::from(planned.lines.is_some()), Vec::new());
        if let Some(lines) = planned.lines {
            let leader = self.leader().await;
            notes.extend(lines.put_on_lines(&self.mesh, leader, &mut self.dice));
        }
        let node = *self.dice.pick(&scene::nodes()).context("there are nodes")?;
        match planned.site {
            Some(Fault::Stopped) => {
                notes.push(format!("node {node} stopped"));
                times += 1;
                self.nodes.stop_node(node).await?;
                sleep(planned.length).await;
                self.nodes.start_node(node, false).await?;
            }
            Some(site) => {
                let armed = site.of_disk(node, &mut self.dice);
                let later = self.dice.between(1, SYNCS_MAX);
                if let (Some((fault, lasting, file)), Some(disk)) = (armed, &self.disk) {
                    let nth = if lasting { 1 } else { later };
                    let before = disk.counts()?.fired;
                    disk.arm(fault, &Occasion { nth, file: Some(&file), lasting })?;
                    sleep(planned.length).await;
                    disk.disarm()?;
                    let fired = disk.counts()?.fired - before;
                    notes.push(format!("{fault:?} at node {node}, {fired} times"));
                    times += fired;
                    // A store whose commit failed takes no more writes until it is opened again.
                    if site == Fault::FailingDisk {
                        self.nodes.stop_node(node).await?;
                        self.nodes.start_node(node, false).await?;
                    }
                } else {
                    sleep(planned.length).await;
                }
            }
            None => sleep(planned.length).await,
        }
        self.mesh.weather().clear();
        self.nodes.check()?;
        PROGRESS.tell(&format!("{}: {} ({:.1} s)", planned.title(), notes.join("; "), from.elapsed().as_secs_f64()))?;
        Ok(Struck { title: planned.title(), from, times, notes })
    }

    async fn leader(&self) -> Option<NodeId> {
        let mut newest = None;
        for node in scene::nodes() {
            newest = newest.max(self.nodes.status(node).await.map(|status| (status.term, status.leader)));
        }
        newest.and_then(|(_, leader)| leader)
    }

    /// Waits until every node is confirmed and all have applied everything that any has.
    async fn until_whole(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + deadline;
        loop {
            self.nodes.check()?;
            let mut places = BTreeMap::new();
            for node in scene::nodes() {
                let status = self.nodes.status(node).await;
                places.insert(node, status.map(|status| (status.applied, status.last_log, status.confirmed)));
            }
            let mut values = places.values();
            if let Some(Some((applied, last, true))) = values.next()
                && applied == last
                && values.all(|other| *other == Some((*applied, *last, true)))
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "the nodes do not come to one entry in {deadline:?}; applied, last, and whether confirmed, of each: {places:?}; see {}",
                self.directory.display()
            );
            sleep(POLL).await;
        }
    }
}

/// Looks at every node again and again: a term has one leader (raft: election safety).
struct Leaders(tokio::sync::watch::Sender<bool>, JoinHandle<Checked>);

impl Leaders {
    fn watch(directory: &Path) -> Self {
        let sockets: Vec<_> = scene::nodes().into_iter().map(|node| admin_socket(directory, node)).collect();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let watching = tokio::spawn(async move {
            let (mut leaders, mut seen) = (BTreeMap::new(), LeadersSeen::default());
            while !*stopped.borrow() {
                for socket in &sockets {
                    if let Some(said) = status_at(socket).await
                        && let Some(leader) = said.leader
                    {
                        seen.look(&mut leaders, said.term, leader);
                    }
                }
                sleep(POLL).await;
            }
            seen.into()
        });
        Self(stop, watching)
    }

    async fn stop(self) -> anyhow::Result<Checked> {
        let Self(stop, watching) = self;
        let _ = stop.send(true);
        watching.await.context("the watch panicked")
    }
}

#[derive(Default)]
struct LeadersSeen {
    looked_at: u64,
    violations: Vec<String>,
}

impl LeadersSeen {
    fn look(&mut self, leaders: &mut BTreeMap<u64, NodeId>, term: u64, leader: NodeId) {
        self.looked_at += 1;
        let first = *leaders.entry(term).or_insert(leader);
        if first != leader {
            self.violations.push(format!("nodes {first} and {leader} led in term {term}"));
        }
    }
}

impl From<LeadersSeen> for Checked {
    fn from(seen: LeadersSeen) -> Self {
        Self { invariant: "one_leader_in_a_term", looked_at: seen.looked_at, violations: seen.violations }
    }
}

impl Struck {
    fn round(self, writes: &[Write], started: Instant, until: Instant) -> Round {
        let Self { title, from, times, notes } = self;
        let within = writes.iter().filter(|write| write.began < until && ended(write).is_none_or(|ended| ended > from));
        let longest = within.clone().filter_map(|write| Some(ended(write)? - write.began)).max();
        let count = |is_such: fn(&Outcome) -> bool| within.clone().filter(|write| is_such(&write.outcome)).count() as u64;
        // From the end of the fault until what was begun after it was acknowledged.
        let healed = writes.iter().filter(|write| write.began >= until).filter_map(ended).min().map(|first| first - until);
        let meanwhile = Meanwhile {
            times,
            requests: count(|_| true),
            failed: count(|outcome| matches!(outcome, Outcome::Refused(_))),
            unknown: count(|outcome| *outcome == Outcome::Unknown),
            longest_gap: longest_gap(writes, from, until).as_secs_f64(),
            recovery: healed.map(|time| time.as_secs_f64()),
        };
        Round {
            title,
            from: (from - started).as_secs_f64(),
            until: (until - started).as_secs_f64(),
            meanwhile,
            longest_write: longest.map(|time| time.as_secs_f64()),
            notes,
        }
    }
}

/// The longest time in which no write was acknowledged.
fn longest_gap(writes: &[Write], from: Instant, until: Instant) -> Duration {
    let mut instants: Vec<Instant> = writes.iter().filter_map(ended).filter(|ended| *ended > from && *ended < until).collect();
    instants.extend([from, until]);
    instants.sort_unstable();
    instants.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

const fn ended(write: &Write) -> Option<Instant> {
    match write.outcome {
        Outcome::Acknowledged(at) => Some(at),
        Outcome::Unknown | Outcome::Refused(_) => None,
    }
}

fn spread(writes: &[Write], from: Instant, until: Instant) -> Spread {
    let mut latencies = Latencies::default();
    let within = writes.iter().filter(|write| write.began >= from && write.began < until);
    within.filter_map(|write| Some(ended(write)? - write.began)).for_each(|time| latencies.record(time));
    latencies.spread()
}

fn over_time(writes: &[Write], from: Instant, until: Instant) -> Vec<Spread> {
    let slices = (until - from).as_secs_f64() / SLICE.as_secs_f64();
    (0..slices.ceil() as u32).map(|slice| spread(writes, from + SLICE * slice, from + SLICE * (slice + 1))).collect()
}

#[cfg(test)]
mod tests {
    use warifu_protocol::OrderId;

    use super::*;

    #[test]
    fn two_leaders_in_one_term_are_seen() {
        let node = |id| NodeId::new(id).expect("a node id");
        let (mut leaders, mut seen) = (BTreeMap::new(), LeadersSeen::default());
        for (term, leader) in [(1, 1), (2, 2), (1, 1), (3, 1)] {
            seen.look(&mut leaders, term, node(leader));
        }
        assert!(seen.violations.is_empty());
        seen.look(&mut leaders, 2, node(3));
        assert_eq!((seen.looked_at, seen.violations.len()), (5, 1));
    }

    #[test]
    fn a_round_has_the_writes_that_were_on_their_way_in_it_and_heals_with_the_first_that_was_begun_after_it() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let write = |began, outcome| {
            let facility = "facility".parse().expect("a name");
            Write { order: OrderId::new([1; OrderId::LEN]), facility, began: at(began), outcome }
        };
        let writes = [
            write(0, Outcome::Acknowledged(at(50))),
            write(90, Outcome::Acknowledged(at(150))),
            write(120, Outcome::Refused("no".to_owned())),
            write(160, Outcome::Unknown),
            write(165, Outcome::Unknown),
            write(170, Outcome::Acknowledged(at(260))),
            write(210, Outcome::Acknowledged(at(300))),
        ];
        let struck = Struck { title: "loss".to_owned(), from: at(100), times: 2, notes: Vec::new() };
        let round = struck.round(&writes, start, at(200));
        let expected = Meanwhile { times: 2, requests: 5, failed: 1, unknown: 2, longest_gap: 0.05, recovery: Some(0.1) };
        assert_eq!(round.meanwhile, expected);
        assert_eq!(round.longest_write, Some(0.09));
    }
}
