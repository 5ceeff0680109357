//! Networks on a LAN: what of the way is this host's.

use super::{BRIDGE, End, Trip};

/// The router's link to the LAN.
const LAN: &str = "lan0";

impl Trip<'_> {
    /// From a workload to the LAN, or from there to one: how far this host carries the packet. Who else is on the LAN, and
    /// what routers there do, is not known here, and the way ends without more being said.
    pub(super) fn on_lan<'e>(&mut self, ends: impl Iterator<Item = End<'e>>) -> Option<()> {
        self.judged();
        for end in ends {
            let mut router = self.router(end.router)?;
            let bridge = router.is_up(&mut self.report, BRIDGE, "every workload's link")?;
            self.is_port(&mut router, end, bridge)?;
            self.has_programs(&router, end);
            self.has_budget(end.router);
            let Some(lan) = &end.router.lan else { continue };
            let leg =
                router.is_up(&mut self.report, LAN, &format!("the LAN of {}", lan.place()))?;
            let is_port = router.links.get(&leg).is_some_and(|link| link.master == Some(bridge));
            let command = router.shell("bridge link show");
            let text = if is_port {
                format!(
                    "over {LAN} it is on the LAN of {}; what happens there is not seen from here",
                    lan.place()
                )
            } else {
                format!("{LAN} is no port of {BRIDGE}: nothing gets to the LAN of {}", lan.place())
            };
            self.report.unknown(&router.place, "lan", text, command);
        }
        Some(())
    }
}
