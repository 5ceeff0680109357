//! `bulkhead attachments`, `attach` and `detach`: workloads that join at run time.

use std::collections::BTreeMap;

use api::{Attach, AttachPort, Attached, AttachedAddress, Attachments, codes};

use super::{Context, person};
use crate::args::NewAttachment;
use crate::failure::{Exit, Failure};
use crate::screen::Paint;
use crate::table::Table;

pub(crate) fn list(context: &Context) -> Result<Exit, Failure> {
    let attachments = context.client()?.attachments()?;
    context.screen.show(&attachments, render)?;
    Ok(Exit::Done)
}

pub(crate) fn attach(context: &Context, wanted: &NewAttachment) -> Result<Exit, Failure> {
    let attached = context.client()?.attach(&request(wanted)?)?;
    context.screen.show(&attached, |attached, _| told(attached))?;
    Ok(Exit::Done)
}

pub(crate) fn detach(context: &Context, key: &str) -> Result<Exit, Failure> {
    let detached = context.client()?.detach(key)?;
    context.screen.show(&detached, |detached, _| match &detached.workload {
        Some(workload) => format!("{} is detached\n", person(workload)),
        None => format!("nothing is attached as {}\n", detached.key),
    })?;
    Ok(Exit::Done)
}

/// What people wrote as a request.
fn request(wanted: &NewAttachment) -> Result<Attach, Failure> {
    let (tenant, network, segment) = place(&wanted.network)?;
    let labels = labels(&wanted.labels)?;
    let port = AttachPort::Netns {
        path: wanted.netns.to_string_lossy().into_owned(),
        interface: wanted.interface.clone(),
    };
    let key = || format!("attached{}/{}", wanted.netns.display(), wanted.interface);
    Ok(Attach {
        key: wanted.key.clone().unwrap_or_else(key),
        tenant,
        network,
        segment,
        name: wanted.name.clone(),
        labels,
        addresses: wanted.address.clone(),
        port,
        publish: Vec::new(),
        publish_pending: false,
    })
}

fn wrong(text: String) -> Failure {
    Failure::new(codes::BAD_REQUEST, text)
        .hint("bulkhead attach /run/netns/web --network shop/pods --name web --label app=web")
}

/// `shop/pods` and `shop/main/front`: tenant, network, segment.
pub(crate) fn place(text: &str) -> Result<(String, String, Option<String>), Failure> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [tenant, network] => Ok(((*tenant).to_owned(), (*network).to_owned(), None)),
        [tenant, network, segment] => {
            Ok(((*tenant).to_owned(), (*network).to_owned(), Some((*segment).to_owned())))
        }
        _ => Err(wrong(format!("`{text}` is not TENANT/NETWORK or TENANT/NETWORK/SEGMENT"))),
    }
}

/// `app=web,tier=front`, any number of times.
pub(crate) fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let parts = texts.iter().flat_map(|text| text.split(','));
    let pair = |text: &str| {
        let pair = text.split_once('=');
        let (key, value) = pair.ok_or_else(|| wrong(format!("`{text}` is not KEY=VALUE")))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    parts.map(pair).collect()
}

fn told(attached: &Attached) -> String {
    let address = |at: &AttachedAddress| format!("{}/{}", at.address, at.prefix);
    let addresses: Vec<String> = attached.addresses.iter().map(address).collect();
    let already = if attached.new { "" } else { " already" };
    format!(
        "{} is attached{already}: {} on {}\nbulkhead detach {} ends it\n",
        person(&attached.workload),
        addresses.join(", "),
        attached.interface,
        attached.key
    )
}

pub(crate) fn render(all: &Attachments, paint: Paint) -> String {
    if all.attachments.is_empty() {
        return "nothing is attached at run time\n".to_owned();
    }
    let mut table =
        Table::new(["WORKLOAD", "NETWORK", "ADDRESSES", "LABELS", "PORT", "SINCE", "KEY"]);
    for each in &all.attachments {
        let labels: Vec<String> =
            each.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let addresses: Vec<String> = each.addresses.iter().map(ToString::to_string).collect();
        let network = match &each.segment {
            Some(segment) => format!("{}/{segment}", each.network),
            None => each.network.clone(),
        };
        let port = match &each.port {
            AttachPort::Netns { path, interface } => format!("{interface} in {path}"),
            AttachPort::Handed { interface, closed: true } => format!("{interface} closed"),
            AttachPort::Handed { interface, .. } => format!("{interface} handed over"),
            AttachPort::InPlace { interface, mac, .. } => format!("{interface} {mac}"),
        };
        table.row([
            person(&each.workload),
            network,
            addresses.join(","),
            labels.join(","),
            port,
            each.since.clone(),
            each.key.clone(),
        ]);
    }
    table.render(paint)
}
