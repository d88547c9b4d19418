//! Typed reads of applied state.

use serde::Serialize;
use serde::de::DeserializeOwned;
use warifu_protocol::limits::REPAIRS_OPEN_MAX;
use warifu_protocol::{
    CeremonyId, CredentialEvent, CredentialId, Name, NodeId, NodeSigned, Order, OrderId, Policy, RepairCommitments, SessionId, Sha256,
    SpkiHash, TerminalId, UnixMillis,
};

use super::due::Due;
use super::plan::{self, MembershipPlans};
use super::records::{
    CeremonyRecord, ClusterRecord, CredentialRecord, CrlRecord, CrlUpload, FacilityRecord, ImportRecord, NodeRecord, RepairBasis,
    RepairRecord, SerialOwner, SessionRecord, StoreNumbers, TerminalRecord,
};
use super::store::{StateStore, StateStoreError};

/// First byte of a key: which table it is in. Tables of the state root's own bookkeeping come first and are not hashed.
pub mod table {
    /// Inner nodes of the hash tree.
    pub const TREE: u8 = 0x01;
    /// Keys by hash bucket.
    pub const BUCKET: u8 = 0x02;
    /// State roots after `NodeStarted` entries, by index.
    pub const ROOT: u8 = 0x03;
    /// First table that the state root covers.
    pub const HASHED_FROM: u8 = 0x10;
    /// The cluster record.
    pub const CLUSTER: u8 = 0x10;
    /// Time of the latest entry.
    pub const TIME: u8 = 0x11;
    /// Credentials.
    pub const CREDENTIAL: u8 = 0x12;
    /// Credential by holder.
    pub const HOLDER: u8 = 0x13;
    /// Sessions.
    pub const SESSION: u8 = 0x14;
    /// Open sessions by credential.
    pub const OPEN_SESSION: u8 = 0x15;
    /// Sessions by end.
    pub const SESSION_EXPIRY: u8 = 0x16;
    /// Facilities.
    pub const FACILITY: u8 = 0x17;
    /// Terminals.
    pub const TERMINAL: u8 = 0x18;
    /// Cards and certificates by digest of issuer and serial.
    pub const SERIAL: u8 = 0x19;
    /// Orders applied.
    pub const ORDER: u8 = 0x1a;
    /// Orders by end.
    pub const ORDER_EXPIRY: u8 = 0x1b;
    /// Ceremonies.
    pub const CEREMONY: u8 = 0x1c;
    /// Messages of running ceremonies.
    pub const CEREMONY_MESSAGE: u8 = 0x1d;
    /// Nodes.
    pub const NODE: u8 = 0x1e;
    /// Active CRLs.
    pub const CRL: u8 = 0x1f;
    /// Revoked serials.
    pub const CRL_ENTRY: u8 = 0x20;
    /// CRLs on their way.
    pub const CRL_UPLOAD: u8 = 0x21;
    /// Pieces of CRLs on their way.
    pub const CRL_CHUNK: u8 = 0x22;
    /// The life of each credential.
    pub const HISTORY: u8 = 0x38;
    /// Ceremonies that are not done.
    pub const CEREMONY_OPEN: u8 = 0x23;
    /// Orders that changed the cluster record, by its revision.
    pub const ROSTER_ORDER: u8 = 0x24;
    /// Which nodes consensus should have.
    pub const MEMBERSHIP_PLAN: u8 = 0x25;
    /// The version of log entries that is in use, and, by node, the newest that its program knows.
    pub const LOG_VERSION: u8 = 0x3a;
    /// Destroyed credentials by the log index that destroyed them.
    pub const DESTROYED: u8 = 0x28;
    /// Intermediate CAs that a pinned CA has revoked, by key.
    pub const AUTHORITY_REVOKED: u8 = 0x31;
    /// What happens by itself, by time.
    pub const DUE: u8 = 0x30;
    /// Repairs under way.
    pub const REPAIR: u8 = 0x2c;
    /// Commitments, and what they are checked against, of repairs under way.
    pub const REPAIR_MESSAGE: u8 = 0x2d;
    /// The ceremony that is changing who holds a credential's shares.
    pub const CREDENTIAL_CEREMONY: u8 = 0x2e;
    /// Log indices of the latest orders to refresh every key, or every key of a node.
    pub const REFRESH_ORDERED: u8 = 0x3c;
    /// Log indices of the orders that admitted nodes on other stores, by node.
    pub const STORE_REPLACED: u8 = 0x40;
    /// Ends of certificates, by time. There is one for each credential, so that they are not among the few things of [`DUE`].
    pub const CERTIFICATE_END: u8 = 0x41;
    /// Imports, those that have ended too.
    pub const IMPORT: u8 = 0x3d;
    /// Imports that are open.
    pub const IMPORT_OPEN: u8 = 0x3e;
    /// Credential by public key, of every key that the cluster has ever had.
    pub const GROUP_KEY: u8 = 0x3f;
}

