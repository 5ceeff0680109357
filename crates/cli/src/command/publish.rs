//! `bulkhead publish list`: every port of the host that can be reached, who opened it, and whether policy lets the world in.

use api::{OpenPort, Opener, Publishes, World};

use super::Context;
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
        Opener::Process => "process",
    };
    match &port.name {
        Some(name) => format!("{kind} {name}"),
        None => kind.to_owned(),
    }
}

fn because(port: &OpenPort) -> String {
    let rule =
        port.rule.as_ref().map(|rule| format!(" ({} {}:{})", rule.name, rule.file, rule.line));
    let from =
        if port.from.is_empty() { String::new() } else { format!(": {}", port.from.join(", ")) };
    format!("{}{from}{}", port.text, rule.unwrap_or_default())
}

pub(crate) fn render(publishes: &Publishes, paint: Paint) -> String {
    let mut table = Table::new(["PORT", "ADDRESS", "OPENED BY", "LEADS TO", "WORLD", "BECAUSE"]);
    for port in &publishes.ports {
        table.row([
            format!("{}/{}", port.port, port.protocol),
            port.address.clone(),
            opened_by(port),
            port.to.clone().unwrap_or_else(|| "-".to_owned()),
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
