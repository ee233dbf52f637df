//! Why a step has to run.
//!
//! A miss is explained by comparing its record with that of an earlier run of the same instruction: not simply the last one,
//! for several Dockerfiles, arguments and stages take turns in one cache, but the nearest of the last few. With a record is
//! kept what people call things that a digest alone does not tell ([`Noted`]); none of it is part of a key.

use crate::error::Error;
use crate::exec;
use crate::graph::{Fs, Op, OpKind};
use crate::key::{Record, shortened};
use crate::session::Session;
use dockerfile::render::clipped;
use oci::{ChainId, Digest};
use serde::{Deserialize, Serialize};
use state::cache;
use std::os::fd::{AsFd, AsRawFd};

/// Earlier runs that are compared.
const CANDIDATES: u32 = 8;
/// Earlier runs among which an instruction's old text, or its stage's old name, is looked for.
const EARLIER: u32 = 48;
/// Differences that are few enough not to look for a nearer run.
const CLOSE: usize = 1;

/// A record as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Noted {
    #[serde(flatten)]
    pub record: Record,
    /// What the step worked on.
    #[serde(default)]
    below: Below,
    /// A digest of the place of the context; empty where it has none of its own.
    #[serde(default)]
    context: String,
}

/// What a step works on, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Below {
    /// `FROM busybox` or `RUN make`.
    name: String,
    /// Digest of the base image's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Digest>,
}

/// An earlier run, read.
struct Earlier {
    noted: Noted,
    chain: Option<ChainId>,
}

/// A step whose record is not in the cache.
pub(crate) struct Miss<'m, 's> {
    pub session: &'m Session<'s>,
    pub op: &'m Op,
    pub record: &'m Record,
    /// What it reads; none if that is not known yet.
    pub prepared: Option<&'m exec::Prepared>,
    /// What it works on was made by this build: no earlier run can have worked on it.
    pub on_new: bool,
}

/// The record with what is told of it.
pub(crate) fn noted(session: &Session<'_>, op: &Op, record: &Record) -> Noted {
    Noted { record: record.clone(), below: below(session, op), context: context(session) }
}

impl Noted {
    /// As it is kept. Serialising it cannot fail: it holds no maps with keys that are no strings.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Miss<'_, '_> {
    /// Why it has to run; nothing if it has not run before.
    pub fn reasons(&self) -> Result<Vec<String>, Error> {
        let Miss { session, op, .. } = self;
        if op.no_cache {
            let flag = if session.request.no_cache { "--no-cache" } else { "--no-cache-filter" };
            return Ok(vec![format!("the cache is switched off ({flag})")]);
        }
        if session.imports.promise(&self.record.key()).is_some() {
            return Ok(vec!["the imported cache knows it without its layers (mode=max has them)".to_owned()]);
        }
        let scope = crate::step::scope(op);
        let (same, pruned) = session.env.db.read(|tx| {
            let same = cache::recent(tx, &scope, CANDIDATES)?;
            let pruned = same.is_empty() && cache::was_pruned(tx, &scope)?;
            Ok::<_, state::Error>((same, pruned))
        })?;
        let new = noted(session, op, self.record);
        if let Some(old) = self.nearest(&new, same.iter()) {
            return Ok(self.compared(&new, &old));
        }
        if pruned {
            return Ok(vec!["its record was pruned from the cache".to_owned()]);
        }
        self.renamed_or_edited(&new)
    }

