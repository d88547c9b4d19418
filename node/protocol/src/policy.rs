//! Cluster policy: who must approve what, and the bounds that a cluster chooses inside the hard limits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::{ORDER_MILLIS_MAX, SESSION_MILLIS_MAX, SESSION_SIGNATURES_MAX};
use crate::{OfficerEntry, OfficerRole};

/// The classes of officer commands; every command belongs to exactly one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandClass {
    /// Enrol credentials and start their key generation.
    Enrol,
    /// Install a certificate.
    InstallCertificate,
    /// Suspend a credential.
    Suspend,
    /// Revoke a credential.
    Revoke,
    /// Close a session.
    CloseSession,
    /// Bring a CRL into the log.
    UpdateCrl,
    /// Enrol or retire a facility or terminal.
    Facility,
    /// Bind a first card.
    BindFirst,
    /// Bind a further card.
    BindFurther,
    /// Unbind a card.
    Unbind,
    /// Resume a suspended credential.
    Resume,
    /// Destroy a credential's key.
    Destroy,
    /// Import a key that was made elsewhere.
    Import,
    /// Refresh shares out of schedule.
    Refresh,
    /// Admit a node on a new store and repair its shares.
    Repair,
    /// Change the nodes, coordinators or officers.
    Roster,
    /// Change the policy.
    Policy,
    /// Change the pinned CAs.
    Anchors,
    /// Bind a further card without the word of a bound one; what [`Self::BindFurther`] needs is needed too.
    BindWithNotice,
}

impl CommandClass {
    /// Every class.
    pub const ALL: [Self; 19] = [
        Self::Enrol,
        Self::InstallCertificate,
        Self::Suspend,
        Self::Revoke,
        Self::CloseSession,
        Self::UpdateCrl,
        Self::Facility,
        Self::BindFirst,
        Self::BindFurther,
        Self::Unbind,
        Self::Resume,
        Self::Destroy,
        Self::Import,
        Self::Refresh,
        Self::Repair,
        Self::Roster,
        Self::Policy,
        Self::Anchors,
        Self::BindWithNotice,
    ];

    /// What the class needs unless the genesis says more.
    #[must_use]
    pub const fn default_approvals(self) -> ApprovalRule {
        let (role, count) = match self {
            Self::Enrol
            | Self::InstallCertificate
            | Self::Suspend
            | Self::Revoke
            | Self::CloseSession
            | Self::UpdateCrl
            | Self::Facility => (OfficerRole::Operator, 1),
            Self::BindFirst | Self::BindFurther | Self::Unbind | Self::Resume => (OfficerRole::Operator, 2),
            Self::Destroy
            | Self::Import
            | Self::Refresh
            | Self::Repair
            | Self::Roster
            | Self::Policy
            | Self::Anchors
            | Self::BindWithNotice => (OfficerRole::SecurityOfficer, 2),
        };
        ApprovalRule { role, count }
    }

    /// The class whose approvals are needed beside its own.
    #[must_use]
    pub const fn beside(self) -> Option<Self> {
        match self {
            Self::BindWithNotice => Some(Self::BindFurther),
            Self::Enrol
            | Self::InstallCertificate
            | Self::Suspend
            | Self::Revoke
            | Self::CloseSession
            | Self::UpdateCrl
            | Self::Facility
            | Self::BindFirst
            | Self::BindFurther
            | Self::Unbind
            | Self::Resume
            | Self::Destroy
            | Self::Import
            | Self::Refresh
            | Self::Repair
            | Self::Roster
            | Self::Policy
            | Self::Anchors => None,
        }
    }

    /// Whether administrators of at least t sites must consent too, each at the site's own node.
    #[must_use]
    pub const fn needs_consent(self) -> bool {
        matches!(self, Self::Roster | Self::Policy | Self::Anchors)
    }
}

/// How many officers of which role.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// The role that all counted officers have.
    pub role: OfficerRole,
    /// Number of different officers.
    pub count: u8,
}

/// What a cluster chooses. A change needs an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Longest session, in milliseconds; at most 18 hours.
    #[serde(default = "default_session_millis")]
    pub session_millis_max: u64,
    /// Most signatures in one session.
    #[serde(default = "default_session_signatures")]
    pub session_signatures_max: u32,
    /// A CRL older than this, counted from its thisUpdate, counts as stale even before its nextUpdate.
    #[serde(default = "default_crl_age")]
    pub crl_age_millis_max: u64,
    /// How far clocks of nodes, terminals and log entries may lie apart.
    #[serde(default = "default_skew")]
    pub clock_skew_millis_max: u64,
    /// A ceremony that has not ended by then is aborted and restarted without those that were missing.
    #[serde(default = "default_ceremony")]
    pub ceremony_millis_max: u64,
    /// Longest life of an order.
    #[serde(default = "default_order")]
    pub order_millis_max: u64,
    /// How long a binding that no bound card agrees to is pending, for the holder and the officers to notice it.
    #[serde(default = "default_binding_delay")]
    pub binding_delay_millis: u64,
    /// A key whose shares are older than this is refreshed in the background; 0 never refreshes by age. Shares that thieves gather one by one
    /// from different sites are of use together only if they are of one epoch.
    #[serde(default)]
    pub refresh_after_millis: u64,
    /// How long after its revocation a credential is destroyed at every site, without a further order: 0 at once, at most a year. Left out:
    /// never, only by an order of its own. Counted from the revocation, under the policy of that moment; a CRL that lists its certificate
    /// is no revocation of the credential.
    #[serde(default)]
    pub destroy_after_revocation_millis: Option<u64>,
    /// Approvals per command where they differ from the default table; never fewer officers than the default.
    #[serde(default)]
    pub approvals: BTreeMap<CommandClass, ApprovalRule>,
}

