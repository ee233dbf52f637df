//! Fuzz targets: every parser of what strangers send, as functions from any bytes.
//!
//! A target returns for any input; it panics when a promise does not hold (what was written comes back when it is read,
//! nothing lies outside of a root, an error says where). `corpus/<target>/` holds seeds, and each input that once broke
//! something. Each seed, and what a few thousand cuts and flips make of it, is also a test that needs no engine.

mod archives;
mod builds;
mod dockerfiles;
mod documents;
mod registries;
mod specs;
mod streams;

/// What is done with an input; it panics when that shows a fault.
pub type Target = fn(&[u8]);

/// Name and function of each target.
pub const TARGETS: &[(&str, Target)] = &[
    ("archive", archives::unpack),
    ("compression", archives::decompress),
    ("dockerfile", dockerfiles::dockerfile),
    ("dockerignore", dockerfiles::ignore),
    ("expansion", dockerfiles::expansion),
    ("lint", dockerfiles::lint),
    ("lint-settings", dockerfiles::lint_settings),
    ("llb", builds::llb),
    ("packets", builds::packets),
    ("attributes", builds::attributes),
    ("policy", builds::policy),
    ("build-filters", builds::filters),
    ("reference", documents::reference),
    ("manifest", documents::manifest),
    ("image-config", documents::image_config),
    ("runtime-config", documents::runtime_config),
    ("seccomp", documents::seccomp),
    ("api", documents::api),
    ("filters", specs::filters),
    ("ports", specs::ports),
    ("mounts", specs::mounts),
    ("users", specs::users),
    ("resolv-conf", specs::resolv_conf),
    ("challenge", specs::challenge),
    ("registry-requests", registries::server),
    ("registry-answers", registries::answers),
    ("registry-settings", registries::settings),
    ("template", specs::template),
    ("frames", streams::frames),
    ("dns", streams::dns),
];

/// The function of a target.
pub fn find(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

/// The parts of an input for a target that takes several texts: NUL separates them.
fn parts<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let text = std::str::from_utf8(data).ok()?;
    let mut parts = [""; N];
    for (part, found) in parts.iter_mut().zip(text.splitn(N, '\0')) {
        *part = found;
    }
    Some(parts)
}
