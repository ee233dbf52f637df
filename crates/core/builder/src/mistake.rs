//! Why no build could take a Dockerfile, as far as that is seen without one (`--check`).

use crate::lower::{self, Devices, Error, ImageKey};
use crate::platforms::with_inputs;
use crate::request::Request;
use oci::Platform;
use oci::image::ImageConfig;
use std::collections::BTreeMap;

/// Base images name others no more often: each look finds at least one more stage's.
const LOOKS: usize = 10_000;

/// What lowering the file would stop at, in the stages that the target needs or in all of them. Base images are known by `image`,
/// as far as they are: what may be theirs to decide is no mistake.
pub fn mistake(
    text: &str,
    request: &Request,
    platform: &Platform,
    image: &dyn Fn(&str, &Platform) -> Option<ImageConfig>,
) -> Option<dockerfile::Error> {
    // What cannot even be read is told by who reads it.
    let file = dockerfile::parse(text, dockerfile::Options::default()).ok()?;
    // Whether something is allowed is for the build to say.
    let request = Request { allow_insecure: true, allow_host_network: true, ..request.clone() };
    let devices = Devices::unknown();
    let mut images: BTreeMap<ImageKey, ImageConfig> = BTreeMap::new();
    for _ in 0..LOOKS {
        let needs = with_inputs(&request, &file, (platform, None), &devices, &images, lower::go_through);
        let needs = match needs {
            Ok(needs) => needs,
            Err(Error::At { message, span, help }) => return Some(dockerfile::Error { message, span, help }),
            // The question itself names no stage: that is told as such.
            Err(Error::NoTarget { .. }) => return None,
        };
        let known = images.len();
        let look = |key: ImageKey| image(&key.reference, &key.platform).map(|config| (key, config));
        images.extend(needs.into_keys().filter_map(look));
        if images.len() == known {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, env: Option<&str>) -> Option<(String, u32)> {
        let image = |_: &str, platform: &Platform| {
            let mut config = ImageConfig::new(platform);
            config.config.env = vec![env?.to_owned()];
            Some(config)
        };
        let error = mistake(text, &Request::default(), &Platform::host(), &image)?;
        Some((error.message, error.span.line))
    }

    #[test]
    fn what_no_build_can_take() {
        for (text, line, message) in [
            ("FROM scratch\nFROM scratch\nCOPY --from=5 x /\n", 3, "invalid stage index 5"),
            (
                "FROM scratch AS Build\nCOPY --from=Build x /\n",
                1,
                "circular dependency detected on stage: build",
            ),
            // Also in a stage that the last one does not need.
            ("FROM scratch\nADD --checksum=sha256:x http://h/x /\nFROM scratch\n", 2, "invalid checksum"),
            ("FROM scratch\nVOLUME $v\n", 2, "VOLUME"),
            ("FROM base\nCOPY --from=5 x /\n", 2, "invalid stage index 5"),
        ] {
            let (told, place) = found(text, None).unwrap_or_else(|| panic!("{text:?} is no mistake"));
            assert!(told.contains(message), "{text:?}: {told}");
            assert_eq!(place, line, "{text:?}: {told}");
        }
    }

    #[test]
    fn what_a_base_image_decides() {
        let text = "FROM base AS b\nFROM b\nVOLUME $v\n";
        assert_eq!(found(text, None), None, "nothing is known of the base");
        assert_eq!(found(text, Some("v=/v")), None);
        assert_eq!(found(text, Some("w=/v")).map(|(_, line)| line), Some(3));
        assert_eq!(
            found("FROM base\nRUN --security=insecure --network=host --device=v/c=d true\n", None),
            None
        );
        let mount = |base: &str, target: &str| format!("FROM {base}\nRUN --mount=target={target} x\n");
        let unknown = |text: &str| mistake(text, &Request::default(), &Platform::host(), &|_, _| None);
        for (base, target, is_wrong) in [("base", ".", false), ("base", "/", true), ("scratch", ".", true)] {
            assert_eq!(unknown(&mount(base, target)).is_some(), is_wrong, "{base} {target}");
        }
        // An image without a working directory has the root.
        assert_eq!(found(&mount("base", "./"), Some("a=b")).map(|(_, line)| line), Some(2));
        assert_eq!(found("FROM nothing:but:wrong\n", None).map(|(_, line)| line), Some(1));
    }
}
