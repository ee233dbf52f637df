//! How a layer says that something of the layers below is gone.
//!
//! In an archive (OCI image-spec, layer.md): an empty file `.wh.NAME` hides NAME, `.wh..wh..opq` hides all that the
//! directory has below. In overlayfs: a character device 0:0 of that name, and the attribute
//! `trusted.overlay.opaque=y` of the directory.
//!
//! aufs kept a file of several names once more in a directory of its own, `.wh..wh.plnk`, which is in the layers that were made on it:
//! the file itself is there, and all its names are hard links to that.

use crate::Error;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const PREFIX: &[u8] = b".wh.";
/// Names that aufs kept for itself, and the opaque mark.
const META: &[u8] = b".wh..wh.";

/// Where aufs kept files of several names. Nothing else of a layer can get such a name, so what links may still lead to lies there
/// until all is unpacked.
pub(crate) const ASIDE: &str = ".wh..wh.plnk";
/// The opaque mark's name.
pub(crate) const OPAQUE: &str = ".wh..wh..opq";
/// The attribute of an opaque directory and its value.
pub const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
pub(crate) const OPAQUE_VALUE: &[u8] = b"y";
/// All attributes with this prefix mean something to overlayfs and are never taken from an archive nor put into one.
pub const OVERLAY_XATTRS: &str = "trusted.overlay.";

/// What an entry of a layer is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning<'n> {
    /// Itself.
    Itself,
    /// The directory that it is in is opaque.
    Opaque,
    /// This name in its directory is gone.
    Gone(&'n OsStr),
    /// What hard links in the layer lead to, if it is a file; else nothing to us.
    Aside,
    /// aufs' own; nothing to us.
    Nothing,
}

/// What the entry of this (normal) path is for.
pub fn meaning(path: &Path) -> Result<Meaning<'_>, Error> {
    let Some(name) = path.file_name() else { return Ok(Meaning::Itself) };
    let mut above = path.parent().into_iter().flat_map(Path::iter);
    if above.any(|component| component.as_bytes().starts_with(PREFIX)) {
        if path.as_os_str().as_bytes().starts_with(META) {
            let aside = path.parent() == Some(Path::new(ASIDE));
            return Ok(if aside { Meaning::Aside } else { Meaning::Nothing });
        }
        return Err(Error::refused(path, "is below a whiteout"));
    }
    if name == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    let bytes = name.as_bytes();
    if bytes.starts_with(META) {
        return Ok(Meaning::Nothing);
    }
    match bytes.strip_prefix(PREFIX) {
        None => Ok(Meaning::Itself),
        Some(b"" | b"." | b"..") => Err(Error::refused(path, "is a whiteout of nothing")),
        Some(name) => Ok(Meaning::Gone(OsStr::from_bytes(name))),
    }
}

/// The archive's name for "NAME is gone".
pub(crate) fn name_for(gone: &OsStr) -> OsString {
    let mut name = OsString::from(".wh.");
    name.push(gone);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_marks_from_files() {
        let of = |path: &'static str| meaning(Path::new(path));
        assert_eq!(of("a/b").unwrap(), Meaning::Itself);
        assert_eq!(of("a/.wh.b").unwrap(), Meaning::Gone(OsStr::new("b")));
        assert_eq!(of("a/.wh..wh..opq").unwrap(), Meaning::Opaque);
        assert_eq!(of(".wh..wh.aufs").unwrap(), Meaning::Nothing);
        assert_eq!(of(".wh..wh.plnk/12.3").unwrap(), Meaning::Aside);
        for path in [".wh..wh.plnk", ".wh..wh.plnk/d/f", ".wh..wh.orph/12.3", "a/.wh..wh.plnk"] {
            assert_eq!(of(path).unwrap(), Meaning::Nothing, "{path}");
        }
        assert_eq!(of("a/.wh...x").unwrap(), Meaning::Gone(OsStr::new("..x")));
        for path in [".wh.", "a/.wh..", ".wh...", ".wh.a/b"] {
            assert!(of(path).is_err(), "{path}");
        }
    }
}
