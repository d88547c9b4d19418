//! Weakenings of this program on purpose, one at a time, so that it can be seen that something notices each of them.
//!
//! A check that may be weakened asks [`is_on`], or has a step more in [`weaken!`](crate::weaken). In every build but one that was asked for
//! by `WARIFU_MUTANTS=1` the first is `false` at compile time and the second is nothing. A build with them that lacks debug assertions, as
//! every release does, does not compile.

#[cfg(all(warifu_mutants, not(debug_assertions)))]
compile_error!("WARIFU_MUTANTS=1 is for tests: a build without debug assertions must not be able to weaken itself");

/// Whether this build has the weakenings.
pub const BUILT_IN: bool = cfg!(warifu_mutants);

/// Environment variable by which a process of a build with the weakenings is told the one that is on.
pub const VARIABLE: &str = "WARIFU_MUTANT";

macro_rules! mutants {
    ($(#[doc = $words:literal] $mutant:ident = $name:literal,)+) => {
        /// What is weakened.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[non_exhaustive]
        pub enum Mutant {
            $(#[doc = $words] $mutant,)+
        }

        impl Mutant {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$mutant),+];

            /// Its name on command lines and in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$mutant => $name,)+
                }
            }

            /// What the program does differently, in words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$mutant => $words.trim(),)+
                }
            }
        }
    };
}

