//! Parsing, printing and matching of selectors.

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Selector {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
}

fn labels(text: &str) -> Labels {
    text.split_terminator(',')
        .map(|pair| {
            let (key, value) = pair.split_once('=').expect("key=value");
            (LabelKey::new(key).expect("key"), LabelValue::new(value).expect("value"))
        })
        .collect()
}

fn matches(selector: &str, with: &str) -> bool {
    let name = |text| Name::new(text).expect("name");
    let (tenant, network, segment, workload) =
        (name("shop"), name("main"), name("front"), name("web"));
    let subject = Subject {
        tenant: &tenant,
        network: &network,
        segment: Some(&segment),
        workload: &workload,
        labels: &labels(with),
    };
    parsed(selector).matches(&subject)
}

#[test]
fn terms_match_as_documented() {
    assert!(matches("app=web", "app=web"));
    assert!(!matches("app=web", "app=db"));
    assert!(!matches("app=web", ""));
    assert!(matches("app!=web", "app=db"));
    assert!(matches("app!=web", ""));
    assert!(matches("app", "app=db"));
    assert!(!matches("!app", "app=db"));
    assert!(matches("!app", ""));
    assert!(matches("app in (web, db)", "app=db"));
    assert!(!matches("app in (web, db)", ""));
    assert!(matches("app notin (web, db)", ""));
    assert!(!matches("app notin (web, db)", "app=db"));
    assert!(matches("app=web, tier=front", "app=web,tier=front"));
    assert!(!matches("app=web, tier=front", "app=web"));
    assert!(matches("tenant=shop, network=main, segment=front, workload=web", ""));
    assert!(!matches("segment in (back, data)", ""));
    assert!(matches("app=", "app="));
}

#[test]
fn errors_point_at_the_exact_place() {
    let shown = |text: &str| {
        let error = text.parse::<Selector>().expect_err(text);
        let hint = error.hint.map(|hint| format!("  ({hint})")).unwrap_or_default();
        format!(
            "> {text}\n  {}{} {}{hint}\n",
            " ".repeat(error.at.start),
            "^".repeat(error.at.len().max(1)),
            error.message
        )
    };
    let all: String = [
        "",
        "app=web,",
        "app=web tier=front",
        "app==web",
        "app: web",
        "app=we b",
        "segment",
        "!tenant",
        "app in web",
        "app in (web",
        "app in (web; db)",
        "app=web, world",
        "=web",
        "äpp=web",
        "app=wéb",
        "segment=Front",
        "app=-",
    ]
    .into_iter()
    .map(shown)
    .collect();
    insta::assert_snapshot!(all, @r#"
    > 
      ^ expected a label key, found the end of the selector
    > app=web,
              ^ expected a label key, found the end of the selector
    > app=web tier=front
              ^^^^ expected `,` or the end of the selector, found `tier`  (terms are separated by commas: app=web, tier=front)
    > app==web
         ^^ `==` is not an operator  (write a single `=`: app=web)
    > app: web
         ^ `:` does not belong in a selector  (write `key=value`: app=web)
    > app=we b
             ^ expected `,` or the end of the selector, found `b`  (terms are separated by commas: app=web, tier=front)
    > segment
      ^^^^^^^ `segment` needs a value here  (write `segment=NAME`)
    > !tenant
      ^^^^^^^ `tenant` needs a value here  (write `tenant=NAME`)
    > app in web
             ^^^ expected `(` after `in` or `notin`  (write app in (a, b))
    > app in (web
                 ^ expected `,` or `)` in the list
    > app in (web; db)
              ^^^^ ';' may not stand at position 4 of a label value
    > app=web, world
               ^^^^^ `world` stands alone, it is not part of a selector  (write it as an entry of its own: [world, app=web])
    > =web
      ^ expected a label key, found `=`
    > äpp=web
      ^^^^ 'ä' may not stand at position 1 of a label key
    > app=wéb
          ^^^^ 'é' may not stand at position 2 of a label value
    > segment=Front
              ^^^^^ 'F' may not stand at position 1 of a name
    > app=-
          ^ '-' may not stand at position 1 of a label value
    "#);
}

pub(crate) fn any_selector() -> impl Strategy<Value = Selector> {
    let value =
        "[a-z0-9]([a-z0-9._-]{0,6}[a-z0-9])?".prop_map(|v| LabelValue::new(&v).expect("value"));
    let name = "[a-z]([a-z0-9-]{0,6}[a-z0-9])?".prop_map(|v| LabelValue::new(&v).expect("value"));
    let key = "[a-zA-Z]([a-z0-9._/-]{0,8}[a-z0-9])?"
        .prop_filter_map("reserved word", |k| LabelKey::new(&k).ok().map(Field::Label));
    let with_value = |value: BoxedStrategy<LabelValue>| {
        prop_oneof![
            value.clone().prop_map(Op::Is),
            value.clone().prop_map(Op::IsNot),
            prop::collection::vec(value.clone(), 1..4).prop_map(Op::In),
            prop::collection::vec(value, 1..4).prop_map(Op::NotIn),
        ]
    };
    let label = (key, prop_oneof![with_value(value.boxed()), Just(Op::Exists), Just(Op::Missing)]);
    let place = (
        prop::sample::select(vec![Field::Tenant, Field::Network, Field::Segment, Field::Workload]),
        with_value(name.boxed()),
    );
    let term = prop_oneof![label, place].prop_map(|(field, op)| Term { field, op });
    prop::collection::vec(term, 1..5).prop_map(|terms| Selector::new(terms).expect("not empty"))
}

proptest! {
    #[test]
    fn printing_and_parsing_are_inverse(selector in any_selector()) {
        prop_assert_eq!(parsed(&selector.to_string()), selector);
    }

    #[test]
    fn any_text_parses_or_fails_inside_of_itself(text in "\\PC{0,40}|[a-z=!,() ]{0,40}") {
        if let Err(error) = text.parse::<Selector>() {
            prop_assert!(text.get(error.at).is_some());
        }
    }
}
