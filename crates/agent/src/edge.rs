//! Networks on LANs of this host: what an uplink has to be before one is brought up, and what was found out about it.
//!
//! Whether a switch or provider passes frames of MACs that it did not give cannot be seen, only tried, and it is tried when
//! somebody asks for it alone ([`probe_uplink`]). The answer is kept in the state folder, with the MAC of the link that it is about.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use api::{Error, codes};
use host::linux::edge::foreign::{self, Answer};
use host::linux::edge::{self, Firmware, Provider, Uplink};
use host::network::Mac;
use jiff::Timestamp;
use model::Mode;
use planner::{Bundle, Router};
use policy::document::Lan;
use serde::{Deserialize, Serialize};

use crate::fault::{failed, refused};

/// The file in the state folder.
pub(crate) const FILE: &str = "uplinks.json";
/// The longest such file that is read, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Answers of at most so many links are kept; the oldest goes first.
const MAX_KEPT: usize = 64;
/// Lines of a table of routes that are looked at.
const MAX_ROUTES: usize = 65_536;

/// What a LAN answered to frames of a foreign MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The MAC that the link had.
    pub mac: String,
    /// Who was asked.
    pub asked: Ipv4Addr,
    /// What came back.
    pub answer: Answer,
    /// When.
    pub at: Timestamp,
}

impl Probed {
    /// Whether frames of foreign MACs came back.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.answer == Answer::Passes
    }
}

/// Answers by link.
pub(crate) type Kept = BTreeMap<String, Probed>;

/// Tries whether frames of a MAC that nobody gave this host come back on a link of the calling thread's namespace, by asking
/// for its router or for `target`; at most three frames. The answer is kept in `state_dir`, which is made when it is absent.
///
/// # Errors
/// `BH0270` when the link cannot be asked, `BH0214` when the answer cannot be kept.
pub fn probe_uplink(
    state_dir: &Path,
    name: &str,
    target: Option<Ipv4Addr>,
) -> Result<Probed, Error> {
    let found = there(name, &format!("{name} cannot be probed"))?;
    if !found.up {
        return Err(down(name, &format!("{name} cannot be probed")));
    }
    let Some(asked) = target.or_else(|| router_of(name)) else {
        let message =
            format!("no default route leads over {name}, so it is not known whom to ask there");
        let hint = format!(
            "name somebody on its LAN: bulkhead doctor --probe-uplink {name} --ask ADDRESS"
        );
        return Err(refused(codes::UPLINK, message).with_hint(hint));
    };
    let answer = foreign::ask(name, asked)
        .map_err(|error| failed(codes::UPLINK, format!("probe {name} for foreign MACs"), &error))?;
    let probed = Probed { mac: found.mac.to_string(), asked, answer, at: Timestamp::now() };
    let mut kept = read(state_dir);
    kept.insert(name.to_owned(), probed.clone());
    while kept.len() > MAX_KEPT {
        let oldest = kept.iter().min_by_key(|(_, each)| each.at).map(|(name, _)| name.clone());
        oldest.map(|name| kept.remove(&name));
    }
    write(state_dir, &kept).map_err(|error| {
        failed(codes::STATE, format!("keep {FILE} in the state folder"), &error)
    })?;
    Ok(probed)
}

/// Answers that were kept; none when the file is absent or not what was written.
pub(crate) fn read(state_dir: &Path) -> Kept {
    let mut text = String::new();
    let file = File::open(state_dir.join(FILE));
    let read = file.and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn write(state_dir: &Path, kept: &Kept) -> io::Result<()> {
    if !state_dir.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    }
    let draft = state_dir.join(format!("{FILE}.new"));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    fs::rename(&draft, state_dir.join(FILE))
}

/// The next hop of the IPv4 default route over a link.
fn router_of(name: &str) -> Option<Ipv4Addr> {
    let table = fs::read_to_string("/proc/thread-self/net/route").ok()?;
    table.lines().skip(1).take(MAX_ROUTES).find_map(|line| next_hop(line, name))
}

