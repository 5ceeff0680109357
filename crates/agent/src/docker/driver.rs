//! A network and address driver for Docker: `docker network create -d bulkhead`, networks that are wholly ours.
//!
//! A network of Docker's is another name for a network of the file, or a segment of one, that its option `bulkhead.network` names. Its
//! containers are workloads there like all others: own router, own address space, own policy. dockerd asks over a socket in its folder
//! of plugins; the agent attaches through the keeper, leaves the container's end of the link on the host, and dockerd moves it into the container
//! and sets it up (ADR 0025).
//!
//! **Order.** Who a container is, is asked of dockerd before its link is made. When dockerd does not tell, which is so while it starts
//! containers of its own accord at boot, the link is made and stays down on our side until it does.
//! **Failure.** While no agent runs, what runs goes on; what starts waits for it, and is refused by dockerd after half a minute.
//! **Limits.** Bodies, connections, networks, endpoints and addresses are bounded; only root is answered.

mod address;
mod endpoint;
pub(crate) mod held;
mod identity;
mod mend;
mod place;
mod server;
mod tend;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use api::Error;
use policy::Document;
use runtimes::docker::Client;
use runtimes::docker::driver::{self as wire, CreateNetwork, Id, OneNetwork};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::fault::sentence;
use crate::force::Force;
use crate::shared::Shared;

use held::{Ledger, NETWORKS, Network};
use place::{OPTION, Place};

/// What its problems are called.
const TOPIC: &str = "docker driver";
/// What options of ours begin with.
const OWN: &str = "bulkhead.";

/// Serves dockerd until `stop` is set, in the network namespace of the calling thread.
pub(crate) fn run(shared: &Arc<Shared>, socket: &Path, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let opened =
        runtime.and_then(|runtime| Ok((runtime, Ledger::open(&shared.options.state_dir)?)));
    let (runtime, ledger) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return problem(shared, Some(format!("it does not serve: {}", sentence(&error))));
        }
    };
    let driver = Arc::new(Driver {
        shared: Arc::clone(shared),
        client: Client::new(&shared.options.docker),
        ledger,
        turn: tokio::sync::Mutex::default(),
        cursors: std::sync::Mutex::default(),
        unknown: Notify::new(),
    });
    runtime.block_on(async {
        match server::listen(socket) {
            Ok(listener) => {
                tracing::info!(socket = %socket.display(), "a driver for Docker");
                tokio::join!(server::serve(&driver, listener, stop), tend::follow(&driver, stop),);
                // Another agent may have made its own there by now; dockerd asks whoever answers.
                let _gone = std::fs::remove_file(socket);
            }
            Err(why) => problem(shared, Some(why)),
        }
    });
}

/// Tells what is wrong, or that nothing is.
fn problem(shared: &Shared, problem: Option<String>) {
    shared.trouble(TOPIC, "the driver for Docker", problem);
}

/// The driver.
struct Driver {
    shared: Arc<Shared>,
    client: Client,
    ledger: Ledger,
    /// Whoever attaches or ends something for Docker: one after the other, so that nothing is attached that has just ended.
    turn: tokio::sync::Mutex<()>,
    /// Where in each pool the last address was.
    cursors: std::sync::Mutex<BTreeMap<String, u64>>,
    /// Somebody joined of whom dockerd did not tell who it is.
    unknown: Notify,
}

/// The answer to a call, or why there is none, as people read it.
type Answer = Result<Value, String>;

/// An answer without words.
fn done() -> Value {
    json!({})
}

impl Driver {
    /// Answers a call; `None` when there is no such one.
    async fn call(&self, name: &str, body: &[u8]) -> Option<Answer> {
        Some(match name {
            "Plugin.Activate" => Ok(wire::activated()),
            "NetworkDriver.GetCapabilities" => Ok(wire::network_capabilities()),
            "NetworkDriver.CreateNetwork" => self.create_network(body),
            "NetworkDriver.DeleteNetwork" => self.delete_network(body).await,
            "NetworkDriver.CreateEndpoint" => self.create_endpoint(body),
            "NetworkDriver.EndpointOperInfo" => self.endpoint_info(body),
            "NetworkDriver.DeleteEndpoint" => self.delete_endpoint(body).await,
            "NetworkDriver.Join" => self.join(body).await,
            "NetworkDriver.Leave" => self.leave(body).await,
            "NetworkDriver.ProgramExternalConnectivity" => self.publish(body).await,
            "NetworkDriver.RevokeExternalConnectivity" => self.revoke(body).await,
            // Nodes of a swarm, which these networks know nothing of.
            "NetworkDriver.DiscoverNew" | "NetworkDriver.DiscoverDelete" => Ok(done()),
            "NetworkDriver.AllocateNetwork" | "NetworkDriver.FreeNetwork" => {
                Err("networks of this driver are of one host, not of a swarm".to_owned())
            }
            "IpamDriver.GetCapabilities" => Ok(wire::address_capabilities()),
            "IpamDriver.GetDefaultAddressSpaces" => Ok(wire::address_spaces()),
            "IpamDriver.RequestPool" => self.request_pool(body),
            "IpamDriver.ReleasePool" => Self::release_pool(body),
            "IpamDriver.RequestAddress" => self.request_address(body),
            "IpamDriver.ReleaseAddress" => self.release_address(body),
            _ => return None,
        })
    }

