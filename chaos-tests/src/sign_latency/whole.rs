//! The whole path: documents over HTTPS to the coordinator and back with their signatures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use tokio::task::JoinSet;
use warifu::clock::now;
use warifu::local_cluster::OpenSession;
use warifu::terminal::{Prepared, check_answer};
use warifu_api::{SignBody, SignDocument, SignResult};
use warifu_coordinator::document::sample;
use warifu_prescription::{SignatureFields, render};
use warifu_protocol::DocumentKind;

use crate::measure::{Latencies, Spread};
use crate::scene::document_id;

/// Documents signed before those that are measured: connections are open, and the coordinator has commitments of every node.
const WARM_UP: u32 = 40;
/// Time for which throughput runs before it is measured.
const WARM_UP_TIME: Duration = Duration::from_secs(1);

/// Single documents, one after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Sequential {
    /// From the request to the whole answer, at the client.
    pub call: Spread,
    /// The terminal's own work before: parsing, digest, the request's signature.
    pub terminal: Spread,
    /// Documents for which more than one set of sites was asked.
    pub retried: u64,
    /// Bytes of a document before and after.
    pub document_bytes: [usize; 2],
}

/// Callers that do not wait for each other.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    /// Callers at the same time.
    pub clients: u32,
    /// Documents in a call.
    pub batch: u32,
    /// Signed documents a second.
    pub documents_per_second: f64,
    /// From the request of a call to its whole answer.
    pub call: Spread,
    /// Documents for which more than one set of sites was asked.
    pub retried: u64,
}

/// One call: its time, and what came back.
struct Called {
    preparing: Duration,
    time: Duration,
    prepared: Vec<Prepared>,
    results: Vec<SignResult>,
}

/// Has one document signed, checks it as a terminal does, and gives the bytes that the sites signed.
pub(super) async fn signed_bytes(session: &mut OpenSession) -> anyhow::Result<Vec<u8>> {
    let first = session.file.take_seqs(1, now())?;
    let called = call(session, first, 1).await?;
    let request = &called.prepared[0].request.request;
    let SignResult::Signed { xml, signature, .. } = &called.results[0] else { bail!(failure(&called.results)) };
    let certificate = check_answer(&called.prepared[0].xml, request, xml, signature.as_slice(), &session.anchors, &[])?;
    let fields = SignatureFields {
        kind: request.kind,
        request: request.hash(),
        document: request.digest,
        signing_time: request.signing_time,
        certificate: certificate.der(),
    };
    Ok(render(&fields)?.signed_info)
}

/// Signs `count` documents one after the other, and checks each as a terminal does, outside of the time that is measured.
pub(super) async fn sequential(session: &mut OpenSession, count: u32) -> anyhow::Result<Sequential> {
    let first = session.file.take_seqs(WARM_UP + count, now())?;
    let (mut latencies, mut terminal, mut retried, mut document_bytes) = (Latencies::default(), Latencies::default(), 0, [0; 2]);
    for round in 0..WARM_UP + count {
        let called = call(session, first + round, 1).await?;
        let (sent, result) = (&called.prepared[0], &called.results[0]);
        let SignResult::Signed { xml, signature, attempts, .. } = result else { bail!(failure(&called.results)) };
        check_answer(&sent.xml, &sent.request.request, xml, signature.as_slice(), &session.anchors, &[])?;
        document_bytes = [sent.xml.len(), xml.len()];
        if round >= WARM_UP {
            latencies.record(called.time);
            terminal.record(called.preparing);
            retried += u64::from(*attempts > 1);
        }
    }
    Ok(Sequential { call: latencies.spread(), terminal: terminal.spread(), retried, document_bytes })
}

/// Lets `clients` callers send `batch` documents a call, each its next call when it has the answer to its last, for `time`. Ends early when
/// the session's numbers are spent.
pub(super) async fn throughput(mut session: OpenSession, clients: u32, batch: u32, time: Duration) -> anyhow::Result<Throughput> {
    let numbers = session.file.secret.statement.max_signatures;
    let first = session.file.take_seqs(numbers, now())?;
    let (session, next) = (Arc::new(session), Arc::new(AtomicU32::new(first)));
    let from = Instant::now() + WARM_UP_TIME;
    let until = from + time;
    let mut callers = JoinSet::new();
    for _ in 0..clients {
        let (session, next) = (Arc::clone(&session), Arc::clone(&next));
        callers.spawn(async move {
            let (mut latencies, mut retried, mut documents, mut last) = (Latencies::default(), 0, 0_u64, from);
            while Instant::now() < until {
                let seq = next.fetch_add(batch, Ordering::Relaxed);
                if seq - first + batch > numbers {
                    break;
                }
                let called = call(&session, seq, batch).await?;
                let ended = Instant::now();
                ensure!(called.results.iter().all(|result| matches!(result, SignResult::Signed { .. })), failure(&called.results));
                if ended >= from && ended <= until {
                    latencies.record(called.time);
                    documents += u64::from(batch);
                    retried +=
                        called.results.iter().filter(|result| matches!(result, SignResult::Signed { attempts: 2.., .. })).count() as u64;
                    last = ended;
                }
            }
            anyhow::Ok((latencies, retried, documents, last))
        });
    }
    let (mut latencies, mut retried, mut documents, mut end) = (Latencies::default(), 0, 0, from);
    while let Some(caller) = callers.join_next().await {
        let (more, again, signed, last) = caller.context("a caller panicked")??;
        latencies.add(&more);
        (retried, documents, end) = (retried + again, documents + signed, end.max(last));
    }
    let seconds = (end - from).as_secs_f64();
    ensure!(seconds > 0.0, "nothing was signed in {time:?}");
    Ok(Throughput { clients, batch, documents_per_second: documents as f64 / seconds, call: latencies.spread(), retried })
}

async fn call(session: &OpenSession, first_seq: u32, count: u32) -> anyhow::Result<Called> {
    let start = Instant::now();
    let secret = &session.file.secret;
    let prepare =
        |seq| Prepared::new(sample::prescription(&document_id()), DocumentKind::Prescription, session.session(), seq, &secret.key, now());
    let prepared = (first_seq..first_seq + count).map(prepare).collect::<Result<Vec<_>, _>>()?;
    let documents = prepared.iter().map(|one| SignDocument { xml: one.xml.clone(), request: one.request.clone() }).collect();
    let body = SignBody { documents };
    let preparing = start.elapsed();
    let start = Instant::now();
    let results = session.client.sign(&body).await?.results;
    let time = start.elapsed();
    ensure!(results.len() == prepared.len(), "{} results for {} documents", results.len(), prepared.len());
    Ok(Called { preparing, time, prepared, results })
}

fn failure(results: &[SignResult]) -> String {
    let problem = results.iter().find_map(|result| match result {
        SignResult::Failed { problem, .. } => Some(problem),
        SignResult::Signed { .. } => None,
    });
    problem.map_or_else(|| "a document was not signed".to_owned(), |problem| format!("a document was not signed: {problem:?}"))
}
