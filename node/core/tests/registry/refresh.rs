//! Orders to refresh shares: what they may name.

use warifu_core::registry::Registry;
use warifu_protocol::wire::Applied;
use warifu_protocol::{CredentialId, OrderCommand};

use crate::support::World;

fn refresh(credentials: &[CredentialId]) -> OrderCommand {
    OrderCommand::Refresh { credentials: credentials.to_vec() }
}

#[test]
fn a_refresh_names_credentials_in_use_that_the_same_t_plus_1_nodes_hold_and_no_other_ceremony_has() {
    let (mut world, holders) = World::generated();
    let mut ids = holders.map(|holder| holder.credential);
    ids.sort_unstable();
    let [first, second] = ids;
    world.refuses_order("none", "too-large", refresh(&[]));
    world.refuses_order("descending", "too-large", refresh(&[second, first]));
    world.refuses_order("twice", "too-large", refresh(&[first, first]));
    world.refuses_order("too many", "too-large", refresh(&[first; 257]));
    world.refuses_order("unknown", "credential-unknown", refresh(&[CredentialId::new([0xff; 16])]));
    let whole = world.credential(second);
    let put = |world: &mut World, count: usize| {
        let mut record = whole.clone();
        record.holders.truncate(count);
        world.put_credential(second, &record);
    };
    put(&mut world, 3);
    world.refuses_order("held by t nodes only", "holders-too-few", refresh(&[second]));
    put(&mut world, 4);
    world.refuses_order("held by different nodes", "holders-too-few", refresh(&[first, second]));
    put(&mut world, 5);
    assert!(matches!(world.must_order(refresh(&[first])), Applied::CeremonyStarted(_)));
    world.refuses_order("in another refresh", "credential-in-ceremony", refresh(&[first, second]));
    world.must_order(OrderCommand::Revoke { credential: second });
    world.refuses_order("revoked", "credential-state", refresh(&[second]));
    assert!(world.store.ceremony_of(second).expect("a sound store").is_none());
}