/// `eth0 00000000 0102A8C0 0003 0 0 100 00000000 ...`: numbers are in the host's byte order.
fn next_hop(line: &str, name: &str) -> Option<Ipv4Addr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let is_default = fields.first() == Some(&name)
        && fields.get(1) == Some(&"00000000")
        && fields.get(7) == Some(&"00000000");
    let hop = u32::from_str_radix(fields.get(2)?, 16).ok()?;
    (is_default && hop != 0).then(|| Ipv4Addr::from(hop.to_ne_bytes()))
}

/// Refuses networks whose uplink is not there, is not fit for it, or is known not to pass their frames. What is in force
/// `before` is not looked at again.
///
/// # Errors
/// `BH0270` with the first network that cannot be.
pub(crate) fn check(
    bundle: &Bundle,
    before: Option<&Bundle>,
    state_dir: &Path,
) -> Result<(), Error> {
    let is_known = |router: &Router| {
        before.is_some_and(|before| {
            before.routers.iter().any(|known| {
                (known.number, &known.lan, known.mode) == (router.number, &router.lan, router.mode)
            })
        })
    };
    let mut kept = None;
    for router in bundle.routers.iter().filter(|router| !is_known(router)) {
        let Some(lan) = &router.lan else { continue };
        let about = format!(
            "the network {}/{} cannot be on the LAN of {}",
            router.tenant,
            router.name,
            lan.place()
        );
        let uplink = there(&lan.uplink, &about)?;
        fit(lan, router.mode, &uplink, &about)?;
        let kept = kept.get_or_insert_with(|| read(state_dir));
        let probed = known(kept, &lan.uplink, uplink.mac);
        passes(lan, router.mode, probed, Firmware::read().provider(), &about)?;
    }
    Ok(())
}

/// What a link answered, unless it is another link by now.
pub(crate) fn known<'k>(kept: &'k Kept, name: &str, mac: Mac) -> Option<&'k Probed> {
    kept.get(name).filter(|probed| probed.mac == mac.to_string())
}

fn there(name: &str, about: &str) -> Result<Uplink, Error> {
    let found =
        edge::look(name).map_err(|error| failed(codes::UPLINK, about.to_owned(), &error))?;
    let Some(found) = found else {
        return Err(because(
            about,
            "this host has no such interface",
            "ip link shows those there are",
        ));
    };
    if found.is_ours {
        return Err(because(about, "it is one of Bulkhead's own links", "name a NIC or a bridge"));
    }
    if found.mac == Mac([0; 6]) {
        return Err(because(about, "it is no Ethernet interface", "name a NIC or a bridge"));
    }
    Ok(found)
}

fn because(about: &str, why: impl Into<String>, hint: impl Into<String>) -> Error {
    let mut error = refused(codes::UPLINK, about.to_owned()).with_hint(hint);
    error.cause = Some(why.into());
    error
}

fn down(name: &str, about: &str) -> Error {
    because(about, format!("{name} is down"), format!("ip link set dev {name} up"))
}

