//! What `ENV` and `ARG` set in a stage, looked up by name: a file may set and use as many as it has room for.

use std::collections::{BTreeMap, HashMap};

/// The variables that a stage sees.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    /// `NAME=value` as the image's configuration has it.
    env: Vec<String>,
    places: HashMap<String, Place>,
    /// Declared build arguments in the order of their last declarations.
    args: BTreeMap<usize, Arg>,
    declared: HashMap<String, usize>,
    /// Declarations so far.
    count: usize,
}

/// Where a variable stands in the environment. A base image may have it twice: the last one counts, until the first is set.
#[derive(Debug, Clone, Copy)]
struct Place {
    first: usize,
    last: usize,
}

/// A build argument.
#[derive(Debug, Clone)]
struct Arg {
    name: String,
    value: Option<String>,
    /// Where it was declared first.
    first: usize,
    /// It has a value, and was declared after the `ENV` of that name, if there was one.
    is_later: bool,
}

/// The name in `NAME=value`.
fn name_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or_default()
}

impl Variables {
    /// Those of an image.
    pub fn new(env: Vec<String>) -> Self {
        let mut places: HashMap<String, Place> = HashMap::new();
        for (at, entry) in env.iter().enumerate().filter(|(_, entry)| entry.contains('=')) {
            let place = places.entry(name_of(entry).to_owned()).or_insert(Place { first: at, last: at });
            place.last = at;
        }
        Self { env, places, ..Self::default() }
    }

    /// `NAME=value` as the image's configuration has it.
    pub fn env(&self) -> &[String] {
        &self.env
    }

    /// The value of a variable: of `ENV` and `ARG` the later one counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        let env = || Some(&self.env[self.places.get(name)?.last][name.len() + 1..]);
        match self.arg(name) {
            Some(Arg { value: Some(value), is_later: true, .. }) => Some(value),
            arg => env().or_else(|| arg?.value.as_deref()),
        }
    }

    /// The value of a build argument.
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.arg(name)?.value.as_deref()
    }

    fn arg(&self, name: &str) -> Option<&Arg> {
        self.args.get(self.declared.get(name)?)
    }

    /// Sets a variable, in place where the name is there.
    pub fn set(&mut self, name: &str, value: &str) {
        let at = self.declared.get(name).and_then(|at| self.args.get_mut(at));
        at.into_iter().for_each(|arg| arg.is_later = false);
        let entry = format!("{name}={value}");
        match self.places.get_mut(name) {
            Some(place) => {
                place.last = place.first;
                self.env[place.first] = entry;
            }
            None => {
                let at = self.env.len();
                self.places.insert(name.to_owned(), Place { first: at, last: at });
                self.env.push(entry);
            }
        }
    }

    /// Declares a build argument. Without a value it leaves the variable as it is.
    pub fn declare(&mut self, name: &str, value: Option<String>) {
        let before = self.declared.get(name).copied();
        if value.is_none() && before.is_some() {
            return;
        }
        let before = before.and_then(|before| self.args.remove(&before));
        let first = before.map_or(self.count, |before| before.first);
        let is_later = value.is_some();
        self.declared.insert(name.to_owned(), self.count);
        self.args.insert(self.count, Arg { name: name.to_owned(), value, first, is_later });
        self.count += 1;
    }

    /// All build arguments, with the values that they stand for in the order of their first declarations, as the history of a
    /// `RUN` says them: nothing where they have none.
    pub fn declared(&self) -> Vec<(&str, &str)> {
        let mut all: Vec<_> = self.args.values().collect();
        all.sort_by_key(|arg| arg.first);
        all.into_iter().map(|arg| (arg.name.as_str(), self.get(&arg.name).unwrap_or_default())).collect()
    }

    /// Build arguments that have a value, with the one that a process sees.
    pub fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = self.args.values().filter(|arg| arg.value.is_some());
        known.map(|arg| (arg.name.as_str(), self.get(&arg.name).unwrap_or_default()))
    }

    /// The environment of a process that has these build arguments.
    pub fn of_process(&self, args: &[(String, String)]) -> Vec<String> {
        let value = |entry: &String| match self.arg(name_of(entry)) {
            Some(Arg { name, value: Some(value), is_later: true, .. }) => format!("{name}={value}"),
            _ => entry.clone(),
        };
        let mut env: Vec<String> = self.env.iter().map(value).collect();
        let others = args.iter().filter(|(name, _)| !self.places.contains_key(name));
        env.extend(others.map(|(name, value)| format!("{name}={value}")));
        env
    }

    /// What a copy of them takes.
    pub fn bytes(&self) -> usize {
        let args =
            self.args.values().map(|arg| arg.name.len() * 2 + arg.value.as_ref().map_or(0, String::len));
        self.env.iter().map(String::len).chain(args).map(|bytes| bytes + PLACE).sum()
    }
}

/// What a variable takes besides its text.
const PLACE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_one_counts() {
        let mut all = Variables::new(vec!["A=1".into(), "B=1".into(), "A=2".into(), "odd".into()]);
        assert_eq!(
            (all.get("A"), all.get("B"), all.get("odd"), all.get("")),
            (Some("2"), Some("1"), None, None)
        );
        all.declare("B", Some("arg".into()));
        all.declare("C", None);
        all.declare("D", Some("d".into()));
        assert_eq!((all.get("B"), all.argument("B"), all.get("C")), (Some("arg"), Some("arg"), None));
        all.set("B", "env");
        all.set("A", "3");
        assert_eq!((all.get("A"), all.get("B"), all.argument("B")), (Some("3"), Some("env"), Some("arg")));
        all.declare("B", None);
        assert_eq!((all.get("B"), all.argument("B")), (Some("env"), Some("arg")));
        all.declare("D", None);
        assert_eq!(all.get("D"), Some("d"), "declared again, and not unset");
        all.declare("D", Some("e".into()));
        all.declare("A", Some("4".into()));
        let given: Vec<_> = all.given().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let want =
            [("B", "env"), ("D", "e"), ("A", "4")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(given, want);
        assert_eq!(all.of_process(&given), ["A=4", "B=env", "A=4", "odd", "D=e"]);
        assert_eq!(all.declared(), [("B", "env"), ("C", ""), ("D", "e"), ("A", "4")]);
        assert_eq!(all.env(), ["A=3", "B=env", "A=2", "odd"]);
    }
}
