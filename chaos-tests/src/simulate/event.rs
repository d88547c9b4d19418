//! What travels and what is waited for in a run.

use warifu_coordinator_core::AttemptId;
use warifu_core::ceremony::CeremonyEffect;
use warifu_protocol::wire::{CeremonyCall, CeremonyReply, OrderCall, OrderReply, SignCall, SignReply};
use warifu_protocol::{BootId, CeremonyId, Command, CredentialId, Name, NodeId, RepairPartKind, StopCommand, StopId};

/// A process of a site: copies of a site have numbers of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    /// Which site.
    pub(super) node: NodeId,
    /// 0 for the site itself.
    pub(super) copy: u8,
}

/// Who sends or waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Party {
    /// A site's process.
    Site(Place),
    /// A coordinator.
    Coordinator(usize),
}

/// Names a call until its answer or its deadline.
pub(super) type CallId = u64;

/// What is asked of a site.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// On `warifu-sign/1`, by a coordinator of this name.
    Sign(Name, SignCall),
    /// On `warifu-order/1`.
    Order(OrderCall),
    /// On `warifu-ceremony/1`.
    Ceremony(CeremonyCall),
    /// On `warifu-raft/1`: the leader is to bring a command into the log.
    Forward(Command),
}

/// What a site answers.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// To [`Request::Sign`].
    Sign(SignReply),
    /// To [`Request::Order`] and [`Request::Forward`].
    Order(OrderReply),
    /// To [`Request::Ceremony`].
    Ceremony(CeremonyReply),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    /// A call.
    Request {
        /// By whom.
        from: Party,
        /// Whom.
        to: NodeId,
        /// Its name.
        call: CallId,
        /// What.
        request: Request,
    },
    /// An answer.
    Reply {
        /// Of whom.
        from: Place,
        /// To whom.
        to: Party,
        /// To which call.
        call: CallId,
        /// What.
        reply: Reply,
    },
}

/// Whose call an answer belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyTo {
    /// Who asked.
    pub(super) party: Party,
    /// Which call.
    pub(super) call: CallId,
}

/// A call that is waited for.
#[derive(Debug)]
pub(super) struct Call {
    /// Who waits.
    pub(super) from: Party,
    /// Which process of it.
    pub(super) generation: u64,
    /// What goes on with the answer.
    pub(super) then: Then,
}

/// What goes on with an answer, or without one.
#[derive(Debug)]
pub(super) enum Then {
    /// A site: round-2 packages were taken.
    Round2 {
        /// By whom.
        to: NodeId,
        /// Of which ceremony.
        ceremony: CeremonyId,
        /// Of which attempt.
        attempt: u32,
    },
    /// A site: parts of a repair were taken.
    Repair {
        /// By whom.
        to: NodeId,
        /// Of which repair.
        ceremony: CeremonyId,
        /// Of which attempt.
        attempt: u32,
        /// Which parts.
        kind: RepairPartKind,
    },
    /// A site: a peer's root.
    Root(NodeId),
    /// A site: what a peer's state was.
    Mark(NodeId),
    /// A site: what a peer remembers.
    Remembered(NodeId),
    /// A site: a command's verdict.
    Proposed(Box<Proposal>),
    /// A coordinator: fresh commitments.
    Commitments {
        /// Of whom.
        node: NodeId,
        /// How many were asked for.
        wanted: usize,
        /// When.
        asked: u64,
    },
    /// A coordinator: an item's answer.
    Item {
        /// Which job.
        job: u64,
        /// How many further views it might have gathered by then: each gathering counts its signer sets from 0.
        views_left: u32,
        /// Which signer set.
        attempt: AttemptId,
        /// Whom.
        node: NodeId,
        /// Commitments that were asked for.
        wanted: usize,
        /// When.
        asked: u64,
    },
    /// A lying coordinator: commitments to keep, whatever else was asked for.
    Hoard(NodeId),
    /// A coordinator: a site's status.
    Status {
        /// Whom.
        node: NodeId,
        /// When.
        asked: u64,
    },
    /// A coordinator: a site's view of a credential.
    View {
        /// Whom.
        node: NodeId,
        /// Which credential.
        credential: CredentialId,
    },
    /// A coordinator: a stop's answer.
    Stop {
        /// Whom.
        node: NodeId,
        /// Which.
        stop: StopId,
    },
    /// A coordinator: a command's verdict for a client.
    Order {
        /// Which errand.
        errand: u64,
        /// Sites that were tried.
        tried: u32,
    },
    /// Nobody waits.
    Nothing,
}

