//! Who may do what where: lines of `USER REPOSITORIES ACTIONS`.
//!
//! ```text
//! # users, `*` for each of them, `anonymous` for who does not say
//! anonymous  public/*   pull
//! *          $user/*    all
//! ann        team/app   pull,push
//! ```
//!
//! Repositories are a name, all below one (`team/*`) or all (`*`); `$user` is the user's own name. Actions are `pull`, `push` (which
//! includes pull), `delete`, or `all`. What no line allows is not allowed.

use std::path::Path;

use super::watched::{Watched, lines};
use super::{Action, Error, Who};
use crate::name::Name;

const ANONYMOUS: &str = "anonymous";
const EACH: &str = "*";
const ALL: &str = "*";
const OWN: &str = "$user";

pub(super) struct Rules {
    /// None is everything, for each user.
    lines: Option<Watched<Vec<Rule>>>,
    anonymous_pull: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    user: String,
    repositories: String,
    actions: Vec<Action>,
}

impl Rules {
    pub(super) fn open(path: Option<&Path>, anonymous_pull: bool) -> Result<Rules, Error> {
        let lines = path.map(|path| Watched::open(path, parse)).transpose()?;
        Ok(Rules { lines, anonymous_pull })
    }

    pub(super) fn allow(&self, who: &Who, action: Action, name: &Name) -> bool {
        if *who == Who::Everybody || (action == Action::Pull && self.anonymous_pull) {
            return true;
        }
        match &self.lines {
            None => matches!(who, Who::User(_)),
            Some(lines) => lines.now().iter().any(|rule| rule.allows(who, action, name)),
        }
    }

    /// Whether there is anything for who does not say who they are.
    pub(super) fn has_public(&self) -> bool {
        let public = |lines: &Watched<Vec<Rule>>| lines.now().iter().any(|rule| rule.user == ANONYMOUS);
        self.anonymous_pull || self.lines.as_ref().is_some_and(public)
    }
}

impl Rule {
    fn allows(&self, who: &Who, action: Action, name: &Name) -> bool {
        let user = match who {
            Who::Everybody => return true,
            Who::Anonymous => None,
            Who::User(user) => Some(user.as_str()),
        };
        let meant = match (self.user.as_str(), user) {
            // What nobody in particular may do, everybody may.
            (ANONYMOUS, _) => true,
            (EACH, user) => user.is_some(),
            (one, user) => user == Some(one),
        };
        meant && self.actions.contains(&action) && covers(&self.repositories, user, name.as_str())
    }
}

fn covers(pattern: &str, user: Option<&str>, name: &str) -> bool {
    if pattern == ALL {
        return true;
    }
    let (pattern, below) = match pattern.strip_suffix("/*") {
        Some(prefix) => (prefix, true),
        None => (pattern, false),
    };
    // Component by component: a user's name is compared, and never read as a pattern.
    let mut parts = name.split('/');
    for wanted in pattern.split('/') {
        let wanted = if wanted == OWN { user } else { Some(wanted) };
        let part = parts.next();
        if part.is_none() || part != wanted {
            return false;
        }
    }
    parts.next().is_some() == below
}

/// Whether this stands for something else than a user.
pub(super) fn is_reserved(name: &str) -> bool {
    name == ANONYMOUS || name == EACH
}

fn parse(text: &str) -> Result<Vec<Rule>, (usize, String)> {
    lines(text).map(|(number, line)| rule(line).map_err(|problem| (number, problem))).collect()
}

fn rule(line: &str) -> Result<Rule, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [user, repositories, actions] = words[..] else {
        return Err("a user, repositories and actions are needed".to_owned());
    };
    let prefix = repositories.strip_suffix("/*").unwrap_or(repositories);
    let sample =
        prefix.split('/').map(|part| if part == OWN { "x" } else { part }).collect::<Vec<_>>().join("/");
    if repositories != ALL && sample.parse::<Name>().is_err() {
        return Err(format!("{repositories:?} stands for no repositories"));
    }
    let mut allowed = Vec::new();
    for action in actions.split(',') {
        match action {
            "pull" => allowed.push(Action::Pull),
            "push" => allowed.extend([Action::Pull, Action::Push]),
            "delete" => allowed.push(Action::Delete),
            "all" => allowed.extend(Action::ALL),
            other => return Err(format!("{other:?} is none of pull, push, delete and all")),
        }
    }
    Ok(Rule { user: user.to_owned(), repositories: repositories.to_owned(), actions: allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str, user: Option<&str>, action: Action, name: &str) -> bool {
        let who = user.map_or(Who::Anonymous, |user| Who::User(user.to_owned()));
        let rules = parse(text).unwrap();
        rules.iter().any(|rule| rule.allows(&who, action, &name.parse().unwrap()))
    }

    #[test]
    fn who_may_do_what() {
        let text = "anonymous public/* pull\n* $user/* all\nann team/app push\nbob * pull,delete\n";
        for (user, action, name, expected) in [
            (None, Action::Pull, "public/a", true),
            (None, Action::Pull, "public/a/b", true),
            (None, Action::Pull, "public", false),
            (None, Action::Pull, "publicity/a", false),
            (None, Action::Push, "public/a", false),
            (Some("ann"), Action::Pull, "public/a", true),
            (Some("ann"), Action::Push, "team/app", true),
            (Some("ann"), Action::Pull, "team/app", true),
            (Some("ann"), Action::Delete, "team/app", false),
            (Some("ann"), Action::Push, "team/app/x", false),
            (Some("ann"), Action::Delete, "ann/x", true),
            (Some("ann"), Action::Pull, "bob/x", false),
            (Some("*"), Action::Pull, "x/y", false),
            (Some("bob"), Action::Delete, "team/app", true),
            (Some("bob"), Action::Push, "team/app", false),
            (None, Action::Pull, "x/y", false),
        ] {
            assert_eq!(allowed(text, user, action, name), expected, "{user:?} {action:?} {name}");
        }
    }

    #[test]
    fn lines_that_say_nothing_clear() {
        for line in
            ["ann", "ann x", "ann x pull push", "ann x fly", "ann ../x pull", "ann x/*/y pull", "ann X pull"]
        {
            assert_eq!(parse(&format!("\n{line}\n")).unwrap_err().0, 2, "{line}");
        }
    }
}
