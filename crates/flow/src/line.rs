//! A record as one line for people: cells first, so that a terminal can pad and colour them, then text.

use std::fmt;

use model::RuleKind;
use verdict::Reason;

use crate::decode::is_no_address;
use crate::{Decision, End, Kind, Protocol, Record, reason};

/// The cells of one line. `Display` joins them in columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// `10:04:11.482`, in UTC.
    pub time: String,
    /// `drop`, `allow`, `audit`, `close`.
    pub verdict: String,
    /// `shop/scanner:51544`.
    pub source: String,
    /// `shop/db:6379/tcp`, `shop/web   arp`.
    pub target: String,
    /// `default deny`, `web-to-db shop.yaml:24:5`, `spoofed: 10.0.1.7 belongs to shop/web`.
    pub because: String,
    /// `BH-D002`, or nothing.
    pub code: String,
    /// `×128`, or nothing.
    pub repeats: String,
}

impl Line {
    /// The line of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let verdict = match record.kind {
            Kind::Close => "close",
            Kind::Open | Kind::Drop => record.decision.as_str(),
        };
        let dropped = record.reason != Reason::None;
        Self {
            time: record.at.strftime("%H:%M:%S%.3f").to_string(),
            verdict: verdict.to_owned(),
            source: source(record),
            target: target(record),
            because: because(record),
            code: if dropped { reason::code(record.reason) } else { String::new() },
            repeats: match record.repeats {
                0 | 1 => String::new(),
                many => format!("×{many}"),
            },
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, verdict, source, target, because, code, repeats } = self;
        let text = format!(
            "{time}  {verdict:<5}  {source:<20} → {target:<26}  {because:<22}  {code:<7}  {repeats}"
        );
        f.write_str(text.trim_end())
    }
}

/// `shop/web` of `shop.web`.
pub(crate) fn person(id: &str) -> String {
    id.replacen('.', "/", 1)
}

fn name(end: &End) -> String {
    if let Some(id) = &end.workload {
        return person(id);
    }
    match &end.identity_text {
        Some(text) if text.as_ref() == "host" || text.starts_with("host ") => text.to_string(),
        _ if is_no_address(end.address) => "?".to_owned(),
        _ if end.address.is_ipv6() => format!("[{}]", end.address),
        _ => end.address.to_string(),
    }
}

fn source(record: &Record) -> String {
    let end = &record.source;
    if record.protocol.has_ports() && end.port != 0 {
        format!("{}:{}", name(end), end.port)
    } else {
        name(end)
    }
}

fn target(record: &Record) -> String {
    let end = &record.target;
    if record.protocol.has_ports() {
        format!("{}:{}/{}", name(end), end.port, record.protocol)
    } else if let Some([kind, code]) = record.icmp {
        format!("{}   {}", name(end), icmp(record.protocol, kind, code))
    } else {
        format!("{}   {}", name(end), record.protocol)
    }
}

fn icmp(protocol: Protocol, kind: u8, code: u8) -> String {
    match (protocol, kind, code) {
        (Protocol::Ip(1), 8, 0) | (Protocol::Ip(58), 128, 0) => "icmp/echo-request".to_owned(),
        _ => format!("{protocol}/{kind}/{code}"),
    }
}

fn because(record: &Record) -> String {
    match record.reason {
        Reason::SpoofedAddress | Reason::SpoofedArp | Reason::SpoofedNd => spoofed(record),
        Reason::SpoofedMac => format!("spoofed: MAC {}", mac(record)),
        Reason::None if record.kind == Kind::Close => ended(record),
        Reason::None | Reason::PolicyDeny | Reason::DefaultDeny => match &record.rule {
            Some(rule) if rule.kind == RuleKind::Audit => format!("not in {rule}"),
            Some(rule) => rule.to_string(),
            None if record.decision == Decision::Allow => "open posture".to_owned(),
            None if record.reason == Reason::None => String::new(),
            None => reason::text(record.reason).to_owned(),
        },
        other => reason::text(other).to_owned(),
    }
}

fn mac(record: &Record) -> String {
    record.mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn spoofed(record: &Record) -> String {
    let end = &record.source;
    match &end.owner {
        Some(owner) => format!("spoofed: {} belongs to {}", end.address, person(owner)),
        None => format!("spoofed: {} is not its address", end.address),
    }
}

fn ended(record: &Record) -> String {
    let [[sent, sent_bytes], [received, received_bytes]] = record.counts.unwrap_or_default();
    let packets = sent + received;
    let bytes = size(sent_bytes + received_bytes);
    let seconds = record.duration_ms.unwrap_or_default();
    format!("{packets} packets, {bytes} in {}.{:01} s", seconds / 1000, seconds % 1000 / 100)
}

/// A size with its unit, one decimal from KiB on.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < units.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, units.get(unit).copied().unwrap_or("TiB"))
}

#[cfg(test)]
mod tests;
