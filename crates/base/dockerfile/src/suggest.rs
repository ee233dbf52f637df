//! "Did you mean …": the nearest known word.

/// The known word nearest to `word`, if it is near enough to be a slip of the keyboard.
pub(crate) fn suggest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > 32 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let scored = known.iter().map(|k| (distance(&word, &k.to_ascii_lowercase()), *k));
    let (best, name) = scored.min()?;
    let limit = if word.len() <= 3 { 1 } else { 2 };
    (best > 0 && best <= limit).then_some(name)
}

/// Known words that are compared at most.
const COMPARED: usize = 1000;

/// The known name nearest to `word`, as BuildKit finds it: case counts, and two slips at most.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_within(2, word, known.take(COMPARED))
}

/// The known name that whoever wrote `word` most likely meant, of a file or a command: case is no slip, and short names are not
/// guessed from nothing.
pub fn likely<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let same = known.clone().find(|name| *name != word && name.eq_ignore_ascii_case(word));
    let slips = match word.len() {
        0 | 1 => return same,
        2..=4 => 1,
        _ => 2,
    };
    // What is much longer or shorter need not be compared: a directory may have any number of such names.
    let like = known.filter(|name| name.len().abs_diff(word.len()) <= slips);
    same.or_else(|| nearest_within(slips, word, like.take(COMPARED)))
}

fn nearest_within<'a>(slips: usize, word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let known = known.filter(|k| k.len().abs_diff(word.len()) <= slips);
    let (best, name) = known.map(|k| (distance(word, k), k)).min()?;
    (best > 0 && best <= slips).then_some(name)
}

/// How many slips make one word of another, in bytes: one put in, left out, changed, or swapped with its neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (row[j] + usize::from(x != y)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_near_words_only() {
        assert_eq!(suggest("FORM", &["FROM", "RUN"]), Some("FROM"));
        assert_eq!(suggest("foo", &["FROM", "RUN", "ADD"]), None);
        assert_eq!(suggest("FRM", &["FROM", "RUN"]), Some("FROM"));
        assert_eq!(suggest("entripoint", &["ENTRYPOINT", "ENV"]), Some("ENTRYPOINT"));
        assert_eq!(suggest("node_modules", &["COPY"]), None);
        assert_eq!(suggest("chwon", &["chmod", "chown"]), Some("chown"));
        assert_eq!(nearest("bulider", ["builder", "base"].into_iter()), Some("builder"));
        let meant = |word| likely(word, ["LICENSE", "app", "b", "package.json"].into_iter());
        assert_eq!(
            (meant("packge.json"), meant("license"), meant("ap")),
            (Some("package.json"), Some("LICENSE"), Some("app"))
        );
        assert_eq!((meant("a"), meant("B"), meant("bin"), meant("")), (None, Some("b"), None, None));
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!((distance("", "ab"), distance("ab", ""), distance("ab", "ba")), (2, 2, 1));
    }
}
