//! The history of an image: a line for each instruction, or for each layer that a client's graph has made, each with its time.

use crate::graph::HistoryItem;
use crate::session::{Output, Session};
use crate::step::{epoch, now};
use oci::ChainId;
use oci::image::{History, ImageConfig};

/// What BuildKit writes as the comment of every step.
const COMMENT: &str = "buildkit.dockerfile.v0";
/// The same of layers that no instruction made.
const EXPORTED: &str = "buildkit.exporter.image.v0";

/// Every line with its time: an operation's is that of its layer, a describing instruction's that of the line before, so
/// that a build in which nothing changed gives the same image.
pub(super) fn lines(session: &Session<'_>, outputs: &[Output]) -> Vec<History> {
    let fixed = session.epoch.documented.map(epoch);
    let images = session.graph.images.len();
    let mut last = fixed.clone().or_else(|| session.graph.config.created.clone());
    let mut lines = Vec::with_capacity(session.graph.history.len());
    for item in &session.graph.history {
        match item {
            HistoryItem::Base(line) => {
                last = fixed.clone().or_else(|| line.created.clone()).or(last);
                lines.push(line.clone());
            }
            HistoryItem::Said(line) => {
                let created = line.created.clone().map(|time| not_after(time, session.epoch.documented));
                lines.push(History { created, ..line.clone() });
            }
            HistoryItem::New { created_by, op } => {
                let output = op.map(|op| &outputs[images + op]);
                last = fixed.clone().or_else(|| output.map(|o| o.created.clone())).or(last);
                lines.push(History {
                    created: last.clone(),
                    created_by: created_by.clone(),
                    // Of the image, not of each line.
                    author: String::new(),
                    comment: COMMENT.into(),
                    empty_layer: !output.is_some_and(|o| o.layer),
                });
            }
        }
    }
    lines
}

/// A time, unless it is later than the one that stands for now.
fn not_after(time: String, latest: Option<i64>) -> String {
    let is_later = |seconds: i64| {
        let time: Option<jiff::Timestamp> = time.parse().ok();
        time.is_none_or(|time| jiff::Timestamp::from_second(seconds).is_ok_and(|latest| time > latest))
    };
    match latest {
        Some(seconds) if is_later(seconds) => epoch(seconds),
        _ => time,
    }
}

/// When each of the layers was made, as far as somebody says so; one of which nobody does is as old as the next one.
pub(super) fn times(session: &Session<'_>, outputs: &[Output], chains: &[ChainId]) -> Vec<Option<String>> {
    let place = |chain: &ChainId| chains.iter().position(|known| known == chain);
    let (bases, made) = outputs.split_at(session.images.len());
    let mut times = vec![None; chains.len()];
    for (image, output) in session.images.iter().zip(bases) {
        let Some(top) = output.chain.as_ref().and_then(place) else { continue };
        let lines = image.config.history.iter().filter(|line| !line.empty_layer);
        let own = lines.map(|line| line.created.clone());
        let own = own.chain(std::iter::repeat(image.config.created.clone()));
        times[..=top].iter_mut().zip(own).for_each(|(time, own)| *time = own);
    }
    for output in made.iter().filter(|output| output.layer && !output.created.is_empty()) {
        if let Some(at) = output.chain.as_ref().and_then(place) {
            times[at] = Some(output.created.clone());
        }
    }
    let mut next: Option<String> = None;
    for time in times.iter_mut().rev() {
        next = time.take().or(next).map(|time| not_after(time, session.epoch.documented));
        time.clone_from(&next);
    }
    times
}

/// What a client says of layers, of which each has its time: those of which it says nothing get a line, and lines for more layers than
/// there are become such without one.
pub(super) fn complete(history: &mut Vec<History>, times: &[Option<String>]) {
    let mut layers = times.iter();
    for line in history.iter_mut().filter(|line| !line.empty_layer) {
        match layers.next() {
            Some(time) => line.created = line.created.take().or_else(|| time.clone()),
            None => line.empty_layer = true,
        }
    }
    let line = |time: &Option<String>| History {
        created: time.clone(),
        comment: EXPORTED.to_owned(),
        ..History::default()
    };
    history.extend(layers.map(line));
    // What has no layer is as old as what is before it, the first such ones as the next that is new.
    let Some(first) = history.iter().position(|line| line.created.is_none()) else { return };
    let (before, rest) = history.split_at_mut(first);
    let mut known = rest.iter().chain(before.iter().rev()).find_map(|line| line.created.clone());
    for line in rest {
        known = line.created.take().or(known);
        line.created.clone_from(&known);
    }
}

/// When an image was made.
pub(super) fn created(session: &Session<'_>, config: &ImageConfig) -> Option<String> {
    let latest = session.epoch.documented;
    if let (Some(said), true) = (&config.created, session.graph.stages.is_empty()) {
        return Some(not_after(said.clone(), latest));
    }
    latest.map(epoch).or_else(|| {
        let last = config.history.last().and_then(|line| line.created.clone());
        last.or_else(|| config.created.clone()).or_else(|| Some(now(session)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(said: &[(&str, bool)], times: &[&str]) -> Vec<String> {
        let some = |time: &str| Some(time.to_owned()).filter(|time| !time.is_empty());
        let line = |(time, empty_layer): &(&str, bool)| History {
            created: some(time),
            empty_layer: *empty_layer,
            ..History::default()
        };
        let mut history: Vec<_> = said.iter().map(line).collect();
        complete(&mut history, &times.iter().map(|time| some(time)).collect::<Vec<_>>());
        let told = |line: &History| {
            format!("{}{}", line.created.as_deref().unwrap_or("?"), if line.empty_layer { "-" } else { "" })
        };
        history.iter().map(told).collect()
    }

    #[test]
    fn each_layer_has_a_line_and_each_line_a_time() {
        assert_eq!(lines(&[], &["1", "2"]), ["1", "2"]);
        assert_eq!(lines(&[("0", false), ("0", true)], &["1", "2"]), ["0", "0-", "2"]);
        assert_eq!(lines(&[("0", false), ("0", false)], &["1"]), ["0", "0-"]);
        // Lines without layers that are new are as old as the first new layer, later ones as what is before them.
        let said = [("0", false), ("", true), ("", false), ("", true), ("", false), ("", true)];
        assert_eq!(lines(&said, &["0", "1", "2"]), ["0", "1-", "1", "1-", "2", "2-"]);
        assert_eq!(lines(&[("0", false), ("", true)], &["0"]), ["0", "0-"]);
        assert_eq!(lines(&[("", true)], &[]), ["?-"]);
    }

    #[test]
    fn nothing_is_later_than_what_stands_for_now() {
        let told = |time: &str| not_after(time.to_owned(), Some(10));
        assert_eq!(told("1970-01-01T00:00:09.5Z"), "1970-01-01T00:00:09.5Z");
        assert_eq!(told("1970-01-01T01:00:10+01:00"), "1970-01-01T01:00:10+01:00");
        assert_eq!(told("1970-01-01T00:00:10.1Z"), "1970-01-01T00:00:10Z");
        assert_eq!(told("yesterday"), "1970-01-01T00:00:10Z");
        assert_eq!(not_after("2020-01-01T00:00:00Z".to_owned(), None), "2020-01-01T00:00:00Z");
    }
}
