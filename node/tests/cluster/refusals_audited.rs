//! What a node refuses stands in its audit log, with the reason, what it was about and who asked.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use warifu_node::keys::NodeKeys;
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::{CRL_CHUNK_BYTES, LOG_ENTRY_BYTES_MAX, SIGN_BATCH_MAX};
use warifu_protocol::transport::{PeerClient, PeerId, Role};
use warifu_protocol::wire::{
    CeremonyCall, CeremonyReply, NotYet, OrderCall, OrderReply, PacketAnswer, RepairScalars, Round2, SignAnswer, SignCall, SignItem,
    SignWork, StopAnswer,
};
use warifu_protocol::{
    AuditEvent, AuditSubject, Blob, BootId, CallRefusal, CeremonyId, ClusterId, Command, CredentialId, DocumentKind, ImportPacket, NodeId,
    Order, OrderCommand, OrderId, Policy, Refusal, RepairPart, RepairPartKind, Sha256, SignedRequest, StopCommand,
};

use crate::clinic::{Clinic, LISTS_AGE_MILLIS};
use crate::corrupt_members::client;
use crate::lost_shares::events;
use crate::signing::{csr, enrolled, sign, until_generated_at};
use crate::support::{CALL, TestCluster, name, node_id};

/// More refused stops than a node records in the seconds that they take, of which it records 50 each.
const MANY: u64 = 1000;
const RECORDED_PER_SECOND: u64 = 50;
/// Time for an entry that is written after the answer to be seen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is sent to the node.
enum Sent {
    Items(Vec<SignItem>),
    Command(Command),
    Stop(StopCommand),
}

