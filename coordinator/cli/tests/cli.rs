//! The command line: what people are told, and with which exit code, when something is wrong.

#![cfg(feature = "embedded")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory with what commands need, and the program.
struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let desk = Self { directory };
        desk.write_secret("passphrase", "correct horse battery\n");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn write_secret(&self, name: &str, content: &str) {
        let path = self.write(name, content);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs `warifu` with words separated by spaces, in the directory.
    fn run(&self, words: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_warifu"))
            .args(words.split_whitespace())
            .current_dir(self.directory.path())
            .env_clear()
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
    }

    fn must(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// An unsigned genesis of three sites with four officers, made by the commands alone.
    fn found(&self) -> PathBuf {
        for id in 1..=3 {
            let node =
                warifu_node::keys::NodeKeys::init(&self.path(&format!("n{id}")), warifu_protocol::NodeId::new(id).unwrap(), "h:1").unwrap();
            self.write(&format!("n{id}.toml"), toml::to_string(&node).unwrap());
        }
        let entry = self.must("genesis new-coordinator --id c1 --dir c1");
        self.write("c1.toml", entry);
        for (id, role) in OFFICERS {
            let entry = self.must(&format!("officer new-key --id {id} --role {role} --out {id}.key --passphrase-file passphrase"));
            self.write(&format!("{id}.toml"), entry);
        }
        self.must("trial-ca new --kind hpki --dir hpki");
        self.must("trial-ca new --kind jpki --dir jpki");
        self.must(NEW_GENESIS);
        self.path("genesis.toml")
    }

    fn found_and_sign(&self) {
        self.found();
        for (id, _) in OFFICERS {
            self.must(&format!("genesis sign --genesis genesis.toml --officer-key {id}.key --passphrase-file passphrase --yes"));
        }
    }
}

const OFFICERS: [(&str, &str); 4] =
    [("op-1", "operator"), ("op-2", "operator"), ("so-1", "security-officer"), ("so-2", "security-officer")];

const NEW_GENESIS: &str = "genesis new --name trial --threshold 2 --node n1.toml --node n2.toml --node n3.toml --coordinator c1.toml \
    --officer op-1.toml --officer op-2.toml --officer so-1.toml --officer so-2.toml \
    --anchor hpki-signing:1.2.392.100495.1.5.1.1.0.1:hpki/ca.crt \
    --anchor jpki-user-authentication:1.2.392.200149.8.5.1.3.30:jpki/ca.crt --out genesis.toml";

/// A connection to nobody.
const NOWHERE: &str = "--api https://127.0.0.1:9 --ca client.pem --cert client.pem --key client.key --timeout 2";

fn write_client(desk: &Desk) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    desk.write("client.pem", certificate.pem());
    desk.write_secret("client.key", &key.serialize_pem());
}

