//! A site gives shares for one request only under one number of a session (design.md section 8).

use std::collections::BTreeMap;

use warifu_protocol::wire::SignWork;
use warifu_protocol::{NodeId, RequestHash, SessionId, StoreId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OneDocumentPerSessionSeq {
    requests: BTreeMap<(NodeId, StoreId, SessionId, u32), RequestHash>,
}

impl Invariant for OneDocumentPerSessionSeq {
    fn name(&self) -> &'static str {
        "one_document_per_session_seq"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        let Fact::ShareGiven(given) = fact else { return Ok(()) };
        let SignWork::Document { request, .. } = &given.item.work else { return Ok(()) };
        if ground.suspects.contains(&given.site) {
            return Ok(());
        }
        let key = (given.site, given.store, request.request.session, request.request.seq);
        let hash = request.request.hash();
        match self.requests.insert(key, hash) {
            Some(before) if before != hash => {
                Err(format!("site {} gave shares for two requests under number {} of one session", given.site, request.request.seq))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn two_requests_under_one_number_at_one_site_are_a_breach() {
        let other = |site, nonce| {
            given(site, nonce, |given| {
                let SignWork::Document { request, .. } = &mut given.item.work else { unreachable!() };
                request.request.digest = warifu_protocol::DocumentDigest::new([0xee; 32]);
            })
        };
        let invariant = OneDocumentPerSessionSeq::default;
        assert_eq!(check_all(invariant(), &[given(1, 1, |_| {}), given(1, 2, |_| {}), other(2, 3)]), Ok(()));
        assert!(check_all(invariant(), &[given(1, 1, |_| {}), other(1, 2)]).is_err());
    }
}
