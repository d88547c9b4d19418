//! The cluster as it stands, in words.

use warifu_protocol::canonical::sha256;
use warifu_protocol::{ClusterRecord, Sha256};

use crate::console::table;

/// Versions, nodes, coordinators, officers and pinned CAs.
pub(super) fn cluster(cluster: &ClusterRecord) -> String {
    let mut text = format!(
        "Cluster {}: {} of {} sites sign\nroster version {}, policy version {}, anchors version {}\n",
        cluster.cluster,
        cluster.threshold.0,
        cluster.nodes.len(),
        cluster.roster_version,
        cluster.policy_version,
        cluster.anchors_version,
    );
    let nodes = cluster.nodes.iter().map(|node| {
        let store = cluster.store_number(node.id).to_string();
        [node.id.to_string(), node.address.clone(), node.tls_spki.to_string(), node.identity.to_string(), store]
    });
    push(&mut text, &table(["node", "address", "TLS key (SPKI SHA-256)", "identity key", "replaced"], nodes));
    let coordinators =
        cluster.coordinators.iter().map(|entry| [entry.id.to_string(), entry.tls_spki.to_string(), entry.identity.to_string()]);
    push(&mut text, &table(["coordinator", "TLS key (SPKI SHA-256)", "identity key"], coordinators));
    let officers = cluster.officers.iter().map(|officer| [officer.id.to_string(), officer.role.to_string(), officer.key.to_string()]);
    push(&mut text, &table(["officer", "role", "key"], officers));
    let anchors = cluster.anchors.iter().map(|anchor| {
        let hash = Sha256::new(sha256(anchor.certificate.as_slice()));
        [format!("{:?}", anchor.kind), hash.to_string(), anchor.policies.join(" ")]
    });
    push(&mut text, &table(["pinned CA", "SHA-256 of the certificate", "policies"], anchors));
    text.trim_end().to_owned()
}

fn push(text: &mut String, table: &str) {
    text.push('\n');
    text.push_str(table);
    text.push('\n');
}