const fn default_session_millis() -> u64 {
    SESSION_MILLIS_MAX
}
const fn default_session_signatures() -> u32 {
    2_000
}
const fn default_crl_age() -> u64 {
    // The deployed lists are made daily with a nextUpdate four days later; two missed issues are tolerated.
    72 * 60 * 60 * 1000
}
const fn default_skew() -> u64 {
    30_000
}
const fn default_ceremony() -> u64 {
    20_000
}
const fn default_order() -> u64 {
    ORDER_MILLIS_MAX
}

const fn default_binding_delay() -> u64 {
    // Longer than a weekend without a bank holiday: somebody who would object is at work in between.
    72 * 60 * 60 * 1000
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            session_millis_max: default_session_millis(),
            session_signatures_max: default_session_signatures(),
            crl_age_millis_max: default_crl_age(),
            clock_skew_millis_max: default_skew(),
            ceremony_millis_max: default_ceremony(),
            order_millis_max: default_order(),
            binding_delay_millis: default_binding_delay(),
            refresh_after_millis: 0,
            destroy_after_revocation_millis: None,
            approvals: BTreeMap::new(),
        }
    }
}

/// Smallest age at which shares are refreshed: far more than one refresh takes, or the cluster would do nothing else.
const REFRESH_MILLIS_MIN: u64 = 1000;

/// A policy that no cluster may run under.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A bound is zero or beyond the hard limit.
    #[error("policy field `{field}` must be {minimum} to {maximum}, not {value}")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Smallest allowed value.
        minimum: u64,
        /// Largest allowed value.
        maximum: u64,
        /// Value found.
        value: u64,
    },
    /// An approval row asks for less than the default table.
    #[error("approvals for {class:?} must ask for at least {minimum} officers")]
    ApprovalsTooFew {
        /// The row.
        class: CommandClass,
        /// Default number.
        minimum: u8,
    },
    /// An approval row that the named officers can never satisfy.
    #[error("{class:?} needs {needed} officers with the role {role}, but only {present} are named")]
    ApprovalsUnreachable {
        /// The row.
        class: CommandClass,
        /// Role asked for.
        role: OfficerRole,
        /// Number asked for.
        needed: u8,
        /// Officers with that role.
        present: usize,
    },
}

impl Policy {
    /// The rule for a class.
    #[must_use]
    pub fn approvals_for(&self, class: CommandClass) -> ApprovalRule {
        self.approvals.get(&class).copied().unwrap_or_else(|| class.default_approvals())
    }

    /// All that an order of a class needs together, one rule for each role: a role that two rows ask for must be there in both numbers.
    #[must_use]
    pub fn rules_for(&self, class: CommandClass) -> Vec<ApprovalRule> {
        let mut rules = vec![self.approvals_for(class)];
        if let Some(beside) = class.beside().map(|class| self.approvals_for(class)) {
            match rules.iter_mut().find(|rule| rule.role == beside.role) {
                Some(rule) => rule.count = rule.count.saturating_add(beside.count),
                None => rules.push(beside),
            }
        }
        rules
    }

    /// Checks every bound and that `officers` can satisfy every row.
    ///
    /// # Errors
    /// Names the first field or row that is wrong.
    pub fn check(&self, officers: &[OfficerEntry]) -> Result<(), PolicyError> {
        const MINUTE: u64 = 60_000;
        let ranges: [(&'static str, u64, u64, u64); 8] = [
            ("session_millis_max", self.session_millis_max, MINUTE, SESSION_MILLIS_MAX),
            ("session_signatures_max", u64::from(self.session_signatures_max), 1, u64::from(SESSION_SIGNATURES_MAX)),
            ("crl_age_millis_max", self.crl_age_millis_max, MINUTE, 31 * 24 * 60 * MINUTE),
            ("clock_skew_millis_max", self.clock_skew_millis_max, 1000, 5 * MINUTE),
            ("ceremony_millis_max", self.ceremony_millis_max, 1000, 60 * MINUTE),
            ("order_millis_max", self.order_millis_max, MINUTE, ORDER_MILLIS_MAX),
            ("binding_delay_millis", self.binding_delay_millis, 1000, 31 * 24 * 60 * MINUTE),
            ("destroy_after_revocation_millis", self.destroy_after_revocation_millis.unwrap_or(0), 0, 366 * 24 * 60 * MINUTE),
        ];
        for (field, value, minimum, maximum) in ranges {
            if value < minimum || value > maximum {
                return Err(PolicyError::OutOfRange { field, minimum, maximum, value });
            }
        }
        // No refresh by age, or one that leaves time to end before the next.
        let (value, maximum) = (self.refresh_after_millis, 10 * 366 * 24 * 60 * MINUTE);
        if value != 0 && !(REFRESH_MILLIS_MIN..=maximum).contains(&value) {
            return Err(PolicyError::OutOfRange { field: "refresh_after_millis", minimum: REFRESH_MILLIS_MIN, maximum, value });
        }
        for class in CommandClass::ALL {
            let minimum = class.default_approvals().count;
            if self.approvals_for(class).count < minimum {
                return Err(PolicyError::ApprovalsTooFew { class, minimum });
            }
            for rule in self.rules_for(class) {
                let present = officers.iter().filter(|officer| officer.role == rule.role).count();
                if present < usize::from(rule.count) {
                    return Err(PolicyError::ApprovalsUnreachable { class, role: rule.role, needed: rule.count, present });
                }
            }
        }
        Ok(())
    }
}
