//! The rules of a genesis: each broken alone, and named by the error.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ed25519_dalek::{Signer as _, SigningKey};
use warifu_protocol::{
    AnchorEntry, AnchorKind, Blob, CoordinatorEntry, Genesis, GenesisBody, GenesisDocument, GenesisError, GenesisSignature, Name,
    NodeEntry, NodeId, OfficerEntry, OfficerRole, Policy, PolicyError, PublicKey, SpkiHash, Threshold, UnixMillis,
};

const OFFICERS: [(&str, OfficerRole); 4] = [
    ("alice", OfficerRole::Operator),
    ("bob", OfficerRole::Operator),
    ("carol", OfficerRole::SecurityOfficer),
    ("dave", OfficerRole::SecurityOfficer),
];

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> PublicKey {
    PublicKey::Ed25519(signer(seed).verifying_key().to_bytes())
}

fn node(number: u8) -> NodeEntry {
    NodeEntry {
        id: NodeId::new(number.min(NodeId::MAX)).unwrap(),
        address: "localhost:1".to_owned(),
        tls_spki: SpkiHash::new([number; 32]),
        identity: public(number),
        sealing_key: Blob(Vec::new()),
    }
}

fn anchor(kind: AnchorKind) -> AnchorEntry {
    AnchorEntry { kind, certificate: Blob(vec![1]), policies: vec!["1.2.3".to_owned()] }
}

/// Five sites of which three sign and one may lie.
fn body() -> GenesisBody {
    let officers = OFFICERS.iter().zip(101..).map(|((id, role), seed)| OfficerEntry { id: name(id), role: *role, key: public(seed) });
    GenesisBody {
        format: 1,
        name: name("test"),
        created: UnixMillis(0),
        threshold: Threshold(3),
        liars: 1,
        minority_threshold: false,
        policy: Policy::default(),
        nodes: (1..=5).map(node).collect(),
        coordinators: vec![CoordinatorEntry { id: name("coordinator-1"), tls_spki: SpkiHash::new([100; 32]), identity: public(100) }],
        officers: officers.collect(),
        anchors: vec![anchor(AnchorKind::HpkiSigning), anchor(AnchorKind::JpkiUserAuthentication)],
    }
}

/// Signed by all officers.
fn signed(body: GenesisBody) -> GenesisDocument {
    let message = body.message();
    let sign =
        |(id, seed): (&str, u8)| GenesisSignature { officer: name(id), signature: Blob(signer(seed).sign(&message).to_bytes().to_vec()) };
    let signatures = OFFICERS.iter().map(|(id, _)| *id).zip(101..).map(sign).collect();
    GenesisDocument { genesis: body, signatures }
}

type Change<T> = fn(&mut T);

#[test]
fn a_genesis_that_breaks_one_rule_is_refused_by_that_rule() {
    let threshold = |threshold, nodes| GenesisError::Threshold { threshold, nodes };
    let minority = |threshold, nodes| GenesisError::MinorityThreshold { threshold, nodes };
    let missing = |what| GenesisError::Missing { what };
    let duplicate = |what: String| GenesisError::Duplicate { what };
    let table: [(&str, Change<GenesisBody>, GenesisError); 26] = [
        ("format 0", |body| body.format = 0, GenesisError::UnknownFormat { format: 0 }),
        ("format 2", |body| body.format = 2, GenesisError::UnknownFormat { format: 2 }),
        ("t = 0", |body| body.threshold = Threshold(0), threshold(0, 5)),
        ("t = 1", |body| (body.threshold, body.liars) = (Threshold(1), 0), threshold(1, 5)),
        ("t = n", |body| body.threshold = Threshold(5), threshold(5, 5)),
        ("t = 255", |body| body.threshold = Threshold(255), threshold(255, 5)),
        ("n = 16", |body| (body.nodes, body.threshold) = ((1..=16).map(node).collect(), Threshold(9)), threshold(9, 16)),
        ("n = 0", |body| body.nodes.clear(), threshold(3, 0)),
        ("t = 2 of 5", |body| body.threshold = Threshold(2), minority(2, 5)),
        ("t = n / 2", |body| (body.threshold, body.nodes) = (Threshold(3), (1..=6).map(node).collect()), minority(3, 6)),
        ("f = t", |body| body.liars = 3, GenesisError::Liars { liars: 3, threshold: 3 }),
        ("f > t", |body| body.liars = 4, GenesisError::Liars { liars: 4, threshold: 3 }),
        ("no coordinator", |body| body.coordinators.clear(), missing("coordinator")),
        ("no anchor", |body| body.anchors.clear(), missing("HPKI signing CA")),
        ("no HPKI anchor", |body| drop(body.anchors.remove(0)), missing("HPKI signing CA")),
        ("no JPKI anchor", |body| drop(body.anchors.remove(1)), missing("JPKI user-authentication CA")),
        ("another kind of HPKI anchor", |body| body.anchors[0].kind = AnchorKind::HpkiAuthentication, missing("HPKI signing CA")),
        ("an anchor without policy", |body| body.anchors[1].policies.clear(), missing("accepted policy of an anchor")),
        ("one node twice", |body| body.nodes[4].id = body.nodes[0].id, duplicate("node 1".to_owned())),
        (
            "one TLS key twice",
            |body| body.coordinators[0].tls_spki = body.nodes[0].tls_spki,
            duplicate(format!("spki {}", SpkiHash::new([1; 32]))),
        ),
        ("one identity twice", |body| body.coordinators[0].identity = public(2), duplicate(format!("key {}", public(2)))),
        ("one officer twice", |body| body.officers[1].id = name("alice"), duplicate("officer alice".to_owned())),
        ("one officer's key twice", |body| body.officers[3].key = public(103), duplicate(format!("key {}", public(103)))),
        (
            "a node's identity of another algorithm",
            |body| body.nodes[1].identity = PublicKey::EcdsaP256([4; 65]),
            GenesisError::IdentityKey { who: "node 2".to_owned() },
        ),
        (
            "a coordinator's identity of another algorithm",
            |body| body.coordinators[0].identity = PublicKey::EcdsaP384([4; 97]),
            GenesisError::IdentityKey { who: "coordinator coordinator-1".to_owned() },
        ),
        (
            "f = t = 2 of 3",
            |body| (body.threshold, body.liars, body.nodes) = (Threshold(2), 2, (1..=3).map(node).collect()),
            GenesisError::Liars { liars: 2, threshold: 2 },
        ),
    ];
    assert_eq!(body().check(), Ok(()));
    for (case, change, error) in table {
        let mut changed = body();
        change(&mut changed);
        assert_eq!(changed.check(), Err(error.clone()), "{case}");
        assert_eq!(Genesis::new(signed(changed)), Err(error), "{case}: whoever signs it");
    }
    let mut unbounded = body();
    unbounded.policy.session_signatures_max = 0;
    assert!(matches!(unbounded.check(), Err(GenesisError::Policy(PolicyError::OutOfRange { .. }))));
    let mut alone = body();
    alone.officers.retain(|officer| officer.role == OfficerRole::Operator);
    assert!(matches!(alone.check(), Err(GenesisError::Policy(PolicyError::ApprovalsUnreachable { .. }))));
}

