//! What a Docker engine that is none of ours does of a build: it takes what its classic builder knows, and says nothing of
//! the rest. So what it would leave out is refused here, before anything is sent.

use api::build::{BuildOptions, ExportOptions};

use super::output::Output;
use crate::error::Error;

/// Says what such an engine cannot do, and puts what it calls otherwise in its place.
pub fn suit(options: &mut BuildOptions, outputs: &[Output], explain: bool) -> Result<(), Error> {
    let missing = missing(options, outputs, explain);
    if let Some(flag) = missing {
        return Err(Error::new(format!("this server can only keep images: {flag} is not available with it")));
    }
    for cache in std::mem::take(&mut options.extras.caches_from) {
        options.cache_from.extend(cache.get("ref").cloned());
    }
    Ok(())
}

/// The first of the flags that it does not know.
fn missing(options: &BuildOptions, outputs: &[Output], explain: bool) -> Option<&'static str> {
    let extras = &options.extras;
    let ExportOptions { provenance, sbom, annotations, inline_cache, .. } = &extras.export;
    let is_image = |cache: &std::collections::BTreeMap<String, String>| {
        cache.get("type").is_some_and(|kind| kind == "registry") && cache.len() == 2
    };
    let written = |output: &Output| !output.keeps() || output.is_shaped();
    [
        ("--output", outputs.iter().any(written)),
        ("--verify", extras.verify),
        ("--explain", explain),
        ("--provenance", !provenance.is_empty()),
        ("--sbom", *sbom),
        ("--annotation", !annotations.is_empty()),
        ("--build-context", !extras.contexts.is_empty()),
        ("--secret", !extras.secrets.is_empty()),
        ("--ssh", !extras.ssh.is_empty()),
        ("--cache-to", !extras.caches_to.is_empty() || *inline_cache),
        ("--cache-from with a type", !extras.caches_from.iter().all(is_image)),
        ("--no-cache-filter", !extras.no_cache_filter.is_empty()),
        ("--allow", !extras.allow.is_empty()),
        ("--jobs", extras.jobs != 0),
        ("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", !extras.source_policies.is_empty()),
        ("a list of platforms", options.platform.contains(',')),
    ]
    .into_iter()
    .find_map(|(flag, is_asked)| is_asked.then_some(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn refused(change: impl FnOnce(&mut BuildOptions)) -> String {
        let mut options = BuildOptions::default();
        change(&mut options);
        suit(&mut options, &[Output::store()], false).expect_err("it is refused").message
    }

    fn cache(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_another_engine_would_leave_out_is_refused() {
        let what = |flag: &str| format!("this server can only keep images: {flag} is not available with it");
        assert_eq!(refused(|o| o.extras.verify = true), what("--verify"));
        assert_eq!(refused(|o| o.extras.export.provenance = "min".into()), what("--provenance"));
        assert_eq!(refused(|o| o.extras.export.sbom = true), what("--sbom"));
        assert_eq!(refused(|o| o.extras.export.annotations.push("k=v".into())), what("--annotation"));
        let contexts = [("a".to_owned(), "/c".to_owned())];
        assert_eq!(refused(|o| o.extras.contexts.extend(contexts)), what("--build-context"));
        let secrets = [("s".to_owned(), "eA==".to_owned())];
        assert_eq!(refused(|o| o.extras.secrets.extend(secrets)), what("--secret"));
        let to = cache(&[("type", "local"), ("dest", "/c")]);
        assert_eq!(refused(|o| o.extras.caches_to.push(to)), what("--cache-to"));
        let from = cache(&[("type", "local"), ("src", "/c")]);
        assert_eq!(refused(|o| o.extras.caches_from.push(from)), what("--cache-from with a type"));
        assert_eq!(refused(|o| o.extras.no_cache_filter.push("a".into())), what("--no-cache-filter"));
        let explained = suit(&mut BuildOptions::default(), &[Output::store()], true);
        assert_eq!(explained.unwrap_err().message, what("--explain"));
        for text in ["type=oci,dest=x", "type=image,name=a,compression=zstd", "out", "type=image,store=false"]
        {
            let outputs = [Output::parse(text).unwrap()];
            let error = suit(&mut BuildOptions::default(), &outputs, false).unwrap_err();
            assert_eq!(error.message, what("--output"), "{text}");
        }
    }

    #[test]
    fn what_it_knows_is_asked_in_its_words() {
        let mut options = BuildOptions { no_cache: true, target: "a".into(), ..BuildOptions::default() };
        options.extras.caches_from.push(cache(&[("type", "registry"), ("ref", "app:1")]));
        let outputs = [Output::registry(), Output::parse("type=image,name=a,push=true").unwrap()];
        suit(&mut options, &outputs, false).unwrap();
        assert_eq!(options.cache_from, ["app:1"]);
        assert!(options.extras.caches_from.is_empty());
    }
}