    /// The run that differs least, of the same context if there is one; of equal ones that which was used last.
    fn nearest<'e>(&self, new: &Noted, entries: impl Iterator<Item = &'e cache::Entry>) -> Option<Earlier> {
        let mut best: Option<((bool, usize), Earlier)> = None;
        for entry in entries {
            let Ok(noted) = serde_json::from_str::<Noted>(&entry.record) else { continue };
            let elsewhere = noted.context != new.context;
            let is_elsewhere_in_it = noted.below.name != new.below.name;
            let reads_other = self.prepared.is_some() && new.record.shares_nothing(&noted.record);
            if elsewhere && (is_elsewhere_in_it || reads_other) {
                continue;
            }
            let distance = usize::from(is_elsewhere_in_it)
                + match self.prepared {
                    Some(_) => new.record.differences(&noted.record).len(),
                    None => new.record.differences_of_work(&noted.record).len(),
                };
            let measure = (elsewhere, distance);
            if best.as_ref().is_none_or(|(least, _)| measure < *least) {
                best = Some((measure, Earlier { noted, chain: entry.chain.clone() }));
            }
            if !elsewhere && distance <= CLOSE {
                break;
            }
        }
        best.map(|(_, earlier)| earlier)
    }

    fn compared(&self, new: &Noted, old: &Earlier) -> Vec<String> {
        let (record, before) = (&new.record, &old.noted.record);
        let mut reasons = Vec::new();
        if record.parent() != before.parent() {
            reasons.push(new.below.instead_of(&old.noted.below));
        }
        reasons.extend(record.differences_of_work(before));
        if let Some(prepared) = self.prepared {
            let files = match &self.op.kind {
                OpKind::Copy(copy) => exec::changed_files(self.session, copy, prepared, old.chain.as_ref()),
                _ => Vec::new(),
            };
            reasons.extend(if files.is_empty() { record.differences_of_inputs(before) } else { files });
        }
        if reasons.is_empty() {
            reasons.push("its layers were removed".to_owned());
        }
        shortened(reasons)
    }

    /// Looks for the same instruction under another name of its stage, and for another one in its place.
    fn renamed_or_edited(&self, new: &Noted) -> Result<Vec<String>, Error> {
        let Miss { session, op, record, .. } = self;
        let platform = format!("{} ", op.platform);
        let earlier = session.earlier.get_or_init(|| {
            let found = session.env.db.read(|tx| cache::recent_below(tx, &platform, EARLIER));
            // It is for people to read: what goes wrong here is no failure of the build.
            found.unwrap_or_default()
        });
        let parts = |entry: &cache::Entry| {
            let rest = entry.scope.strip_prefix(&platform)?;
            rest.split_once(' ').map(|(stage, text)| (stage.to_owned(), text.to_owned()))
        };
        let renamed = earlier.iter().filter(|e| parts(e).is_some_and(|(_, text)| text == op.instruction));
        if let Some(old) = self.nearest(new, renamed) {
            return Ok(self.compared(new, &old));
        }
        if self.on_new {
            return Ok(Vec::new());
        }
        let stands = |text: &str| {
            session.graph.ops.iter().any(|other| other.stage == op.stage && other.instruction == text)
        };
        for entry in earlier {
            let Some((stage, text)) = parts(entry) else { continue };
            let names = record.parent().is_none_or(|chain| entry.record.contains(chain.0.as_str()));
            if stage != op.stage || !names {
                continue;
            }
            let Ok(noted) = serde_json::from_str::<Noted>(&entry.record) else { continue };
            if noted.record.parent() == record.parent() && noted.context == new.context {
                // One that still stands in the Dockerfile is no other text of this one, which then is new.
                let reason = || format!("the instruction changed: it was {}", said(&text));
                return Ok((!stands(&text)).then(reason).into_iter().collect());
            }
        }
        Ok(Vec::new())
    }
}

impl Below {
    fn instead_of(&self, old: &Below) -> String {
        let reference = |below: &Below| said(below.name.trim_start_matches("FROM "));
        match (&self.image, &old.image) {
            (Some(new), Some(was)) if self.name == old.name && new != was => {
                format!("base image {} changed: it was {was}, it is {new}", reference(self))
            }
            (Some(_), Some(_)) if self.name == old.name => {
                format!("the layers of base image {} changed", reference(self))
            }
            (Some(_), Some(_)) => {
                format!("the base image changed: it was {}, it is {}", reference(old), reference(self))
            }
            _ if self.name == old.name || old.name.is_empty() => {
                format!("the step before changed: {}", said(&self.name))
            }
            _ => format!("the step before changed: it was {}, it is {}", said(&old.name), said(&self.name)),
        }
    }
}

/// An instruction on one line.
fn said(instruction: &str) -> String {
    clipped(instruction.lines().next().unwrap_or_default(), 100)
}

fn below(session: &Session<'_>, op: &Op) -> Below {
    match op.base {
        Fs::Scratch => Below { name: "FROM scratch".to_owned(), image: None },
        Fs::Image(i) => Below {
            name: format!("FROM {}", session.graph.images[i].reference),
            image: Some(session.images[i].digest.clone()),
        },
        Fs::Op(i) => Below { name: session.graph.ops[i].instruction.clone(), image: None },
    }
}

/// Which context it is. The path itself is nobody's who is given the cache.
fn context(session: &Session<'_>) -> String {
    let root = &session.context.root;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd())).unwrap_or_default();
    if path.starts_with(session.env.store.root()) {
        return String::new();
    }
    let digest = Digest::sha256(path.as_os_str().as_encoded_bytes());
    digest.hex().get(..16).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_has_a_name() {
        let image = |name: &str, digest: &str| Below {
            name: format!("FROM {name}"),
            image: Some(Digest::sha256(digest.as_bytes())),
        };
        let step = |name: &str| Below { name: name.to_owned(), image: None };
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        for (new, old, wanted) in [
            (
                image("a:1", "2"),
                image("a:1", "1"),
                format!("base image a:1 changed: it was {one}, it is {two}"),
            ),
            (
                image("a:2", "2"),
                image("a:1", "1"),
                "the base image changed: it was a:1, it is a:2".to_owned(),
            ),
            (step("RUN a"), step("RUN a"), "the step before changed: RUN a".to_owned()),
            (step("RUN b"), step("RUN a"), "the step before changed: it was RUN a, it is RUN b".to_owned()),
            (
                image("a:1", "1"),
                step("RUN a\n  b"),
                "the step before changed: it was RUN a, it is FROM a:1".to_owned(),
            ),
        ] {
            assert_eq!(new.instead_of(&old), wanted);
        }
    }
}
