//! Filling a new volume with what the image has at its place.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use archive::{Options, Packer, Tree, pack_tree, unpack};
use sys::root::Root;

use crate::error::{Context, Error, Result};

/// Copies `place` of the image's root file system into the volume's directory, if that is empty and the image has a
/// directory there. Reading is confined to the image, writing to the volume: links in either lead nowhere else.
pub(crate) fn copy_up(data: &Path, image: &Root, place: &str) -> Result<()> {
    let Ok(source) = image.open_root(place.trim_start_matches('/')) else { return Ok(()) };
    let volume = Root::open(data).during("open the volume")?;
    if !volume.read_dir("").during("list the volume")?.is_empty() {
        return Ok(());
    }
    let (reader, writer) = std::io::pipe().during("create a pipe")?;
    std::thread::scope(|scope| -> Result<()> {
        let packing = scope.spawn(move || {
            let tree = Tree { root: &source, path: Path::new(""), name: Path::new(""), layer: false };
            let mut packer = Packer::new(writer);
            pack_tree(&mut packer, tree)?;
            packer.finish().map(drop)
        });
        let unpacked = unpack(reader, &volume, &Options::plain()).during("write");
        let packed = packing.join().map_err(|_| Error::system("packing ended early"))?.during("read");
        // A reader that gave up breaks the writer's pipe: the reader's error is the cause.
        unpacked.and(packed)
    })?;
    adopt_owner(image, place, data)
}

/// The volume's own directory gets the owner and mode of the image's.
fn adopt_owner(image: &Root, place: &str, data: &Path) -> Result<()> {
    let stat = image.stat(place.trim_start_matches('/')).during("look at the image's directory")?;
    std::os::unix::fs::chown(data, Some(stat.st_uid), Some(stat.st_gid)).during("set the volume's owner")?;
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(stat.st_mode & 0o7777))
        .during("set the volume's mode")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn content_goes_into_an_empty_volume_only() {
        let dir = tempfile::tempdir().unwrap();
        let (image, volume) = (dir.path().join("image"), dir.path().join("volume"));
        fs::create_dir_all(image.join("data/sub")).unwrap();
        fs::write(image.join("data/sub/file"), "text").unwrap();
        fs::create_dir(&volume).unwrap();
        let root = Root::open(&image).unwrap();
        copy_up(&volume, &root, "/data").unwrap();
        assert_eq!(fs::read_to_string(volume.join("sub/file")).unwrap(), "text");
        fs::write(image.join("data/later"), "x").unwrap();
        copy_up(&volume, &root, "/data").unwrap();
        assert!(!volume.join("later").exists());
    }

    #[test]
    fn links_do_not_lead_out_of_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let (image, volume) = (dir.path().join("image"), dir.path().join("volume"));
        fs::create_dir_all(&image).unwrap();
        fs::create_dir(&volume).unwrap();
        fs::create_dir(dir.path().join("secret")).unwrap();
        fs::write(dir.path().join("secret/file"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", image.join("data")).unwrap();
        copy_up(&volume, &Root::open(&image).unwrap(), "/data").unwrap();
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
    }
}
