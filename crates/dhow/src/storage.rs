//! What images and the build cache may take of the disk: `dhow/storage.json` in the folder with the administrator's files, and
//! `DHOW_STORAGE_MAX` and `DHOW_KEEP_FREE`, which come before it.
//!
//! ```json
//! {"max": "50g", "keep-free": "10g", "unused": "720h"}
//! ```

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use engine::system::Storage;
use jiff::SignedDuration;

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Document {
    max: Option<String>,
    keep_free: Option<String>,
    unused: Option<String>,
}

/// Reads the settings.
pub fn read(etc: &Path) -> Result<Storage, String> {
    let path = etc.join("dhow/storage.json");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(format!("read {}: {error}", path.display())),
    };
    settings(&path, bytes.as_deref(), |name| std::env::var(name).ok().filter(|text| !text.is_empty()))
}

fn settings(
    path: &Path,
    bytes: Option<&[u8]>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Storage, String> {
    let document: Document = match bytes {
        Some(bytes) => {
            serde_json::from_slice(bytes).map_err(|error| format!("{}: {error}", path.display()))?
        }
        None => Document::default(),
    };
    let given = |name: &str, key: &str, set: Option<String>| match variable(name) {
        Some(text) => size(&text).map(Some).ok_or(format!("{name} must be a size such as 20g: {text}")),
        None => set
            .map(|text| {
                size(&text).ok_or(format!("{}: {key} must be a size such as 20g: {text}", path.display()))
            })
            .transpose(),
    };
    let unused = document.unused.map(|text| {
        age(&text).ok_or(format!("{}: unused must be a duration such as 720h: {text}", path.display()))
    });
    Ok(Storage {
        max: given("DHOW_STORAGE_MAX", "max", document.max)?,
        keep_free: given("DHOW_KEEP_FREE", "keep-free", document.keep_free)?,
        unused: unused.transpose()?,
    })
}

fn size(text: &str) -> Option<u64> {
    let bytes = cli::format::units::ram_in_bytes(text).ok()?;
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

fn age(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_the_content_may_take() {
        let read = |text: &str| settings(Path::new("storage.json"), Some(text.as_bytes()), |_| None);
        assert_eq!(settings(Path::new("x"), None, |_| None).unwrap(), Storage::default());
        let expected = Storage {
            max: Some(1 << 30),
            keep_free: Some(512 << 20),
            unused: Some(Duration::from_secs(48 * 3600)),
        };
        let text = r#"{"max": "1g", "keep-free": "512m", "unused": "48h"}"#;
        assert_eq!(read(text).unwrap(), expected);
        let variable = |name: &str| (name == "DHOW_STORAGE_MAX").then(|| "2g".to_owned());
        let both = settings(Path::new("x"), Some(text.as_bytes()), variable).unwrap();
        assert_eq!(both, Storage { max: Some(2 << 30), ..expected });
        for wrong in
            [r#"{"max": "much"}"#, r#"{"unused": "long"}"#, r#"{"maximum": "1g"}"#, "{", r#"{"max": "0"}"#]
        {
            assert!(read(wrong).unwrap_err().contains("storage.json"), "{wrong}");
        }
    }
}
