//! How a command is told which card to use and where its PIN comes from.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::{CardError, Remedy};
use super::interface::{Card, PinEntry, PinState};
use super::pin::{Pin, PinError};
use super::pkcs11::{ObjectSelector, Pkcs11Card, Pkcs11Options, TOKEN_LABEL_DEFAULT, TokenSelector};
use super::software::SoftwareCard;

/// Which card to use. The PIN is asked for at the terminal, or read from a file; it is never an argument.
#[derive(clap::Args, Clone, Debug)]
pub struct CardArgs {
    /// A trial card's file
    #[arg(long, value_name = "FILE", required_unless_present = "pkcs11_module", conflicts_with_all = PKCS11_ARGUMENTS)]
    card: Option<PathBuf>,

    /// PKCS#11 module that reaches the card, for example OpenSC's opensc-pkcs11.so
    #[arg(long, value_name = "PATH")]
    pkcs11_module: Option<PathBuf>,

    /// Label of the card's token [default: JPKI]
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    token_label: Option<String>,

    /// Serial number of the card's token, when labels do not tell cards apart
    #[arg(long, value_name = "SERIAL", requires = "pkcs11_module", conflicts_with = "token_label")]
    token_serial: Option<String>,

    /// Number of the slot that holds the card
    #[arg(long, value_name = "NUMBER", requires = "pkcs11_module", conflicts_with_all = ["token_label", "token_serial"])]
    slot: Option<u64>,

    /// Id of the certificate and key on the card, in hexadecimal [default: 01, user authentication]
    #[arg(long, value_name = "HEX", requires = "pkcs11_module")]
    object_id: Option<HexBytes>,

    /// Label of the certificate on the card, in place of its id
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module", conflicts_with = "object_id")]
    object_label: Option<String>,

    /// File with the card's PIN, readable by its owner only; without it the PIN is asked for
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

impl CardArgs {
    /// Names a trial card's file, as `--card FILE --pin-file FILE` would.
    #[must_use]
    pub fn for_trial_card(card: PathBuf, pin_file: Option<PathBuf>) -> Self {
        Self {
            card: Some(card),
            pkcs11_module: None,
            token_label: None,
            token_serial: None,
            slot: None,
            object_id: None,
            object_label: None,
            pin_file,
        }
    }

    /// Opens the card that the arguments name.
    ///
    /// # Errors
    /// Whatever keeps the card from being opened, as a [`CardError`].
    ///
    /// # Panics
    /// When neither a card file nor a module is named, which the argument parser excludes.
    pub fn open(&self) -> Result<Box<dyn Card>, CardError> {
        if let Some(path) = &self.card {
            return Ok(Box::new(SoftwareCard::open(path)?));
        }
        let options = self.pkcs11_options().expect("the parser asks for a card file or a module");
        Ok(Box::new(Pkcs11Card::open(&options)?))
    }

    /// Gets the PIN for `card`: from `--pin-file`, else from the environment, else from the person at the terminal, who is told which card it is and how its PIN stands.
    ///
    /// # Errors
    /// [`CardError::Locked`] before anybody types anything; [`CardError::Pin`].
    pub fn pin(&self, card: &dyn Card) -> Result<Pin, CardError> {
        let environment = env::var_os(PIN_ENVIRONMENT);
        pin_from(self.pin_file.as_deref(), environment, card, Pin::prompt)
    }

    fn pkcs11_options(&self) -> Option<Pkcs11Options> {
        let token = match (&self.token_serial, self.slot) {
            (Some(serial), _) => TokenSelector::Serial(serial.clone()),
            (None, Some(slot)) => TokenSelector::Slot(slot),
            (None, None) => {
                let label = self.token_label.as_deref().unwrap_or(TOKEN_LABEL_DEFAULT);
                TokenSelector::Label(label.to_owned())
            }
        };
        let object = match (&self.object_label, &self.object_id) {
            (Some(label), _) => ObjectSelector::Label(label.clone()),
            (None, Some(id)) => ObjectSelector::Id(id.0.clone()),
            (None, None) => ObjectSelector::default(),
        };
        Some(Pkcs11Options { module: self.pkcs11_module.clone()?, token, object })
    }
}

/// What makes no sense for a trial card; named one by one, as `requires` alone is waived by the conflict with the module.
const PKCS11_ARGUMENTS: [&str; 6] = ["pkcs11_module", "token_label", "token_serial", "slot", "object_id", "object_label"];

/// Environment variable that may hold the PIN. For tests only: other processes of the same user can read it.
pub const PIN_ENVIRONMENT: &str = "WARIFU_CARD_PIN";

fn pin_from(
    file: Option<&Path>,
    environment: Option<OsString>,
    card: &dyn Card,
    prompt: impl FnOnce(&str) -> Result<Pin, PinError>,
) -> Result<Pin, CardError> {
    let description = card.describe();
    if description.pin_state == PinState::Locked {
        let remedy = if description.trial { Remedy::NewTrialCard } else { Remedy::Issuer };
        return Err(CardError::Locked { remedy });
    }
    if description.pin_entry == PinEntry::Reader {
        return Ok(Pin::on_reader());
    }
    if let Some(path) = file {
        return Ok(Pin::from_file(path)?);
    }
    if let Some(pin) = environment {
        return Ok(Pin::new(pin.into_string().map_err(|_| PinError::Malformed)?)?);
    }
    Ok(prompt(&format!("PIN for {description}: "))?)
}

/// Bytes written as an even number of hexadecimal digits, at most [`HexBytes::LENGTH_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HexBytes(Vec<u8>);

impl HexBytes {
    /// Longest object id, in bytes; real ones have one to twenty (a SHA-1 key identifier).
    pub const LENGTH_MAX: usize = 64;
}

impl FromStr for HexBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match hex::decode(text) {
            Ok(bytes) if (1..=Self::LENGTH_MAX).contains(&bytes.len()) => Ok(Self(bytes)),
            _ => Err(format!("1 to {} bytes as hexadecimal digits are needed, such as 01", Self::LENGTH_MAX)),
        }
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::interface::CardDescription;
    use super::*;