/// A key in a table.
#[must_use]
pub fn key(table: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(table);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// The end of the range of keys that begin with `prefix`.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; prefix.len() + 1]
}

/// Encodes a record.
///
/// # Panics
/// Never: records have no unsized sequences.
#[must_use]
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).expect("records serialize to postcard")
}

/// Decodes a record.
///
/// # Errors
/// When the bytes are no such record: the store is damaged.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateStoreError> {
    postcard::from_bytes(bytes).map_err(|error| StateStoreError { reason: format!("a record cannot be decoded: {error}") })
}

/// Which message of a ceremony.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CeremonyMessage {
    /// Round-1 packages.
    Round1,
    /// Round-2 hashes.
    Round2Hashes,
    /// The agreed public key packages.
    Outcome,
}

/// Typed reads. Implemented for every store.
pub trait Registry: StateStore {
    /// The cluster.
    ///
    /// # Errors
    /// When the store fails or holds no genesis.
    fn cluster(&self) -> Result<ClusterRecord, StateStoreError> {
        read(self, &key(table::CLUSTER, &[]))?.ok_or_else(|| StateStoreError { reason: "the state has no genesis".to_owned() })
    }

    /// The orders that changed the cluster after a revision, in the order in which they were applied.
    ///
    /// # Errors
    /// When the store fails.
    fn roster_orders(&self, after: u64, limit: usize) -> Result<Vec<Order>, StateStoreError> {
        let from = key(table::ROSTER_ORDER, &[&after.saturating_add(1).to_be_bytes()]);
        self.scan(&from, &[table::ROSTER_ORDER + 1], limit)?.iter().map(|(_, value)| decode(value)).collect()
    }

    /// Which nodes consensus should have.
    ///
    /// # Errors
    /// When the store fails or holds no genesis.
    fn membership_plans(&self) -> Result<MembershipPlans, StateStoreError> {
        plan::read_plans(self)
    }

    /// The largest entry time so far.
    ///
    /// # Errors
    /// When the store fails.
    fn time(&self) -> Result<UnixMillis, StateStoreError> {
        Ok(read(self, &key(table::TIME, &[]))?.unwrap_or_default())
    }

    /// A credential.
    ///
    /// # Errors
    /// When the store fails.
    fn credential(&self, id: CredentialId) -> Result<Option<CredentialRecord>, StateStoreError> {
        read(self, &key(table::CREDENTIAL, &[id.as_ref()]))
    }

