//! `bulkhead confirm`: keep a change of the host's own policy. And what waits for the confirmation.

use api::{HostPolicy, codes};

use super::{Context, agent as become_agent};
use crate::failure::{Exit, Failure};
use crate::screen::Paint;

pub(crate) fn run(context: &Context) -> Result<Exit, Failure> {
    let kept = context.client()?.confirm()?;
    context.screen.show(&kept, |kept, paint| {
        let unproven = kept.confirmed_at.as_deref().map(unproven).unwrap_or_default();
        format!("{} the policy of the host stays{}\n{unproven}", paint.good("confirmed:"), at(kept))
    })?;
    Ok(Exit::Done)
}

/// Waits for a deadline; the agent starts this.
pub(crate) fn wait(context: &Context, token: &str) -> Result<Exit, Failure> {
    let options = become_agent::options(context);
    agent::dead_man(&options, token)
        .map_err(|error| Failure::new(codes::SETUP, "wait for a deadline").because(&error))?;
    Ok(Exit::Done)
}

/// What a confirmation at a console leaves open.
fn unproven(console: &str) -> String {
    format!(
        "  it was confirmed at {console}: that somebody gets in over the network is not proven; try it now from another machine, with a new connection\n"
    )
}

fn at(host: &HostPolicy) -> String {
    if host.uplinks.is_empty() { String::new() } else { format!(" on {}", host.uplinks.join(", ")) }
}

/// The host's own policy, in the status and after a change: one line for each thing to know.
pub(crate) fn render(host: &HostPolicy, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(pending) = &host.pending {
        let guard = if pending.guarded { "" } else { "; nobody waits for that but the agent" };
        text += &format!(
            "{}: the host's policy{} was changed at {} over {} and goes back in {} s{guard}\n  keep it from a new connection, or at a console of this machine: bulkhead confirm\n",
            paint.warn("not confirmed"),
            at(host),
            pending.since,
            pending.by,
            pending.left_s,
        );
    } else if !host.uplinks.is_empty() {
        let since = host.confirmed.as_deref().unwrap_or("an unknown time");
        let console = host.confirmed_at.as_deref();
        let by = console.map(|name| format!(" at {name}, over no connection")).unwrap_or_default();
        text += &format!("the host itself is enforced{}, confirmed at {since}{by}\n", at(host));
    }
    if let Some(reverted) = &host.reverted {
        text += &format!(
            "{}: the host's policy went back at {}: {}\n",
            paint.warn("warning"),
            reverted.at,
            reverted.why
        );
    }
    text
}
