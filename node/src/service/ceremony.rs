//! `warifu-ceremony/1`, and the loop that carries out what the ceremonies in the registry ask of this node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand_core::OsRng;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use warifu_core::ceremony::repair::Repairs;
use warifu_core::ceremony::{Backlog, CeremonyEffect, Dkg, DueRefreshes, Imports};
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::Registry as _;
use warifu_protocol::transport::{PeerClient, Role};
use warifu_protocol::wire::{CeremonyCall, CeremonyReply, OrderReply, Remembered, Round2};
use warifu_protocol::{Command, NodeId, NodeSigned, Refusal, SealingKey, StateMark, StateRoot};

use super::asking::Asking;
use super::background::{Background, Sweep};
use super::order::OrderService;
use super::scrub::Scrub;
use crate::bulk::BulkThread;
use crate::clock;
use crate::local::LocalStore;
use crate::replicated::Progress;
use crate::state::StateDatabase;

/// How often ceremonies are looked at when nothing is applied: their deadlines and retries are in seconds.
const TICK: Duration = Duration::from_millis(250);
/// Commands on their way into the log before a step waits for one of them: more than all open ceremonies ask for at once.
const PROPOSING_MAX: usize = 64;
/// Shortest pause before a step that makes a beginning which was held.
const HELD_MIN: Duration = Duration::from_millis(5);
/// Time for a peer to take round-2 packages or parts of a repair.
pub(super) const ROUND2_DEADLINE: Duration = Duration::from_secs(5);

/// This node's part in ceremonies.
pub struct CeremonyService {
    pub(super) identity: NodeIdentity,
    pub(super) state: StateDatabase,
    pub(super) local: Arc<LocalStore>,
    pub(super) orders: Arc<OrderService>,
    pub(super) peers: PeerClient,
    /// Whatever takes one of the locks below waits for steps that compute for long, and so is never done on a thread of the reactor.
    pub(super) bulk: BulkThread,
    pub(super) dkg: Mutex<Dkg>,
    pub(super) repairs: Mutex<Repairs>,
    pub(super) imports: Mutex<Imports>,
    pub(super) backlog: Mutex<Backlog>,
    pub(super) background: Background,
    pub(super) sweep: Mutex<Sweep>,
    /// Rings when the next step should not wait for its tick: a message of another node was taken, which may be the last that a ceremony waits for, or
    /// there is more to read.
    pub(super) again: Notify,
    pub(super) due: Mutex<DueRefreshes>,
    pub(super) scrub: Mutex<Scrub>,
    pub(super) asking: Asking,
}

/// What one step says.
#[derive(Default)]
struct Step {
    effects: Vec<CeremonyEffect>,
    /// Whether any ceremony is under way.
    is_busy: bool,
    /// For how long beginnings were held that there were to make.
    held: Option<Duration>,
}

impl CeremonyService {
    /// Puts the parts together; no secret of an earlier process is left.
    #[must_use]
    pub fn new(
        identity: NodeIdentity,
        state: StateDatabase,
        local: Arc<LocalStore>,
        orders: Arc<OrderService>,
        peers: PeerClient,
        bulk: BulkThread,
        background: Background,
        sealing: SealingKey,
    ) -> Self {
        let (dkg, imports) = (Mutex::new(Dkg::new(identity.clone())), Mutex::new(Imports::new(identity.clone(), sealing)));
        let (repairs, backlog) = (Mutex::new(Repairs::new(identity.clone())), Mutex::new(Backlog::new(identity.node())));
        let due = Mutex::new(DueRefreshes::new(identity.clone()));
        Self {
            identity,
            state,
            local,
            orders,
            peers,
            bulk,
            dkg,
            repairs,
            imports,
            backlog,
            background,
            sweep: Mutex::default(),
            again: Notify::new(),
            due,
            scrub: Mutex::default(),
            asking: Asking::default(),
        }
    }

    /// Answers another node.
    pub async fn handle(self: &Arc<Self>, from: NodeId, call: CeremonyCall) -> CeremonyReply {
        let service = Arc::clone(self);
        if let CeremonyCall::Repair(message) = call {
            let reply = self.bulk.run(move || service.take_repair(from, *message)).await.unwrap_or(CeremonyReply::NotYet);
            return self.note_taken(reply);
        }
        let answer = crate::blocking::run(move || match call {
            CeremonyCall::Repair(_) => CeremonyReply::NotYet,
            CeremonyCall::Round2(message) => service.take_round2(from, *message),
            CeremonyCall::StateRoot { boot, index } => service.state_root(from, boot, index),
            CeremonyCall::Remembered => service.remembered(from),
            CeremonyCall::StateMark { index } => service.state_mark(index),
        });
        self.note_taken(answer.await.unwrap_or(CeremonyReply::NotYet))
    }