mutants! {
    /// A node signs a request that the session's key has not signed.
    SkipRequestSignature = "skip-request-signature",
    /// A node signs in a session that was closed.
    SkipSessionClosed = "skip-session-closed",
    /// A node signs in a session of a terminal that was retired.
    SkipTerminalRetired = "skip-terminal-retired",
    /// A node signs before a session begins and after it has ended.
    SkipSessionTimes = "skip-session-times",
    /// A node signs beyond the last number of a session.
    SkipSequenceLimit = "skip-sequence-limit",
    /// A node signs a request whose signing time is not now.
    SkipSigningTime = "skip-signing-time",
    /// A node signs with the key of a credential that is suspended, revoked or destroyed.
    SkipCredentialState = "skip-credential-state",
    /// A node signs with a certificate that has ended.
    SkipCertificateExpiry = "skip-certificate-expiry",
    /// A node signs although the CA of the card or the certificate was revoked.
    SkipAuthorityRevoked = "skip-authority-revoked",
    /// A node signs prescriptions of pharmacists.
    SkipRole = "skip-role",
    /// A node signs with any number of signers in any order, of which each may be there twice.
    SkipSignerSet = "skip-signer-set",
    /// A node signs although its clock is behind the log.
    SkipClockBehind = "skip-clock-behind",
    /// A nonce stays in its pool when it is used.
    KeepNonce = "keep-nonce",
    /// A nonce is used however old it is.
    OutdatedNonce = "outdated-nonce",
    /// A coordinator is given shares with another's nonces.
    ForeignNonce = "foreign-nonce",
    /// A node gives shares although their audit entries cannot be written.
    IgnoreAuditFailure = "ignore-audit-failure",
    /// A node gives shares without audit entries.
    ShareWithoutAudit = "share-without-audit",
    /// A node signs a second document under a used number of a session.
    SignUsedNumber = "sign-used-number",
    /// A node signs before it is confirmed.
    SignUnconfirmed = "sign-unconfirmed",
    /// A node signs on after an alarm.
    SignUnderAlarm = "sign-under-alarm",
    /// A node signs for what it holds.
    IgnoreHolds = "ignore-holds",
    /// A node leaves it to others to bring what it holds into the log.
    KeepHoldsUnlogged = "keep-holds-unlogged",
    /// A store answers before what was written is on the disk.
    ReplyBeforeFsync = "reply-before-fsync",
    /// A destroyed credential's shares stay on the disk.
    KeepDestroyedShares = "keep-destroyed-shares",
    /// Shares of an epoch that is over stay on the disk.
    OldEpochSurvives = "old-epoch-survives",
    /// A sealed record is not bound to the place that it was sealed for.
    SealWithoutPlace = "seal-without-place",
    /// A node starts on a store that has less than the cluster remembers of it.
    AcceptOldIncarnation = "accept-old-incarnation",
    /// A node starts on a store that does not know the latest start that the cluster remembers.
    AcceptForgottenStart = "accept-forgotten-start",
    /// A command of a node counts without its signature.
    SkipNodeSignature = "skip-node-signature",
    /// An officer's approval counts without a signature.
    SkipApprovalSignature = "skip-approval-signature",
    /// An order counts with one approval too few.
    OneApprovalTooFew = "one-approval-too-few",
    /// An order counts again each time that it is sent.
    ReplayOrder = "replay-order",
    /// An order counts after its end.
    ExpiredOrder = "expired-order",
    /// An order that was kept back undoes a later one.
    SkipObjectVersion = "skip-object-version",
    /// A change of the cluster counts without the consent of t sites.
    SkipConsents = "skip-consents",
    /// A session is opened without the card's signature over the statement.
    SkipCardSignature = "skip-card-signature",
    /// A session is opened without the terminal's signature.
    SkipTerminalSignature = "skip-terminal-signature",
    /// A session is opened for a key that its opener need not have.
    SkipPossession = "skip-possession",
    /// A session is closed without the session key's signature.
    SkipClosingSignature = "skip-closing-signature",
    /// A card opens sessions although it is on its CA's list.
    SkipCardCrl = "skip-card-crl",
    /// A list of revoked certificates counts however old it is.
    AcceptStaleCrl = "accept-stale-crl",
    /// A statement opens a session each time that it is sent.
    ReuseStatement = "reuse-statement",
    /// A further card is bound without the word of a bound one.
    BindWithoutBoundCard = "bind-without-bound-card",
    /// A holder is given a second credential.
    SecondCredential = "second-credential",
    /// A key comes into use when t-1 nodes have confirmed it.
    AcceptTooFewConfirms = "accept-too-few-confirms",
    /// A lost site comes back with the keys that it had.
    AcceptOldKeys = "accept-old-keys",
    /// Any members may stand in a membership entry.
    AcceptAnyMembership = "accept-any-membership",
    /// One other node is enough to confirm a start.
    ConfirmByOne = "confirm-by-one",
    /// A start is confirmed by nodes with another state root.
    RootNotCompared = "root-not-compared",
    /// A snapshot is installed whatever state the others had.
    SnapshotUnjudged = "snapshot-unjudged",
    /// A helper in a repair sends its share.
    RepairSendsRawShare = "repair-sends-raw-share",
    /// A helper in a repair sends the same deltas again and again.
    RepairReusesDelta = "repair-reuses-delta",
    /// A helper's commitments to its deltas need not fit its share.
    SkipRepairContribution = "skip-repair-contribution",
    /// A scalar in a repair need not fit its commitments.
    SkipRepairScalar = "skip-repair-scalar",
    /// Packages of round 2 need not be those that the log has the hash of.
    SkipRound2Hash = "skip-round-2-hash",
    /// Every round-2 package that somebody is accused of is taken for right.
    SkipRound2Check = "skip-round-2-check",
    /// A coordinator gives out what its signature shares add up to, whether or not it verifies.
    ReleaseUnverified = "release-unverified",
    /// A coordinator takes commitments again that it has, and gives them out twice.
    ReuseCommitment = "reuse-commitment",
    /// A receipt counts without its node's signature.
    SkipReceiptSignature = "skip-receipt-signature",
    /// A receipt counts for another stop than its own.
    AcceptForeignReceipt = "accept-foreign-receipt",
    /// A stop is acknowledged with one receipt too few.
    OneReceiptTooFew = "one-receipt-too-few",
    /// A reading counts when one node says it.
    BelieveOneNode = "believe-one-node",
    /// A caller talks to whoever answers at a node's address.
    AcceptAnyServer = "accept-any-server",
    /// A node takes calls of peers in roles that are not theirs.
    AcceptAnyRole = "accept-any-role",
    /// A node signs although the log has gone over to entries that it cannot read.
    SignOutdated = "sign-outdated",
    /// A leader writes entries of the newest version that it knows itself.
    WriteUnreadVersion = "write-unread-version",
    /// Nonces outlive an image of their machine.
    KeepNoncesOverGeneration = "keep-nonces-over-generation",
    /// A store that was set back says that it has what it has caught up with.
    CountCaughtUpAudit = "count-caught-up-audit",
    /// A node takes a start in its name that it has not signed for its own.
    BelieveForgedStart = "believe-forged-start",
    /// A leader keeps stops out of the log.
    CensorStops = "censor-stops",
    /// A peer may bring any number of commands into the log that are refused there.
    SkipBudgets = "skip-budgets",
    /// What a node once said of its shares counts again whenever it comes into the log.
    OldSharesWord = "old-shares-word",
}

