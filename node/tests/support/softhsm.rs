//! SoftHSM2 in the place of a hardware module, in a child process: SoftHSM2 finds its tokens through an environment variable that a process cannot set for
//! itself safely, so a test runs its body in a child, this same program told to run that one test with the variable set.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

pub(crate) const USER_PIN: &str = "471147";

/// Set in the child that runs a test's body.
const CHILD: &str = "WARIFU_TEST_SOFTHSM_CHILD";

/// Where distributions put SoftHSM2.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The module with its tokens.
pub(crate) struct SoftHsm {
    pub(crate) module: PathBuf,
    pub(crate) pkcs11: Pkcs11,
    /// Where the tokens are: moved away, they are gone.
    pub(crate) tokens: PathBuf,
}

/// Runs `body` in a process whose SoftHSM2 has a fresh, empty token directory.
#[expect(clippy::print_stdout, reason = "a skipped test must say so")]
pub(crate) fn with_softhsm(test: &str, body: impl FnOnce(&SoftHsm)) {
    let Some(module) = MODULES.iter().map(PathBuf::from).find(|path| path.exists()) else {
        println!("SKIPPED {test}: SoftHSM2 is not installed (Debian: apt-get install softhsm2)");
        return;
    };
    if let Some(tokens) = env::var_os(CHILD) {
        let pkcs11 = Pkcs11::new(&module).expect("the module loads");
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("the module starts");
        body(&SoftHsm { module, pkcs11, tokens: PathBuf::from(tokens) });
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let tokens = directory.path().join("tokens");
    fs::create_dir(&tokens).expect("a directory for tokens");
    let configuration = directory.path().join("softhsm2.conf");
    fs::write(&configuration, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display())).expect("a configuration");
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env("SOFTHSM2_CONF", configuration)
        .env(CHILD, tokens)
        .output()
        .expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "the child must run exactly this test: {text}");
}

impl SoftHsm {
    /// Makes a token with the user's PIN set.
    pub(crate) fn must_make_token(&self, label: &str) -> Slot {
        let free = self.pkcs11.get_slots_with_token().expect("slots");
        let initialized = self.pkcs11.get_slots_with_initialized_token().expect("slots");
        let slot = free.into_iter().find(|slot| !initialized.contains(slot)).expect("a free slot");
        let officer_pin = AuthPin::from("87654321");
        self.pkcs11.init_token(slot, &officer_pin, label).expect("a token");
        let session = self.pkcs11.open_rw_session(slot).expect("a session");
        session.login(UserType::So, Some(&officer_pin)).expect("the officer's login");
        session.init_pin(&AuthPin::from(USER_PIN)).expect("the user's PIN");
        slot
    }
}
