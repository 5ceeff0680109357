//! What `why` prints of the way, of a record and of a live connection.

use api::{Connection, Walk, WalkState, WalkStep};

use super::*;

/// A way with a step of each kind.
fn walked() -> Walk {
    let step = |place: &str, topic: &str, state, code: Option<&str>, text: &str| WalkStep {
        place: place.to_owned(),
        topic: topic.to_owned(),
        state,
        code: code.map(str::to_owned),
        text: text.to_owned(),
        command: Some("nsenter --net=/run/bulkhead/netns/shop.db ss -lnt".to_owned()),
        hint: code.map(|_| "start the service".to_owned()),
    };
    Walk {
        fault: Some("BH-D002".to_owned()),
        steps: vec![
            step("shop/web", "link", WalkState::Ok, None, "eth0 is up, MTU 1500"),
            step("shop/web", "policy", WalkState::Fault, Some("BH-D002"), "no policy lets it"),
            step("host", "firewall", WalkState::Unknown, None, "the rule 3 may drop it"),
            step(
                "shop/db",
                "service",
                WalkState::Fault,
                Some("BH-W090"),
                "nothing listens on port 6379",
            ),
        ],
        took_us: 31_000,
    }
}

#[test]
fn the_way_says_what_is_wrong_and_all_of_it_when_asked() {
    let walk = walked();
    assert_snapshot!("why_the_way", why::way(&walk, false, PLAIN));
    assert_snapshot!("why_the_whole_way", why::way(&walk, true, PLAIN));
    let fine = Walk { steps: walk.steps[..2].to_vec(), ..walk };
    assert_snapshot!("why_a_way_without_faults", why::way(&fine, false, PLAIN));
}

#[test]
fn a_record_and_a_live_connection_are_told() {
    let connection = Connection {
        state: "established".to_owned(),
        verdict: Verdict::Allow,
        rule: Some(rule()),
        is_current: false,
        silent_s: 4,
        counts: [[12, 900], [9, 4_000]],
    };
    let recorded = Some(flow("drop", "default deny", "BH-D002", ""));
    let why = Why { connection: Some(connection), recorded, ..allowed() };
    assert_snapshot!("why_a_record", why::render(&why, PLAIN));
    let stray =
        api::Reason { code: "BH-D030".to_owned(), text: "stray TCP packet".to_owned(), hint: None };
    let recorded = flow("drop", "stray TCP packet", "BH-D030", "");
    let recorded = Some(api::Flow { reason: Some(stray), ..recorded });
    let why = Why { recorded, connection: None, ..why };
    assert!(why::render(&why, PLAIN).contains("not by the policy"), "a stray packet");
}
