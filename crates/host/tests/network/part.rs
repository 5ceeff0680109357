//! A part of the network is read and changed as the whole is.

use host::linux::kernel::Linux;
use host::network::{
    Desired, Glance, Kernel, Mode, NoPrograms, Ns, Scope, reconcile, reconcile_in, teardown,
};

use crate::lab::{Lab, endpoint, on_host, twins};

/// One glance through look-ups and through a listing must be the same.
fn assert_glance(linux: &mut Linux, ns: &Ns, glance: &Glance) {
    let whole = linux.read(ns).expect("readable").expect("there");
    let seen = linux.glance(ns, glance).expect("readable").expect("there");
    assert_eq!(seen, glance.of(whole));
}

/// From one desired state to the next; a whole pass afterwards finds nothing to do.
fn change(linux: &mut Linux, before: &Desired, after: &Desired) -> Vec<String> {
    let scope = Scope::between(before, after);
    let outcome = reconcile_in(linux, &mut NoPrograms, after, &scope).expect("readable");
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    let rest = reconcile(linux, &mut NoPrograms, after).expect("readable");
    assert!(rest.is_quiet(), "{rest:#?}");
    outcome.done
}

#[test]
fn a_part_is_read_and_changed_as_the_whole_root() {
    if !crate::lab::is_root("a_part_is_read_and_changed_as_the_whole_root") {
        return;
    }
    let lab = Lab::new();
    let picture = crate::lab::picture(&lab.host);
    on_host(&lab, |linux| {
        let before = twins(Mode::Nat);
        change(linux, &Desired::default(), &before);
        let router = Ns::Ours(before.routers[0].name.clone());
        let [web, db] = before.routers[0].endpoints.as_slice() else { panic!("two endpoints") };
        let addresses = |part: &[_]| -> std::collections::BTreeSet<_> {
            part.iter()
                .flat_map(|each: &&host::network::EndpointDesired| &each.addresses)
                .map(ipnet::IpNet::addr)
                .collect()
        };
        let absent = endpoint(9, "shop", "absent", 77);
        for part in [vec![], vec![web], vec![web, db], vec![db, &absent]] {
            let endpoints = part.iter().map(|each| each.number).collect();
            let addresses = addresses(&part);
            let glance = Glance { endpoints, addresses, ..Glance::default() };
            assert_glance(linux, &router, &glance);
        }
        assert!(linux.read(&router).expect("readable").expect("there").fdb.len() == 2);

        // Some come, one changes, one goes, many go at once.
        let mut after = before.clone();
        after.routers[0].endpoints.remove(0);
        after.routers[0].endpoints.extend((5..9).map(|n| {
            let host_part = u8::try_from(20 + n).expect("small");
            endpoint(n, "shop", &format!("w{n}"), host_part)
        }));
        after.routers[1].endpoints[0].addresses.truncate(1);
        change(linux, &before, &after);
        let done = change(linux, &after, &before);
        let groups =
            done.iter().filter(|step| step.contains("link delete group # bh5 bh6 bh7 bh8"));
        assert_eq!(groups.count(), 1, "{done:#?}");
        change(linux, &before, &Desired::default());
        assert!(teardown(linux, &mut NoPrograms).expect("readable").is_quiet());
    });
    assert_eq!(crate::lab::picture(&lab.host), picture);
}
