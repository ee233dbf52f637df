//! Filling a new volume with what the image has at its place.
//!
//! ```text
//! <root>/volumes/<name>/filling/   the copy while it is made: of no worth when its maker, who has the lock, is gone
//!                       filled/    the copy when it is whole; its entries are moved to `_data` one by one
//! ```
//!
//! Who is killed leaves an empty volume, which the next container fills, or a whole copy, which the next one moves to its
//! end. `_data` itself is never replaced: a running container may have it mounted.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use archive::{Options, Packer, Tree, pack_tree, unpack};
use rustix::fs::RenameFlags;
use sys::root::Root;

use crate::error::{Context, Error, Result};
use crate::lock;

const DATA: &str = "_data";
const FILLING: &str = "filling";
const FILLED: &str = "filled";

/// Copies `place` of the image's root file system into the volume whose directory this is and whose containers see `data`, if
/// that is empty and the image has a directory there. Reading is confined to the image, writing to the volume: links in
/// either lead nowhere else.
pub(crate) fn copy_up(volume: &Path, data: &Path, image: &Root, place: &str) -> Result<()> {
    if is_ours(volume, data) { fill(volume, image, place) } else { fill_foreign(data, image, place) }
}

/// Whether entries can be moved from the volume's directory to its data: these may be elsewhere.
fn is_ours(volume: &Path, data: &Path) -> bool {
    let (Ok(outer), Ok(inner)) = (volume.symlink_metadata(), data.symlink_metadata()) else { return false };
    data == volume.join(DATA) && inner.is_dir() && outer.dev() == inner.dev()
}

fn fill(volume: &Path, image: &Root, place: &str) -> Result<()> {
    let _lock = lock::directory(volume)?;
    let volume = Root::open(volume).during("open the volume")?;
    if exists(&volume, FILLED)? {
        return settle(&volume);
    }
    let Ok(source) = image.open_root(place.trim_start_matches('/')) else { return Ok(()) };
    if !volume.read_dir(DATA).during("list the volume")?.is_empty() {
        return Ok(());
    }
    volume.remove_all(FILLING).during("remove an unfinished copy")?;
    volume.mkdir(FILLING, 0o700).during("make a directory for the copy")?;
    let copy = volume.open_root(FILLING).during("open the copy")?;
    pour(&source, &copy)?;
    let stat = image.stat(place.trim_start_matches('/')).during("look at the image's directory")?;
    set_owner(&volume, FILLING, &stat)?;
    volume.rename(FILLING, FILLED).during("finish the copy")?;
    settle(&volume)
}

/// Moves the copy that is whole to where containers see it, if an earlier one was killed on the way.
pub(crate) fn resume(volume: &Path) -> Result<()> {
    let root = Root::open(volume).during("open the volume")?;
    if !exists(&root, FILLED)? {
        return Ok(());
    }
    let _lock = lock::directory(volume)?;
    if exists(&root, FILLED)? { settle(&root) } else { Ok(()) }
}

/// Copies straight into a directory that the volume stands for.
fn fill_foreign(data: &Path, image: &Root, place: &str) -> Result<()> {
    let Ok(source) = image.open_root(place.trim_start_matches('/')) else { return Ok(()) };
    let target = Root::open(data).during("open the volume")?;
    if !target.read_dir("").during("list the volume")?.is_empty() {
        return Ok(());
    }
    pour(&source, &target)?;
    let stat = image.stat(place.trim_start_matches('/')).during("look at the image's directory")?;
    std::os::unix::fs::chown(data, Some(stat.st_uid), Some(stat.st_gid)).during("set the volume's owner")?;
    let mode = std::fs::Permissions::from_mode(stat.st_mode & 0o7777);
    std::fs::set_permissions(data, mode).during("set the volume's mode")
}

fn exists(root: &Root, name: &str) -> Result<bool> {
    match root.lstat(name) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).during("look at the volume"),
    }
}

/// Moves a whole copy. What a container has made meanwhile stays.
fn settle(volume: &Root) -> Result<()> {
    for entry in volume.read_dir(FILLED).during("list the copy")? {
        let (from, to) = (Path::new(FILLED).join(&entry.name), Path::new(DATA).join(&entry.name));
        match volume.rename_with(&from, &to, RenameFlags::NOREPLACE) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            moved => moved.during("move the copy")?,
        }
    }
    let stat = volume.stat(FILLED).during("look at the copy")?;
    set_owner(volume, DATA, &stat)?;
    volume.remove_all(FILLED).during("remove the copy")
}

