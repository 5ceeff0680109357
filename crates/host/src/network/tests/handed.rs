//! Links whose other end is left on the host for somebody: made once, closed until they are opened, never made again because they were moved.

use super::*;

/// The town with `web` behind a link that is handed over.
fn handed(open: bool) -> Desired {
    let mut desired = shop();
    let web = &mut desired.routers[0].endpoints[0];
    (web.place, web.interface) = (Place::Handed { open }, "bd0123".to_owned());
    desired
}

fn is_up(bench: &Bench, ns: &Ns, link: &str) -> bool {
    bench.kernel.namespaces[ns].links[link].up
}

#[test]
fn one_end_stays_down_on_the_host_and_the_other_until_it_is_opened() {
    let mut bench = Bench::new();
    let done = bench.pass(&handed(false)).done;
    assert!(
        !done.iter().any(|step| step.contains("bd0123") && !step.contains("link add")),
        "{done:#?}"
    );
    assert!(!is_up(&bench, &Ns::Host, "bd0123") && !is_up(&bench, &router(), "bh1"));
    bench.quiet(&handed(false));
    let done = bench.pass(&handed(true)).done;
    assert_eq!(done, ["ip -n shop.main.router link set bh1 up"]);
    bench.quiet(&handed(true));
}

#[test]
fn one_that_was_moved_stays_and_goes_with_its_endpoint() {
    let mut bench = Bench::new();
    let before = bench.kernel.to_string();
    bench.pass(&handed(true));
    let host = bench.kernel.namespaces.get_mut(&Ns::Host).expect("the host");
    let link = host.links.remove("bd0123").expect("its end");
    let mut elsewhere = NsState::default();
    elsewhere.links.insert("eth0".to_owned(), link);
    let container = Ns::At("/run/somewhere".into());
    bench.kernel.namespaces.insert(container.clone(), elsewhere);
    bench.quiet(&handed(true));
    // Lost programs are told by the link going down, wherever its other end is.
    bench.programs.attached.clear();
    let done = bench.pass(&handed(true)).done;
    assert_eq!(done[0], "ip -n shop.main.router link set bh1 down");
    bench.quiet(&handed(true));
    let outcome = teardown(&mut bench.kernel, &mut bench.programs).expect("readable");
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    assert!(bench.kernel.namespaces[&container].links.is_empty(), "it went with its other end");
    bench.kernel.namespaces.remove(&container);
    assert_eq!(bench.kernel.to_string(), before);
}
