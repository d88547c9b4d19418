//! A coordinator blames a site for a false share only if the site is corrupt (design.md section 9, step 4).

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct BlamedNodeWasFaulty;

impl Invariant for BlamedNodeWasFaulty {
    fn name(&self) -> &'static str {
        "blamed_node_was_faulty"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        let Fact::Blamed { coordinator, site } = fact else { return Ok(()) };
        if ground.suspects.contains(site) { Ok(()) } else { Err(format!("{coordinator} blamed site {site}, which is honest")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn an_honest_site_that_is_blamed_is_a_breach() {
        let blamed = |site| Fact::Blamed { coordinator: coordinator(), site: node(site) };
        assert_eq!(check_all(BlamedNodeWasFaulty, &[blamed(SUSPECT)]), Ok(()));
        assert!(check_all(BlamedNodeWasFaulty, &[blamed(1)]).is_err());
    }
}
