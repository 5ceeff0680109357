//! `policy connections` and `policy diff`: what Kubernetes manifests allow, without a cluster.
//!
//! Text is one line for each connection, as other analysers print it, so that their files can be compared with ours.
//! Everything but those lines goes to standard error.

pub(super) mod folder;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use api::{
    CONNECTIONS_DIFF_SCHEMA, CONNECTIONS_SCHEMA, ClusterConnection, ClusterConnections,
    ClusterDifference, ClusterDifferences, ClusterEnd, ClusterPorts, ClusterRange, codes,
};
use planner::PlanErrors;
use planner::kubernetes::{Allowed, Change, Connection, Difference, End, Presence};
use policy::kubernetes::{Cluster, Lowered, lower};

use super::{Context, count};
use crate::args::{Analysis, Output};
use crate::failure::{Exit, Failure};
use crate::screen::Screen;

/// The first line of a text that lists differences.
const DIFF_TITLE: &str = "Connectivity diff:";

/// Lists every allowed connection.
pub(crate) fn run(context: &Context, folder: &Path, analysis: Analysis) -> Result<Exit, Failure> {
    let screen = screen(context, analysis);
    let (cluster, lowered) = read(screen, folder, analysis)?;
    if screen.json {
        let mut connections = Vec::new();
        let mut visit = |connection: Connection<'_>| connections.push(to_api(&connection));
        let mixed = planner::kubernetes::connections(&lowered, analysis.ipv6, &mut visit)
            .map_err(|error| refused(folder, &error))?;
        let answer = ClusterConnections {
            schema: CONNECTIONS_SCHEMA.to_owned(),
            connections,
            mixed: mixed.iter().map(ToString::to_string).collect(),
            ignored: ignored(&cluster).collect(),
            warnings: cluster.warnings.iter().map(|each| each.items.len() as u64).sum(),
        };
        screen.show(&answer, |_, _| String::new())?;
        return Ok(Exit::Done);
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    let mut visit = |connection: Connection<'_>| {
        if written.is_ok() {
            written = writeln!(out, "{connection}");
        }
    };
    let mixed = planner::kubernetes::connections(&lowered, analysis.ipv6, &mut visit)
        .map_err(|error| refused(folder, &error))?;
    written?;
    out.flush()?;
    if let Some(first) = mixed.first() {
        let how_many = count(mixed.len() as u64, "workload");
        screen.tell(&format!(
            "note: policies tell pods of {how_many} apart ({first}, …): what is listed, some of their pods may do"
        ));
    }
    Ok(Exit::Done)
}

/// Lists every difference.
pub(crate) fn diff(
    context: &Context,
    folders: &[PathBuf],
    analysis: Analysis,
) -> Result<Exit, Failure> {
    let screen = screen(context, analysis);
    let [old, new] = folders else {
        return Err(Failure::new(codes::FILE, "two folders are needed: OLD and NEW"));
    };
    let (_, first) = read(screen, old, analysis)?;
    let (_, second) = read(screen, new, analysis)?;
    let differences = planner::kubernetes::compare(&first, &second, analysis.ipv6)
        .map_err(|error| refused(new, &error))?;
    if screen.json {
        let answer = ClusterDifferences {
            schema: CONNECTIONS_DIFF_SCHEMA.to_owned(),
            differences: differences.iter().map(difference).collect(),
        };
        screen.show(&answer, |_, _| String::new())?;
    } else if !differences.is_empty() {
        let mut out = BufWriter::new(std::io::stdout().lock());
        writeln!(out, "{DIFF_TITLE}")?;
        for difference in &differences {
            writeln!(out, "{difference}")?;
        }
        out.flush()?;
    }
    Ok(if differences.is_empty() { Exit::Done } else { Exit::Difference })
}

fn screen(context: &Context, analysis: Analysis) -> Screen {
    let json = context.screen.json || analysis.output == Output::Json;
    Screen { json, ..context.screen }
}

