//! Devices as properties of a scope, for version 1.
//!
//! There systemd takes processes out of the groups of a controller that it believes nobody needs, and puts them into that of
//! the slice: a container would have the slice's devices as soon as another scope of the slice that has device properties
//! comes or goes. With properties of its own a scope needs the controller from its birth on. Our rules, which say more than
//! systemd has words for, are written to the group afterwards.

use super::super::Error;
use super::super::devices::{self, Rule};
use super::properties::Property;
use super::wire::Value;
use oci::runtime::DeviceRule;

/// What a container may use. Nothing where it may use everything: so may whatever slice it gets into.
pub fn properties(given: &[DeviceRule], known: &str) -> Result<Vec<Property>, Error> {
    let rules = devices::rules(given)?;
    let after = rules.iter().rposition(Rule::is_total).unwrap_or_default();
    if rules[after].allow {
        return Ok(Vec::new());
    }
    let allowed = rules[after..].iter().filter(|rule| rule.allow);
    let list = allowed.flat_map(|rule| words(rule, known).into_iter().map(|name| (name, rule.letters())));
    Ok(vec![
        ("DevicePolicy".to_owned(), Value::Text("strict".to_owned())),
        ("DeviceAllow".to_owned(), Value::Pairs(list.collect())),
    ])
}

/// How systemd calls the devices of a rule. It has no word for those of one minor number and any major one, and calls those of
/// one major number by the name of their driver.
fn words(rule: &Rule, known: &str) -> Vec<String> {
    let types = rule.typ.map_or(vec!['b', 'c'], |typ| vec![typ]);
    let word = |typ: char| {
        let long = if typ == 'b' { "block" } else { "char" };
        match (rule.major, rule.minor) {
            (None, None) => Some(format!("{long}-*")),
            (Some(major), None) => driver(known, typ, major).map(|name| format!("{long}-{name}")),
            (Some(major), Some(minor)) => Some(format!("/dev/{long}/{major}:{minor}")),
            (None, Some(_)) => None,
        }
    };
    types.into_iter().filter_map(word).collect()
}

/// From `/proc/devices`: two lists of numbers and names below a title each.
fn driver(known: &str, typ: char, major: u32) -> Option<&str> {
    let title = if typ == 'b' { "Block devices:" } else { "Character devices:" };
    let lines = known.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.is_empty());
    let mut entries = lines.filter_map(|line| line.trim().split_once(' '));
    entries.find(|(number, _)| number.parse() == Ok(major)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n136 other\n";

    fn said(json: &str) -> Vec<String> {
        let given: Vec<DeviceRule> = serde_json::from_str(json).unwrap();
        let list = properties(&given, KNOWN).unwrap();
        let Some((_, Value::Pairs(pairs))) = list.into_iter().nth(1) else { return Vec::new() };
        pairs.into_iter().map(|(name, access)| format!("{name} {access}")).collect()
    }

    #[test]
    fn devices_have_the_names_of_systemd() {
        let found = said(
            r#"[{"allow": true, "access": "r", "type": "a", "major": 8}, {"allow": true, "type": "c", "minor": 3, "access": "r"},
                {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "rw"}, {"allow": false, "type": "c", "major": 1, "access": "w"}]"#,
        );
        assert_eq!(found[..2], ["block-sd r", "/dev/block/8:1 rw"]);
        for usual in ["/dev/char/1:3 rwm", "char-pts rwm", "char-* m", "block-* m"] {
            assert!(found.contains(&usual.to_owned()), "{found:?}");
        }
    }

    #[test]
    fn what_was_allowed_before_a_denial_of_all_is_not_and_who_has_everything_has_no_list() {
        let found = said(
            r#"[{"allow": true, "type": "b", "major": 8, "minor": 1, "access": "r"}, {"allow": false, "access": "rwm"}]"#,
        );
        assert!(!found.iter().any(|word| word.contains("8:1")), "{found:?}");
        assert!(said(r#"[{"allow": true, "access": "rwm"}]"#).is_empty());
    }
}