    /// Credentials in ascending order after `after`.
    ///
    /// # Errors
    /// When the store fails.
    fn credentials(&self, after: Option<CredentialId>, limit: usize) -> Result<Vec<(CredentialId, CredentialRecord)>, StateStoreError> {
        let from = match after {
            // The smallest key above that id.
            Some(after) => key(table::CREDENTIAL, &[after.as_ref(), &[0]]),
            None => key(table::CREDENTIAL, &[]),
        };
        let mut found = Vec::new();
        for (key, value) in self.scan(&from, &[table::CREDENTIAL + 1], limit)? {
            let id = key.get(1..).and_then(|id| <[u8; CredentialId::LEN]>::try_from(id).ok());
            let id = id.ok_or_else(|| StateStoreError { reason: "a credential's key is damaged".to_owned() })?;
            found.push((CredentialId::new(id), decode(&value)?));
        }
        Ok(found)
    }

    /// What happened to a credential, in order; empty if there is none.
    ///
    /// # Errors
    /// When the store fails.
    fn history(&self, id: CredentialId) -> Result<Vec<CredentialEvent>, StateStoreError> {
        super::history::read_history(self, id)
    }

    /// The credential of a holder.
    ///
    /// # Errors
    /// When the store fails.
    fn credential_of(&self, holder: &Name) -> Result<Option<CredentialId>, StateStoreError> {
        read(self, &key(table::HOLDER, &[holder.as_str().as_bytes()]))
    }

    /// A session.
    ///
    /// # Errors
    /// When the store fails.
    fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StateStoreError> {
        read(self, &key(table::SESSION, &[id.as_ref()]))
    }

    /// A facility.
    ///
    /// # Errors
    /// When the store fails.
    fn facility(&self, id: &Name) -> Result<Option<FacilityRecord>, StateStoreError> {
        read(self, &key(table::FACILITY, &[id.as_str().as_bytes()]))
    }

    /// A terminal.
    ///
    /// # Errors
    /// When the store fails.
    fn terminal(&self, id: TerminalId) -> Result<Option<TerminalRecord>, StateStoreError> {
        read(self, &key(table::TERMINAL, &[id.as_ref()]))
    }

    /// Whose certificate has this issuer and serial.
    ///
    /// # Errors
    /// When the store fails.
    fn serial_owner(&self, digest: Sha256) -> Result<Option<SerialOwner>, StateStoreError> {
        read(self, &key(table::SERIAL, &[digest.as_ref()]))
    }

    /// A node, once it has started.
    ///
    /// # Errors
    /// When the store fails.
    fn node(&self, id: NodeId) -> Result<Option<NodeRecord>, StateStoreError> {
        read(self, &key(table::NODE, &[&[id.get()]]))
    }

    /// Which store each node of the roster is on.
    ///
    /// # Errors
    /// When the store fails or holds no genesis.
    fn store_numbers(&self) -> Result<StoreNumbers, StateStoreError> {
        Ok(StoreNumbers::of(&self.cluster()?))
    }

    /// Whether a node that has its share of a credential's current epoch after all may say so: the log says that it is missing, and no ceremony
    /// changes who has it.
    ///
    /// # Errors
    /// When the store fails.
    fn may_find_share(
        &self,
        id: CredentialId,
        record: &CredentialRecord,
        node: NodeId,
        stores: &StoreNumbers,
    ) -> Result<bool, StateStoreError> {
        Ok(record.is_share_missing(node, stores) && self.ceremony_of(id)?.is_none())
    }

    /// A ceremony.
    ///
    /// # Errors
    /// When the store fails.
    fn ceremony(&self, id: CeremonyId) -> Result<Option<CeremonyRecord>, StateStoreError> {
        read(self, &key(table::CEREMONY, &[id.as_ref()]))
    }

    /// Ceremonies that are neither done nor failed.
    ///
    /// # Errors
    /// When the store fails.
    fn open_ceremonies(&self, limit: usize) -> Result<Vec<(CeremonyId, CeremonyRecord)>, StateStoreError> {
        let mut found = Vec::new();
        for (key, _) in self.scan(&[table::CEREMONY_OPEN], &[table::CEREMONY_OPEN + 1], limit)? {
            let id = key.get(1..).and_then(|id| <[u8; CeremonyId::LEN]>::try_from(id).ok()).map(CeremonyId::new);
            let id = id.ok_or_else(|| StateStoreError { reason: "a ceremony's key is damaged".to_owned() })?;
            if let Some(record) = self.ceremony(id)? {
                found.push((id, record));
            }
        }
        Ok(found)
    }

