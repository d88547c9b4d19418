//! A genesis in words: what an officer reads before signing it.

use jiff::SignedDuration;
use warifu_core::pki::Certificate;
use warifu_protocol::{CommandClass, GenesisDocument};

use crate::console::table;

/// Everything that a genesis says, and who has signed it.
#[must_use]
pub fn describe(document: &GenesisDocument) -> String {
    let body = &document.genesis;
    let mut text = format!(
        "Cluster {} ({})\nwritten {}\n{} of {} sites sign; up to {} may lie without an acknowledgement being worth less{}\n",
        body.name,
        body.cluster(),
        body.created,
        body.threshold.0,
        body.nodes.len(),
        body.liars,
        if body.minority_threshold { "\nTHE THRESHOLD IS LESS THAN A MAJORITY: disjoint groups of sites can sign" } else { "" },
    );
    let nodes =
        body.nodes.iter().map(|node| [node.id.to_string(), node.address.clone(), node.tls_spki.to_string(), node.identity.to_string()]);
    push(&mut text, &table(["node", "address", "TLS key (SPKI SHA-256)", "identity key"], nodes));
    let coordinators = body.coordinators.iter().map(|entry| [entry.id.to_string(), entry.tls_spki.to_string(), entry.identity.to_string()]);
    push(&mut text, &table(["coordinator", "TLS key (SPKI SHA-256)", "identity key"], coordinators));
    let officers = body.officers.iter().map(|officer| {
        let signed = document.signatures.iter().any(|signature| signature.officer == officer.id);
        [officer.id.to_string(), officer.role.to_string(), officer.key.to_string(), if signed { "signed" } else { "NOT SIGNED" }.to_owned()]
    });
    push(&mut text, &table(["officer", "role", "key", "genesis"], officers));
    let anchors = body.anchors.iter().map(|anchor| {
        let subject =
            Certificate::parse(anchor.certificate.as_slice()).map_or_else(|_| "UNREADABLE".to_owned(), |ca| ca.subject().to_string());
        [format!("{:?}", anchor.kind), subject, anchor.policies.join(" ")]
    });
    push(&mut text, &table(["trusted for", "CA", "policies"], anchors));
    push(&mut text, &table(["term", "value"], terms(document)));
    let rules = CommandClass::ALL.into_iter().map(|class| {
        let rules = body.policy.rules_for(class).iter().map(|rule| format!("{} x {}", rule.count, rule.role)).collect::<Vec<_>>();
        let consent = if class.needs_consent() { ", consent at t sites" } else { "" };
        [format!("{class:?}"), format!("{}{consent}", rules.join(" and "))]
    });
    push(&mut text, &table(["command", "approvals"], rules));
    text.trim_end().to_owned()
}

fn terms(document: &GenesisDocument) -> Vec<[String; 2]> {
    let policy = &document.genesis.policy;
    let duration = |millis: u64| format!("{:#}", SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)));
    let destruction = match policy.destroy_after_revocation_millis {
        None => "only by an order of its own".to_owned(),
        Some(0) => "at once".to_owned(),
        Some(millis) => format!("{} later", duration(millis)),
    };
    vec![
        ["longest session".to_owned(), duration(policy.session_millis_max)],
        ["signatures in a session".to_owned(), policy.session_signatures_max.to_string()],
        ["oldest CRL".to_owned(), duration(policy.crl_age_millis_max)],
        ["clock skew".to_owned(), duration(policy.clock_skew_millis_max)],
        ["ceremony deadline".to_owned(), duration(policy.ceremony_millis_max)],
        ["longest life of an order".to_owned(), duration(policy.order_millis_max)],
        ["notice before a card without a bound card's word".to_owned(), duration(policy.binding_delay_millis)],
        ["destruction after a revocation".to_owned(), destruction],
    ]
}

fn push(text: &mut String, table: &str) {
    text.push_str(table);
    text.push('\n');
}
