//! Which crate may depend on which: read from the manifests, so that a new edge is a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// For this machine's platform only: crates of others are not fetched by a build, and a test does not use the network.
fn metadata() -> Metadata {
    let options = ["--locked", "--offline", "--filter-platform", &host()].map(str::to_owned);
    MetadataCommand::new().other_options(options).exec().expect("cargo metadata runs in this workspace")
}

fn host() -> String {
    let cargo = std::env::var_os("CARGO").expect("cargo names itself to the tests that it runs");
    let printed = Command::new(cargo).arg("-vV").output().expect("cargo prints its version").stdout;
    let printed = String::from_utf8(printed).expect("cargo prints text");
    printed.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host").to_owned()
}

/// Names of the packages that a package builds with, directly or not; build and test dependencies of others are left out.
fn closure(metadata: &Metadata, root: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("metadata has a resolution");
    let names: BTreeMap<&PackageId, &str> = metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let edges: BTreeMap<&PackageId, Vec<&PackageId>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
            (&node.id, normal.map(|dep| &dep.pkg).collect())
        })
        .collect();
    let start = metadata.packages.iter().find(|package| package.name.as_str() == root).expect("the crate exists");
    let mut found = BTreeSet::new();
    let mut waiting = vec![&start.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if seen.insert(id) {
            found.insert(names[id].to_owned());
            waiting.extend(edges[id].iter().copied());
        }
    }
    found.remove(root);
    found
}

#[test]
fn dependencies_point_downward_only() {
    let metadata = metadata();
    let order = [
        "warifu-protocol",
        "warifu-prescription",
        "warifu-core",
        "warifu-node",
        "warifu-coordinator-core",
        "warifu-api",
        "warifu-coordinator",
        "warifu",
        "warifu-chaos",
    ];
    assert_eq!(metadata.workspace_members.len(), order.len(), "nine crates");
    for (place, name) in order.iter().enumerate() {
        let ours: Vec<String> = closure(&metadata, name).into_iter().filter(|dep| dep.starts_with("warifu")).collect();
        for dependency in ours {
            let at = order.iter().position(|other| *other == dependency).expect("a crate of the workspace");
            assert!(at < place, "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn only_the_command_line_and_the_torment_link_the_node() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let links = package.dependencies.iter().any(|dep| dep.name == "warifu-node" && dep.kind == DependencyKind::Normal);
        assert!(!links || ["warifu", "warifu-chaos"].contains(&name), "{name} links warifu-node");
    }
    let command_line = metadata.packages.iter().find(|package| package.name.as_str() == "warifu").expect("the CLI");
    let node = command_line.dependencies.iter().find(|dep| dep.name == "warifu-node").expect("linked for quickstart");
    assert!(node.optional, "the node is behind the feature `embedded`");
}

#[test]
fn nodes_have_no_xml_parser() {
    let found = closure(&metadata(), "warifu-node");
    let xml: Vec<_> = found.iter().filter(|name| name.contains("xml") || ["uppsala", "bergshamra-c14n"].contains(&name.as_str())).collect();
    assert!(xml.is_empty(), "{xml:?}");
}

/// The feature `transport` of the protocol crate is turned on by the shells, so resolution shows its dependencies everywhere; what each
/// core's manifest asks for is what counts.
#[test]
fn cores_have_no_io() {
    let metadata = metadata();
    let banned = ["tokio", "mio", "quinn", "openraft", "rustls", "redb", "axum", "hyper"];
    for core in ["warifu-core", "warifu-coordinator-core", "warifu-prescription"] {
        let package = metadata.packages.iter().find(|package| package.name.as_str() == core).expect("the core exists");
        for dependency in package.dependencies.iter().filter(|dep| dep.kind == DependencyKind::Normal) {
            assert!(!banned.contains(&dependency.name.as_str()), "{core} depends on {}", dependency.name);
            let with_transport = dependency.name == "warifu-protocol" && dependency.features.iter().any(|feature| feature == "transport");
            assert!(!with_transport, "{core} turns on the transport");
        }
    }
    let protocol = metadata.packages.iter().find(|package| package.name.as_str() == "warifu-protocol").expect("the protocol exists");
    for dependency in protocol.dependencies.iter().filter(|dep| banned.contains(&dep.name.as_str())) {
        assert!(dependency.optional, "warifu-protocol takes {} without its feature", dependency.name);
    }
}