/// Which entry says that it was refused.
enum Entry {
    /// For shares of a document, of a credential's CSR, or of a batch that was not looked at.
    Share { request: Option<SignedRequest>, credential: Option<CredentialId> },
    /// For a command of this kind, about this.
    Command(&'static str, AuditSubject),
}

fn coordinator() -> PeerId {
    PeerId::Coordinator(name("coordinator-1"))
}

/// What was sent is a command with this digest.
fn digest(sent: &Sent) -> Option<Sha256> {
    let command = match sent {
        Sent::Items(_) => return None,
        Sent::Command(command) => command.clone(),
        Sent::Stop(stop) => stop.clone().into_command(),
    };
    Some(Sha256::new(sha256(&postcard::to_stdvec(&command).expect("a command serializes"))))
}

/// What the node refused to the test's coordinator without the log.
async fn refusals(cluster: &TestCluster, node: NodeId) -> anyhow::Result<Vec<AuditEvent>> {
    let is_refusal = |event: &AuditEvent| match event {
        AuditEvent::ShareRefused { .. } | AuditEvent::ShareNotYet { .. } => true,
        AuditEvent::CommandRefused { peer, .. } | AuditEvent::CallRefused { peer, .. } => *peer == coordinator(),
        _ => false,
    };
    Ok(events(cluster, node).await?.into_iter().filter(is_refusal).collect())
}

/// What the node answers, of which all that it says is a refusal.
async fn refused(cluster: &TestCluster, node: NodeId, sent: Sent) -> anyhow::Result<Refusal> {
    match sent {
        Sent::Items(items) => {
            let reply = sign(cluster, node, &SignCall::SignBatch { items, refill: 0 }).await?;
            let mut refusals = reply.answers.into_iter().map(|answer| match answer {
                SignAnswer::Refused(refusal) => Ok(refusal),
                other => bail!("it is not refused: {other:?}"),
            });
            let first = refusals.next().context("an answer")??;
            for refusal in refusals {
                ensure!(refusal? == first, "all items are refused alike");
            }
            Ok(first)
        }
        Sent::Command(command) => loop {
            // A node that has not applied all of its log has the log refuse it, which is another entry.
            let verdict = cluster.propose(node, command.clone()).await?;
            let refusal = verdict.outcome.err().context("it is not refused")?;
            if verdict.index == 0 {
                return Ok(refusal);
            }
        },
        Sent::Stop(stop) => match cluster.call(node, &OrderCall::Stop(Box::new(stop))).await? {
            OrderReply::Stop(StopAnswer::Refused(refusal)) => Ok(refusal),
            other => bail!("it is not refused: {other:?}"),
        },
    }
}

/// Sends one thing after the other, each of which is refused with its code and has its one entry.
async fn must_be_recorded(cluster: &TestCluster, node: NodeId, table: Vec<(&'static str, Sent, &str, Entry)>) -> anyhow::Result<()> {
    for (case, sent, code, entry) in table {
        let before = refusals(cluster, node).await?.len();
        let digest = digest(&sent);
        let refusal = refused(cluster, node, sent).await.context(case)?;
        assert_eq!(refusal.code(), code, "{case}: {refusal}");
        let expected = match (entry, digest) {
            (Entry::Share { request, credential }, _) => {
                AuditEvent::ShareRefused { request, credential, refusal, coordinator: name("coordinator-1") }
            }
            (Entry::Command(kind, subject), Some(command)) => {
                AuditEvent::CommandRefused { peer: coordinator(), kind: kind.to_owned(), subject, command, refusal }
            }
            (Entry::Command(..), None) => bail!("{case}: no command"),
        };
        assert_eq!(refusals(cluster, node).await?.split_off(before), [expected], "{case}");
    }
    Ok(())
}

fn about_order(id: u8) -> AuditSubject {
    AuditSubject { order: Some(OrderId::new([id; 16])), ..AuditSubject::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_node_refuses_stands_in_its_audit_log_with_the_reason_and_who_asked() -> anyhow::Result<()> {
    let clinic = Clinic::open().await?;
    let (cluster, physician) = (&clinic.cluster, &clinic.physician);
    let nodes = [1, 2].map(node_id);
    let node = nodes[0];
    let session = clinic.log_in(physician, 1).await?;
    let ended = clinic.log_in(physician, 2).await?;
    clinic.must_apply(Command::SessionClosed(ended.closing())).await?;
    clinic.must_sign(&nodes, &session.prescription(1, 1)?).await?;

    let mut forged = session.prescription(2, 2)?;
    forged.signature.0[0] ^= 1;
    let used = session.prescription(1, 2)?;
    let foreign = session.sign(session.request(3, DocumentKind::Dispensing, 3)?);
    let late = ended.prescription(1, 4)?;
    let above = session.prescription(session.statement.max_signatures + 1, 5)?;
    let item = |request: SignedRequest| {
        let clinic = &clinic;
        async move { anyhow::Ok(vec![clinic.item(physician, &nodes, &request).await?]) }
    };
    let credential = physician.view.credential;
    let mut second_csr = item(used.clone()).await?;
    second_csr[0].work = SignWork::Csr { credential };
    let too_many = vec![second_csr[0].clone(); SIGN_BATCH_MAX + 1];
    let mut order = cluster.order(101, OrderCommand::EnrolFacility { facility: name("clinic-2") }, 1);
    order.approvals[0].signature.0[0] ^= 1;
    let unapproved = cluster.order(102, OrderCommand::Suspend { credential }, 0);
    let mut forged_stop = cluster.order(103, OrderCommand::Revoke { credential }, 2);
    forged_stop.approvals[0].signature.0[0] ^= 1;
    let mut closing = session.closing();
    closing.signature.0[0] ^= 1;
    let closing = StopCommand::SessionClosing(closing);
    let stop = |order: &Order| Sent::Stop(StopCommand::Order(order.clone()));
    let about_stop = |order: &Order, id| AuditSubject {
        stop: Some(StopCommand::Order(order.clone()).id()),
        credential: Some(credential),
        ..about_order(id)
    };
    let about_closing = AuditSubject { session: Some(session.statement.session()), stop: Some(closing.id()), ..AuditSubject::default() };
    let no_stop = cluster.order(104, OrderCommand::EnrolFacility { facility: name("clinic-2") }, 1);
    let document = |request: &SignedRequest| Entry::Share { request: Some(request.clone()), credential: None };
    let facility = "facility-enrolled";

    let table = vec![
        ("a bad signature", Sent::Items(item(forged.clone()).await?), "request-signature-invalid", document(&forged)),
        ("a used number", Sent::Items(item(used.clone()).await?), "seq-used", document(&used)),
        ("a foreign role", Sent::Items(item(foreign.clone()).await?), "role-missing", document(&foreign)),
        ("a closed session", Sent::Items(item(late.clone()).await?), "session-closed", document(&late)),
        ("over the session's limit", Sent::Items(item(above.clone()).await?), "seq-out-of-range", document(&above)),
        ("a second CSR", Sent::Items(second_csr), "credential-state", Entry::Share { request: None, credential: Some(credential) }),
        ("a batch too large", Sent::Items(too_many), "too-large", Entry::Share { request: None, credential: None }),
        ("a badly signed order", Sent::Command(Command::Order(order)), "signature-invalid", Entry::Command(facility, about_order(101))),
        (
            "a stop that nobody approved",
            stop(&unapproved),
            "approvals-missing",
            Entry::Command("credential-suspended", about_stop(&unapproved, 102)),
        ),
        (
            "a badly signed stop",
            stop(&forged_stop),
            "signature-invalid",
            Entry::Command("credential-revoked", about_stop(&forged_stop, 103)),
        ),
        ("a badly signed end", Sent::Stop(closing), "signature-invalid", Entry::Command("session-closed", about_closing)),
        ("no stop", stop(&no_stop), "not-stopping", Entry::Command(facility, about_order(104))),
    ];
    must_be_recorded(cluster, node, table).await?;

    let before = events(cluster, node).await?.len();
    let reply = sign(cluster, node, &SignCall::SignBatch { items: Vec::new(), refill: 0 }).await?;
    assert!(reply.answers.is_empty() && reply.commitments.is_empty(), "nothing is asked, nothing answered: {reply:?}");
    assert_eq!(events(cluster, node).await?.len(), before, "and nothing refused");
    clinic.must_sign(&nodes, &session.prescription(4, 6)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn openings_certificates_and_lists_that_a_node_refuses_stand_in_its_audit_log() -> anyhow::Result<()> {
    let clinic = Clinic::open().await?;
    let (cluster, physician, pharmacist) = (&clinic.cluster, &clinic.physician, &clinic.pharmacist);
    let node = node_id(1);
    let session = clinic.session(physician, 1);
    let opening = clinic.opening(physician, &session)?;
    let foreign_card = clinic.opening(pharmacist, &session)?;
    let mut elsewhere = clinic.session(physician, 2);
    elsewhere.statement.cluster = ClusterId::new([9; 32]);
    let elsewhere = clinic.opening(physician, &elsewhere)?;
    let opened = |opening: &warifu_protocol::SessionOpening| {
        let (statement, command) = (&opening.statement, Command::SessionOpened(opening.clone()));
        let (session, credential) = (Some(statement.session()), Some(statement.credential));
        (Sent::Command(command), Entry::Command("session-opened", AuditSubject { session, credential, ..AuditSubject::default() }))
    };

    let credential = physician.view.credential;
    let other_key = cluster.holders_authority.certify_holder(9, &[7; 32], &physician.view.subject, "Medical Doctor")?;
    let install = OrderCommand::InstallCertificate { credential, certificate: other_key, intermediates: Vec::new() };
    let install = cluster.order_at(101, physician.view.version.0, install, 1);
    let installing = AuditSubject { credential: Some(credential), ..about_order(101) };

    let revoking = cluster.cards_authority.list(2, LISTS_AGE_MILLIS / 2, &[pharmacist.card_serial])?;
    let no_list = [0x30; 40];
    for (id, list) in [(102, revoking.as_slice()), (105, &no_list)] {
        clinic.must_apply(Command::Order(cluster.order(id, OrderCommand::update_crl(list, 2, None), 1))).await?;
    }
    let piece = |id, bytes: &[u8]| Command::CrlChunk { order: OrderId::new([id; 16]), index: 0, bytes: bytes.into() };

    let oversized = piece(106, &vec![0; LOG_ENTRY_BYTES_MAX]);

    let ((unbound, about_unbound), (wrong_cluster, about_elsewhere)) = (opened(&foreign_card), opened(&elsewhere));
    let table = vec![
        ("an unbound card", unbound, "card-unbound", about_unbound),
        ("another cluster's session", wrong_cluster, "wrong-cluster", about_elsewhere),
        (
            "a certificate over another key",
            Sent::Command(Command::Order(install)),
            "certificate-refused",
            Entry::Command("certificate-installed", installing),
        ),
        ("a piece of no list", Sent::Command(piece(103, b"piece")), "crl-chunk-unexpected", Entry::Command("crl-chunk", about_order(103))),
        ("another piece", Sent::Command(piece(102, b"piece")), "crl-chunk-unexpected", Entry::Command("crl-chunk", about_order(102))),
        ("a command that fits into no entry", Sent::Command(oversized), "malformed", Entry::Command("crl-chunk", about_order(106))),
        ("a list that is none", Sent::Command(piece(105, &no_list)), "crl-refused", Entry::Command("crl-chunk", about_order(105))),
    ];
    must_be_recorded(cluster, node, table).await?;

    ensure!(revoking.len() <= CRL_CHUNK_BYTES, "the list has one piece");
    clinic.must_apply(piece(102, &revoking)).await?;
    let on_the_list = clinic.session(pharmacist, 3);
    let (revoked, about_revoked) = opened(&clinic.opening(pharmacist, &on_the_list)?);
    must_be_recorded(cluster, node, vec![("a revoked card", revoked, "card-revoked", about_revoked)]).await?;
    clinic.must_apply(Command::SessionOpened(opening)).await?;
    clinic.must_sign(&[node, node_id(3)], &session.prescription(1, 1)?).await?;

    // From now on the lists are older than the policy takes them.
    let policy = Policy { crl_age_millis_max: LISTS_AGE_MILLIS / 4, ..cluster.genesis.body().policy.clone() };
    let order = cluster.change(104, 1, OrderCommand::UpdatePolicy { policy }, &[1, 2]).await?;
    clinic.must_apply(Command::Order(order)).await?;
    let (late, about_late) = opened(&clinic.opening(physician, &clinic.session(physician, 4))?);
    let request = session.prescription(2, 2)?;
    let document = Sent::Items(vec![clinic.item(physician, &[node, node_id(3)], &request).await?]);
    let of_document = Entry::Share { request: Some(request), credential: None };
    let table = vec![("a stale list", late, "crl-stale", about_late), ("a document on a stale list", document, "crl-stale", of_document)];
    must_be_recorded(cluster, node, table).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_that_is_asked_for_twice_and_a_session_that_nobody_opened_are_on_record() -> anyhow::Result<()> {
    let clinic = Clinic::open().await?;
    let (cluster, physician) = (&clinic.cluster, &clinic.physician);
    let nodes = [1, 2].map(node_id);
    let session = clinic.log_in(physician, 1).await?;
    let first = clinic.item(physician, &nodes, &session.prescription(1, 1)?).await?;
    let answer = crate::signing::answer(cluster, nodes[0], &first).await?;
    ensure!(matches!(answer, SignAnswer::Share(_)), "{answer:?}");

    let (mut again, twice) = (first.clone(), session.prescription(2, 2)?);
    again.work = SignWork::Document { request: twice.clone(), certificate: physician.certificate };
    let unopened = clinic.session(physician, 2).prescription(1, 3)?;
    let unknown = clinic.item(physician, &nodes, &unopened).await?;
    for (item, request, reason) in [(again, twice, NotYet::NonceUnknown), (unknown, unopened, NotYet::StateBehind)] {
        let before = refusals(cluster, nodes[0]).await?.len();
        let answer = crate::signing::answer(cluster, nodes[0], &item).await?;
        ensure!(matches!(answer, SignAnswer::NotYet { reason: why, .. } if why == reason), "{reason:?}: {answer:?}");
        let nonce = Some(item.signers[0].nonce);
        let expected =
            AuditEvent::ShareNotYet { request: Some(request), credential: None, nonce, reason, coordinator: name("coordinator-1") };
        assert_eq!(refusals(cluster, nodes[0]).await?.split_off(before), [expected], "{reason:?}");
    }
    clinic.must_sign(&nodes, &session.prescription(3, 4)?).await
}

/// The one entry of a call that was refused to this peer with such a request, once it is there.
async fn until_recorded(
    cluster: &TestCluster,
    node: NodeId,
    peer: &PeerId,
    called: &str,
    sent: Option<&[u8]>,
) -> anyhow::Result<(AuditSubject, CallRefusal)> {
    let digest = sent.map(|bytes| Sha256::new(sha256(bytes)));
    let started = Instant::now();
    loop {
        let found = events(cluster, node).await?.into_iter().filter_map(|event| match event {
            AuditEvent::CallRefused { peer: by, call, subject, request, refusal }
                if (&by, call.as_str(), request) == (peer, called, digest) =>
            {
                Some((subject, refusal))
            }
            _ => None,
        });
        let mut found: Vec<_> = found.collect();
        match found.pop() {
            Some(entry) if found.is_empty() => return Ok(entry),
            Some(_) => bail!("{called} of {peer} is recorded more than once"),
            None => ensure!(started.elapsed() < PATIENCE, "{called} of {peer} is not recorded"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_and_coordinators_may_not_send_stands_in_the_audit_log() -> anyhow::Result<()> {
    let (cluster, credential) = enrolled(3, 2).await?;
    let nodes = [1, 3].map(node_id);
    until_generated_at(&cluster, &nodes).await?;
    let (node, liar) = (nodes[0], node_id(2));
    let keys = NodeKeys::load(&cluster.config(liar).node.keys)?;
    let as_liar = client(&cluster, &keys.tls)?;
    let identity = keys.identity(liar, cluster.genesis.cluster());
    let (ceremony, to, other) = (CeremonyId::new([1; 16]), node_id(3), PeerId::Node(liar));

    // Messages for another node, and a start of the liar that was not.
    let round2 = identity.sign(Round2 { ceremony, attempt: 1, to, packages: Vec::new() });
    let part = identity.sign(RepairPart { ceremony, attempt: 1, to, kind: RepairPartKind::Delta, hashes: Vec::new() });
    let confirmed = events(&cluster, liar).await?.into_iter().find_map(|event| match event {
        AuditEvent::Confirmed { index, .. } => Some(index),
        _ => None,
    });
    let index = confirmed.context("the start of node 2")?;
    let about = AuditSubject { ceremony: Some(ceremony), node: Some(liar), ..AuditSubject::default() };
    for (called, call, code, subject) in [
        ("round-2 packages", CeremonyCall::Round2(Box::new(round2)), "malformed", about),
        ("parts of a repair", CeremonyCall::Repair(Box::new(RepairScalars { part, scalars: Vec::new() })), "malformed", about),
        ("state root", CeremonyCall::StateRoot { boot: BootId::new([9; 16]), index }, "node-rolled-back", AuditSubject::default()),
    ] {
        let request = postcard::to_stdvec(&call)?;
        let reply = as_liar.call(node, Role::Ceremony, &request, CALL).await?;
        let CeremonyReply::Refused(refusal) = postcard::from_bytes(&reply)? else { bail!("{called} is not refused") };
        assert_eq!(refusal.code(), code, "{called}: {refusal}");
        let entry = until_recorded(&cluster, node, &other, called, Some(&request)).await?;
        assert_eq!(entry, (subject, CallRefusal::Refused(refusal)), "{called}");
    }

    let packet = ImportPacket { order: OrderId::new([8; 16]), node: to, sealed: Blob(vec![1; 64]) };
    let call = OrderCall::ImportPacket(Box::new(packet));
    let OrderReply::ImportPacket(PacketAnswer::Refused(refusal)) = cluster.call(node, &call).await? else { bail!("a packet is taken") };
    let request = postcard::to_stdvec(&call)?;
    let entry = until_recorded(&cluster, node, &coordinator(), "import packet", Some(&request)).await?;
    assert_eq!(entry, (about_order(8), CallRefusal::Refused(refusal)));

    // What cannot be read, or is not for this peer to ask.
    type Expected = fn(&CallRefusal) -> bool;
    let malformed: Expected = |refusal| matches!(refusal, CallRefusal::Malformed { .. });
    let denied: Expected = |refusal| matches!(refusal, CallRefusal::Denied { .. });
    let propose = |command: Command| postcard::to_stdvec(&OrderCall::Propose(Box::new(command)));
    let order = propose(Command::Order(cluster.order(9, OrderCommand::EnrolFacility { facility: name("clinic-1") }, 1)))?;
    let longer = [order.as_slice(), &[0]].concat();
    type Row<'a> = (&'a PeerClient, &'a PeerId, Role, &'a [u8], bool, Expected);
    let table: [Row<'_>; 8] = [
        (&as_liar, &other, Role::Ceremony, &[0xff], true, malformed),
        (&as_liar, &other, Role::Raft, &[0xff], true, malformed),
        (&as_liar, &other, Role::Order, &order, true, denied),
        (&cluster.client, &coordinator(), Role::Sign, &[0xff], true, malformed),
        (&cluster.client, &coordinator(), Role::Order, &longer, true, malformed),
        (&cluster.client, &coordinator(), Role::Raft, &[0xff], false, denied),
        (&cluster.client, &coordinator(), Role::Ceremony, &[0xff], false, denied),
        (&as_liar, &other, Role::Sign, &[0xff], false, denied),
    ];
    for (caller, peer, role, request, is_read, expected) in table {
        ensure!(caller.call(node, role, request, CALL).await.is_err(), "{role} of {peer} is answered");
        let (subject, refusal) = until_recorded(&cluster, node, peer, &role.to_string(), is_read.then_some(request)).await?;
        assert!(expected(&refusal) && subject == AuditSubject::default(), "{role} of {peer}: {refusal:?}");
    }
    csr(&cluster, &credential, &nodes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_stops_do_not_fill_the_audit_log() -> anyhow::Result<()> {
    let cluster = TestCluster::start(3, 2).await?;
    let credential = CredentialId::new([1; 16]);
    let stop = StopCommand::Order(cluster.order(1, OrderCommand::Suspend { credential }, 0));
    let started = Instant::now();
    for _ in 0..MANY {
        refused(&cluster, node_id(1), Sent::Stop(stop.clone())).await?;
    }
    // A second of the wall clock is begun before the first and another after the last, and the clock may be a little faster.
    let bound = RECORDED_PER_SECOND * (started.elapsed().as_secs() + 3);
    let recorded = refusals(&cluster, node_id(1)).await?.len() as u64;
    assert!((RECORDED_PER_SECOND..=bound).contains(&recorded), "{recorded} of {MANY} were recorded, {bound} may be");
    Ok(())
}