    fn create_network(&self, body: &[u8]) -> Answer {
        let call: CreateNetwork = message(body)?;
        let force = self.force()?;
        if let Some(other) = call.options(OWN).find(|name| *name != OPTION) {
            return Err(format!("there is no option `{other}`, only {OPTION}"));
        }
        let text = call.option(OPTION).ok_or_else(|| {
            format!("name a network of the file: -o {OPTION}=TENANT/NETWORK, and for its addresses --ipam-driver and --ipam-opt {OPTION}=TENANT/NETWORK")
        })?;
        let place = Place::parse(text)?;
        let document = &force.wanted.document;
        place.subnets(document)?;
        for given in call.pools() {
            is_pool(&place, document, &given.pool, &given.gateway)?;
        }
        let network = Network { place, internal: call.is_internal() };
        self.ledger.change(|held| {
            let id = call.network.as_str();
            if held.networks.len() >= NETWORKS && !held.networks.contains_key(id) {
                return Err(format!(
                    "there are {NETWORKS} networks of this driver, which is as many as there may be"
                ));
            }
            held.networks.insert(id.to_owned(), network);
            Ok(())
        })?;
        Ok(done())
    }

    async fn delete_network(&self, body: &[u8]) -> Answer {
        let call: OneNetwork = message(body)?;
        self.forget_network(&call.network).await?;
        Ok(done())
    }

    /// Ends what is left in a network, and the network.
    async fn forget_network(&self, id: &Id) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let held = self.ledger.read();
        let ends = held.endpoints.iter().filter(|(_, endpoint)| endpoint.network == *id);
        for (endpoint, _) in ends {
            self.detach(endpoint).await?;
        }
        self.ledger.change(|held| {
            held.endpoints.retain(|_, endpoint| endpoint.network != *id);
            if let Some(network) = held.networks.remove(id.as_str())
                && !held.networks.values().any(|other| other.place == network.place)
            {
                let pools = [4, 6].map(|version| format!("{}#{version}", network.place));
                held.given.retain(|pool, _| !pools.contains(pool));
            }
            Ok(())
        })
    }

    /// What is in force.
    fn force(&self) -> Result<Arc<Force>, String> {
        self.shared.force().ok_or_else(|| {
            "no file is in force here that networks could be of: bulkhead up FILE".to_owned()
        })
    }
}

/// Whether a pool that dockerd chose is the one of a place.
fn is_pool(place: &Place, document: &Document, pool: &str, gateway: &str) -> Result<(), String> {
    let shown = |text: &str| text.chars().take(64).collect::<String>();
    let wanted: ipnet::IpNet =
        pool.parse().map_err(|_| format!("{:?} is no subnet", shown(pool)))?;
    let known = place.pool(document, wanted.addr().is_ipv6())?;
    let hint = format!("--ipam-driver bulkhead --ipam-opt {OPTION}={place} takes the right one");
    if wanted != known.subnet {
        return Err(format!("the subnet of {place} is {}, not {wanted}: {hint}", known.subnet));
    }
    let is_own = gateway.is_empty()
        || gateway.parse::<ipnet::IpNet>().is_ok_and(|net| net.addr() == known.gateway);
    if is_own {
        return Ok(());
    }
    let gateway = shown(gateway);
    Err(format!("the gateway of {place} is {}, not {gateway}: {hint}", known.gateway))
}

/// Reads a message.
fn message<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    wire::read(body).map_err(|wrong| wrong.to_string())
}

/// An error of the agent's, as dockerd shows it.
fn told(error: &Error) -> String {
    let mut text = error.message.clone();
    if let Some(cause) = &error.cause {
        text = format!("{text}: {cause}");
    }
    if let Some(hint) = &error.hint {
        text = format!("{text} ({hint})");
    }
    text
}
