//! Versions and constraints on them, as the library of Go's world reads both: a version may lack its last parts, and a
//! constraint joins comparisons with commas or spaces, alternatives with `||`.

use std::cmp::Ordering;

use super::{Arguments, Outcome};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    before: Vec<String>,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let core = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next().unwrap_or_default();
        let (version, given) = Version::partial(text)?;
        let count = core.split('.').count();
        given[..count].iter().all(Option::is_some).then_some(version)
    }

    /// A version, and which of its parts were given; `x` and `*` are none.
    fn partial(text: &str) -> Option<(Version, [Option<u64>; 3])> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
        let words = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let fits =
            |word: &String| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let before = before.map(words).unwrap_or_default();
        if !before.iter().all(fits) || !build.map(words).unwrap_or_default().iter().all(fits) {
            return None;
        }
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 {
            return None;
        }
        let mut given = [None; 3];
        for (at, part) in parts.iter().enumerate() {
            given[at] = match *part {
                "x" | "X" | "*" => None,
                digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                    Some(digits.parse().ok()?)
                }
                _ => return None,
            };
        }
        Some((Version { numbers: given.map(Option::unwrap_or_default), before }, given))
    }

    fn compare(&self, other: &Version) -> Ordering {
        let word = |a: &String, b: &String| match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => a.cmp(b),
        };
        let before = || match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let unequal =
                    self.before.iter().zip(&other.before).map(|(a, b)| word(a, b)).find(|o| o.is_ne());
                unequal.unwrap_or_else(|| self.before.len().cmp(&other.before.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then_with(before)
    }
}

pub fn semvercmp(a: &Arguments<'_>) -> Outcome {
    let version = Version::parse(a.text(0)).ok_or("invalid semantic version")?;
    let wrong = || format!("improper constraint: {}", a.text(1));
    let mut any = false;
    for alternative in a.text(1).split("||") {
        let mut all = true;
        for comparison in comparisons(alternative).ok_or_else(wrong)? {
            all &= comparison.holds(&version);
        }
        any |= all;
    }
    Ok(any.into())
}

struct Comparison {
    operator: String,
    than: Version,
    given: [Option<u64>; 3],
}

/// The comparisons that stand side by side; `1.2 - 2.0` is two.
fn comparisons(text: &str) -> Option<Vec<Comparison>> {
    let text = text.replace(" - ", " \u{0} ");
    let mut words = Vec::new();
    let mut operator = String::new();
    for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
        let end = word.find(|c| !"=!<>~^".contains(c)).unwrap_or(word.len());
        operator.push_str(&word[..end]);
        if end < word.len() {
            words.push((std::mem::take(&mut operator), &word[end..]));
        }
    }
    if !operator.is_empty() || words.is_empty() {
        return None;
    }
    let mut all = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let range = words.get(at + 1).is_some_and(|(_, word)| *word == "\u{0}");
        let make = |operator: &str, word: &str| {
            let known = ["", "=", "!=", "<", ">", "<=", "=<", ">=", "=>", "~", "~>", "^"].contains(&operator);
            let (than, given) = Version::partial(word).filter(|_| known)?;
            Some(Comparison { operator: operator.to_owned(), than, given })
        };
        if range {
            all.push(make(">=", words[at].1)?);
            all.push(make("<=", words.get(at + 2)?.1)?);
            at += 3;
        } else {
            all.push(make(&words[at].0, words[at].1)?);
            at += 1;
        }
    }
    Some(all)
}

impl Comparison {
    /// A version before a release meets only constraints that name one themselves.
    fn holds(&self, version: &Version) -> bool {
        let (than, given) = (&self.than, &self.given);
        let order = version.compare(than);
        let early = !version.before.is_empty() && than.before.is_empty();
        let same = |parts: usize| version.numbers[..parts] == than.numbers[..parts];
        let exact = given.iter().all(Option::is_some);
        let parts = given.iter().take_while(|part| part.is_some()).count();
        match self.operator.as_str() {
            "!=" if early => false,
            "!=" if exact => order.is_ne(),
            "!=" => !same(parts),
            _ if early => false,
            "" | "=" if exact => order.is_eq(),
            "" | "=" => same(parts),
            ">" if exact => order.is_gt(),
            ">" => version.numbers[..parts] > than.numbers[..parts],
            "<" => order.is_lt(),
            ">=" | "=>" => order.is_ge(),
            "<=" | "=<" if exact => order.is_le(),
            "<=" | "=<" => version.numbers[..parts] <= than.numbers[..parts],
            "~" | "~>" => parts == 0 || (order.is_ge() && same(parts.min(2))),
            _ => {
                // The caret: nothing left of the first part that is not 0 changes.
                let [major, minor, _] = than.numbers;
                let kept = match parts {
                    0 => 0,
                    parts if major > 0 || parts == 1 => 1,
                    parts if minor > 0 || parts == 2 => 2,
                    _ => 3,
                };
                order.is_ge() && same(kept)
            }
        }
    }
}
