//! DL3009: lists of packages are removed after an update.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::{Item, View, has_mount};
use dockerfile::ast::Word;

pub(super) const RULE: Rule = Rule { id: "DL3009", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for item in view.all() {
        let Some((line, run, script)) = item.run() else { continue };
        let updates = script.any(|c| ["apt", "apt-get", "aptitude"].iter().any(|apt| c.is(apt, &["update"])));
        let cleans = script.any(|c| c.name == "rm" && c.args.iter().any(|arg| arg.starts_with(LISTS)));
        let mounted =
            has_mount(run, LISTS) || (has_mount(run, "/var/lib/apt") && has_mount(run, "/var/cache/apt"));
        if updates && !cleans && !mounted && (view.is_shipped(item) || is_like_last(view, item)) {
            let message = "The lists of packages stay in the layer: end with `rm -rf /var/lib/apt/lists/*`";
            told.push((line, message.into()));
        }
    }
}

/// Whether a stage begins as the last one, by the same words: nothing tells one from the other.
fn is_like_last(view: &View<'_>, item: &Item<'_>) -> bool {
    let from = |index: usize| view.stages.get(index).map(|base| &base.stage.from);
    let (Some(own), Some(last)) =
        (item.stage.and_then(from), view.stages.len().checked_sub(1).and_then(from))
    else {
        return false;
    };
    let text = |word: &Option<Word>| word.as_ref().map(|word| word.text.clone());
    own.image.text == last.image.text
        && text(&own.platform) == text(&last.platform)
        && own.name.as_ref().map(|name| &name.text) == last.name.as_ref().map(|name| &name.text)
}

const LISTS: &str = "/var/lib/apt/lists";