/// Whether a link can carry the network.
fn fit(lan: &Lan, mode: Mode, uplink: &Uplink, about: &str) -> Result<(), Error> {
    let name = &lan.uplink;
    if uplink.is_wireless {
        let why =
            format!("{name} is a radio: as a station it sends with its own MAC only (IEEE 802.11)");
        return Err(because(about, why, "use mode `nat`, or `routed`"));
    }
    if !uplink.up {
        return Err(down(name, about));
    }
    if uplink.is_bridge() && lan.vlan.is_some() {
        let why = format!("{name} is a bridge, and a VLAN is mapped where the wire is");
        return Err(because(
            about,
            why,
            format!("name the NIC that is on it: bridge link show master {name}"),
        ));
    }
    if uplink.is_bridge() && mode == Mode::Macvlan {
        let why = format!("{name} is a bridge, and mode `macvlan` shares a NIC");
        return Err(because(about, why, "write `mode: bridge`, or name the NIC"));
    }
    if let (Some(master), None) = (&uplink.master, lan.vlan) {
        let why = format!("{name} is a part of {master}, which takes all that it receives");
        return Err(because(about, why, format!("write `uplink: {master}`")));
    }
    if lan.vlan.is_some() {
        match edge::has_vlan() {
            Ok(true) => {}
            Ok(false) => {
                let why = "this kernel has no 802.1Q (CONFIG_VLAN_8021Q, the module 8021q)";
                let hint = "with another kernel, such as Debian's; or have the switch hand the VLAN out without a tag at a port of its own, and leave `vlan` out";
                return Err(because(about, why, hint));
            }
            Err(error) => return Err(failed(codes::UPLINK, about.to_owned(), &error)),
        }
    }
    Ok(())
}

/// Whether frames of workloads' MACs come back, as far as it is known.
fn passes(
    lan: &Lan,
    mode: Mode,
    probed: Option<&Probed>,
    provider: Option<Provider>,
    about: &str,
) -> Result<(), Error> {
    let command = format!("bulkhead doctor --probe-uplink {}", lan.uplink);
    match (probed.map(|probed| (probed.answer, probed)), provider) {
        (Some((Answer::Passes, _)), _) => Ok(()),
        (Some((Answer::Filtered, probed)), _) => {
            let why = format!(
                "its switch or provider filters foreign MACs: {} answered this host's own MAC and no other (probed {})",
                probed.asked,
                day(probed.at)
            );
            let hint = format!(
                "use mode `nat`, or `routed`; when the filter is gone, probe again: {command}"
            );
            Err(because(about, why, hint))
        }
        (_, Some(provider)) => {
            let why = format!(
                "{} passes no frames of MACs that it did not give ({})",
                provider.name, provider.source
            );
            Err(because(
                about,
                why,
                format!("use mode `nat`, or `routed`; to try it nevertheless: {command}"),
            ))
        }
        (unknown, None) if mode == Mode::Macvlan => {
            let why = match unknown {
                Some((_, probed)) => format!(
                    "it is not known whether its frames come back: {} answered nobody (probed {})",
                    probed.asked,
                    day(probed.at)
                ),
                None => "it is not known whether frames of other MACs than this host's come back"
                    .to_owned(),
            };
            Err(because(about, why, format!("find out, with at most three frames: {command}")))
        }
        (_, None) => Ok(()),
    }
}

