//! What the host's links are good for as ways onto LANs.

use std::path::Path;

use api::{Finding, Level};
use host::linux::edge::foreign::Answer;
use host::linux::edge::{self as links, Firmware, Provider};

use crate::edge::{self, Kept, Probed};

use super::finding;

/// Facts about LANs.
#[derive(Debug, Default)]
pub(super) struct Lans {
    /// Whether the kernel has links of type `vlan`; `None` when it could not be tried.
    pub(super) has_vlan: Option<bool>,
    /// Who rents this machine, if he is known to filter.
    pub(super) provider: Option<Provider>,
    /// What links answered to probes, those that are other ones by now left out.
    pub(super) kept: Kept,
}

impl Lans {
    pub(super) fn gather(state_dir: &Path) -> Self {
        let all = edge::read(state_dir);
        let is_same = |(name, _): &(String, Probed)| {
            let found = links::look(name).ok().flatten();
            found.is_some_and(|found| edge::known(&all, name, found.mac).is_some())
        };
        let kept = all.clone().into_iter().filter(is_same).collect();
        Self { has_vlan: links::has_vlan().ok(), provider: Firmware::read().provider(), kept }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.has_vlan {
            Some(true) => findings.push(finding("BH-H060", Level::Good, "802.1Q is there")),
            Some(false) => {
                let text = "no 802.1Q in this kernel: networks with `vlan:` are refused";
                findings.push(finding("BH-H060", Level::Note, text));
            }
            None => {}
        }
        findings.extend(self.kept.iter().map(|(name, probed)| about(name, probed)));
        if let Some(Provider { name, source }) = self.provider {
            let text = format!(
                "{name} passes no frames of MACs that it did not give ({source}): networks with `uplink:` are refused unless a probe says otherwise"
            );
            findings.push(finding("BH-H061", Level::Note, text));
        }
        findings
    }
}

fn about(name: &str, probed: &Probed) -> Finding {
    let (asked, day) = (probed.asked, edge::day(probed.at));
    let (level, text) = match probed.answer {
        Answer::Passes => (Level::Good, format!("{name} passes frames of foreign MACs both ways")),
        Answer::Filtered => (
            Level::Warning,
            format!("{name} passes no frames of foreign MACs: no workload can be on its LAN"),
        ),
        Answer::Silent => (
            Level::Note,
            format!("whether {name} passes frames of foreign MACs is not known: nobody answered"),
        ),
    };
    finding("BH-H061", level, format!("{text} (asked for {asked}, {day})"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn what_was_probed_is_told_with_who_was_asked_and_when() {
        let probed = |answer| Probed {
            mac: "52:54:00:00:00:01".to_owned(),
            asked: [192, 168, 1, 1].into(),
            answer,
            at: Timestamp::UNIX_EPOCH,
        };
        let lans = Lans {
            has_vlan: Some(false),
            provider: Some(Provider { name: "Amazon EC2", source: "https://example.org" }),
            kept: Kept::from([
                ("eth0".to_owned(), probed(Answer::Passes)),
                ("eth1".to_owned(), probed(Answer::Filtered)),
                ("eth2".to_owned(), probed(Answer::Silent)),
            ]),
        };
        let told: Vec<String> = lans
            .findings()
            .iter()
            .map(|each| format!("{} {:?} {}", each.code, each.level, each.text))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        BH-H060 Note no 802.1Q in this kernel: networks with `vlan:` are refused
        BH-H061 Good eth0 passes frames of foreign MACs both ways (asked for 192.168.1.1, 1970-01-01)
        BH-H061 Warning eth1 passes no frames of foreign MACs: no workload can be on its LAN (asked for 192.168.1.1, 1970-01-01)
        BH-H061 Note whether eth2 passes frames of foreign MACs is not known: nobody answered (asked for 192.168.1.1, 1970-01-01)
        BH-H061 Note Amazon EC2 passes no frames of MACs that it did not give (https://example.org): networks with `uplink:` are refused unless a probe says otherwise
        ");
    }
}
