//! Copying a file's content without its holes: four gigabytes of nothing in a context cost nothing.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};

/// What `st_blocks` counts in.
const BLOCK: u64 = 512;

/// Copies all of `from` to the empty file `into`; what was never written is not written here either.
pub(super) fn copy(from: &mut File, into: &mut File) -> io::Result<()> {
    let stat = rustix::fs::fstat(&*from)?;
    let size = stat.st_size as u64;
    if stat.st_blocks as u64 * BLOCK >= size {
        return io::copy(from, into).map(drop);
    }
    let mut at = 0;
    loop {
        let data = match seek(&*from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            other => other?,
        };
        at = seek(&*from, SeekFrom::Hole(data))?;
        seek(&*from, SeekFrom::Start(data))?;
        seek(&*into, SeekFrom::Start(data))?;
        let copied = io::copy(&mut (&*from).take(at - data), into)?;
        if copied < at - data {
            break;
        }
    }
    into.set_len(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn holes_stay_holes() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            options.open(dir.path().join(name)).unwrap()
        };
        let (mut from, mut into) = (open("from"), open("into"));
        from.set_len(64 << 20).unwrap();
        from.write_at(b"begin", 0).unwrap();
        from.write_at(b"middle", 20 << 20).unwrap();
        copy(&mut from, &mut into).unwrap();
        let (source, made) = (from.metadata().unwrap(), into.metadata().unwrap());
        assert_eq!((made.len(), made.blocks()), (source.len(), source.blocks()));
        let mut read = [0; 6];
        into.read_at(&mut read, 20 << 20).unwrap();
        assert_eq!(&read, b"middle");
        let (mut from, mut into) = (open("from"), open("into"));
        from.write_at(b"whole", 0).unwrap();
        copy(&mut from, &mut into).unwrap();
        assert_eq!(std::fs::read(dir.path().join("into")).unwrap(), b"whole");
        let (mut from, mut into) = (open("from"), open("into"));
        from.set_len(1 << 20).unwrap();
        copy(&mut from, &mut into).unwrap();
        assert_eq!(into.metadata().unwrap().len(), 1 << 20);
    }
}