/// `2026-11-22`.
pub(crate) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lan() -> Lan {
        Lan { uplink: "eth1".into(), vlan: None, gateway_v4: None, gateway_v6: None }
    }

    fn probed(answer: Answer) -> Probed {
        let (mac, asked) = ("52:54:00:00:00:01".to_owned(), [192, 168, 1, 1].into());
        Probed { mac, asked, answer, at: Timestamp::UNIX_EPOCH }
    }

    fn told(mode: Mode, answer: Option<Answer>, provider: Option<Provider>) -> String {
        let probed = answer.map(probed);
        match passes(&lan(), mode, probed.as_ref(), provider, "no") {
            Ok(()) => "fine".to_owned(),
            Err(error) => {
                format!("{} | {}", error.cause.unwrap_or_default(), error.hint.unwrap_or_default())
            }
        }
    }

    #[test]
    fn a_filter_is_refused_and_what_is_not_known_only_where_it_has_to_be() {
        let cloud = Provider { name: "Amazon EC2", source: "https://example.org" };
        for mode in [Mode::Bridge, Mode::Macvlan] {
            assert_eq!(told(mode, Some(Answer::Passes), None), "fine");
            assert_eq!(told(mode, Some(Answer::Passes), Some(cloud)), "fine", "tried is known");
            let filtered = told(mode, Some(Answer::Filtered), None);
            assert!(
                filtered.contains(
                    "192.168.1.1 answered this host's own MAC and no other (probed 1970-01-01)"
                ),
                "{filtered}"
            );
            let cloudy = told(mode, None, Some(cloud));
            assert!(cloudy.starts_with("Amazon EC2 passes no frames"), "{cloudy}");
            assert!(cloudy.ends_with("bulkhead doctor --probe-uplink eth1"), "{cloudy}");
        }
        assert_eq!(told(Mode::Bridge, None, None), "fine");
        assert_eq!(told(Mode::Bridge, Some(Answer::Silent), None), "fine");
        for answer in [None, Some(Answer::Silent)] {
            let unknown = told(Mode::Macvlan, answer, None);
            assert!(unknown.starts_with("it is not known whether"), "{unknown}");
            assert!(unknown.ends_with("bulkhead doctor --probe-uplink eth1"), "{unknown}");
        }
    }

    #[test]
    fn an_uplink_that_does_not_fit_is_refused_with_the_reason() {
        let nic = Uplink {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            up: true,
            kind: String::new(),
            master: None,
            is_wireless: false,
            is_ours: false,
        };
        let told = |mode, lan: &Lan, change: fn(&mut Uplink)| {
            let mut uplink = nic.clone();
            change(&mut uplink);
            let error = fit(lan, mode, &uplink, "no").err();
            error.and_then(|error| error.cause).unwrap_or_default()
        };
        let tagged = Lan { vlan: Some(100), ..lan() };
        assert_eq!(told(Mode::Bridge, &lan(), |_| ()), "");
        assert!(told(Mode::Bridge, &lan(), |nic| nic.is_wireless = true).contains("radio"));
        assert_eq!(told(Mode::Bridge, &lan(), |nic| nic.up = false), "eth1 is down");
        let bridge: fn(&mut Uplink) = |nic| nic.kind = "bridge".to_owned();
        assert_eq!(told(Mode::Bridge, &lan(), bridge), "");
        assert!(told(Mode::Macvlan, &lan(), bridge).contains("shares a NIC"));
        assert!(told(Mode::Bridge, &tagged, bridge).contains("where the wire is"));
        let port: fn(&mut Uplink) = |nic| nic.master = Some("br-lan".to_owned());
        assert!(told(Mode::Bridge, &lan(), port).contains("a part of br-lan"));
    }

    #[test]
    fn answers_are_kept_for_the_link_that_gave_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let state_dir = folder.path().join("state");
        assert!(read(&state_dir).is_empty());
        let kept = Kept::from([("eth1".to_owned(), probed(Answer::Passes))]);
        write(&state_dir, &kept).expect("written");
        assert_eq!(read(&state_dir), kept);
        assert!(known(&kept, "eth1", Mac([0x52, 0x54, 0, 0, 0, 1])).is_some());
        assert!(known(&kept, "eth1", Mac([0x52, 0x54, 0, 0, 0, 2])).is_none(), "another NIC");
        assert!(known(&kept, "eth2", Mac([0x52, 0x54, 0, 0, 0, 1])).is_none());
        fs::write(state_dir.join(FILE), "{").expect("written");
        assert!(read(&state_dir).is_empty());
    }

    #[test]
    fn the_router_of_a_link_is_the_next_hop_of_its_default_route() {
        let line = "eth1\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        let expected = u32::from_str_radix("0101A8C0", 16).expect("a number").to_ne_bytes();
        assert_eq!(next_hop(line, "eth1"), Some(Ipv4Addr::from(expected)));
        assert_eq!(next_hop(line, "eth0"), None);
        assert_eq!(next_hop(&line.replacen("0101A8C0", "00000000", 1), "eth1"), None, "on-link");
        assert_eq!(next_hop(&line.replacen("00000000", "0000A8C0", 1), "eth1"), None);
    }
}
