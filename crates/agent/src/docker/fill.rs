//! Subnets of networks of Docker's, which a file may leave out: asked of Docker when a document comes in, and kept with it, so that it means
//! the same after a reboot, before dockerd runs.

use std::collections::{BTreeMap, BTreeSet};

use api::{DocumentRequest, Error, codes};
use ipnet::IpNet;
use policy::Document;
use policy::document::{External, Subnets};
use runtimes::docker::Client;

use crate::attachments::{All, Kept};
use crate::fault::{refused, sentence};
use crate::shared::Shared;

/// Networks of Docker's in one file.
const MOST: usize = 64;

/// The request with what Docker says of the networks that it names, whatever it came with. What Docker does not tell now is
/// as it was when the document in force came.
pub(crate) async fn filled(shared: &Shared, mut request: DocumentRequest) -> DocumentRequest {
    request.docker.clear();
    let names = names(&request.source.text);
    let client = Client::new(&shared.options.docker);
    for name in names {
        let known = match client.network(&name).await {
            Ok(network) => Some(written(&network.subnets)),
            Err(error) => {
                tracing::warn!("{}", sentence(&error));
                let force = shared.force();
                force.and_then(|force| force.wanted.request.docker.get(&name).cloned())
            }
        };
        request.docker.extend(known.map(|known| (name, known)));
    }
    request
}

/// Words that follow `docker:` in a file: names of networks, if the file is one at all. What is none of them costs a question.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split("docker:").skip(1);
    let word = words.filter_map(|rest| {
        let rest = rest.trim_start().trim_start_matches(['"', '\'']);
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c)));
        let name = rest.get(..end.unwrap_or(rest.len()))?;
        (1..=255).contains(&name.len()).then(|| name.to_owned())
    });
    word.take(MOST).collect()
}

/// As a request carries them.
pub(crate) fn written(subnets: &[IpNet]) -> Vec<String> {
    subnets.iter().map(ToString::to_string).collect()
}

/// Puts what is known of Docker's networks into a document that left it out.
///
/// # Errors
/// `BH0260` when nothing is known of one.
pub(crate) fn fill(document: &mut Document, request: &DocumentRequest) -> Result<(), Error> {
    let mut unknown = Vec::new();
    for network in &mut document.networks {
        let Some(External::Docker(name)) = &network.external else { continue };
        if !network.subnets.is_empty() {
            continue;
        }
        match request.docker.get(name) {
            Some(known) => network.subnets = read(known),
            None => unknown.push(format!("{}:{}: {name}", document.file, network.span.line)),
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let message = "Docker does not tell the subnets of a network that the file names";
    let mut error = refused(codes::DOCKER, message);
    error.cause = Some(unknown.join("; "));
    Err(error)
}

/// Attachments without those of the discovery whose network the document has no more: they are nobody's wish but the file's.
pub(crate) fn still_there(document: &Document, all: &All) -> All {
    let is_there = |kept: &Kept| {
        let attach = &kept.attach;
        !attach.key.starts_with("docker/")
            || document.networks.iter().any(|network| {
                network.tenant == attach.tenant.as_str()
                    && network.name == attach.network.as_str()
                    && matches!(network.external, Some(External::Docker(_)))
            })
    };
    if all.values().all(is_there) {
        return all.clone();
    }
    let there = all.iter().filter(|(_, kept)| is_there(kept));
    there.map(|(key, kept)| (key.clone(), kept.clone())).collect::<BTreeMap<_, _>>().into()
}

fn read(known: &[String]) -> Subnets {
    let mut subnets = Subnets::default();
    for net in known.iter().filter_map(|net| net.parse().ok()) {
        match net {
            IpNet::V4(net) => subnets.v4 = Some(net),
            IpNet::V6(net) => subnets.v6 = Some(net),
        }
    }
    subnets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_networks_are_found_however_they_are_written() {
        let text = "a: { external: { docker: shop_default } }\nb:\n  docker: \"x.y\"\n  docker: 'z'\ndocker:";
        let found: Vec<String> = names(text).into_iter().collect();
        assert_eq!(found, ["shop_default", "x.y", "z"]);
        assert!(names(&"docker: ../../etc".repeat(3)).iter().all(|name| !name.contains('/')));
        assert!(names(&format!("docker: {}", "x".repeat(300))).is_empty());
    }

    #[test]
    fn subnets_survive_being_written() {
        let nets = ["172.18.0.0/16", "fd00::/64"].map(|net| net.parse().expect("a net"));
        let subnets = read(&written(&nets));
        assert_eq!(
            (subnets.v4.map(IpNet::V4), subnets.v6.map(IpNet::V6)),
            (Some(nets[0]), Some(nets[1]))
        );
    }
}