impl Mutant {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}

/// Whether this is weakened now: `false`, in every build but one that was asked for.
#[cfg(not(warifu_mutants))]
#[inline(always)]
#[must_use]
pub const fn is_on(_: Mutant) -> bool {
    false
}

/// A step that only a weakened program takes: `weaken!(Name, { .. })`. Nothing, in every build but one that was asked for.
#[cfg(not(warifu_mutants))]
#[macro_export]
macro_rules! weaken {
    ($mutant:ident, $step:block) => {};
}

/// A step that only a weakened program takes: `weaken!(Name, { .. })`.
#[cfg(warifu_mutants)]
#[macro_export]
macro_rules! weaken {
    ($mutant:ident, $step:block) => {
        if $crate::mutants::is_on($crate::mutants::Mutant::$mutant) $step
    };
}

#[cfg(warifu_mutants)]
pub use selector::{is_on, select, times_asked};

#[cfg(warifu_mutants)]
mod selector {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::{Mutant, VARIABLE};

    /// Place of the selected one in [`Mutant::ALL`], or one of the two below.
    static SELECTED: AtomicUsize = AtomicUsize::new(UNREAD);
    /// How often the selected one was asked for.
    static ASKED: AtomicU64 = AtomicU64::new(0);
    const UNREAD: usize = usize::MAX;
    const NONE: usize = usize::MAX - 1;

    /// Whether this is weakened now.
    #[must_use]
    pub fn is_on(mutant: Mutant) -> bool {
        let mut selected = SELECTED.load(Ordering::Relaxed);
        if selected == UNREAD {
            selected = from_environment();
            SELECTED.store(selected, Ordering::Relaxed);
        }
        let is_on = selected == mutant as usize;
        if is_on {
            ASKED.fetch_add(1, Ordering::Relaxed);
        }
        is_on
    }

    /// Weakens this in the whole process from now on, or nothing.
    pub fn select(mutant: Option<Mutant>) {
        ASKED.store(0, Ordering::Relaxed);
        SELECTED.store(mutant.map_or(NONE, |mutant| mutant as usize), Ordering::Relaxed);
    }

    /// How often something went another way for it since it was selected, or would have.
    #[must_use]
    pub fn times_asked() -> u64 {
        ASKED.load(Ordering::Relaxed)
    }

    /// A name that is none must not pass for a program that is not weakened.
    fn from_environment() -> usize {
        match std::env::var(VARIABLE) {
            Ok(name) => Mutant::named(&name).unwrap_or_else(|| panic!("{VARIABLE}={name}: there is no weakening of this name")) as usize,
            Err(_) => NONE,
        }
    }
}

/// Weakens nothing: this build cannot.
#[cfg(not(warifu_mutants))]
pub const fn select(_: Option<Mutant>) {}

/// Never: this build weakens nothing.
#[cfg(not(warifu_mutants))]
#[must_use]
pub const fn times_asked() -> u64 {
    0
}
