//! `--verify`: the same once more, and whether it gives the same.
//!
//! The second build takes nothing from the cache and leaves nothing in it, and its cache mounts are empty. Attestations are
//! not compared: they tell when they were made. So does an inline cache.

mod documents;
mod layers;

use crate::build::{Job, Part, settle};
use crate::error::Error;
use crate::export::Made;
use crate::platforms::lower_platforms;
use crate::request::{Env, Request};
use crate::transfer::{INLINE_KEY, Imports};
use oci::image::{MANIFEST_MAX, Manifest};
use oci::{ChainId, Digest};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Differences that are told.
const SHOWN: usize = 50;
/// How often a build that waits looks whether it was cancelled.
const POLL: Duration = Duration::from_millis(20);

/// One thing that is not the same in both builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where: `layer 2 ([2/3] RUN make): /app/out`, `config: history[3].created`.
    pub place: String,
    /// What: `mtime 2024-05-01T10:00:00Z, then 2024-05-01T10:00:02Z`.
    pub what: String,
    /// It is a time, which can be fixed.
    pub is_time: bool,
}

/// The differences, a line each.
pub(crate) fn listed(differences: &[Difference]) -> String {
    let (count, more) = (differences.len(), differences.len().saturating_sub(SHOWN));
    let mut text = format!("{count} difference{}", if count == 1 { "" } else { "s" });
    for Difference { place, what, .. } in differences.iter().take(SHOWN) {
        text += &format!("\n  {place}: {what}");
    }
    if more > 0 {
        text += &format!("\n  and {more} more");
    }
    text
}

/// What helps against differences in times. Those of files may be of an earlier build, which the cache has.
pub(crate) fn hint(differences: &[Difference]) -> Option<String> {
    let times =
        "set SOURCE_DATE_EPOCH, and --output type=image,rewrite-timestamp=true for the times of files";
    let earlier = "what came from the cache has the times of then: --no-cache compares two new builds";
    let has = |is_meant: &dyn Fn(&str) -> bool| differences.iter().any(|d| d.is_time && is_meant(&d.place));
    match (has(&|_| true), has(&|place| place.contains("layer "))) {
        (false, _) => None,
        (true, false) => Some(times.to_string()),
        (true, true) => Some(format!("{times}; {earlier}")),
    }
}

/// Builds again and compares.
pub(crate) fn verify(job: &Job<'_>, parts: &[Part]) -> Result<(), Error> {
    let step = job.progress.step("[verify] building again without the cache", "", "");
    wait_for_another_second(job.request)?;
    let env = Env { cache_mounts: job.lease.scratch(), cache_from: Vec::new(), ..job.env.clone() };
    let request = Request { no_cache: true, pull: false, ..job.request.clone() };
    let mut lowered = lower_platforms(&env, &request, job.parsed, job.file, job.epoch.said, job.progress)?;
    settle(&env, job.file, (job.context, job.named), &mut lowered)?;
    let imports = Imports::default();
    let again = Job { env: &env, request: &request, imports: &imports, isolated: true, ..*job };
    let second = again.make(&lowered);
    let second = second.inspect_err(|error| step.failed(error.chain()))?;
    let mut differences = Vec::new();
    for ((first, second), one) in parts.iter().zip(&second).zip(&lowered) {
        let mut found = compare(&env, first, second)?;
        if parts.len() > 1 {
            found.iter_mut().for_each(|d| d.place = format!("{}: {}", one.platform, d.place));
        }
        differences.append(&mut found);
    }
    if differences.is_empty() {
        step.done();
        return Ok(());
    }
    let error = Error::NotReproducible { differences };
    step.failed(error.chain());
    Err(error)
}

