//! `--pid-file`.

use std::path::Path;

use super::Failure;

/// Who waits for the file finds the whole number in it.
pub fn write(path: &Path, pid: i32) -> Result<(), Failure> {
    let fail = |error: &(dyn std::error::Error + 'static)| {
        Failure::of(&format!("write pid file {}", path.display()), error)
    };
    let Some(name) = path.file_name() else {
        return Err(Failure::new(format!("write pid file {}: it is no name of a file", path.display())));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let new = path.with_file_name(hidden);
    std::fs::write(&new, pid.to_string()).map_err(|error| fail(&error))?;
    std::fs::rename(&new, path).map_err(|error| fail(&error))
}
