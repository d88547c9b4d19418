//! What a PKCS#11 return value means for the person at the terminal.

use cryptoki::error::{Error, RvError};
use cryptoki::slot::TokenInfo;

use crate::card::error::{CardError, Remedy, TriesLeft};
use crate::card::interface::{PinEntry, PinState};
use crate::card::pin::Pin;

/// What a token says about its PIN (PKCS #11 v3.1 section 3.2, `CK_TOKEN_INFO`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct TokenFlags {
    /// `CKF_USER_PIN_LOCKED`.
    pub(super) locked: bool,
    /// `CKF_USER_PIN_FINAL_TRY`.
    pub(super) final_try: bool,
    /// `CKF_USER_PIN_COUNT_LOW`.
    pub(super) count_low: bool,
    /// `CKF_PROTECTED_AUTHENTICATION_PATH`.
    pub(super) pin_on_reader: bool,
    /// `ulMinPinLen`.
    pub(super) pin_length_min: usize,
    /// `ulMaxPinLen`.
    pub(super) pin_length_max: usize,
}

impl From<&TokenInfo> for TokenFlags {
    fn from(info: &TokenInfo) -> Self {
        Self {
            locked: info.user_pin_locked(),
            final_try: info.user_pin_final_try(),
            count_low: info.user_pin_count_low(),
            pin_on_reader: info.protected_authentication_path(),
            pin_length_min: info.min_pin_length(),
            pin_length_max: info.max_pin_length(),
        }
    }
}

impl TokenFlags {
    pub(super) fn pin_state(self) -> PinState {
        match self {
            Self { locked: true, .. } => PinState::Locked,
            Self { final_try: true, .. } => PinState::FinalTry,
            Self { count_low: true, .. } => PinState::CountLow,
            _ => PinState::Fresh,
        }
    }

    pub(super) fn pin_entry(self) -> PinEntry {
        if self.pin_on_reader { PinEntry::Reader } else { PinEntry::Here }
    }

    /// Refuses, before the card sees it, a PIN that would only cost a try.
    pub(super) fn check_pin(self, pin: &Pin) -> Result<(), CardError> {
        if self.locked {
            return Err(CardError::Locked { remedy: Remedy::Issuer });
        }
        let (min, max) = (self.pin_length_min, self.pin_length_max);
        let length = pin.as_str().len();
        // A maximum of zero is how some modules say that they do not know.
        if !self.pin_on_reader && (length < min.max(1) || (max != 0 && length > max)) {
            return Err(CardError::PinLength { min, max });
        }
        Ok(())
    }

    fn tries_left(self) -> TriesLeft {
        match self {
            Self { final_try: true, .. } => TriesLeft::Last,
            Self { count_low: true, .. } => TriesLeft::Few,
            _ => TriesLeft::Unknown,
        }
    }
}

/// What was going on when the module answered with a failure.
pub(super) struct Circumstances {
    /// What was tried, as a gerund.
    pub(super) doing: &'static str,
    /// Which token.
    pub(super) token: String,
    /// The token's flags **after** the failure.
    pub(super) flags: TokenFlags,
    /// What the token may be unable to do.
    pub(super) mechanism: &'static str,
}