#[test]
fn a_genesis_at_the_bounds_of_its_rules_is_accepted() {
    let table: [(&str, Change<GenesisBody>); 5] = [
        ("t = n - 1", |body| body.threshold = Threshold(4)),
        ("f = t - 1", |body| body.liars = 2),
        ("f = 0", |body| body.liars = 0),
        ("n = 15", |body| (body.nodes, body.threshold) = ((1..=15).map(node).collect(), Threshold(8))),
        ("a minority that is wanted", |body| (body.threshold, body.minority_threshold) = (Threshold(2), true)),
    ];
    for (case, change) in table {
        let mut changed = body();
        change(&mut changed);
        let genesis = Genesis::new(signed(changed.clone()));
        assert_eq!(genesis.map(|genesis| genesis.cluster()), Ok(changed.cluster()), "{case}");
    }
}

#[test]
fn a_genesis_holds_with_the_sound_signature_of_every_officer_and_of_nobody_else() {
    let bad = |officer| GenesisError::BadSignature { officer: name(officer) };
    let unsigned = |officer| GenesisError::Unsigned { officer: name(officer) };
    let table: [(&str, Change<GenesisDocument>, GenesisError); 9] = [
        ("no signature", |document| document.signatures.clear(), unsigned("alice")),
        ("one missing", |document| drop(document.signatures.remove(2)), unsigned("carol")),
        ("one in the place of another", |document| document.signatures[2] = document.signatures[0].clone(), unsigned("carol")),
        (
            "a stranger's beside them",
            |document| {
                let signature = Blob(signer(7).sign(&document.genesis.message()).to_bytes().to_vec());
                document.signatures.push(GenesisSignature { officer: name("mallory"), signature });
            },
            bad("mallory"),
        ),
        ("a stranger's name", |document| document.signatures[1].officer = name("mallory"), bad("mallory")),
        ("another officer's name", |document| document.signatures[1].officer = name("dave"), bad("dave")),
        ("a changed signature", |document| document.signatures[3].signature.0[0] ^= 1, bad("dave")),
        ("an empty signature", |document| document.signatures[0].signature = Blob(Vec::new()), bad("alice")),
        ("another body than was signed", |document| document.genesis.liars = 0, bad("alice")),
    ];
    assert!(Genesis::new(signed(body())).is_ok());
    for (case, change, error) in table {
        let mut document = signed(body());
        change(&mut document);
        assert_eq!(Genesis::new(document.clone()), Err(error.clone()), "{case}");
        assert_eq!(Genesis::from_toml(&document.to_toml()), Err(error), "{case}: read from a file");
    }
}

#[test]
fn a_genesis_file_that_is_too_large_or_no_genesis_is_refused() {
    let text = signed(body()).to_toml();
    let padded = |bytes: usize| format!("{text}#{}", "x".repeat(bytes - text.len() - 1));
    let most = 1024 * 1024;
    assert!(Genesis::from_toml(&padded(most)).is_ok());
    assert_eq!(Genesis::from_toml(&padded(most + 1)), Err(GenesisError::TooLarge { size: most + 1 }));
    for wrong in [String::new(), "[genesis".to_owned(), format!("surprise = 1\n{text}"), text.replace("threshold", "treshold")] {
        assert!(matches!(Genesis::from_toml(&wrong), Err(GenesisError::Malformed { .. })), "{wrong:.40}");
    }
}
