//! Which container an end of a network is for. `Join` says nothing of it; dockerd's list of the network's ends does, already then.
//!
//! An end that joins has no container in the list yet, but the container's name, which is unique and cannot change while the container is
//! being connected. Both questions are answered from what dockerd has written down: neither waits for the container (ADR 0020).

use std::time::Duration;

use model::Name;
use runtimes::docker::driver::Id;
use runtimes::docker::{Client, Container, End, Error, Naming};

use crate::force::Force;

use super::place::Place;

/// How long dockerd may take to tell while a container waits. It does not answer at all until it has started those that it
/// starts by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The container of an end; `None` when dockerd knows of none.
pub(super) async fn find(
    client: &Client,
    network: &Id,
    endpoint: &Id,
) -> Result<Option<Container>, Error> {
    let ends = client.ends(network.as_str()).await?;
    let Some(end) = ends.into_iter().find(|end| end.endpoint == endpoint.as_str()) else {
        return Ok(None);
    };
    Ok(among(&end, client.containers().await?))
}

fn among(end: &End, containers: Vec<Container>) -> Option<Container> {
    containers.into_iter().find(|container| is_of(end, container))
}

/// Whether an end is a container's.
pub(super) fn is_of(end: &End, container: &Container) -> bool {
    match &end.container {
        Some(id) => *id == container.id,
        None => !end.name.is_empty() && end.name == container.name,
    }
}

/// What the workload of a container is called, beside those that are there. Of several ends of one container in a tenant, the first has
/// the plain name.
pub(super) fn name(container: &Container, place: &Place, key: &str, force: &Force) -> Option<Name> {
    let own = force.wanted.attachments.get(key);
    if let Some(own) = own.filter(|own| own.attach.name.is_some()) {
        return Some(own.workload.clone());
    }
    let is_taken = |name: &Name| {
        let id = format!("{}.{name}", place.tenant);
        let is_own = own.is_some_and(|own| own.id() == id);
        !is_own && force.wanted.document.workload(&id).is_some()
    };
    Naming::default().name(container, is_taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: char, name: &str) -> Container {
        Container {
            id: id.to_string().repeat(64),
            name: name.to_owned(),
            image: String::new(),
            image_id: String::new(),
            labels: Vec::new(),
            image_labels: Vec::new(),
            ports: Vec::new(),
            settled: Vec::new(),
        }
    }

    #[test]
    fn an_end_is_its_containers_by_id_or_while_it_joins_by_name() {
        let all = || vec![container('a', "web"), container('b', "db")];
        let end = |container: Option<char>, name: &str| End {
            endpoint: "e".repeat(64),
            container: container.map(|digit| digit.to_string().repeat(64)),
            name: name.to_owned(),
        };
        let found = |end: End| among(&end, all()).map(|container| container.name);
        assert_eq!(found(end(None, "db")).as_deref(), Some("db"));
        // Its id counts where there is one: the name may be older.
        assert_eq!(found(end(Some('a'), "db")).as_deref(), Some("web"));
        assert_eq!((found(end(None, "")), found(end(Some('c'), "web"))), (None, None));
    }
}
