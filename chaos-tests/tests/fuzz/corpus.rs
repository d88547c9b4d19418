//! One test for each target, and a valid input for each, so that no target refuses everything unnoticed.

use super::neighbours::Neighbours;
use super::seeds::seeds;
use super::targets;

/// Seeds of one target that are kept: a log has many entries of few kinds.
const SEEDS_KEPT_MAX: usize = 24;

macro_rules! fuzz {
    ($($target:ident),* $(,)?) => {
        $(
            #[test]
            fn $target() {
                bolero::check!().for_each(|bytes: &[u8]| {
                    targets::$target(bytes);
                });
            }
        )*

        const TARGETS: &[(&str, fn(&[u8]) -> bool)] = &[$((stringify!($target), targets::$target)),*];
    };
}

fuzz![
    log_entry,
    order,
    session_opening,
    session_closing,
    request,
    sign_call,
    sign_reply,
    order_call,
    order_reply,
    ceremony_call,
    ceremony_reply,
    stop_command,
    rpc_refusal,
    audit_entry,
    membership,
    raft_frame,
    genesis,
    certificate,
    crl,
    csr,
    hc_roles,
    ecdsa_signature,
    document,
    sign_body,
    packets_body,
    answers,
    receipts_file,
    node_config,
    coordinator_config,
    group_key,
    commitments,
    round1_package,
    round2_package,
    repair_parts,
    share_record,
    import_seed,
    import_plaintext,
    enrolment_rows,
    roster_file,
    admin_request,
    checkpoint_note,
    snapshot,
];

/// Where the inputs of a target are kept; the tool that searches for new ones names the directory.
fn kept(target: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/__fuzz__").join(format!("corpus__{target}")).join("corpus")
}

#[test]
fn every_target_takes_what_is_right() {
    let seeds = seeds();
    let mut refused = Vec::new();
    for (name, target) in TARGETS {
        let inputs = seeds.get(name).unwrap_or_else(|| panic!("{name} has no seed"));
        let wrong = inputs.iter().filter(|input| !target(input));
        refused.extend(wrong.map(|input| format!("{name}: {}", hex::encode(&input[..input.len().min(64)]))));
    }
    assert!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
    assert_eq!(seeds.len(), TARGETS.len());
}

/// Targets whose valid inputs are secrets: they are made anew in every run and kept nowhere.
const SECRET: [&str; 4] = ["share_record", "import_seed", "import_plaintext", "round2_package"];

/// Puts the seeds of this run into the corpus when WARIFU_SEED_CORPUS is set: after a change of a format.
#[test]
fn every_target_has_kept_inputs() {
    for (name, inputs) in seeds().into_iter().filter(|(name, _)| !SECRET.contains(name)) {
        let directory = kept(name);
        if std::env::var_os("WARIFU_SEED_CORPUS").is_some() {
            std::fs::create_dir_all(&directory).expect("the corpus can be written");
            for input in inputs.iter().take(SEEDS_KEPT_MAX) {
                let file = directory.join(hex::encode(&warifu_protocol::canonical::sha256(input)[..10]));
                std::fs::write(file, input).expect("the corpus can be written");
            }
        }
        let count = std::fs::read_dir(&directory).map_or(0, Iterator::count);
        assert!(count > 0, "nothing is kept in {}", directory.display());
    }
}

/// Inputs near valid ones for each target; WARIFU_FUZZ_INPUTS asks for another number.
const NEIGHBOURS: u64 = 400;

#[test]
fn nothing_that_differs_a_little_from_what_is_right_is_a_panic() {
    let count = std::env::var("WARIFU_FUZZ_INPUTS").map_or(NEIGHBOURS, |text| text.parse().expect("WARIFU_FUZZ_INPUTS is a number"));
    let seeds = seeds();
    for (name, target) in TARGETS {
        let mut inputs = seeds[name].clone();
        inputs.push(Vec::new());
        let mut neighbours = Neighbours::new(&inputs, count);
        for _ in 0..count {
            let input = neighbours.draw();
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(outcome.is_ok(), "{name} panics at {}", hex::encode(&input));
        }
    }
}