/// Why a site proposes.
#[derive(Debug)]
pub(super) enum Proposal {
    /// To be confirmed under this boot id.
    Announcement(BootId),
    /// A ceremony's effect.
    Effect(Command),
    /// For a coordinator.
    Relay(ReplyTo),
    /// What it holds, or a checkpoint: nothing depends on the answer.
    Own,
}

/// Which store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Store {
    /// The local store.
    Local,
    /// The state store.
    State,
}

/// What comes at an instant.
#[derive(Debug)]
pub(super) enum Event {
    /// A message arrives.
    Packet(Box<Packet>),
    /// Nobody answered.
    Expire(CallId),
    /// A site's own clockwork.
    Tick {
        /// Whose.
        place: Place,
        /// Which process.
        generation: u64,
    },
    /// A write has ended.
    Written {
        /// Whose.
        place: Place,
        /// Which process.
        generation: u64,
        /// On which store.
        store: Store,
    },
    /// A site hears of the log.
    Replicate(Place),
    /// The leader commits.
    Commit,
    /// A new leader is elected.
    Elect,
    /// A site is to run.
    Start(Place),
    /// The copy of a site is found out, and switched off.
    EndCopy(NodeId),
    /// A site that was removed is switched off.
    SwitchOff(NodeId),
    /// A coordinator is to run.
    StartCoordinator(usize),
    /// A coordinator's own clockwork.
    CoordinatorTick {
        /// Whose.
        coordinator: usize,
        /// Which process.
        generation: u64,
    },
    /// A job's instant has come.
    Job {
        /// Whose.
        coordinator: usize,
        /// Which process.
        generation: u64,
        /// Which job.
        job: u64,
    },
    /// The people do something.
    Work,
    /// The adversary asks once more.
    Insist(Box<super::attack::Insistence>),
    /// Something goes wrong.
    Fault(Fault),
}

/// Faults that come by themselves, again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// A one-way cut.
    Cut,
    /// A site's process dies.
    Crash,
    /// A disk is full.
    Full,
    /// An image of a disk is taken, to be put back later.
    Restore,
    /// A copy of a site is started.
    Clone,
    /// A clock jumps.
    Jump,
    /// A coordinator's process dies.
    CoordinatorCrash,
    /// Another leader.
    Election,
    /// The lying coordinator asks for what it should not.
    Attack,
    /// A site is replaced by order.
    Replace,
    /// A share is gone from a disk.
    Rot,
    /// A site comes or goes for good.
    Roster,
}

impl Fault {
    /// In words.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Crash => "process killed",
            Self::Full => "disk full",
            Self::Restore => "old disk",
            Self::Clone => "copy",
            Self::Jump => "clock",
            Self::CoordinatorCrash => "coordinator killed",
            Self::Election => "leader",
            Self::Attack => "attack",
            Self::Replace => "replaced",
            Self::Rot => "share lost",
            Self::Roster => "roster",
        }
    }
}

/// What a stop is on its way as.
#[derive(Clone, Debug)]
pub(super) struct StopErrand {
    /// The stop.
    pub(super) stop: StopCommand,
    /// Whether the client was told.
    pub(super) is_acknowledged: bool,
    /// Sent again until then.
    pub(super) until: u64,
}

/// Effects of a ceremony that wait for the one before them.
pub(super) type Effects = std::collections::VecDeque<CeremonyEffect>;
