//! What runtimes call things to what Bulkhead may call them: names of workloads, keys and values of labels.
//!
//! Other alphabets and lengths make two names equal, so what is lost comes back as a number made of the whole.

use std::collections::BTreeMap;

/// Longest name of a workload, in bytes.
const NAME: usize = 32;
/// Longest value of a label, in bytes.
const VALUE: usize = 63;
/// Digits of the number that stands for what is lost.
const DIGITS: usize = 6;
/// Labels that a text may hold.
const LABELS: usize = 64;

/// FNV-1a: two texts with one number share a name, and the agent refuses the second one.
fn number(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn digits(text: &str) -> String {
    format!("{:0width$x}", number(text) & 0xff_ffff, width = DIGITS)
}

/// A workload's name: `web-0` as it is, `Web_Server` as `web-server-` and a number.
pub(crate) fn workload(text: &str) -> String {
    let mut plain = String::with_capacity(NAME);
    for char in text.chars().take(4 * NAME) {
        match char.to_ascii_lowercase() {
            found @ ('a'..='z' | '0'..='9') => plain.push(found),
            _ if plain.ends_with('-') || plain.is_empty() => {}
            _ => plain.push('-'),
        }
    }
    if !plain.starts_with(|first: char| first.is_ascii_lowercase()) {
        plain.insert_str(0, "c-");
    }
    let plain = plain.trim_end_matches('-');
    if plain == text && plain.len() <= NAME {
        return plain.to_owned();
    }
    suffixed(plain, text)
}

/// A name that tells `key` apart from others with the same name.
pub(crate) fn suffixed(name: &str, key: &str) -> String {
    let kept: String = name.chars().take(NAME - DIGITS - 1).collect();
    format!("{}-{}", kept.trim_end_matches('-'), digits(key))
}

/// A label's value: what may not stand in one becomes `-`.
pub(crate) fn value(text: &str) -> String {
    let is_edge = |char: char| !char.is_ascii_alphanumeric();
    let fine =
        |char: char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '-' };
    let plain: String = text.chars().take(4 * VALUE).map(fine).collect();
    let plain = plain.trim_matches(is_edge);
    if plain == text && plain.len() <= VALUE {
        return plain.to_owned();
    }
    let kept: String = plain.chars().take(VALUE - DIGITS - 1).collect();
    let kept = kept.trim_end_matches(is_edge);
    if kept.is_empty() { digits(text) } else { format!("{kept}-{}", digits(text)) }
}

/// Labels in one text: `app=web,tier=front`; the agent checks each.
///
/// # Errors
/// The part that is none, or that there are too many.
pub(crate) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let pair = part.split_once('=').ok_or_else(|| {
            let shown: String = part.chars().take(40).collect();
            format!("`{}` is not KEY=VALUE", shown.escape_debug())
        })?;
        all.insert(pair.0.trim().to_owned(), pair.1.trim().to_owned());
        if all.len() > LABELS {
            return Err(format!("there are more than {LABELS} labels"));
        }
    }
    Ok(all)
}

/// Labels that a container or a pod gives itself, in one text. Those by which a runtime vouches for who somebody is are not among them, whoever
/// claims them: a policy relies on them.
///
/// # Errors
/// As [`labels`].
pub(crate) fn claimed(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut all = labels(text)?;
    all.retain(|key, _| !is_vouched_for(key));
    Ok(all)
}

/// Whether a label is one that a runtime gives: Docker's, CRI's, libvirt's.
fn is_vouched_for(key: &str) -> bool {
    let within = |prefix: &str| key.starts_with(prefix);
    matches!(key, "container" | "image")
        || ["compose.", "image.", "image/", "io.kubernetes.", "libvirt/"].into_iter().any(within)
}

/// Whether a text may be an id of a container or the name of a network: letters, digits, `_`, `.` and `-`, a letter or
/// digit first, as CNI has it.
pub(crate) fn is_id(text: &str, longest: usize) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.len() <= longest
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_or_are_told_apart() {
        for same in ["web", "web-0", "a", &"a".repeat(32)] {
            assert_eq!(workload(same), same);
        }
        for odd in [
            "Web",
            "web_0",
            "-web",
            "web-",
            "0web",
            "",
            "web.example.org",
            "ä",
            &"a".repeat(33),
            "..",
            "///",
        ] {
            let name = workload(odd);
            assert!(
                name.len() <= NAME && name.starts_with(|c: char| c.is_ascii_lowercase()),
                "{odd}: {name}"
            );
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{name}"
            );
            assert!(!name.ends_with('-'), "{name}");
        }
        assert_ne!(workload("Web"), workload("WEB"));
        assert_eq!(workload("Web_Server"), format!("web-server-{}", digits("Web_Server")));
        assert_eq!(suffixed(&"a".repeat(32), "k").len(), NAME);
    }

    #[test]
    fn values_of_labels_are_values() {
        for same in ["", "a", "team-a", "1.2_3", &"v".repeat(63)] {
            assert_eq!(value(same), same);
        }
        for odd in ["-a", "a b", "ä", &"v".repeat(64), "///", "\n"] {
            let found = value(odd);
            assert!((1..=VALUE).contains(&found.len()), "{odd}: {found}");
            assert!(found.starts_with(|c: char| c.is_ascii_alphanumeric()), "{found}");
            assert!(found.ends_with(|c: char| c.is_ascii_alphanumeric()), "{found}");
        }
    }

    #[test]
    fn labels_of_a_text() {
        assert_eq!(labels("app=web, tier=,,x=a=b").expect("labels").len(), 3);
        assert_eq!(labels("app"), Err("`app` is not KEY=VALUE".to_owned()));
        let many: Vec<String> = (0..65).map(|n| format!("k{n}=")).collect();
        assert!(labels(&many.join(",")).is_err());
    }

    #[test]
    fn what_a_runtime_vouches_for_cannot_be_claimed() {
        let claims = "app=db,container=db,compose.service=db,compose.project=shop,image=db,image.id=0,image/app=db,\
                      io.kubernetes.pod.namespace=kube-system,libvirt/domain=db,images=mine";
        let claimed: Vec<String> = claimed(claims).expect("labels").into_keys().collect();
        assert_eq!(claimed, ["app", "images"]);
    }

    #[test]
    fn ids_are_of_one_alphabet() {
        for good in ["a", "0", "abc_-.9"] {
            assert!(is_id(good, 10), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "..", "ä", "01234567890", "a\0"] {
            assert!(!is_id(bad, 10), "{bad}");
        }
    }
}
