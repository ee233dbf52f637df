//! Documents of images, containers and the API.

use oci::image::{Document, ImageConfig};
use oci::{Digest, Platform, Reference};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is read and written is read as the same.
fn round_trip<T: DeserializeOwned + Serialize>(data: &[u8]) {
    let Ok(first) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_value(&first).expect("it can be written");
    let again: T = serde_json::from_value(written.clone()).expect("it can be read again");
    assert_eq!(serde_json::to_value(&again).expect("it can be written"), written);
}

/// References, digests and platforms: their text is another way to write what they were read from.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
        assert_eq!(Reference::parse(&reference.familiar()).as_ref(), Ok(&reference));
        assert!(!reference.to_string().split(['/', ':', '@']).any(|part| part == ".."), "no path leads up");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert!(digest.hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().as_ref(), Ok(&platform));
    }
}

/// Manifests and indexes.
pub fn manifest(data: &[u8]) {
    match Document::parse(data) {
        Ok(Document::Manifest(_)) => round_trip::<oci::image::Manifest>(data),
        Ok(Document::Index(_)) => round_trip::<oci::image::Index>(data),
        Err(_) => {}
    }
}

/// Configurations of images.
pub fn image_config(data: &[u8]) {
    round_trip::<ImageConfig>(data);
}

/// `config.json` of a bundle.
pub fn runtime_config(data: &[u8]) {
    round_trip::<oci::runtime::Spec>(data);
}

/// Docker's seccomp profiles, to a program.
pub fn seccomp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let capabilities = ["CAP_SYS_ADMIN".to_owned()];
    if let Ok(profile) = engine::spec::seccomp::parse(text, &capabilities, (6, 1)) {
        for arch in [runtime::seccomp::Arch::X86_64, runtime::seccomp::Arch::Aarch64] {
            // A profile that makes no sense is an error.
            let _ = runtime::seccomp::compile(&profile, arch);
        }
    }
}

/// Bodies of requests.
pub fn api(data: &[u8]) {
    round_trip::<api::containers::CreateRequest>(data);
    round_trip::<api::exec::CreateRequest>(data);
    round_trip::<api::networks::CreateRequest>(data);
    round_trip::<api::volumes::CreateRequest>(data);
}
