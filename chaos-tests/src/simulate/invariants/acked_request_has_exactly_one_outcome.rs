//! The clients' oracle: what they asked for under each number of each session, what they were told of it, and what they do not know (design.md section 8).
//!
//! No signature is given out that no client asked for. A request that is repeated gets the signature of the same bytes. Of two documents under one number at
//! most one is signed, as long as the two signer sets have an honest site on one store in common. Nobody is told that a number is used by another document when
//! there never was another. And each request whose outcome was unknown when faults ended has one once all is well.

use std::collections::{BTreeMap, BTreeSet};

use warifu_protocol::wire::SignWork;
use warifu_protocol::{NodeId, RequestHash, SessionId, StoreId};

use super::{Ground, Invariant};
use crate::simulate::fact::{AskedFor, Fact, Released, asked_for};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AckedRequestHasExactlyOneOutcome {
    numbers: BTreeMap<(SessionId, u32), Number>,
    /// Requests whose outcome a client does not know.
    unknown: BTreeSet<AskedFor>,
    /// The same when faults ended.
    left: BTreeSet<AskedFor>,
    /// Who gave a share for a request.
    given: BTreeMap<AskedFor, Signers>,
}

/// Honest sites that gave a share, and on which store.
type Signers = BTreeSet<(NodeId, StoreId)>;

/// What is known of one number.
#[derive(Debug, Default)]
struct Number {
    /// What was asked for under it, and whether by a client.
    asked: BTreeMap<RequestHash, bool>,
    /// What was given out under it, and the honest sites that signed.
    signed: BTreeMap<RequestHash, (Vec<u8>, Signers)>,
}

