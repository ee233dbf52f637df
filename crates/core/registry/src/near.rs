//! Tags that somebody may have meant.

/// How many are told.
const TOLD: usize = 3;
/// A repository with no more tags than this is told whole.
const FEW: usize = 5;

/// The tags that are most like `wanted`, the nearest first.
pub(crate) fn tags(wanted: &str, tags: &[String]) -> Vec<String> {
    let few = tags.len() <= FEW;
    let limit = (wanted.chars().count() / 3).max(2);
    let mut scored: Vec<(usize, usize, &String)> = tags
        .iter()
        .filter(|tag| tag.as_str() != wanted && tag.len() <= 128)
        .filter_map(|tag| {
            let distance = distance(wanted, tag);
            let is_near = distance <= limit || continues(tag, wanted) || continues(wanted, tag);
            // A version is rarely what somebody has mistyped.
            let other_version = usize::from(version(wanted) != version(tag));
            (few || is_near).then_some((distance + other_version, tag.len(), tag))
        })
        .collect();
    scored.sort();
    let count = if few { FEW } else { TOLD };
    scored.into_iter().take(count).map(|(_, _, tag)| tag.clone()).collect()
}

/// Whether `longer` is `shorter` and some words more.
fn continues(longer: &str, shorter: &str) -> bool {
    longer.strip_prefix(shorter).is_some_and(|rest| rest.starts_with(['-', '.', '_']))
}

fn version(tag: &str) -> &str {
    tag.split(['-', '_']).next().unwrap_or_default()
}

/// Letters that have to be put in, left out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    fn near(wanted: &str, tags: &[&str]) -> Vec<String> {
        super::tags(wanted, &tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_was_meant() {
        let java =
            ["8", "11-jre", "17", "17-jdk", "17-jdk-alpine", "21-jre-alpine", "21-jdk-alpine", "latest"];
        assert_eq!(near("17-jre-alpine", &java), ["17-jdk-alpine", "21-jre-alpine", "21-jdk-alpine"]);
        assert_eq!(near("lastest", &java), ["latest"]);
        let python = ["3.11", "3.12", "3.12-slim", "3.12-slim-bookworm", "3.13", "latest"];
        assert_eq!(near("3.12-slm", &python)[0], "3.12-slim");
        assert!(near("windowsservercore", &java).is_empty());
        assert_eq!(near("1.0", &["2.0", "3.0"]), ["2.0", "3.0"]);
        assert!(near("x", &[]).is_empty());
    }
}
