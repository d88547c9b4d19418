//! The run.

use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;
use warifu::local_cluster::{LocalCluster, NewHolder};
use warifu_api::ApiClient;
use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{CredentialId, Enrolment, OrderCommand, SubjectFields};

use super::floor::{Floor, dkg_floor};
use super::load::{Attempts, Load};
use super::options::Options;
use super::report::{Bulk, Report};
use crate::measure::load_average;
use crate::scene::{NODES, Scene, THRESHOLD, program, working_directory};

/// Sessions of 10,000 documents: at 50 a second, time for everything and some more.
const SESSIONS: usize = 8;
/// Keys that the floor is measured with: under two seconds.
const FLOOR_CREDENTIALS: u32 = 100;
/// How often a ceremony is looked at.
const POLL: Duration = Duration::from_millis(200);
/// Time for all bulk work of one kind.
const BULK_DEADLINE: Duration = Duration::from_secs(1_800);
/// Time for one answer about a ceremony.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// Sets up a cluster, measures, and takes it down.
///
/// # Errors
/// When the cluster does not come up or bulk work does not end; the figures are worth nothing then.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let before = load_average();
    let program = program(options.program.as_deref())?;
    let directory = working_directory(options.dir.as_deref(), "custody-")?;
    tell("the arithmetic alone")?;
    let floor = tokio::task::spawn_blocking(|| dkg_floor(NODES, THRESHOLD, FLOOR_CREDENTIALS)).await??;
    tell("founding a cluster")?;
    let mut scene = Scene::set(&directory.path().join("cluster"), &program).await?;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(scene.log_in().await?);
    }
    let load = Load::start(sessions, options.rate);
    tell(&format!("signing {} documents a second for {} s", options.rate, options.quiet))?;
    let quiet = Duration::from_secs(options.quiet);
    let started = Instant::now();
    tokio::time::sleep(quiet).await;
    let enrolling = Instant::now();
    enrol(&scene.cluster, options.credentials).await?;
    let enrolled = Instant::now();
    tell(&format!("signing for {} s more", options.quiet))?;
    tokio::time::sleep(quiet).await;
    let ended = Instant::now();
    anyhow::ensure!(!load.is_spent(), "the sessions' numbers were spent before the end; take a lower --rate");
    let attempts = load.stop().await?;
    scene.cluster.check_processes()?;
    tokio::task::spawn_blocking(move || scene.cluster.stop()).await?;
    let calm = attempts.between(started, enrolling);
    let span = Span { attempts: &attempts, from: enrolling, until: enrolled, calm_p99: calm.call.p99_us };
    Ok(Report {
        nodes: NODES,
        threshold: THRESHOLD,
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        rate: options.rate,
        load_average: [before, load_average()],
        bulk: vec![span.bulk("key generation", options.credentials, floor)],
        before: calm,
        after: attempts.between(enrolled, ended),
    })
}

/// The stretch of one kind of bulk work.
struct Span<'a> {
    attempts: &'a Attempts,
    from: Instant,
    until: Instant,
    calm_p99: f64,
}

impl Span<'_> {
    fn bulk(&self, what: &'static str, credentials: u32, floor: Floor) -> Bulk {
        let signing = self.attempts.between(self.from, self.until);
        let seconds = (self.until - self.from).as_secs_f64();
        let rate = f64::from(credentials) / seconds;
        Bulk {
            what,
            credentials,
            seconds,
            credentials_per_second: rate,
            ratio_to_floor: rate / floor.credentials_per_second,
            floor,
            p99_ratio: signing.call.p99_us / self.calm_p99,
            signing,
        }
    }
}

/// Enrols holders in ceremonies as large as they may be, and waits until all have keys.
async fn enrol(cluster: &LocalCluster, count: u32) -> anyhow::Result<()> {
    let holders = (0..count).map(|number| {
        let subject = SubjectFields::new("JP", None, "TRIAL Ishi", format!("BULK-{number:06}"))?;
        Ok(NewHolder { holder: format!("bulk-{number}").parse()?, subject })
    });
    let holders = holders.collect::<anyhow::Result<Vec<_>>>()?;
    let client = cluster.client(LocalCluster::CLIENT_CA, ANSWER_DEADLINE)?;
    let end = Instant::now() + BULK_DEADLINE;
    let mut last = Vec::new();
    for batch in holders.chunks(CEREMONY_CREDENTIALS_MAX) {
        let enrolments: Vec<Enrolment> = batch
            .iter()
            .map(|one| Enrolment {
                credential: CredentialId::new(rand::random()),
                holder: one.holder.clone(),
                subject: one.subject.clone(),
            })
            .collect();
        last.extend(enrolments.last().map(|enrolment| enrolment.credential));
        cluster.order(OrderCommand::Enrol { enrolments }, None).await?;
    }
    for (number, credential) in last.iter().enumerate() {
        wait_generated(&client, *credential, end).await?;
        tell(&format!("ceremony {} of {} ended", number + 1, last.len()))?;
    }
    Ok(())
}

/// All credentials of a ceremony get their keys at once.
async fn wait_generated(client: &ApiClient, credential: CredentialId, end: Instant) -> anyhow::Result<()> {
    while client.credential(credential).await?.state == CredentialState::Generating {
        if Instant::now() >= end {
            bail!("the ceremony of credential {credential} has not ended in {BULK_DEADLINE:?}");
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn tell(progress: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr().lock(), "custody: {progress}")?)
}
