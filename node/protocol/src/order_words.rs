//! What the long orders say, in words.

use crate::canonical::sha256;
use crate::{
    AnchorEntry, AnchorKind, ClusterRecord, CommandClass, CoordinatorEntry, KeyImport, NodeEntry, OfficerEntry, OrderCommand, Policy,
    Sha256, StoreId,
};

pub(crate) fn policy(policy: &Policy) -> Vec<String> {
    let mut lines = vec!["UPDATE THE POLICY; from then on all of it is:".to_owned()];
    lines.extend(policy_lines(policy));
    lines
}

pub(crate) fn anchors(anchors: &[AnchorEntry]) -> Vec<String> {
    let mut lines = vec![
        format!("UPDATE THE PINNED CAs; from then on these {} are all:", anchors.len()),
        "  whoever holds the key of one of them decides who is taken for a holder".to_owned(),
    ];
    lines.extend(anchors.iter().map(anchor_line));
    lines
}

pub(crate) fn roster(nodes: &[NodeEntry], coordinators: &[CoordinatorEntry], officers: &[OfficerEntry]) -> Vec<String> {
    let counts = format!("{} nodes, {} coordinators and {} officers", nodes.len(), coordinators.len(), officers.len());
    let mut lines = vec![format!("UPDATE THE ROSTER; from then on these {counts} are all:")];
    lines.extend(nodes.iter().map(node_line));
    lines.extend(coordinators.iter().map(coordinator_line));
    lines.extend(officers.iter().map(officer_line));
    lines
}

pub(crate) fn replace_store(node: &NodeEntry, store: StoreId) -> Vec<String> {
    vec![
        format!("REPLACE THE LOST STORE of node {}", node.id),
        format!("  new store {store}"),
        node_line(node),
        "  its old disk and its old keys are refused from then on; its shares must be repaired".to_owned(),
    ]
}

pub(crate) fn import(import: &KeyImport) -> Vec<String> {
    let KeyImport { enrolment, commitment, packets } = import;
    let key = import.group_key().map_or_else(|| "NONE: every node will refuse this".to_owned(), |key| format!("ed25519:{key}"));
    let nodes: Vec<String> = packets.iter().map(|(node, _)| node.to_string()).collect();
    vec![
        "IMPORT A KEY THAT EXISTED WHOLE BEFORE".to_owned(),
        format!("  as credential {} for holder {}: {}", enrolment.credential, enrolment.holder, enrolment.subject),
        format!("  public key {key}"),
        format!("  split for sites {}, of which {} sign together", nodes.join(" "), commitment.len()),
        "  whoever has had its seed, or a copy of it, can sign as the holder without any site, for as long as the key counts".to_owned(),
        "  no destruction here ends a copy elsewhere: prefer a generated key wherever the certificate can change".to_owned(),
        "  the credential says `imported`, with your names, for ever".to_owned(),
    ]
}

impl ClusterRecord {
    /// What would change against the cluster as it stands, in words; nothing for an order of another kind.
    #[must_use]
    pub fn describe_change(&self, command: &OrderCommand) -> Vec<String> {
        match command {
            OrderCommand::UpdatePolicy { policy } => differences(&policy_lines(&self.policy), &policy_lines(policy)),
            OrderCommand::UpdateAnchors { anchors } => {
                let lines = |anchors: &[AnchorEntry]| anchors.iter().map(anchor_line).collect::<Vec<_>>();
                differences(&lines(&self.anchors), &lines(anchors))
            }
            OrderCommand::UpdateRoster { nodes, coordinators, officers } => {
                let lines = |nodes: &[NodeEntry], coordinators: &[CoordinatorEntry], officers: &[OfficerEntry]| {
                    let nodes = nodes.iter().map(node_line);
                    let others = coordinators.iter().map(coordinator_line).chain(officers.iter().map(officer_line));
                    nodes.chain(others).collect::<Vec<_>>()
                };
                differences(&lines(&self.nodes, &self.coordinators, &self.officers), &lines(nodes, coordinators, officers))
            }
            OrderCommand::ReplaceStore { node, .. } => {
                let old: Vec<_> = self.node(node.id).map(node_line).into_iter().collect();
                differences(&old, &[node_line(node)])
            }
            _ => Vec::new(),
        }
    }
}

