//! What the cluster remembers of its nodes, so that an old or foreign store is recognised.

use warifu_protocol::limits::EARLIER_BOOTS_MAX;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::Applied;
use warifu_protocol::{Checkpoint, NodeId, NodeSigned, NodeStarted, NodeStatement, Refusal};

use super::apply::{Context, Stop};
use super::plan;
use super::reader::{Registry, encode, key, table};
use super::records::NodeRecord;
use super::store::{Overlay, StateStore};
use super::versions;

/// Checks a node's signature under its roster key.
pub(super) fn check_signature<T: NodeStatement>(context: &Context<'_>, signed: &NodeSigned<T>) -> Result<(), Refusal> {
    let entry = context.cluster.node(signed.node).ok_or(Refusal::NodeUnknown { node: signed.node })?;
    if signed.verify(context.cluster.cluster, &entry.identity).is_err() && !is_on(Mutant::SkipNodeSignature) {
        return Err(Refusal::SignatureInvalid { signer: format!("node {}", signed.node) });
    }
    Ok(())
}

pub(super) fn started<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    signed: &NodeSigned<NodeStarted>,
) -> Result<Applied, Stop> {
    check_signature(context, signed)?;
    let (node, body) = (signed.node, &signed.body);
    versions::started(state, node, body.log_version)?;
    let mut record = match Registry::node(state, node)? {
        None => NodeRecord {
            store: body.store,
            store_number: context.cluster.store_number(node),
            incarnation: 0,
            boot: body.boot,
            started_at: 0,
            raft_index: 0,
            audit_size: 0,
            audit_root: None,
            shares_word: context.index,
        },
        Some(record) if record.store != body.store => return Err(Refusal::NodeStoreChanged { node }.into()),
        Some(record) if record.has_started() && !body.earlier.contains(&record.boot) && !is_on(Mutant::AcceptForgottenStart) => {
            return Err(Refusal::NodeRolledBack { node }.into());
        }
        Some(record) => record,
    };
    if body.earlier.len() > EARLIER_BOOTS_MAX {
        return Err(Refusal::TooLarge { what: "earlier boots".to_owned(), limit: EARLIER_BOOTS_MAX as u64 }.into());
    }
    let older = body.incarnation <= record.incarnation || body.audit_size < record.audit_size || body.raft_index < record.raft_index;
    if older && !is_on(Mutant::AcceptOldIncarnation) {
        return Err(Refusal::NodeRolledBack { node }.into());
    }
    record.incarnation = body.incarnation;
    record.boot = body.boot;
    record.started_at = context.index;
    record.raft_index = body.raft_index;
    if body.audit_size > record.audit_size {
        // The root that is known is that of a smaller log.
        record.audit_root = None;
    }
    record.audit_size = body.audit_size;
    write(state, node, &record);
    plan::settle(state)?;
    Ok(Applied::Done)
}

pub(super) fn checkpoint<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    signed: &NodeSigned<Checkpoint>,
) -> Result<Applied, Stop> {
    check_signature(context, signed)?;
    let (node, body) = (signed.node, &signed.body);
    let mut record = Registry::node(state, node)?.ok_or(Refusal::NodeUnknown { node })?;
    let same_size_other_root = body.size == record.audit_size && record.audit_root.is_some_and(|root| root != body.root);
    if body.size < record.audit_size || same_size_other_root {
        return Err(Refusal::NodeRolledBack { node }.into());
    }
    record.audit_size = body.size;
    record.audit_root = Some(body.root);
    write(state, node, &record);
    Ok(Applied::Done)
}

pub(super) fn write<S: StateStore>(state: &mut Overlay<'_, S>, node: NodeId, record: &NodeRecord) {
    state.put(key(table::NODE, &[&[node.get()]]), encode(record));
}
