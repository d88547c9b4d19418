//! Every route crossed with every role.

use std::collections::BTreeSet;

use warifu_api::paths;
use warifu_protocol::{OrderId, SessionId, StopId};

use super::description::must_describe;
use super::support::{CREDENTIAL, must_signing_fixture};

/// A client of each role: platform, ca, operations, auditor.
const CLIENTS: [(char, &str); 4] = [('p', "clinic"), ('c', "authority"), ('o', "watch"), ('a', "auditor")];

/// Who may call what, and what a call without a body, or for something that is not there, gets whoever may.
const ROUTES: [(&str, &str, &str, u16); 18] = [
    ("post", paths::SESSIONS, "p", 400),
    ("get", paths::SESSION, "p", 404),
    ("post", paths::SESSION_CLOSE, "p", 400),
    ("post", paths::SIGN, "p", 400),
    ("post", paths::ORDERS, "c", 400),
    ("post", paths::CRL, "c", 400),
    ("post", paths::IMPORT, "c", 400),
    ("get", paths::CRLS, "coa", 200),
    ("get", paths::ROSTER, "coa", 200),
    ("get", paths::CREDENTIALS, "coa", 200),
    ("get", paths::CREDENTIAL, "coa", 200),
    ("get", paths::HISTORY, "coa", 404),
    ("get", paths::CSR, "c", 200),
    ("get", paths::OBJECT_VERSION, "coa", 200),
    ("get", paths::CEREMONY, "coa", 404),
    ("get", paths::STOP, "pcoa", 404),
    ("get", paths::STATUS, "pcoa", 200),
    ("get", paths::OPENAPI, "pcoa", 200),
];

/// The path with something in the place of each parameter.
fn must_fill(path: &str) -> String {
    let parameters = [
        ("{session}", SessionId::new([1; 32]).to_string()),
        ("{order}", OrderId::new([1; 16]).to_string()),
        ("{credential}", CREDENTIAL.to_string()),
        ("{kind}", "credential".to_owned()),
        ("{id}", CREDENTIAL.to_string()),
        ("{ceremony}", OrderId::new([1; 16]).to_string()),
        ("{stop}", StopId::new([1; 32]).to_string()),
    ];
    let filled = parameters.iter().fold(path.to_owned(), |path, (parameter, value)| path.replace(parameter, value));
    assert!(!filled.contains('{'), "a parameter of {path} is not filled");
    filled
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_open_to_the_roles_of_the_table_and_to_no_other() {
    let fixture = must_signing_fixture("").await;
    let description = must_describe(&fixture).await;
    let described: BTreeSet<_> = description.operations().into_iter().collect();
    // The description does not describe itself.
    let in_table = ROUTES.iter().filter(|row| row.1 != paths::OPENAPI).map(|row| (row.0.to_owned(), row.1.to_owned()));
    assert_eq!(in_table.collect::<BTreeSet<_>>(), described);
    for (method, path, roles, status) in ROUTES {
        let media = match path {
            _ if method == "get" => None,
            paths::CRL => Some("application/octet-stream"),
            _ => Some("application/json"),
        };
        for (role, client) in CLIENTS {
            let answer = fixture.caller(client).call(&method.to_uppercase(), &must_fill(path), media, b"").await.unwrap();
            if roles.contains(role) {
                assert_eq!(answer.status, status, "{client}: {method} {path}: {answer:?}");
            } else {
                let problem = answer.must_problem();
                assert_eq!((problem.code(), problem.status), ("wrong-role", 403), "{client}: {method} {path}");
            }
        }
    }
}