impl Invariant for AckedRequestHasExactlyOneOutcome {
    fn name(&self) -> &'static str {
        "acked_request_has_exactly_one_outcome"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Asked { request: (session, seq, hash), by_client } => {
                *self.numbers.entry((*session, *seq)).or_default().asked.entry(*hash).or_default() |= by_client;
            }
            Fact::ShareGiven(given) if !ground.suspects.contains(&given.site) => {
                if let SignWork::Document { request, .. } = &given.item.work {
                    self.given.entry(asked_for(&request.request)).or_default().insert((given.site, given.store));
                }
            }
            Fact::Unanswered { request } => {
                self.unknown.insert(*request);
            }
            Fact::Signed(released) => return self.released(released),
            Fact::NotSigned { request: Some((session, seq, hash)), is_number_used, .. } => {
                self.settled((*session, *seq, *hash));
                let asked = self.numbers.get(&(*session, *seq)).map_or(0, |number| number.asked.len());
                if *is_number_used && asked <= 1 {
                    return Err(format!(
                        "number {seq} of session {session} is said to be used, and nobody asked for another document under it"
                    ));
                }
            }
            Fact::FaultsOff => self.left = std::mem::take(&mut self.unknown),
            Fact::Healed { .. } => {
                if let Some((session, seq, _)) = self.left.first() {
                    return Err(format!("the outcome of number {seq} of session {session} was unknown when faults ended, and still is"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl AckedRequestHasExactlyOneOutcome {
    fn settled(&mut self, request: AskedFor) {
        self.unknown.remove(&request);
        self.left.remove(&request);
    }

    fn released(&mut self, released: &Released) -> Result<(), String> {
        let Some(request) = released.request else { return Ok(()) };
        self.settled(request);
        let (session, seq, hash) = request;
        let Some(number) = self.numbers.get_mut(&(session, seq)) else {
            return Err(format!("session {session} asked for no number {seq}"));
        };
        if number.asked.get(&hash) != Some(&true) {
            return Err(format!("nobody asked for this document under number {seq} of session {session}"));
        }
        let gave = self.given.get(&request).into_iter().flatten();
        let signers: BTreeSet<_> = gave.filter(|(site, _)| released.signers.contains(site)).copied().collect();
        let mut others = number.signed.iter().filter(|(other, _)| **other != hash);
        if let Some((site, _)) = others.find_map(|(_, (_, before))| before.intersection(&signers).next()) {
            return Err(format!("two documents are signed under number {seq} of session {session}, both by site {site}"));
        }
        let (message, all) = number.signed.entry(hash).or_insert_with(|| (released.message.0.clone(), BTreeSet::new()));
        all.extend(signers);
        if *message != released.message.0 {
            return Err(format!("one request under number {seq} of session {session} has two outcomes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const REQUEST: AskedFor = (SessionId::new([1; 32]), 1, RequestHash::new([1; 32]));
    const SECOND: AskedFor = (SessionId::new([1; 32]), 1, RequestHash::new([2; 32]));

    fn check(facts: &[Fact]) -> Result<(), String> {
        check_all(AckedRequestHasExactlyOneOutcome::default(), facts)
    }

    const fn asked(request: AskedFor, by_client: bool) -> Fact {
        Fact::Asked { request, by_client }
    }

    fn outcome(request: AskedFor, message: &[u8]) -> Fact {
        let Fact::Signed(mut released) = signed(&[1, 2, 3]) else { unreachable!("that is what it makes") };
        (released.request, released.message.0) = (Some(request), message.to_vec());
        Fact::Signed(released)
    }

    fn not_signed(request: AskedFor, is_number_used: bool) -> Fact {
        Fact::NotSigned { request: Some(request), reason: String::new(), is_number_used }
    }

    /// The document of a site's share, and the share.
    fn share(site: u8, digest: u8, store: u8) -> (AskedFor, Fact) {
        let fact = given(site, 1, |given| {
            given.store = StoreId::new([store; 16]);
            let SignWork::Document { request, .. } = &mut given.item.work else { return };
            request.request.digest = warifu_protocol::DocumentDigest::new([digest; 32]);
        });
        let Fact::ShareGiven(given) = &fact else { unreachable!("that is what it makes") };
        let SignWork::Document { request, .. } = &given.item.work else { unreachable!("it is of a document") };
        (asked_for(&request.request), fact)
    }

    #[test]
    fn a_request_that_is_repeated_is_signed_again_and_over_the_same_bytes() {
        let again = [asked(REQUEST, true), outcome(REQUEST, b"a"), asked(REQUEST, true)];
        assert_eq!(check(&[&again[..], &[outcome(REQUEST, b"a")]].concat()), Ok(()));
        assert!(check(&[&again[..], &[outcome(REQUEST, b"b")]].concat()).is_err());
        assert!(
            check(&[&again[..], &[not_signed(REQUEST, true)]].concat()).is_err(),
            "an acknowledged request is told that its number is used"
        );
        assert_eq!(check(&[&again[..], &[not_signed(REQUEST, false)]].concat()), Ok(()), "its session may be over");
    }

    #[test]
    fn what_no_client_asked_for_is_not_given_out() {
        assert!(check(&[outcome(REQUEST, b"a")]).is_err());
        assert!(check(&[asked(SECOND, true), outcome(REQUEST, b"a")]).is_err());
        assert!(check(&[asked(REQUEST, false), outcome(REQUEST, b"a")]).is_err(), "the adversary alone asked");
    }

    #[test]
    fn a_number_is_used_by_another_document_only_if_there_is_one() {
        assert!(check(&[asked(REQUEST, true), not_signed(REQUEST, true)]).is_err());
        assert_eq!(check(&[asked(REQUEST, true), asked(SECOND, true), not_signed(REQUEST, true)]), Ok(()));
        assert_eq!(check(&[asked(REQUEST, true), asked(SECOND, false), not_signed(REQUEST, true)]), Ok(()), "a thief's counts");
    }

    #[test]
    fn two_documents_under_one_number_are_a_breach_if_an_honest_site_signed_both_on_one_store() {
        let both = |(first, its_share): (AskedFor, Fact), (second, other_share): (AskedFor, Fact)| {
            check(&[asked(first, true), asked(second, true), its_share, outcome(first, b"a"), other_share, outcome(second, b"b")])
        };
        assert!(both(share(1, 1, 1), share(1, 2, 1)).is_err());
        assert_eq!(both(share(1, 1, 1), share(2, 2, 2)), Ok(()), "no site signed both");
        assert_eq!(both(share(1, 1, 1), share(1, 2, 7)), Ok(()), "the site was replaced meanwhile");
        assert_eq!(both(share(SUSPECT, 1, 1), share(SUSPECT, 2, 1)), Ok(()), "a liar signs everything");
    }

    #[test]
    fn an_outcome_that_nobody_ever_learns_is_a_breach() {
        let healed = || Fact::Healed { open_holds: Vec::new(), stores: Vec::new() };
        let lost = [asked(REQUEST, true), Fact::Unanswered { request: REQUEST }, Fact::FaultsOff];
        assert!(check(&[&lost[..], &[healed()]].concat()).is_err());
        assert!(check(&[&lost[..], &[asked(SECOND, true), outcome(SECOND, b"b"), healed()]].concat()).is_err(), "another one's");
        assert_eq!(check(&[&lost[..], &[not_signed(REQUEST, false), healed()]].concat()), Ok(()));
        assert_eq!(check(&[&lost[..], &[outcome(REQUEST, b"a"), healed()]].concat()), Ok(()));
    }
}
