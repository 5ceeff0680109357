//! "Did you mean": the known word that is nearest to an unknown one.

/// Most candidates that are compared; a longer list gets no guess.
const MAX_CANDIDATES: usize = 20_000;

/// The candidate with the smallest edit distance, if that is small enough to be a typing mistake.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let most = match word.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= most && candidate.len() <= 64)
        .filter_map(|candidate| Some((distance(word, candidate, most)?, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// `did you mean `x`?` for the nearest candidate.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// Edit distance with transpositions (optimal string alignment), or `None` if it is greater than `most`.
fn distance(one: &str, two: &str, most: usize) -> Option<usize> {
    let one: Vec<char> = one.chars().collect();
    let two: Vec<char> = two.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in two.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&last, j) + usize::from(a != b)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && one.get(i - 1) == Some(b) && two.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|found| *found <= most && *found < one.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_found_and_other_words_are_not() {
        let keys = ["from", "to", "allow", "deny", "source-ports", "until"];
        assert_eq!(nearest("form", keys), Some("from"));
        assert_eq!(nearest("alow", keys), Some("allow"));
        assert_eq!(nearest("source_ports", keys), Some("source-ports"));
        assert_eq!(nearest("protocol", keys), None);
        assert_eq!(nearest("x", keys), None);
    }
}
