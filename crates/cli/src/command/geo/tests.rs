//! Databases that the tests write: what is found in them, and that broken ones are errors.

use testkit::mmdb::{Database, Place};

use super::*;

/// 2026-11-20T00:00:00Z.
const BUILT: u64 = 1_795_132_800;

fn database() -> Database {
    Database::new("Test-Country", BUILT)
        .with("175.45.176.0/23", Place::Used("KP"))
        .with("175.45.178.0/23", Place::Used("KP"))
        .with("192.0.2.0/24", Place::Used("DE"))
        .with("198.51.100.0/24", Place::Registered("IR"))
        .with("203.0.113.0/24", Place::Nowhere)
        .with("2001:db8:1::/48", Place::Used("KP"))
        .with("::ffff:0:0/97", Place::Used("KP"))
        .with_alias("2002::/16")
}

fn wanted(codes: &[&str]) -> BTreeSet<Country> {
    codes.iter().map(|code| code.parse().expect("a country")).collect()
}

fn shown(networks: &Networks) -> Vec<String> {
    let nets = |(country, nets): (&Country, &Vec<IpNet>)| {
        nets.iter().map(|net| format!("{country} {net}")).collect::<Vec<_>>()
    };
    networks.iter().flat_map(nets).collect()
}

#[test]
fn networks_are_found_merged_and_once() {
    let (about, found) =
        countries(&database().bytes(), &wanted(&["kp", "ir", "fr"])).expect("is read");
    assert_eq!(shown(&found), ["ir 198.51.100.0/24", "kp 175.45.176.0/22", "kp 2001:db8:1::/48"]);
    assert_eq!(about.database, "Test-Country");
    assert_eq!(about.built, "2026-11-20T00:00:00Z");
}

/// A record above IPv4 is what a look-up of every IPv4 address finds.
#[test]
fn what_holds_ipv4_stands_for_it() {
    let all = |network| {
        let bytes = Database::new("T", BUILT).with(network, Place::Used("KP")).bytes();
        shown(&countries(&bytes, &wanted(&["kp"])).expect("is read").1)
    };
    assert_eq!(all("::/96"), ["kp 0.0.0.0/0"]);
    assert_eq!(all("::/64"), ["kp 0.0.0.0/0", "kp ::/64"]);
    assert_eq!(all("0.0.0.0/1"), ["kp 0.0.0.0/1"]);
}

#[test]
fn what_is_no_sound_database_is_an_error() {
    let told = |bytes: &[u8]| countries(bytes, &wanted(&["kp"])).expect_err("is refused").message;
    assert!(told(b"").contains("is broken"));
    assert!(told(&[0xff; 4096]).contains("is broken"));
    let nowhere = Database::new("T", BUILT).with("192.0.2.0/24", Place::Nowhere).bytes();
    assert!(told(&nowhere).contains("no record of the database has a country"));
    // Twice the tree at each step: what follows it without counting never ends.
    let looped = database().with_loop("8000::/1").with_loop("4000::/2").bytes();
    assert!(told(&looped).contains("broken"), "{}", told(&looped));
}

/// Cut off anywhere, or with any byte changed: an answer or an error, never a panic.
#[test]
fn hostile_bytes_do_not_panic() {
    let sound = database().bytes();
    let wanted = wanted(&["kp"]);
    for length in 0..sound.len() {
        let cut = sound.get(..length).expect("a part");
        assert!(countries(cut, &wanted).is_err(), "cut to {length} bytes");
    }
    for at in 0..sound.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = sound.clone();
            *bytes.get_mut(at).expect("a byte") = value;
            drop(countries(&bytes, &wanted));
        }
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |path: &Path| read(path).expect_err("is refused").message;
    assert!(told(folder.path()).contains("is not a file"));
    assert!(told(Path::new("/dev/zero")).contains("is not a file"));
    assert!(told(&folder.path().join("missing")).contains("cannot be read"));
    let large = folder.path().join("large.mmdb");
    let made = std::fs::File::create(&large).and_then(|file| file.set_len(MAX_BYTES + 1));
    made.expect("a sparse file");
    assert!(told(&large).contains("larger than 256 MiB"));
}
