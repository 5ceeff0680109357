//! `policy blast-radius WORKLOAD`: what falls if this one is taken over, by hop; in force, and after a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::{BlastRadius, ClientError, Radius, RadiusQuery, Reached};

use super::{Context, check, count, files, offline, person, place};
use crate::failure::{Exit, Failure};
use crate::screen::Paint;
use crate::table::Table;

pub(crate) fn run(
    context: &Context,
    workload: &str,
    paths: &[PathBuf],
    without_agent: bool,
) -> Result<Exit, Failure> {
    let answer = if without_agent {
        alone(context, workload, paths)?
    } else {
        asked(context, workload, paths)?
    };
    context.screen.show(&answer, render)?;
    Ok(Exit::Done)
}

/// Asks the agent; with files and no agent, looks at them alone.
fn asked(context: &Context, workload: &str, paths: &[PathBuf]) -> Result<BlastRadius, Failure> {
    let query = RadiusQuery { workload: workload.to_owned() };
    if paths.is_empty() {
        return Ok(context.client()?.blast_radius(&query)?);
    }
    let request = check::request(context, paths, true)?;
    match context.client()?.blast_radius_after(&query, &request) {
        Err(ClientError::NoAgent { .. }) => {
            context.screen.tell("note: no agent is running: what is in force is not compared");
            alone(context, workload, paths)
        }
        answer => Ok(answer?),
    }
}

fn alone(context: &Context, workload: &str, paths: &[PathBuf]) -> Result<BlastRadius, Failure> {
    let read = offline::read(context, paths)?;
    let name = files::shown(paths);
    agent::blast_radius(&read.bundle, &name, workload)
        .map_err(|error| Failure::Error(Box::new(error)))
}

/// The radius as people read it.
pub(crate) fn render(answer: &BlastRadius, paint: Paint) -> String {
    let who = person(&answer.workload);
    let mut text = format!("if {} is taken over\n", paint.strong(&who));
    text += &told("in force", answer.before.as_ref());
    text += &told("after", answer.after.as_ref());
    let sides = [answer.before.as_ref(), answer.after.as_ref()];
    text += &lines(sides, true, paint);
    text += &lines(sides, false, paint);
    for side in sides.into_iter().flatten().filter(|side| side.omitted > 0) {
        text += &format!("and {} more of {}\n", side.omitted, side.file);
    }
    text += "a workload falls when one that has fallen can speak to a service of it; pings do not count, and nobody outside is followed\n";
    text
}

fn told(when: &str, side: Option<&Radius>) -> String {
    let Some(side) = side else { return String::new() };
    let hops = side.reached.iter().filter(|each| each.workload.is_some());
    let hops = hops.map(|each| u64::from(each.hop)).max().unwrap_or(0);
    let number = match side.fallen {
        0 => format!("none of {} falls", count(side.workloads, "other workload")),
        n => format!(
            "{n} of {} {} within {}",
            count(side.workloads, "other workload"),
            if n == 1 { "falls" } else { "fall" },
            count(hops, "hop")
        ),
    };
    format!("  {when:<8} {}: {number}\n", side.file)
}

/// Those who are workloads, or those who are not.
fn lines(sides: [Option<&Radius>; 2], workloads: bool, paint: Paint) -> String {
    let mut all: BTreeMap<&str, [Option<&Reached>; 2]> = BTreeMap::new();
    for (at, side) in sides.iter().enumerate() {
        let reached = side.iter().flat_map(|side| &side.reached);
        for each in reached.filter(|each| each.workload.is_some() == workloads) {
            if let Some(slot) = all.entry(&each.party).or_default().get_mut(at) {
                *slot = Some(each);
            }
        }
    }
    if all.is_empty() {
        return String::new();
    }
    let mut rows: Vec<[Option<&Reached>; 2]> = all.into_values().collect();
    let hop = |row: &[Option<&Reached>; 2]| row.iter().flatten().map(|each| each.hop).min();
    rows.sort_by_key(hop);
    let is_compared = sides.iter().all(Option::is_some);
    let title = if workloads { "WORKLOAD" } else { "OUTSIDE" };
    let mut table = Table::new(["", "HOP", title, "FROM", "WITH", "RULE"]);
    for [before, after] in rows {
        let Some(shown) = after.or(before) else { continue };
        let sign = match (before, after) {
            _ if !is_compared => "",
            (None, _) => "+",
            (_, None) => "-",
            (Some(one), Some(other)) if (one.hop, &one.service) != (other.hop, &other.service) => {
                "~"
            }
            _ => "=",
        };
        let hop = match (before, after) {
            (Some(one), Some(other)) if one.hop != other.hop => {
                format!("{}→{}", one.hop, other.hop)
            }
            _ => shown.hop.to_string(),
        };
        let cells = [sign.to_owned(), hop, shown.party.clone(), person(&shown.from)];
        table.row_of(cells.into_iter().chain([with(shown), rule(shown)]).collect());
    }
    table.render(paint)
}

fn with(reached: &Reached) -> String {
    let audit = if reached.audit { " (audit)" } else { "" };
    match (&reached.published, reached.published_port) {
        (Some(publish), Some(port)) => {
            format!("{}{audit} through {publish}, port {port} of the host", reached.service)
        }
        _ => format!("{}{audit}", reached.service),
    }
}

/// The rules of both ends, once when they are the same.
fn rule(reached: &Reached) -> String {
    match (&reached.egress_rule, &reached.ingress_rule) {
        (None, None) => "posture".to_owned(),
        (Some(one), None) | (None, Some(one)) => place(one),
        (Some(one), Some(other)) if one.id == other.id => place(one),
        (Some(one), Some(other)) => format!("{}, {}", place(one), place(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(party: &str, hop: u32, from: &str, service: &str) -> Reached {
        Reached {
            party: party.to_owned(),
            workload: Some(party.replacen('/', ".", 1)),
            hop,
            from: from.to_owned(),
            service: service.to_owned(),
            ..Reached::default()
        }
    }

    #[test]
    fn both_sides_are_told_apart_by_signs() {
        let side = |file: &str, generation, reached: Vec<Reached>| Radius {
            file: file.to_owned(),
            generation,
            workloads: 9,
            fallen: reached.len() as u64,
            reached,
            omitted: 3,
        };
        let before = vec![
            reached("shop/api", 1, "shop.web", "9000/tcp"),
            reached("shop/db", 2, "shop.api", "6379/tcp"),
            reached("shop/old", 1, "shop.web", "80/tcp"),
        ];
        let after = vec![
            reached("shop/api", 1, "shop.web", "9000/tcp"),
            reached("shop/db", 1, "shop.web", "6379/tcp"),
            reached("shop/new", 2, "shop.db", "tcp"),
        ];
        let answer = BlastRadius {
            workload: "shop.web".to_owned(),
            before: Some(side("shop.yaml", Some(3), before)),
            after: Some(side("new.yaml", None, after)),
            ..BlastRadius::default()
        };
        insta::assert_snapshot!(render(&answer, Paint(false)));
    }
}