    /// An import.
    ///
    /// # Errors
    /// When the store fails.
    fn import(&self, id: CeremonyId) -> Result<Option<ImportRecord>, StateStoreError> {
        read(self, &key(table::IMPORT, &[id.as_ref()]))
    }

    /// Imports that are open, ascending, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    fn open_imports(&self, limit: usize) -> Result<Vec<(CeremonyId, ImportRecord)>, StateStoreError> {
        let mut found = Vec::new();
        for (key, _) in self.scan(&[table::IMPORT_OPEN], &[table::IMPORT_OPEN + 1], limit)? {
            let id = key.get(1..).and_then(|id| <[u8; CeremonyId::LEN]>::try_from(id).ok()).map(CeremonyId::new);
            let id = id.ok_or_else(|| StateStoreError { reason: "an import's key is damaged".to_owned() })?;
            if let Some(record) = self.import(id)? {
                found.push((id, record));
            }
        }
        Ok(found)
    }

    /// The credential whose key this is, or was before it was destroyed.
    ///
    /// # Errors
    /// When the store fails.
    fn credential_with_key(&self, group_key: &[u8; 32]) -> Result<Option<CredentialId>, StateStoreError> {
        read(self, &key(table::GROUP_KEY, &[group_key]))
    }

    /// A message of a running ceremony, by its sender.
    ///
    /// # Errors
    /// When the store fails.
    fn ceremony_message<T: DeserializeOwned>(
        &self,
        id: CeremonyId,
        attempt: u32,
        message: CeremonyMessage,
        from: NodeId,
    ) -> Result<Option<T>, StateStoreError> {
        read(self, &ceremony_message_key(id, attempt, message, from))
    }

    /// How many bindings are pending, among the `limit` things that come due next.
    ///
    /// # Errors
    /// When the store fails.
    fn pending_bindings(&self, limit: usize) -> Result<usize, StateStoreError> {
        count_due(self, limit, |due| matches!(due, Due::Binding { .. }))
    }

    /// How many revoked credentials are destroyed by themselves, among the `limit` things that come due next.
    ///
    /// # Errors
    /// When the store fails.
    fn pending_destructions(&self, limit: usize) -> Result<usize, StateStoreError> {
        count_due(self, limit, |due| matches!(due, Due::Destruction { .. }))
    }

    /// All repairs under way, ascending.
    ///
    /// # Errors
    /// When the store fails.
    fn open_repairs(&self) -> Result<Vec<(CeremonyId, RepairRecord)>, StateStoreError> {
        let mut found = Vec::new();
        for (key, value) in self.scan(&[table::REPAIR], &[table::REPAIR + 1], REPAIRS_MAX)? {
            let id = key.get(1..).and_then(|id| <[u8; CeremonyId::LEN]>::try_from(id).ok()).map(CeremonyId::new);
            let id = id.ok_or_else(|| StateStoreError { reason: "a repair's key is damaged".to_owned() })?;
            found.push((id, decode(&value)?));
        }
        Ok(found)
    }

    /// A repair under way.
    ///
    /// # Errors
    /// When the store fails.
    fn repair(&self, id: CeremonyId) -> Result<Option<RepairRecord>, StateStoreError> {
        read(self, &key(table::REPAIR, &[id.as_ref()]))
    }

    /// What a repair under way is checked against.
    ///
    /// # Errors
    /// When the store fails or has no such repair.
    fn repair_basis(&self, id: CeremonyId) -> Result<RepairBasis, StateStoreError> {
        read(self, &key(table::REPAIR_MESSAGE, &[id.as_ref()]))?
            .ok_or_else(|| StateStoreError { reason: format!("repair {id} has no points to check against") })
    }

    /// A helper's commitments of the current attempt.
    ///
    /// # Errors
    /// When the store fails.
    fn repair_commitments(&self, id: CeremonyId, helper: NodeId) -> Result<Option<NodeSigned<RepairCommitments>>, StateStoreError> {
        read(self, &repair_message_key(id, helper))
    }

    /// The ceremony that is changing who holds a credential's shares, if there is one.
    ///
    /// # Errors
    /// When the store fails.
    fn ceremony_of(&self, credential: CredentialId) -> Result<Option<CeremonyId>, StateStoreError> {
        read(self, &key(table::CREDENTIAL_CEREMONY, &[credential.as_ref()]))
    }

    /// The active CRLs of the CA with this key, with the name of their series.
    ///
    /// # Errors
    /// When the store fails.
    fn crls_of(&self, issuer: SpkiHash) -> Result<Vec<(Sha256, CrlRecord)>, StateStoreError> {
        let prefix = key(table::CRL, &[issuer.as_ref()]);
        let mut found = Vec::new();
        for (key, value) in self.scan(&prefix, &prefix_end(&prefix), CRL_SERIES_MAX)? {
            let series = key.get(prefix.len()..).and_then(|series| <[u8; 32]>::try_from(series).ok());
            let series = series.ok_or_else(|| StateStoreError { reason: "a CRL's key is damaged".to_owned() })?;
            found.push((Sha256::new(series), decode(&value)?));
        }
        Ok(found)
    }

    /// The list that says for how long certificates of the CA with this key may be relied on: its freshest, or the freshest of the pinned CA that
    /// vouches for it, if that goes stale earlier. `None` where either has none.
    ///
    /// # Errors
    /// When the store fails.
    fn list_to_rely_on(&self, issuer: SpkiHash, policy: &Policy) -> Result<Option<CrlRecord>, StateStoreError> {
        let freshest = |issuer| {
            let lists = self.crls_of(issuer)?.into_iter().map(|(_, list)| list);
            Ok(lists.max_by_key(|list| list.fresh_until(policy)))
        };
        let Some(list) = freshest(issuer)? else { return Ok(None) };
        let Some(anchor) = list.vouched_by else { return Ok(Some(list)) };
        Ok(freshest(anchor)?.map(|above| if above.fresh_until(policy) < list.fresh_until(policy) { above } else { list }))
    }

    /// Whether a pinned CA has revoked the intermediate CA with this key, so that nothing that it issued counts any more.
    ///
    /// # Errors
    /// When the store fails.
    fn authority_revoked(&self, issuer: SpkiHash) -> Result<bool, StateStoreError> {
        Ok(self.get(&key(table::AUTHORITY_REVOKED, &[issuer.as_ref()]))?.is_some())
    }

    /// All active CRLs.
    ///
    /// # Errors
    /// When the store fails.
    fn crls(&self) -> Result<Vec<CrlRecord>, StateStoreError> {
        self.scan(&[table::CRL], &[table::CRL + 1], CRL_SERIES_MAX)?.iter().map(|(_, value)| decode(value)).collect()
    }

    /// Whether a serial is on the active CRL of a series.
    ///
    /// # Errors
    /// When the store fails.
    fn is_revoked(&self, series: Sha256, serial_digest: Sha256) -> Result<bool, StateStoreError> {
        Ok(self.get(&key(table::CRL_ENTRY, &[series.as_ref(), serial_digest.as_ref()]))?.is_some())
    }

    /// The state root after the `NodeStarted` entry at `index`, if this store applied it itself.
    ///
    /// # Errors
    /// When the store fails.
    fn root_at(&self, index: u64) -> Result<Option<Sha256>, StateStoreError> {
        read(self, &key(table::ROOT, &[&index.to_be_bytes()]))
    }

    /// Credentials that were destroyed after the entry at `index`, in the order of the log, at most `limit`: all or none of those that one
    /// entry destroyed, so that whoever goes on after the last index skips none. `limit` must be above
    /// [`super::DESTROYED_PER_ENTRY_MAX`].
    ///
    /// # Errors
    /// When the store fails.
    fn destroyed_after(&self, index: u64, limit: usize) -> Result<Vec<(u64, CredentialId)>, StateStoreError> {
        let from = key(table::DESTROYED, &[&index.saturating_add(1).to_be_bytes()]);
        let mut found = Vec::new();
        for (key, _) in self.scan(&from, &[table::DESTROYED + 1], limit)? {
            let parts = key.get(1..).and_then(|key| key.split_first_chunk::<8>());
            let read = parts.and_then(|(index, id)| Some((u64::from_be_bytes(*index), CredentialId::new(id.try_into().ok()?))));
            found.push(read.ok_or_else(|| StateStoreError { reason: "the key of a destroyed credential is damaged".to_owned() })?);
        }
        if found.len() == limit
            && let (Some((first, _)), Some((last, _))) = (found.first().copied(), found.last().copied())
            && first != last
        {
            found.retain(|(index, _)| *index != last);
        }
        Ok(found)
    }

    /// Whether an order was applied; known until after the order's end.
    ///
    /// # Errors
    /// When the store fails.
    fn order_applied(&self, id: OrderId) -> Result<bool, StateStoreError> {
        Ok(self.get(&key(table::ORDER, &[id.as_ref()]))?.is_some())
    }

    /// A CRL on its way.
    ///
    /// # Errors
    /// When the store fails.
    fn crl_upload(&self, order: OrderId) -> Result<Option<CrlUpload>, StateStoreError> {
        read(self, &key(table::CRL_UPLOAD, &[order.as_ref()]))
    }
}

