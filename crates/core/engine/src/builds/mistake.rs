//! Mistakes in a Dockerfile that only a builder sees (`--check`).

use std::collections::BTreeMap;

use api::build::{BuildCheck, BuildExtras, BuildMistake, BuildOptions};
use oci::Platform;
use oci::image::ImageConfig;

use super::build::request;
use crate::Engine;
use crate::error::{Error, Result};

/// Why no build could take this text, as far as that is seen without one; base images are known by `image` as far as they are.
pub fn mistake(
    text: &str,
    options: &BuildOptions,
    platform: &Platform,
    image: &dyn Fn(&str, &Platform) -> Option<ImageConfig>,
) -> Result<Option<dockerfile::Error>> {
    let request = request(options, Some(std::net::Ipv4Addr::UNSPECIFIED.into()))?;
    Ok(builder::mistake(text, &request, platform, image))
}

/// The same for a client that has asked about the base images itself.
pub async fn check_text(engine: &Engine, asked: BuildCheck) -> Result<BuildMistake> {
    let platform = |text: &str| match text {
        "" => Ok(Platform::host()),
        text => text.parse::<Platform>().map_err(|e| Error::invalid(e.to_string())),
    };
    let of = platform(&asked.platform)?.normalized();
    let mut images = BTreeMap::new();
    for known in asked.images {
        let key = (known.name, platform(&known.platform)?.normalized());
        images.extend(known.config.map(|config| (key, config)));
    }
    let options = BuildOptions {
        target: asked.target,
        platform: asked.platform,
        build_args: asked.build_args.into_iter().map(|(name, value)| (name, Some(value))).collect(),
        extras: BuildExtras { contexts: asked.contexts, ..BuildExtras::default() },
        ..BuildOptions::default()
    };
    let look = move |_: &Engine| {
        let image = |name: &str, of: &Platform| images.get(&(name.to_owned(), of.normalized())).cloned();
        let found = mistake(&asked.text, &options, &of, &image)?;
        Ok(found.map_or_else(BuildMistake::default, |found| BuildMistake {
            message: found.message,
            start: found.span.start,
            end: found.span.end,
            help: found.help,
        }))
    };
    engine.blocking(look).await
}