    #[derive(Parser, Debug)]
    struct Command {
        #[command(flatten)]
        card: CardArgs,
    }

    fn must_parse(arguments: &[&str]) -> CardArgs {
        let all = std::iter::once("test").chain(arguments.iter().copied());
        Command::try_parse_from(all).expect("valid arguments").card
    }

    #[test]
    fn a_module_alone_means_the_user_authentication_key_of_a_my_number_card() {
        let options = must_parse(&["--pkcs11-module", "m.so"]).pkcs11_options().expect("a module");
        assert_eq!(options.token, TokenSelector::Label("JPKI".into()));
        assert_eq!(options.object, ObjectSelector::Id(vec![1]));
    }

    #[test]
    fn tokens_and_objects_can_be_selected_in_every_way() {
        let module = ["--pkcs11-module", "m.so"];
        let options = |more: &[&str]| must_parse(&[&module, more].concat()).pkcs11_options().expect("a module");
        assert_eq!(options(&["--token-label", "L"]).token, TokenSelector::Label("L".into()));
        assert_eq!(options(&["--token-serial", "S"]).token, TokenSelector::Serial("S".into()));
        assert_eq!(options(&["--slot", "7"]).token, TokenSelector::Slot(7));
        assert_eq!(options(&["--object-id", "a0ff"]).object, ObjectSelector::Id(vec![0xa0, 0xff]));
        assert_eq!(options(&["--object-label", "O"]).object, ObjectSelector::Label("O".into()));
    }

    #[test]
    fn contradictory_or_malformed_arguments_are_refused() {
        let long = "00".repeat(HexBytes::LENGTH_MAX + 1);
        let table: &[&[&str]] = &[
            &[],
            &["--card", "c", "--pkcs11-module", "m"],
            &["--card", "c", "--token-label", "L"],
            &["--card", "c", "--object-id", "01"],
            &["--pkcs11-module", "m", "--object-id", ""],
            &["--pkcs11-module", "m", "--object-id", "1"],
            &["--pkcs11-module", "m", "--object-id", "zz"],
            &["--pkcs11-module", "m", "--object-id", &long],
            &["--pkcs11-module", "m", "--object-id", "01", "--object-label", "O"],
            &["--pkcs11-module", "m", "--token-label", "L", "--slot", "1"],
            &["--pkcs11-module", "m", "--slot", "-1"],
            &["--card", "c", "--pin", "4711"],
        ];
        for arguments in table {
            let all = std::iter::once("test").chain(arguments.iter().copied());
            assert!(Command::try_parse_from(all).is_err(), "{arguments:?}");
        }
    }

    struct Described(CardDescription);

    impl Card for Described {
        fn describe(&self) -> CardDescription {
            self.0.clone()
        }
        fn certificate(&mut self) -> Result<Vec<u8>, CardError> {
            Ok(Vec::new())
        }
        fn sign(&mut self, _: &Pin, _: &[u8]) -> Result<Vec<u8>, CardError> {
            Ok(Vec::new())
        }
    }

    fn described(pin_state: PinState, pin_entry: PinEntry) -> Described {
        Described(CardDescription { name: "JPKI".into(), location: "reader".into(), trial: false, kind: None, pin_state, pin_entry })
    }

    fn must_not_ask(_: &str) -> Result<Pin, PinError> {
        panic!("nobody is to be asked")
    }

    #[test]
    fn nobody_is_asked_for_the_pin_of_a_locked_card() {
        let card = described(PinState::Locked, PinEntry::Here);
        let refused = pin_from(None, Some("4711".into()), &card, must_not_ask);
        assert!(matches!(refused, Err(CardError::Locked { remedy: Remedy::Issuer })));
    }

    #[test]
    fn a_reader_with_keys_asks_itself() {
        let card = described(PinState::Fresh, PinEntry::Reader);
        let pin = pin_from(None, None, &card, must_not_ask).expect("nothing to type here");
        assert_eq!(pin.as_str(), "");
    }

    #[test]
    fn the_person_sees_which_card_asks_and_that_it_is_the_last_try() {
        let card = described(PinState::FinalTry, PinEntry::Here);
        let mut seen = String::new();
        let pin = pin_from(None, None, &card, |question| {
            question.clone_into(&mut seen);
            Pin::new("4711".into())
        });
        assert_eq!(pin.expect("typed").as_str(), "4711");
        assert_eq!(seen, "PIN for JPKI (reader): last try: one more wrong PIN locks the card: ");
    }

    #[test]
    fn a_pin_file_comes_before_the_environment() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("pin");
        std::fs::write(&path, "1111\n").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode set");
        let card = described(PinState::Unknown, PinEntry::Here);
        let pin = pin_from(Some(&path), Some("2222".into()), &card, must_not_ask);
        assert_eq!(pin.expect("from the file").as_str(), "1111");
        let pin = pin_from(None, Some("2222".into()), &card, must_not_ask);
        assert_eq!(pin.expect("from the environment").as_str(), "2222");
    }
}
