//! Sets of countries through the program: a database that the test writes, no agent.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use testkit::mmdb::{Database, Place};

/// 2026-11-20T00:00:00Z.
const BUILT: u64 = 1_795_132_800;

/// A folder with a database and a file that names countries of it.
fn folder(database: &Database, countries: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("country.mmdb");
    fs::write(&path, database.bytes()).expect("written");
    fs::write(folder.path().join("shop.yaml"), file(&path, countries)).expect("written");
    folder
}

fn file(database: &Path, countries: &str) -> String {
    format!(
        "bulkhead: 1
geo: {{ database: {} }}
sets: {{ embargo: {{ countries: {countries} }} }}
tenants:
  shop:
    networks: {{ main: {{ mode: routed, subnets: [10.0.0.0/16] }} }}
    workloads: {{ web: {{ labels: {{ app: web }}, netns: web }} }}
    policies:
      visitors: {{ from: world, to: app=web, allow: [8443/tcp] }}
      embargo: {{ from: set=embargo, to: app=web, deny: [any] }}
    assert:
      - never: set=embargo -> app=web
      - always: 192.0.2.0/24 -> app=web:8443/tcp
",
        database.display()
    )
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.current_dir(folder).args(arguments).output().expect("runs")
}

fn seen(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\n{}{}", output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn sound() -> Database {
    Database::new("Test-Country", BUILT)
        .with("175.45.176.0/22", Place::Used("KP"))
        .with("192.0.2.0/24", Place::Used("DE"))
        .with("198.51.100.0/24", Place::Registered("IR"))
}

#[test]
fn assertions_are_proven_against_the_networks_of_countries() {
    let folder_of = folder(&sound(), "[kp, ir]");
    let proven = run(&folder_of, &["policy", "prove", "shop.yaml"]);
    assert_eq!(proven.status.code(), Some(0), "{}", seen(&proven));
    assert!(seen(&proven).contains("every one holds"), "{}", seen(&proven));

    // The same file with a newer database, in which the office has moved: another proof.
    let newer = sound().with("192.0.2.0/24", Place::Used("KP"));
    fs::write(folder_of.path().join("country.mmdb"), newer.bytes()).expect("written");
    let broken = run(&folder_of, &["policy", "prove", "shop.yaml"]);
    assert_eq!(broken.status.code(), Some(1), "{}", seen(&broken));
    assert!(seen(&broken).contains("broken  always: 192.0.2.0/24"), "{}", seen(&broken));

    // Without the deny, a packet from the country passes.
    let text = fs::read_to_string(folder_of.path().join("shop.yaml")).expect("is read");
    let open = text.replace("deny: [any]", "allow: [22/tcp]");
    fs::write(folder_of.path().join("shop.yaml"), open).expect("written");
    let open = run(&folder_of, &["policy", "prove", "shop.yaml"]);
    assert!(seen(&open).contains("broken  never: set=embargo -> app=web"), "{}", seen(&open));
}

#[test]
fn what_cannot_be_found_is_told_at_its_place() {
    let check = |database: &Database, countries: &str| {
        let folder = folder(database, countries);
        seen(&run(&folder, &["policy", "check", "shop.yaml"]))
    };
    let told = check(&sound(), "[kp, fr]");
    assert!(told.starts_with("Some(1)") && told.contains("error[BH0138]"), "{told}");
    assert!(told.contains("shop.yaml:3:36") && told.contains("no network of `fr`"), "{told}");
    let told = check(&sound().with_loop("8000::/1").with_loop("4000::/2"), "[kp]");
    assert!(told.contains("error[BH0139]: the database is broken"), "{told}");

    let folder = folder(&sound(), "[kp]");
    fs::remove_file(folder.path().join("country.mmdb")).expect("removed");
    let told = seen(&run(&folder, &["policy", "check", "shop.yaml"]));
    assert!(told.contains("error[BH0139]: the database cannot be read"), "{told}");
    assert!(told.contains("shop.yaml:2:18"), "{told}");
}

#[test]
fn a_country_with_many_networks_is_carried() {
    let mut database = sound();
    for at in 0..3000_u32 {
        let network = format!("60.{}.{}.0/24", at * 2 / 256, at * 2 % 256);
        database = database.with(&network, Place::Used("KP"));
    }
    let folder = folder(&database, "[kp]");
    let proven = run(&folder, &["policy", "prove", "shop.yaml"]);
    assert_eq!(proven.status.code(), Some(0), "{}", seen(&proven));
}