/// Every row: the words, the exit code, and what the person is told.
fn check(desk: &Desk, table: &[(&str, i32, &str)]) {
    for (words, code, says) in table {
        let output = desk.run(words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{words}: {told}");
        assert!(told.contains(says), "{words}: `{says}` is not in: {told}");
        assert!(!told.contains("panicked"), "{words}: {told}");
    }
}

#[test]
fn wrong_usage_is_said_with_exit_code_2() {
    let desk = Desk::new();
    check(
        &desk,
        &[
            ("", 2, "Usage"),
            ("sign", 2, "unrecognized subcommand"),
            ("genesis new --name Trial", 2, "a name is 1 to 64 characters"),
            (
                "genesis new --name t --threshold 2 --node n --coordinator c --officer o --anchor web:1.2:f --out g",
                2,
                "none of hpki-signing",
            ),
            (
                "genesis new --name t --threshold 2 --node n --coordinator c --officer o --anchor hpki-signing:x:f --out g",
                2,
                "no policy OID",
            ),
            ("officer new-key --id o --role king --out k", 2, "possible values"),
            ("credential show xyz", 2, "hexadecimal digits"),
            ("credential enrol --holder h --genesis g", 2, "--common-name"),
            ("credential list", 2, "`--api` or WARIFU_API"),
            ("status --api https://h", 2, "`--ca` or WARIFU_CA"),
            ("terminal sign d.xml --session s --kind referral --out o", 2, "possible values"),
            ("terminal sign d.xml --session s --kind prescription --out o --roster r", 2, "--genesis <FILE>"),
            (
                "terminal login --credential 00112233445566778899aabbccddeeff --facility f --terminal-key k --genesis g --out s",
                2,
                "--card <FILE>",
            ),
            (
                "terminal login --credential 00112233445566778899aabbccddeeff --facility f --terminal-key k --genesis g --out s --card c --hours 19",
                2,
                "19",
            ),
            ("terminal enrol --terminal 00 --public-key ed25519:00 --facility f --genesis g", 2, "hexadecimal digits"),
            ("quickstart --nodes 2", 2, "3 to 15"),
            ("quickstart --nodes 5 --threshold 2", 2, "a majority"),
            ("quickstart --nodes 5 --threshold 5", 2, "one site may fail"),
        ],
    );
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused_by_name() {
    let desk = Desk::new();
    desk.found_and_sign();
    write_client(&desk);
    desk.write("empty", "");
    desk.write("rubbish", [0xff; 64]);
    desk.write("huge", vec![b'x'; 2 << 20]);
    desk.write("open.key", "x");
    desk.write("short", "horse");
    fs::set_permissions(desk.path("short"), fs::Permissions::from_mode(0o600)).unwrap();
    desk.write("holders.csv", "h-1,A,1\nh-2,\u{5c71},2\n");
    desk.write("html.xml", "<html/>");
    let (exposed, wrong_json) = ("others can read it", "does not hold the expected order");
    check(
        &desk,
        &[
            ("genesis check absent.toml", 1, "cannot read `absent.toml`"),
            ("genesis check empty", 1, "the genesis `empty` is refused"),
            ("genesis check rubbish", 1, "not UTF-8"),
            ("genesis check huge", 1, "has more than"),
            ("officer show --key empty", 1, exposed),
            ("officer show --key passphrase", 1, "`passphrase` does not hold the expected officer's key file"),
            ("officer show --key open.key", 1, exposed),
            ("officer new-key --id o --role operator --out new.key", 1, "--passphrase-file"),
            ("officer new-key --id o --role operator --out new.key --passphrase-file short", 1, "8 characters or more"),
            ("officer new-key --id op-1 --role operator --out op-1.key --passphrase-file passphrase", 1, "cannot create `op-1.key`"),
            ("officer approve --order empty --key op-1.key --genesis genesis.toml --yes", 1, wrong_json),
            ("credential enrol --csv holders.csv --genesis genesis.toml", 1, "line 2"),
            ("credential enrol --csv empty --genesis genesis.toml", 1, "0 holders"),
            ("credential enrol --holder h --common-name A --serial-number 1_2 --genesis genesis.toml", 1, "the holder's subject is wrong"),
            ("credential install 00112233445566778899aabbccddeeff --certificate rubbish --genesis genesis.toml", 1, "neither DER nor PEM"),
            (
                "credential install 00112233445566778899aabbccddeeff --certificate c1/identity.key --genesis genesis.toml",
                1,
                "holds a PEM PRIVATE KEY",
            ),
            ("crl update hpki/ca.crt --genesis genesis.toml", 1, "holds a PEM CERTIFICATE"),
            ("card show --card empty", 1, "card file"),
            ("trial-ca certify --dir jpki --csr rubbish --role Dentist --out c.pem", 1, "neither DER nor PEM"),
            ("verify absent.xml", 2, "cannot read"),
            ("quickstart --document html.xml", 1, "cannot be signed as a prescription"),
            ("quickstart --dir c1", 1, "is not empty"),
        ],
    );
}

#[test]
fn a_cluster_that_is_not_there_is_exit_code_3() {
    let desk = Desk::new();
    desk.found_and_sign();
    write_client(&desk);
    let status = format!("status {NOWHERE}");
    let list = format!("credential list {NOWHERE}");
    let order = format!("facility enrol f1 --genesis genesis.toml --approve-with op-1.key --passphrase-file passphrase --yes {NOWHERE}");
    check(&desk, &[(&status, 3, "cannot be reached"), (&list, 3, "cannot be reached"), (&order, 3, "cannot be reached")]);
    let plain = status.replace("https://", "http://");
    check(&desk, &[(&plain, 2, "is not a base URL")]);
}

#[test]
fn a_genesis_is_signed_by_every_officer_once_and_only_by_them() {
    let desk = Desk::new();
    desk.found();
    let sign = |id: &str| format!("genesis sign --genesis genesis.toml --officer-key {id}.key --passphrase-file passphrase");
    check(&desk, &[("genesis check genesis.toml", 1, "officer op-1 has not signed"), (&sign("op-1"), 1, "give `--yes`")]);
    for (id, _) in OFFICERS {
        desk.must(&format!("{} --yes", sign(id)));
    }
    let twice = format!("{} --yes", sign("op-1"));
    desk.must("officer new-key --id eve --role operator --out eve.key --passphrase-file passphrase");
    let stranger = format!("{} --yes", sign("eve"));
    check(&desk, &[(&twice, 1, "has signed this genesis already"), (&stranger, 1, "does not name officer eve")]);
    assert!(desk.must("genesis check genesis.toml").contains("2 of 3"));
    let shown = desk.must("genesis show genesis.toml");
    assert!(shown.contains("op-2") && !shown.contains("NOT SIGNED"), "{shown}");

    let text = fs::read_to_string(desk.path("genesis.toml")).unwrap();
    desk.write("changed.toml", text.replace("threshold = 2", "threshold = 3"));
    check(&desk, &[("genesis check changed.toml", 1, "2 <= t <= n-1")]);
    desk.write("changed.toml", text.replace("name = \"trial\"", "name = \"trail\""));
    check(&desk, &[("genesis check changed.toml", 1, "does not verify")]);
}

#[test]
fn an_order_is_approved_by_officers_of_the_right_role_who_see_it_in_words() {
    let desk = Desk::new();
    desk.found_and_sign();
    desk.must("facility enrol 1310000001 --genesis genesis.toml --order-out order.json");
    let approve =
        |id: &str| format!("officer approve --order order.json --key {id}.key --genesis genesis.toml --passphrase-file passphrase --yes");
    desk.write_secret("wrong", "incorrect horse battery");
    let wrong = approve("op-1").replace("--passphrase-file passphrase", "--passphrase-file wrong");
    let unasked = approve("op-1").replace(" --yes", "");
    check(
        &desk,
        &[
            (&approve("so-1"), 1, "approvals by officers of the role operator"),
            (&wrong, 1, "the passphrase does not open"),
            (&unasked, 1, "give `--yes`"),
            ("facility enrol 1310000001 --genesis genesis.toml --order-out order.json", 1, "cannot create `order.json`"),
            ("credential agree --order order.json --card absent", 1, "card file"),
        ],
    );
    let said = desk.must(&approve("op-1"));
    assert!(said.contains("ENROL FACILITY 1310000001") && said.contains("SHA-256 of what is approved"), "{said}");
    check(&desk, &[(&approve("op-1"), 1, "has approved this order already")]);

    let other = Desk::new();
    other.found_and_sign();
    other.write("order.json", fs::read(desk.path("order.json")).unwrap());
    check(&other, &[(&approve("op-2"), 1, "the genesis names cluster")]);
}

#[test]
fn json_output_is_json_and_nothing_else() {
    let desk = Desk::new();
    desk.found_and_sign();
    for words in [
        "genesis check genesis.toml --json",
        "genesis show genesis.toml --json",
        "officer show --key op-1.key --json",
        "terminal new-key --out t.key --json",
        "facility enrol f1 --genesis genesis.toml --order-out o.json --json",
        "credential enrol --holder h --common-name A --serial-number 1 --genesis genesis.toml --order-out e.json --json",
    ] {
        let text = desk.must(words);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{words}: {text}");
    }
}

#[test]
fn a_trial_card_is_made_shown_and_locks() {
    let desk = Desk::new();
    desk.found_and_sign();
    desk.write_secret("pin", "4711");
    desk.write_secret("wrong-pin", "0000");
    desk.must("card new-trial --out card.json --kind mnc --trial-ca jpki --p384 --pin-file pin");
    desk.must("trial-ca new --kind hpki-authentication --dir hpki-auth");
    desk.must(
        "card new-trial --out hpki-card.json --kind hpki_card --trial-ca hpki-auth --common-name Ishi --serial-number 1 --role Dentist --pin-file pin",
    );
    for card in ["card.json", "hpki-card.json"] {
        let shown = desk.must(&format!("card show --card {card}"));
        assert!(shown.contains("TRIAL") && shown.contains("3 tries left"), "{shown}");
    }
    let bind = |pin: &str| {
        format!(
            "credential bind 00112233445566778899aabbccddeeff --kind mnc --card card.json --pin-file {pin} --genesis genesis.toml --object-version 3 --order-out bind-{pin}.json"
        )
    };
    desk.must(&bind("pin"));
    let (wrong, right) = (bind("wrong-pin"), bind("pin"));
    check(
        &desk,
        &[
            (&wrong, 1, "2 tries are left"),
            (&wrong, 1, "one try is left"),
            (&wrong, 1, "LOCKED"),
            (&right, 1, "LOCKED"),
            ("card new-trial --out hpki.json --kind mnc --trial-ca hpki --pin-file pin", 1, "trial CA of this kind"),
            ("card new-trial --out new.json --kind hpki_card --trial-ca hpki-auth --pin-file pin", 2, "--common-name"),
            (
                "card new-trial --out new.json --kind hpki_card --trial-ca hpki --common-name I --serial-number 1 --role Dentist --pin-file pin",
                1,
                "trial CA of this kind",
            ),
        ],
    );
    assert!(!Path::new(&desk.path("bind-wrong-pin.json")).exists());
}
