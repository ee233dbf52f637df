//! Whether the files of a layer that came from elsewhere are still those of its archive.
//!
//! Packing them again gives other bytes than somebody else's packing gave, so the archive is unpacked once more and both
//! trees are compared: kinds, owners, modes, contents, targets, attributes, and the times of what has one in the archive.

use crate::changes::{is_directory, is_whiteout, same_time};
use crate::{Error, Layer, Lease, Store, Unpacked, sync_dir};
use oci::Digest;
use rustix::fs::{CWD, FileType, RenameFlags, Stat};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use sys::root::Root;

/// How much of two files is compared at once.
const BLOCK: usize = 64 << 10;

/// The archive's files, unpacked a second time.
pub(crate) struct Copy {
    lease: Lease,
    unpacked: Unpacked,
    archive: Digest,
}

impl Store {
    /// Unpacks a layer's archive beside it; none if the one or the other is gone.
    pub(crate) fn copy_of(&self, layer: &Layer, archive: &Digest) -> Result<Option<Copy>, Error> {
        let lease = self.lease("check")?;
        if self.use_layer(&lease, &layer.chain_id)?.is_none() || self.use_blob(&lease, archive)?.is_none() {
            return Ok(None);
        }
        // An image that this kernel doesn't mount is replaced by a directory.
        let image = layer.is_image && self.takes_images(&lease);
        let mut unpacked = self.unpack_into(image, &lease, self.open_blob(archive)?, None)?;
        unpacked.expect(Some(&layer.diff_id))?;
        unpacked.settle(|| self.roots(layer.parent.as_ref()))?;
        Ok(Some(Copy { lease, unpacked, archive: archive.clone() }))
    }

    /// The first file of the layer that is not as in its archive, and why; none if all are.
    pub(crate) fn differs(&self, layer: &Layer, copy: &Copy) -> Result<Option<String>, Error> {
        let files = copy.unpacked.files();
        let right = sys::mount::layer_root(&files).map_err(Error::io("open", &files))?;
        let place = Path::new("diff");
        // Files that were made here have more of a time than an archive of them says.
        let same = if layer.over.is_some() { same_second } else { same_time };
        let compared = self
            .layer_root(layer)
            .and_then(|found| first_difference(&right, &found, same).map_err(Error::io("compare", place)));
        match compared {
            // If the copy can be read, the image is what can't.
            Err(error) if layer.is_image && first_difference(&right, &right, same).is_ok() => {
                Ok(Some(format!("its image cannot be read: {}", crate::check::chain_text(&error))))
            }
            Err(error) => Err(error),
            Ok(difference) => Ok(difference.map(|(path, what)| {
                format!("{what} of /{} is not as in its archive {}", path.display(), copy.archive)
            })),
        }
    }

    /// Puts the copy in the layer's place.
    pub(crate) fn restore(&self, layer: &Layer, copy: Copy) -> Result<(), Error> {
        let (fresh, target) = (&copy.unpacked.directory, self.layer_dir(&layer.chain_id));
        // The copy has all files.
        let is_image = copy.unpacked.image.is_some();
        self.describe(fresh, &Layer { over: None, is_image, ..layer.clone() })?;
        if is_image {
            crate::durable::seal(&copy.unpacked.files())?;
        }
        crate::durable::make(fresh)?;
        rustix::fs::renameat_with(CWD, fresh, CWD, &target, RenameFlags::EXCHANGE)
            .map_err(|error| Error::io("replace", &target)(error.into()))?;
        sync_dir(&self.layers_dir())?;
        // The damaged files go with it.
        drop(copy.lease);
        Ok(())
    }
}

/// Whether two files are of the same time.
type SameTime = fn(&Stat, &Stat) -> bool;

fn same_second(a: &Stat, b: &Stat) -> bool {
    a.st_mtime == b.st_mtime
}

fn first_difference(
    right: &Root,
    found: &Root,
    same: SameTime,
) -> io::Result<Option<(PathBuf, &'static str)>> {
    // The root's is that of every container, and no other layer's.
    let root = PathBuf::new();
    if let Some(what) = difference(right, found, &root, &(right.lstat(&root)?, found.lstat(&root)?), same)? {
        return Ok(Some((root, what)));
    }
    let mut directories = vec![root];
    while let Some(directory) = directories.pop() {
        let names = |root: &Root| -> io::Result<BTreeSet<OsString>> {
            Ok(root.read_dir(&directory)?.into_iter().map(|entry| entry.name).collect())
        };
        let (wanted, here) = (names(right)?, names(found)?);
        if let Some(name) = wanted.symmetric_difference(&here).next() {
            return Ok(Some((directory.join(name), "the presence")));
        }
        for name in wanted {
            let path = directory.join(name);
            let stats = (right.lstat(&path)?, found.lstat(&path)?);
            if let Some(what) = difference(right, found, &path, &stats, same)? {
                return Ok(Some((path, what)));
            }
            if is_directory(&stats.0) {
                directories.push(path);
            }
        }
    }
    Ok(None)
}

fn difference(
    right: &Root,
    found: &Root,
    path: &Path,
    (a, b): &(Stat, Stat),
    same: SameTime,
) -> io::Result<Option<&'static str>> {
    let kind = FileType::from_raw_mode(a.st_mode);
    if (a.st_mode, a.st_rdev) != (b.st_mode, b.st_rdev) {
        return Ok(Some("the kind or mode"));
    }
    if (a.st_uid, a.st_gid) != (b.st_uid, b.st_gid) {
        return Ok(Some("the owner"));
    }
    if attributes(right, path)? != attributes(found, path)? {
        return Ok(Some("an extended attribute"));
    }
    if kind == FileType::RegularFile && (a.st_size != b.st_size || !same_bytes(right, found, path)?) {
        return Ok(Some("the content"));
    }
    if kind == FileType::Symlink && right.readlink(path)? != found.readlink(path)? {
        return Ok(Some("the target"));
    }
    // That of a directory that no archive mentions, and of a mark, is when it was made.
    let timeless = is_directory(a) || is_whiteout(a);
    Ok((!timeless && !same(a, b)).then_some("the time"))
}

/// All but the label that a security module gives to a file by its place, and notes of overlayfs, which no archive has.
fn attributes(root: &Root, path: &Path) -> io::Result<BTreeSet<(OsString, Option<Vec<u8>>)>> {
    let mut all = BTreeSet::new();
    for name in root.xattr_names(path)? {
        // That a directory hides what is below it is the one note of these that means something.
        let is_note = name.as_encoded_bytes().starts_with(archive::OVERLAY_XATTRS.as_bytes())
            && name != archive::OPAQUE_XATTR;
        if name != "security.selinux" && !is_note {
            let value = root.xattr(path, &name)?;
            all.insert((name, value));
        }
    }
    Ok(all)
}

fn same_bytes(right: &Root, found: &Root, path: &Path) -> io::Result<bool> {
    let (mut right, mut found) = (right.open_file(path)?, found.open_file(path)?);
    let (mut a, mut b) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let length = right.read(&mut a)?;
        if length == 0 {
            return Ok(found.read(&mut b)? == 0);
        }
        match found.read_exact(&mut b[..length]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if a[..length] != b[..length] {
            return Ok(false);
        }
    }
}