impl<S: StateStore + ?Sized> Registry for S {}

/// How many of the `limit` things that come due next are of a kind.
fn count_due<S: StateStore + ?Sized>(state: &S, limit: usize, is_wanted: impl Fn(&Due) -> bool) -> Result<usize, StateStoreError> {
    let next = state.scan(&[table::DUE], &[table::DUE + 1], limit)?;
    Ok(next.iter().filter(|(key, _)| Due::read(key).as_ref().is_some_and(&is_wanted)).count())
}

/// Lists that are read at once: all series of all pinned CAs. Those beyond it would not be found, so that certificates under them are refused.
const CRL_SERIES_MAX: usize = 256;

/// Repairs that are read at once: more than all nodes of a cluster may have open together.
const REPAIRS_MAX: usize = REPAIRS_OPEN_MAX * NodeId::MAX as usize;

/// Key of a helper's commitments.
#[must_use]
pub fn repair_message_key(id: CeremonyId, helper: NodeId) -> Vec<u8> {
    key(table::REPAIR_MESSAGE, &[id.as_ref(), &[helper.get()]])
}

/// Key of a ceremony's message.
#[must_use]
pub fn ceremony_message_key(id: CeremonyId, attempt: u32, message: CeremonyMessage, from: NodeId) -> Vec<u8> {
    let kind = match message {
        CeremonyMessage::Round1 => 1,
        CeremonyMessage::Round2Hashes => 2,
        CeremonyMessage::Outcome => 3,
    };
    key(table::CEREMONY_MESSAGE, &[id.as_ref(), &attempt.to_be_bytes(), &[kind], &[from.get()]])
}

/// Reads one record.
///
/// # Errors
/// When the store fails or the record is damaged.
pub fn read<S: StateStore + ?Sized, T: DeserializeOwned>(store: &S, key: &[u8]) -> Result<Option<T>, StateStoreError> {
    store.get(key)?.map(|bytes| decode(&bytes)).transpose()
}
