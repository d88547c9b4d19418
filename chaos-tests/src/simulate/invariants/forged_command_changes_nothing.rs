//! A command that nobody who may say it has said is refused by every site (design.md G3).

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ForgedCommandChangesNothing;

impl Invariant for ForgedCommandChangesNothing {
    fn name(&self) -> &'static str {
        "forged_command_changes_nothing"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        let Fact::Committed { index, kind, forged: true, refused: None, .. } = fact else { return Ok(()) };
        Err(format!("the forged entry {index} ({kind}) was applied"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_forged_entry_that_is_applied_is_a_breach() {
        let refused = Some("signature-invalid".to_owned());
        assert_eq!(check_all(ForgedCommandChangesNothing, &[committed(1, "enrol", true, refused, Vec::new())]), Ok(()));
        assert_eq!(check_all(ForgedCommandChangesNothing, &[committed(1, "enrol", false, None, Vec::new())]), Ok(()));
        assert!(check_all(ForgedCommandChangesNothing, &[committed(1, "enrol", true, None, Vec::new())]).is_err());
    }
}