/// Turns a module's failure into an error that says what to do.
pub(super) fn classify(failure: Error, circumstances: Circumstances) -> CardError {
    let Circumstances { doing, token, flags, mechanism } = circumstances;
    let Error::Pkcs11(value, _) = failure else {
        return CardError::Token { doing, source: failure };
    };
    match value {
        RvError::PinLocked => CardError::Locked { remedy: Remedy::Issuer },
        // The try that locks a card is answered as a wrong PIN by most cards; only the flag tells.
        RvError::PinIncorrect if flags.locked => CardError::Locked { remedy: Remedy::Issuer },
        RvError::PinIncorrect | RvError::PinInvalid => CardError::WrongPin { tries: flags.tries_left() },
        RvError::PinLenRange => CardError::PinLength { min: flags.pin_length_min, max: flags.pin_length_max },
        RvError::PinExpired | RvError::UserPinNotInitialized => CardError::PinNotReady,
        RvError::Cancel | RvError::FunctionCanceled => CardError::Cancelled,
        RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::DeviceRemoved
        | RvError::SlotIdInvalid
        | RvError::SessionHandleInvalid
        | RvError::SessionClosed => CardError::TokenRemoved { token },
        RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::KeyTypeInconsistent
        | RvError::KeyFunctionNotPermitted
        | RvError::FunctionNotSupported => CardError::UnsupportedMechanism { token, mechanism },
        _ => CardError::Token { doing, source: failure },
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    fn classified(value: RvError, flags: TokenFlags) -> CardError {
        let circumstances = Circumstances { doing: "testing", token: "`JPKI`".into(), flags, mechanism: "CKM_RSA_PKCS" };
        classify(Error::Pkcs11(value, Function::Login), circumstances)
    }

    const PLAIN: TokenFlags =
        TokenFlags { locked: false, final_try: false, count_low: false, pin_on_reader: false, pin_length_min: 4, pin_length_max: 4 };

    #[test]
    fn a_locked_card_is_reported_as_locked_by_value_and_by_flag() {
        let after_last_try = TokenFlags { locked: true, ..PLAIN };
        for (value, flags) in [(RvError::PinLocked, PLAIN), (RvError::PinLocked, after_last_try), (RvError::PinIncorrect, after_last_try)] {
            let error = classified(value, flags);
            assert!(matches!(error, CardError::Locked { remedy: Remedy::Issuer }), "{value:?} {flags:?}");
            assert!(error.to_string().contains("municipal office"), "{error}");
        }
    }

    #[test]
    fn a_wrong_pin_tells_what_the_flags_tell_about_tries() {
        let low = TokenFlags { count_low: true, ..PLAIN };
        let last = TokenFlags { final_try: true, count_low: true, ..PLAIN };
        for (flags, expected) in [(PLAIN, TriesLeft::Unknown), (low, TriesLeft::Few), (last, TriesLeft::Last)] {
            let error = classified(RvError::PinIncorrect, flags);
            assert!(matches!(error, CardError::WrongPin { tries } if tries == expected), "{flags:?}: {error}");
        }
    }

    #[test]
    fn every_other_answer_gets_its_name() {
        type Expected = fn(&CardError) -> bool;
        let table: &[(RvError, Expected)] = &[
            (RvError::PinLenRange, |e| matches!(e, CardError::PinLength { min: 4, max: 4 })),
            (RvError::PinExpired, |e| matches!(e, CardError::PinNotReady)),
            (RvError::UserPinNotInitialized, |e| matches!(e, CardError::PinNotReady)),
            (RvError::FunctionCanceled, |e| matches!(e, CardError::Cancelled)),
            (RvError::TokenNotPresent, |e| matches!(e, CardError::TokenRemoved { .. })),
            (RvError::DeviceRemoved, |e| matches!(e, CardError::TokenRemoved { .. })),
            (RvError::SlotIdInvalid, |e| matches!(e, CardError::TokenRemoved { .. })),
            (RvError::SessionHandleInvalid, |e| matches!(e, CardError::TokenRemoved { .. })),
            (RvError::MechanismInvalid, |e| matches!(e, CardError::UnsupportedMechanism { .. })),
            (RvError::KeyTypeInconsistent, |e| matches!(e, CardError::UnsupportedMechanism { .. })),
            (RvError::GeneralError, |e| matches!(e, CardError::Token { .. })),
            (RvError::DeviceError, |e| matches!(e, CardError::Token { .. })),
        ];
        for (value, expected) in table {
            let error = classified(*value, PLAIN);
            assert!(expected(&error), "{value:?}: {error:?}");
        }
    }

    #[test]
    fn a_pin_that_cannot_be_right_never_reaches_the_card() {
        let pin = |text: &str| Pin::new(text.into()).expect("well-formed");
        assert!(PLAIN.check_pin(&pin("4711")).is_ok());
        for text in ["471", "47110"] {
            let refused = PLAIN.check_pin(&pin(text));
            assert!(matches!(refused, Err(CardError::PinLength { min: 4, max: 4 })), "{text}");
        }
        let locked = TokenFlags { locked: true, ..PLAIN };
        assert!(matches!(locked.check_pin(&pin("4711")), Err(CardError::Locked { .. })));
        let silent = TokenFlags::default();
        assert!(silent.check_pin(&pin("any length")).is_ok(), "a module that knows no lengths");
        assert!(PLAIN.check_pin(&Pin::on_reader()).is_err(), "no reader with keys here");
        let reader = TokenFlags { pin_on_reader: true, ..PLAIN };
        assert!(reader.check_pin(&Pin::on_reader()).is_ok());
    }

    #[test]
    fn the_gravest_flag_is_the_pin_state() {
        let flags = TokenFlags { locked: true, final_try: true, count_low: true, ..PLAIN };
        assert_eq!(flags.pin_state(), PinState::Locked);
        assert_eq!(TokenFlags { locked: false, ..flags }.pin_state(), PinState::FinalTry);
        assert_eq!(TokenFlags { count_low: true, ..PLAIN }.pin_state(), PinState::CountLow);
        assert_eq!(PLAIN.pin_state(), PinState::Fresh);
    }
}
