//! `bulkhead publish list`: every port of the host that can be reached, who opened it, and whether policy lets the world in.

use api::{OpenPort, Opener, Publishes, World};

use super::{Context, position};
use crate::failure::{Exit, Failure};
use crate::screen::Paint;
use crate::table::Table;

pub(crate) fn list(context: &Context) -> Result<Exit, Failure> {
    let ports = context.client()?.publishes()?;
    context.screen.show(&ports, render)?;
    Ok(Exit::Done)
}

fn opened_by(port: &OpenPort) -> String {
    let kind = match port.opener {
        Opener::Bulkhead => "bulkhead",
        Opener::Docker => "docker",
        Opener::Cni => "cni",
        Opener::Podman => "podman",
        Opener::Rule => "rule",
        Opener::Process => "process",
    };
    match &port.name {
        Some(name) => format!("{kind} {name}"),
        None => kind.to_owned(),
    }
}

fn because(port: &OpenPort) -> String {
    let rule = port.rule.as_ref().map(|rule| format!(" ({} {})", rule.name, position(rule)));
    let from =
        if port.from.is_empty() { String::new() } else { format!(": {}", port.from.join(", ")) };
    let limit = port.limit.as_ref().map(|limit| format!("; at most {limit}"));
    let until = port.until.as_ref().map(|until| format!("; until {until}"));
    [format!("{}{from}", port.text), rule.unwrap_or_default()]
        .into_iter()
        .chain(limit)
        .chain(until)
        .collect()
}

pub(crate) fn render(publishes: &Publishes, paint: Paint) -> String {
    let mut table =
        Table::new(["PORT", "ADDRESS", "OPENED BY", "LEADS TO", "OWNER", "WORLD", "BECAUSE"]);
    for port in &publishes.ports {
        table.row([
            match port.last {
                Some(last) => format!("{}-{last}/{}", port.port, port.protocol),
                None => format!("{}/{}", port.port, port.protocol),
            },
            port.address.clone(),
            opened_by(port),
            port.to.clone().unwrap_or_else(|| "-".to_owned()),
            port.owner.clone().unwrap_or_else(|| "-".to_owned()),
            port.world.as_str().to_owned(),
            because(port),
        ]);
    }
    let mut text = table.render(paint);
    let open = publishes.ports.iter().filter(|port| port.world == World::Open).count();
    if open > 0 {
        text += &format!("{open} of {} have no policy before them\n", publishes.ports.len());
    }
    for warning in &publishes.warnings {
        text += &format!("{}: {warning}\n", paint.warn("warning"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: u16, opener: Opener, world: World, text: &str) -> OpenPort {
        let (protocol, address) = ("tcp".to_owned(), "0.0.0.0".to_owned());
        OpenPort {
            protocol,
            address,
            port,
            opener,
            world,
            text: text.to_owned(),
            ..OpenPort::default()
        }
    }

    #[test]
    fn ports_are_listed_with_who_opened_them() {
        let ssh = OpenPort {
            name: Some("sshd".to_owned()),
            uid: Some(0),
            ..port(22, Opener::Process, World::Open, "a process of the host listens")
        };
        let https = OpenPort {
            address: "*".to_owned(),
            name: Some("shop/https".to_owned()),
            to: Some("shop/web:8443".to_owned()),
            from: vec!["192.0.2.0/24".to_owned()],
            owner: Some("web team".to_owned()),
            until: Some("2027-01-01T00:00:00Z".to_owned()),
            limit: Some("20/s per source".to_owned()),
            rule: Some(api::RuleAt {
                name: "web-in".to_owned(),
                file: "shop.yaml".to_owned(),
                line: 12,
                ..api::RuleAt::default()
            }),
            ..port(443, Opener::Bulkhead, World::Some, "a policy lets these ranges in")
        };
        let docker = OpenPort {
            name: Some("shop_db_1".to_owned()),
            to: Some("shop/db:5432".to_owned()),
            ..port(5432, Opener::Docker, World::Drop, "no policy lets the world in")
        };
        let publishes = Publishes {
            schema: api::PUBLISHES_SCHEMA.to_owned(),
            ports: vec![ssh, https, docker],
            warnings: vec!["Docker's ports are not known: x".to_owned()],
        };
        insta::assert_snapshot!(render(&publishes, Paint(false)));
    }
}