/// Times in archives are whole seconds: two builds within one would hide that they write the time.
fn wait_for_another_second(request: &Request) -> Result<(), Error> {
    let second = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let begun = second();
    while second() == begun {
        if request.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// What an image says of itself.
struct Documents {
    manifest: Value,
    config: Value,
    chains: Vec<ChainId>,
}

fn compare(env: &Env, first: &Part, second: &Part) -> Result<Vec<Difference>, Error> {
    let (Some(made), Some(again)) = (&first.made, &second.made) else { return Ok(Vec::new()) };
    if made.manifest.digest == again.manifest.digest {
        return Ok(Vec::new());
    }
    let (mut one, mut two) = (documents(env, made)?, documents(env, again)?);
    let mut found = Vec::new();
    for (at, (a, b)) in one.chains.iter().zip(&two.chains).enumerate() {
        let name = first.steps.iter().find(|(chain, _)| chain == a).map(|(_, name)| name.as_str());
        let place = match name {
            Some(name) => format!("layer {} ({name})", at + 1),
            None => format!("layer {}", at + 1),
        };
        found.extend(layers::differences(env, a, b, &place)?);
    }
    documents::differences("config", &one.config, &two.config, &mut found);
    // That names of layers and of the configuration differ only repeats what is said already.
    if !found.is_empty() {
        [&mut one, &mut two].into_iter().for_each(|documents| forget_names(&mut documents.manifest));
    }
    documents::differences("manifest", &one.manifest, &two.manifest, &mut found);
    Ok(found)
}

fn documents(env: &Env, made: &Made) -> Result<Documents, Error> {
    let failed = |source| Error::Store { attempt: "read a document of the image", source };
    let parsed = |digest: &Digest| {
        let bytes = env.store.read_blob(digest, MANIFEST_MAX).map_err(|e| failed(e.into()))?;
        serde_json::from_slice::<Value>(&bytes).map_err(|e| failed(e.into()))
    };
    let value = parsed(&made.manifest.digest)?;
    let manifest: Manifest = serde_json::from_value(value.clone()).map_err(|e| failed(e.into()))?;
    let mut config = parsed(&manifest.config.digest)?;
    let mut diff_ids = Vec::new();
    if let Some(fields) = config.as_object_mut() {
        fields.remove(INLINE_KEY);
        // The layers themselves are compared.
        let rootfs = fields.remove("rootfs").unwrap_or_default();
        let names = rootfs["diff_ids"].as_array().into_iter().flatten().filter_map(Value::as_str);
        diff_ids.extend(names.filter_map(|name| name.parse::<Digest>().ok()));
    }
    Ok(Documents { manifest: value, config, chains: ChainId::all(&diff_ids) })
}

fn forget_names(manifest: &mut Value) {
    let layers = manifest["layers"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let strip = |mut descriptor: Value| {
        if let Some(fields) = descriptor.as_object_mut() {
            fields.retain(|name, _| name != "digest" && name != "size");
        }
        descriptor
    };
    manifest["layers"] = layers.into_iter().map(strip).collect();
    manifest["config"] = strip(manifest["config"].take());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(is_time: bool) -> Difference {
        Difference { place: "config: created".into(), what: "a, then b".into(), is_time }
    }

    #[test]
    fn a_list_is_of_bounded_length() {
        assert_eq!(listed(&[difference(true)]), "1 difference\n  config: created: a, then b");
        let many = vec![difference(false); SHOWN + 2];
        assert!(listed(&many).starts_with("52 differences\n") && listed(&many).ends_with("\n  and 2 more"));
    }

    #[test]
    fn only_times_have_a_remedy() {
        assert!(
            hint(&[difference(false), difference(true)]).is_some_and(|h| h.contains("SOURCE_DATE_EPOCH"))
        );
        assert_eq!(hint(&[difference(false)]), None);
        let of_file = Difference { place: "layer 2 (COPY a /): /a".into(), ..difference(true) };
        assert!(!hint(&[difference(true)]).unwrap().contains("--no-cache"));
        assert!(hint(&[of_file]).unwrap().contains("--no-cache"));
    }
}
