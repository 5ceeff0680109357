//! The networks of countries that came with a file: read by whoever sent it, checked here, never looked up.

use api::Geography;
use policy::IpNet;
use policy::geo::{Country, Lack, MAX_NETWORKS, Networks};

/// Longest text that names a database.
const MAX_NAME: usize = 64;

/// The networks that a request carries.
///
/// # Errors
/// When it carries none, or not what a command sends.
pub(crate) fn networks(given: Option<&Geography>) -> Result<Networks, Lack> {
    let Some(given) = given else {
        return Err(lack("the file names countries, and no networks of them came with it"));
    };
    let is_name = |text: &str| {
        text.len() <= MAX_NAME && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
    };
    if !is_name(&given.database) || !is_name(&given.built) {
        return Err(lack("the database that came with the file has no usable name"));
    }
    if given.countries.values().map(Vec::len).sum::<usize>() > MAX_NETWORKS {
        return Err(lack(&format!(
            "more than {MAX_NETWORKS} networks of countries came with the file"
        )));
    }
    let mut networks = Networks::new();
    for (code, nets) in &given.countries {
        let country: Country =
            code.parse().map_err(|_| lack("what came with the file is no country"))?;
        let nets: Result<Vec<IpNet>, _> = nets.iter().map(|net| net.parse()).collect();
        let nets =
            nets.map_err(|_| lack(&format!("what came as networks of `{country}` is none")))?;
        networks.insert(country, nets);
    }
    Ok(networks)
}

fn lack(message: &str) -> Lack {
    let hint = "send the file with `bulkhead plan` or `up`, which read the database".to_owned();
    Lack { message: message.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api::{DocumentRequest, Error};
    use planner::Allocations;

    use super::*;
    use crate::force::Wanted;
    use crate::prepare::{Base, prepare};
    use crate::saved::{Saved, Store};
    use crate::tests::{SHOP, facts, request};

    fn given(code: &str, net: &str) -> Geography {
        Geography {
            database: "Test".to_owned(),
            built: "2026-11-20T00:00:00Z".to_owned(),
            countries: [(code.to_owned(), vec![net.to_owned()])].into(),
        }
    }

    fn prepared(request: &DocumentRequest) -> Result<Wanted, Error> {
        let request = Arc::new(request.clone());
        let base = Base::Allocations(&Allocations::default());
        prepare(&request, &crate::prepare::Beside::default(), base, &facts())
            .map(|(wanted, _)| wanted)
    }

    /// After a restart there is what came with the file, and no database.
    #[test]
    fn networks_come_with_the_file_and_stay_with_it() {
        let mut request = request(&format!(
            "{SHOP}geo: {{ database: /nowhere/country.mmdb }}
sets: {{ abroad: {{ countries: [kp] }} }}
policies: {{ embargo: {{ from: set=abroad, to: any, deny: [any] }} }}
"
        ));
        let error = prepared(&request).expect_err("nothing came");
        assert_eq!(error.diagnostics[0].code, "BH0139");
        request.geography = Some(given("kp", "192.0.2.0/24"));
        let wanted = prepared(&request).expect("is taken");
        let embargo = wanted.document.policies.iter().find(|each| each.name.as_str() == "embargo");
        assert_eq!(embargo.expect("the policy").from[0].to_string(), "192.0.2.0/24");

        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opens");
        store.keep(&Saved::new(1, &wanted, Arc::default())).expect("is kept");
        drop(store);
        let kept = Store::open(folder.path()).expect("opens").document().expect("is read");
        assert_eq!(*kept.expect("a document").request, request);
    }

    #[test]
    fn what_came_is_checked() {
        let taken = networks(Some(&given("kp", "192.0.2.0/24"))).expect("is taken");
        assert_eq!(taken.len(), 1);
        for wrong in [
            None,
            Some(given("KP", "192.0.2.0/24")),
            Some(given("kp", "192.0.2.0/99")),
            Some(Geography { database: "a\u{1b}[2J".to_owned(), ..given("kp", "192.0.2.0/24") }),
            Some(Geography {
                countries: [("kp".to_owned(), vec!["192.0.2.0/24".to_owned(); MAX_NETWORKS + 1])]
                    .into(),
                ..Geography::default()
            }),
        ] {
            assert!(networks(wrong.as_ref()).is_err(), "{wrong:?}");
        }
    }
}
