//! What a container is called here, and which labels it has. Pure: the same container gives the same.
//!
//! Labels of a container become labels of the workload where they are labels here. What Docker itself knows overrides what
//! a label claims: `container`, `image`, `image.tag` and `image.id` can be relied on as far as dockerd can, `compose.project` and `compose.service`
//! as far as who may start containers can. `com.docker.*` is bookkeeping that changes with every deployment, and is left out.
//!
//! **An image says nothing about who its container is.** Docker gives every label of an image to its containers. Those become `image/<key>`: a policy
//! may name them and rely on whoever made the image, and no other label, nor a compose project, nor a name, can be claimed by an image.

use std::collections::{BTreeMap, BTreeSet};

use model::{LabelKey, LabelValue, Labels, Name};

use super::Container;

/// Labels of a container's own that are taken over, first by key.
const MAX_LABELS: usize = 56;
/// Longest name of a workload, bytes.
const MAX_NAME: usize = 32;
/// Digits of a container's id that make a name unique.
const SHORT: usize = 12;
/// Digits of an image's id in its label: half of SHA-256.
const IMAGE_ID: usize = 32;
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";
/// Before the key of what the image says.
const IMAGE: &str = "image/";

/// The labels of a container's workload.
#[must_use]
pub fn workload_labels(container: &Container) -> Labels {
    let is_left_out = |key: &str| key.starts_with("com.docker.") || key.starts_with(IMAGE);
    let own = container.labels.iter().filter(|(key, _)| !is_left_out(key));
    let own = own.filter_map(|(key, value)| pair(key, value)).collect::<BTreeMap<_, _>>();
    let images = container.image_labels.iter().filter(|(key, _)| !is_left_out(key));
    let images = images.filter_map(|(key, value)| pair(&format!("{IMAGE}{key}"), value));
    let images = images.collect::<BTreeMap<_, _>>();
    let mut labels: Labels = own.into_iter().chain(images).take(MAX_LABELS).collect();
    let (image, tag) = image(&container.image);
    let id = container.image_id.strip_prefix("sha256:").and_then(|id| id.get(..IMAGE_ID));
    for (key, value) in [
        ("container", Some(container.name.as_str())),
        ("compose.project", compose(container, PROJECT)),
        ("compose.service", compose(container, SERVICE)),
        ("image", image.as_deref()),
        ("image.tag", tag),
        ("image.id", id),
    ] {
        // What a label of that name claims does not stand, even where Docker knows nothing.
        labels.remove(key);
        labels.extend(value.and_then(|value| pair(key, value)));
    }
    labels
}

fn pair(key: &str, value: &str) -> Option<(LabelKey, LabelValue)> {
    Some((LabelKey::new(key).ok()?, LabelValue::new(value).ok()?))
}

/// A label of Compose's. Compose builds images that have the labels of their project and service, so what a container's image says
/// counts when the container has a number of Compose's that its image has not: then Compose has started it.
fn compose<'c>(container: &'c Container, label: &str) -> Option<&'c str> {
    let images = || find(&container.labels, NUMBER).and(find(&container.image_labels, label));
    find(&container.labels, label).or_else(images)
}

fn find<'c>(labels: &'c [(String, String)], label: &str) -> Option<&'c str> {
    let mut found = labels.iter().filter(|(key, _)| key == label);
    found.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// `registry:5000/shop/web:1.2@sha256:…` as the image with `.` for `/` and `:`, and its tag.
fn image(text: &str) -> (Option<String>, Option<&str>) {
    let text = text.split('@').next().unwrap_or_default();
    let start = text.rfind('/').map_or(0, |slash| slash + 1);
    let tag = text.get(start..).and_then(|last| last.split_once(':'));
    let (repository, tag) = match tag {
        Some((last, tag)) => (text.get(..start + last.len()).unwrap_or_default(), Some(tag)),
        None => (text, None),
    };
    // An image without a name is asked for by its id.
    if repository == "sha256" {
        return (None, None);
    }
    (Some(repository.replace(['/', ':'], ".")), tag)
}

/// Names of workloads for containers: given once, kept while the container is there, so that no restart and no rename changes one.
#[derive(Debug, Default)]
pub struct Naming {
    given: BTreeMap<String, Name>,
}

impl Naming {
    /// Takes over a name that was given before, by an agent that ran then.
    pub fn remember(&mut self, container: &str, name: Name) {
        self.given.entry(container.to_owned()).or_insert(name);
    }

    /// The workload's name: the compose service, with its number if that is not 1, else the container's name, as far as it can be a name
    /// here; with the beginning of the container's id where that is taken. `None` when even that is taken.
    pub fn name(
        &mut self,
        container: &Container,
        is_taken: impl Fn(&Name) -> bool,
    ) -> Option<Name> {
        if let Some(name) = self.given.get(&container.id) {
            return Some(name.clone());
        }
        let others: BTreeSet<&Name> = self.given.values().collect();
        let wished = wish(container);
        let short = container.id.get(..SHORT)?;
        let with_id = format!("{}-{short}", cut(&wished, MAX_NAME - SHORT - 1));
        let candidates = [cut(&wished, MAX_NAME).to_owned(), with_id, format!("c-{short}")];
        let name = candidates
            .into_iter()
            .filter_map(|text| Name::new(&text).ok())
            .find(|name| !others.contains(name) && !is_taken(name))?;
        self.given.insert(container.id.clone(), name.clone());
        Some(name)
    }

    /// Forgets containers that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.given.retain(|id, _| is_there(id));
    }
}

fn wish(container: &Container) -> String {
    let service = compose(container, PROJECT).and(compose(container, SERVICE));
    let number = compose(container, NUMBER).filter(|number| *number != "1");
    match (service, number) {
        (Some(service), Some(number)) => sanitised(&format!("{service}-{number}")),
        (Some(service), None) => sanitised(service),
        (None, _) => sanitised(&container.name),
    }
}

/// Small letters, digits and single `-` within, beginning with a letter; `c` when nothing is left.
fn sanitised(text: &str) -> String {
    let mut name = String::new();
    for letter in text.chars().take(MAX_NAME * 4).map(|letter| letter.to_ascii_lowercase()) {
        match letter {
            'a'..='z' | '0'..='9' => name.push(letter),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    let name = name.trim_end_matches('-');
    match name.bytes().next() {
        Some(b'a'..=b'z') => name.to_owned(),
        Some(_) => format!("c-{name}"),
        None => "c".to_owned(),
    }
}

fn cut(name: &str, length: usize) -> &str {
    name.get(..length).unwrap_or(name).trim_end_matches('-')
}