/// Reads a folder; tells what is refused, and what is left out.
fn read(screen: Screen, folder: &Path, analysis: Analysis) -> Result<(Cluster, Lowered), Failure> {
    let texts = folder::texts(screen, folder)?;
    let sources: Vec<policy::Source<'_>> =
        texts.iter().map(|(name, text)| policy::Source { name, text }).collect();
    let cluster = match policy::kubernetes::read(&sources, &folder::limits()) {
        Ok(cluster) => cluster,
        Err(findings) => return Err(folder::refused(screen, folder, &findings)),
    };
    if !screen.json {
        for warnings in &cluster.warnings {
            screen.tell(warnings.render(screen.errors.0).trim_end());
        }
        let kinds: Vec<String> =
            ignored(&cluster).map(|(kind, number)| format!("{number} {kind}")).collect();
        if !kinds.is_empty() {
            screen.tell(&format!("note: left out of {}: {}", folder.display(), kinds.join(", ")));
        }
    }
    if cluster.workloads.is_empty() {
        screen.tell(&format!("note: there is no workload in {}", folder.display()));
    }
    let lowered = lower(&cluster);
    let has_v6 = lowered.blocks.iter().flatten().any(|block| block.net.addr().is_ipv6());
    if has_v6 && !analysis.ipv6 && !screen.json {
        screen.tell("note: policies name ranges of IPv6, which --ipv6 lists");
    }
    Ok((cluster, lowered))
}

fn ignored(cluster: &Cluster) -> impl Iterator<Item = (String, u64)> {
    let ignored: &BTreeMap<String, usize> = &cluster.ignored;
    ignored.iter().map(|(kind, number)| (kind.clone(), *number as u64))
}

fn refused(folder: &Path, errors: &PlanErrors) -> Failure {
    let message = format!("analyse the manifests in {}", folder.display());
    let failure = Failure::new(codes::FILE, message).hint(
        "analyse some namespaces at a time: policies tell more pods apart than fit in at once",
    );
    // Of what is one too many there may be thousands.
    match errors.0.first() {
        Some(error) => failure.because(error),
        None => failure,
    }
}

fn to_api(connection: &Connection<'_>) -> ClusterConnection {
    ClusterConnection {
        source: end(connection.source),
        target: end(connection.target),
        allowed: ports(connection.allowed),
    }
}

fn difference(difference: &Difference<'_>) -> ClusterDifference {
    let moved = |(which, presence): (End<'_>, Presence)| {
        let change = match presence {
            Presence::Both => None,
            Presence::Added => Some(Change::Added.as_str().to_owned()),
            Presence::Removed => Some(Change::Removed.as_str().to_owned()),
        };
        ClusterEnd { change, ..end(which) }
    };
    ClusterDifference {
        change: difference.change.as_str().to_owned(),
        source: moved(difference.source),
        target: moved(difference.target),
        old: ports(&difference.old),
        new: ports(&difference.new),
    }
}

fn end(end: End<'_>) -> ClusterEnd {
    let text = end.to_string();
    match end {
        End::External(range) => ClusterEnd {
            text,
            first: Some(range.first.to_string()),
            last: Some(range.last.to_string()),
            ..ClusterEnd::default()
        },
        End::Workload(name) => ClusterEnd {
            text,
            namespace: Some(name.namespace.to_string()),
            name: Some(name.name.to_string()),
            kind: Some(name.kind.to_string()),
            ..ClusterEnd::default()
        },
    }
}

fn ports(allowed: &Allowed) -> ClusterPorts {
    let ports = allowed.protocols().flat_map(|(protocol, ports)| {
        ports.iter().map(|(first, last)| ClusterRange {
            protocol: protocol.to_owned(),
            first: *first,
            last: *last,
        })
    });
    ClusterPorts { text: allowed.to_string(), ports: ports.collect() }
}