    fn note_taken(&self, reply: CeremonyReply) -> CeremonyReply {
        if matches!(reply, CeremonyReply::Taken) {
            self.again.notify_one();
        }
        reply
    }

    /// Works until `stop` says so.
    pub async fn run(self: Arc<Self>, mut progress: watch::Receiver<Progress>, mut stop: watch::Receiver<bool>) {
        let (mut proposing, mut pause) = (JoinSet::new(), TICK);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                changed = progress.changed() => if changed.is_err() { return },
                () = self.again.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            while proposing.try_join_next().is_some() {}
            while proposing.len() >= PROPOSING_MAX {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    _ = proposing.join_next() => {}
                }
            }
            let Background { pace, metrics, .. } = &self.background;
            pace.step_begins();
            let service = Arc::clone(&self);
            let Step { effects, is_busy, held } = self.bulk.run(move || service.step()).await.unwrap_or_default();
            self.perform_all(effects, &mut proposing).await;
            pace.step_ended(clock::now(), is_busy);
            metrics.background_percent.set(pace.percent());
            pause = held.map_or(TICK, |held| held.clamp(HELD_MIN, TICK));
        }
    }

    /// What is to be done now. Beginnings wait while signing leaves no room for them, and then one is made at a time.
    fn step(&self) -> Step {
        let Ok(view) = self.state.view() else { return Step::default() };
        let Background { pace, metrics, .. } = &self.background;
        let (started, held) = (Instant::now(), pace.held(clock::now()));
        let begins = usize::from(held.is_zero());
        let mut dkg = self.dkg.lock();
        dkg.allow_begins(begins);
        // A store that may yet turn out to be an old one is not to be among the few that hold a new key.
        let is_confirmed = self.background.gate.is_open();
        let stepped = if is_confirmed { dkg.step(clock::now(), &view, self.local.as_ref(), &mut OsRng) } else { Ok(Vec::new()) };
        let mut effects = stepped.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a ceremony cannot go on here");
            Vec::new()
        });
        let mut begins_wait = dkg.begins_wait();
        drop(dkg);
        effects.extend(self.import_step(&view));
        let is_open = |open: Result<bool, _>| open.unwrap_or_default();
        let (background, waits) = self.background_step(&view, begins);
        effects.extend(background);
        begins_wait |= waits;
        let is_busy = !effects.is_empty()
            || is_open(view.open_ceremonies(1).map(|open| !open.is_empty()))
            || is_open(view.open_repairs().map(|open| !open.is_empty()))
            || is_open(view.open_imports(1).map(|open| !open.is_empty()));
        if begins_wait && begins == 0 {
            metrics.background_held.inc();
        }
        // Looking whether there is something to do is no work to rest from: rests would feed themselves.
        if !effects.is_empty() {
            pace.worked(clock::now(), started.elapsed());
        }
        Step { effects, is_busy, held: begins_wait.then_some(held) }
    }

    /// Carries effects out: shares are stored before anything that follows them, in order; what is proposed goes on beside the steps that follow, so that
    /// one ceremony does not wait for the log on behalf of another, and entries that wait together cost one write.
    async fn perform_all(self: &Arc<Self>, effects: Vec<CeremonyEffect>, proposing: &mut JoinSet<()>) {
        let (mut effects, mut stored) = (effects.into_iter(), 0);
        while let Some(effect) = effects.next() {
            match effect {
                CeremonyEffect::StorePending { ceremony, attempt, shares } => {
                    let started = Instant::now();
                    stored = shares.len() as u64;
                    if let Err(error) = self.local.store_shares(&shares).await {
                        tracing::error!(%ceremony, attempt, error = &error as &dyn std::error::Error, "shares cannot be stored");
                        // The confirmation that they are.
                        effects.next();
                    }
                    self.background.pace.worked(clock::now(), started.elapsed());
                }
                CeremonyEffect::Propose(command) => {
                    let (service, asking, stored) = (Arc::clone(self), self.asking.begin(&command), std::mem::take(&mut stored));
                    proposing.spawn(async move {
                        service.propose(command, stored).await;
                        drop(asking);
                    });
                }
                CeremonyEffect::SendRound2 { to, message } => {
                    let service = Arc::clone(self);
                    tokio::spawn(async move { service.send_round2(to, message).await });
                }
                CeremonyEffect::SendRepair { to, message } => {
                    let service = Arc::clone(self);
                    tokio::spawn(async move { service.send_repair(to, message).await });
                }
            }
        }
    }

    /// Has a command logged, before which so many shares were stored.
    async fn propose(self: &Arc<Self>, command: Command, stored: u64) {
        let kind = command.kind();
        match self.orders.propose_bulk(command.clone(), &self.bulk).await {
            OrderReply::Verdict(verdict) => {
                let (service, is_applied) = (Arc::clone(self), verdict.outcome.is_ok());
                self.bulk.run(move || service.note_verdict(&command, is_applied, stored)).await;
                match verdict.outcome {
                    Ok(_) => tracing::debug!(kind, "ceremony step logged"),
                    Err(refusal) => tracing::info!(kind, %refusal, "ceremony step refused"),
                }
            }
            OrderReply::Unknown { reason } => tracing::warn!(kind, reason, "ceremony step not logged yet"),
            OrderReply::View(_) | OrderReply::Status(_) | OrderReply::Stop(_) | OrderReply::Receipts(_) | OrderReply::ImportPacket(_) => {}
        }
    }

    async fn send_round2(self: &Arc<Self>, to: NodeId, message: NodeSigned<Round2>) {
        let (ceremony, attempt) = (message.body.ceremony, message.body.attempt);
        let call = CeremonyCall::Round2(Box::new(message));
        let Ok(request) = postcard::to_stdvec(&call).map(zeroize::Zeroizing::new) else { return };
        match self.peers.call(to, Role::Ceremony, &request, ROUND2_DEADLINE).await {
            Ok(reply) => match postcard::from_bytes::<CeremonyReply>(&reply) {
                Ok(CeremonyReply::Taken) => {
                    let service = Arc::clone(self);
                    self.bulk.run(move || service.dkg.lock().round2_acknowledged(ceremony, attempt, to)).await;
                }
                Ok(CeremonyReply::Refused(refusal)) => tracing::info!(%to, %refusal, "round-2 packages refused"),
                Ok(_) | Err(_) => tracing::debug!(%to, "round-2 packages not taken yet"),
            },
            Err(error) => tracing::info!(%to, error = &error as &dyn std::error::Error, "round-2 packages not delivered"),
        }
    }

    fn take_round2(&self, from: NodeId, message: NodeSigned<Round2>) -> CeremonyReply {
        let Ok(view) = self.state.view() else { return CeremonyReply::NotYet };
        self.dkg.lock().handle_round2(from, message, &view).unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "round-2 packages cannot be taken");
            CeremonyReply::NotYet
        })
    }

    fn remembered(&self, from: NodeId) -> CeremonyReply {
        match self.state.view().map(|view| view.node(from)) {
            Ok(Ok(record)) => CeremonyReply::Remembered(record.map(|record| Remembered { store: record.store, boot: record.boot })),
            Ok(Err(_)) | Err(_) => CeremonyReply::NotYet,
        }
    }

    fn state_mark(&self, index: u64) -> CeremonyReply {
        match self.state.mark_at(index) {
            Ok(Some(mark)) => CeremonyReply::StateMark(self.identity.sign(StateMark { index, mark })),
            Ok(None) | Err(_) => CeremonyReply::NotYet,
        }
    }

    /// Signs the root that this node has after the asker's `NodeStarted`, but only for the entry and boot that the log names.
    fn state_root(&self, from: NodeId, boot: warifu_protocol::BootId, index: u64) -> CeremonyReply {
        let Ok(view) = self.state.view() else { return CeremonyReply::NotYet };
        match (view.root_at(index), view.node(from)) {
            (Ok(Some(root)), Ok(Some(record))) if record.boot == boot && record.started_at == index => {
                CeremonyReply::StateRoot(self.identity.sign(StateRoot { boot, index, root }))
            }
            (Ok(Some(_)), Ok(_)) => CeremonyReply::Refused(Refusal::NodeRolledBack { node: from }),
            _ => CeremonyReply::NotYet,
        }
    }
}