fn differences(before: &[String], after: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {}", line.trim_start()));
    let come = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {}", line.trim_start()));
    let lines: Vec<_> = gone.chain(come).collect();
    if lines.is_empty() { vec!["nothing changes".to_owned()] } else { lines }
}

fn policy_lines(policy: &Policy) -> Vec<String> {
    let Policy {
        session_millis_max,
        session_signatures_max,
        crl_age_millis_max,
        clock_skew_millis_max,
        ceremony_millis_max,
        order_millis_max,
        binding_delay_millis,
        refresh_after_millis,
        destroy_after_revocation_millis,
        approvals: _,
    } = policy;
    let mut lines = vec![
        format!("  session_millis_max {session_millis_max}"),
        format!("  session_signatures_max {session_signatures_max}"),
        format!("  crl_age_millis_max {crl_age_millis_max}"),
        format!("  clock_skew_millis_max {clock_skew_millis_max}"),
        format!("  ceremony_millis_max {ceremony_millis_max}"),
        format!("  order_millis_max {order_millis_max}"),
        format!("  binding_delay_millis {binding_delay_millis}"),
        match refresh_after_millis {
            0 => "  refresh_after_millis 0: shares are refreshed by order only".to_owned(),
            millis => format!("  refresh_after_millis {millis}: older shares are refreshed without an order"),
        },
        destruction_line(*destroy_after_revocation_millis),
    ];
    for class in CommandClass::ALL {
        let rules = policy.rules_for(class).iter().map(|rule| format!("{} x {}", rule.count, rule.role)).collect::<Vec<_>>();
        let consent = if class.needs_consent() { ", and consent of t sites" } else { "" };
        lines.push(format!("  {class:?}: approvals by {}{consent}", rules.join(" and ")));
    }
    lines
}

/// Whoever may revoke may then destroy: that must not hide behind a number.
fn destruction_line(after_millis: Option<u64>) -> String {
    let what = match after_millis {
        None => "none: a revoked key is destroyed only by an order of its own".to_owned(),
        Some(0) => "0: WHOEVER MAY REVOKE DESTROYS: a revoked key is destroyed at once, for good, at every site".to_owned(),
        Some(millis) => {
            format!("{millis}: WHOEVER MAY REVOKE DESTROYS: a revoked key is destroyed that much later, for good, at every site")
        }
    };
    format!("  destroy_after_revocation_millis {what}")
}

fn anchor_line(anchor: &AnchorEntry) -> String {
    let kind = match anchor.kind {
        AnchorKind::HpkiSigning => "HPKI signing CA",
        AnchorKind::HpkiAuthentication => "HPKI authentication CA",
        AnchorKind::JpkiUserAuthentication => "JPKI user-authentication CA",
    };
    let hash = Sha256::new(sha256(anchor.certificate.as_slice()));
    format!("  {kind}, SHA-256 of the certificate {hash}, policies {}", anchor.policies.join(" "))
}

fn node_line(node: &NodeEntry) -> String {
    let NodeEntry { id, address, tls_spki, identity, sealing_key } = node;
    let sealing = Sha256::new(sha256(sealing_key.as_slice()));
    format!("  node {id} at {address:?}: TLS key {tls_spki}, identity {identity}, sealing key {sealing}")
}

fn coordinator_line(coordinator: &CoordinatorEntry) -> String {
    let CoordinatorEntry { id, tls_spki, identity } = coordinator;
    format!("  coordinator {id}: TLS key {tls_spki}, identity {identity}")
}

fn officer_line(officer: &OfficerEntry) -> String {
    let OfficerEntry { id, role, key } = officer;
    format!("  officer {id}, {role}: key {key}")
}