fn pour(source: &Root, target: &Root) -> Result<()> {
    let (reader, writer) = std::io::pipe().during("create a pipe")?;
    std::thread::scope(|scope| -> Result<()> {
        let packing = scope.spawn(move || {
            let tree = Tree { root: source, path: Path::new(""), name: Path::new(""), layer: false };
            let mut packer = Packer::new(writer);
            pack_tree(&mut packer, tree)?;
            packer.finish().map(drop)
        });
        let unpacked = unpack(reader, target, &Options::plain()).during("write");
        let packed = packing.join().map_err(|_| Error::system("packing ended early"))?.during("read");
        // A reader that gave up breaks the writer's pipe: the reader's error is the cause.
        unpacked.and(packed)
    })
}

/// The directory itself gets the owner and mode of the image's.
fn set_owner(volume: &Root, name: &str, stat: &rustix::fs::Stat) -> Result<()> {
    volume.chown(name, stat.st_uid, stat.st_gid).during("set the volume's owner")?;
    volume.chmod(name, stat.st_mode & 0o7777).during("set the volume's mode")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    struct Scene {
        dir: tempfile::TempDir,
    }

    impl Scene {
        /// An image with a file at `/data/sub/file`, and an empty volume.
        fn new() -> Scene {
            let scene = Scene { dir: tempfile::tempdir().unwrap() };
            fs::create_dir_all(scene.path("image/data/sub")).unwrap();
            fs::write(scene.path("image/data/sub/file"), "text").unwrap();
            fs::create_dir_all(scene.path("volume/_data")).unwrap();
            scene
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn image(&self) -> Root {
            Root::open(self.path("image")).unwrap()
        }

        fn copy_up(&self) {
            copy_up(&self.path("volume"), &self.path("volume/_data"), &self.image(), "/data").unwrap();
        }

        fn names(&self, place: &str) -> Vec<String> {
            let entries = fs::read_dir(self.path(place)).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn content_goes_into_an_empty_volume_only() {
        let scene = Scene::new();
        let mode = fs::Permissions::from_mode(0o1751);
        fs::set_permissions(scene.path("image/data"), mode.clone()).unwrap();
        scene.copy_up();
        assert_eq!(fs::read_to_string(scene.path("volume/_data/sub/file")).unwrap(), "text");
        let is = fs::metadata(scene.path("volume/_data")).unwrap().permissions();
        assert_eq!(is.mode() & 0o7777, mode.mode());
        assert_eq!(scene.names("volume"), ["_data"]);
        fs::write(scene.path("image/data/later"), "x").unwrap();
        scene.copy_up();
        assert_eq!(scene.names("volume/_data"), ["sub"]);
    }

    #[test]
    fn a_volume_that_stands_for_a_directory_is_filled_there() {
        let scene = Scene::new();
        fs::create_dir(scene.path("elsewhere")).unwrap();
        copy_up(&scene.path("volume"), &scene.path("elsewhere"), &scene.image(), "/data").unwrap();
        assert_eq!(scene.names("elsewhere"), ["sub"]);
        assert!(scene.names("volume/_data").is_empty());
    }

    #[test]
    fn a_copy_that_was_broken_off_is_made_anew() {
        let scene = Scene::new();
        fs::create_dir_all(scene.path("volume/filling/sub")).unwrap();
        fs::write(scene.path("volume/filling/half"), "te").unwrap();
        resume(&scene.path("volume")).unwrap();
        assert!(scene.names("volume/_data").is_empty());
        scene.copy_up();
        assert_eq!(scene.names("volume/_data"), ["sub"]);
        assert_eq!(scene.names("volume"), ["_data"]);
    }

    #[test]
    fn a_copy_that_was_whole_is_moved_to_its_end() {
        let scene = Scene::new();
        for (name, text) in [("filled/a", "image"), ("filled/b", "image"), ("_data/b", "container")] {
            fs::create_dir_all(scene.path("volume/filled")).unwrap();
            fs::write(scene.path("volume").join(name), text).unwrap();
        }
        resume(&scene.path("volume")).unwrap();
        assert_eq!(fs::read_to_string(scene.path("volume/_data/a")).unwrap(), "image");
        assert_eq!(fs::read_to_string(scene.path("volume/_data/b")).unwrap(), "container");
        assert_eq!(scene.names("volume"), ["_data"]);
    }

    #[test]
    fn links_do_not_lead_out_of_the_image() {
        let scene = Scene::new();
        fs::remove_dir_all(scene.path("image/data")).unwrap();
        fs::create_dir(scene.path("secret")).unwrap();
        fs::write(scene.path("secret/file"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", scene.path("image/data")).unwrap();
        scene.copy_up();
        assert!(scene.names("volume/_data").is_empty());
    }
}
