//! The blocks of an image as they arrive: written in large pieces, one after the other, holes left out.

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a block.
pub(super) const BLOCK: u64 = 4096;
/// What is kept back until it is worth a system call.
const PIECE: usize = 512 << 10;

/// Writes a file from its second block on; the first is the superblock's.
pub(super) struct Blocks {
    file: File,
    /// Where `buffer` begins.
    written: u64,
    buffer: Vec<u8>,
    /// Runs of blocks that nothing refers to any more.
    dead: Vec<(u32, u64)>,
}

impl Blocks {
    pub fn new(file: File) -> Blocks {
        Blocks { file, written: BLOCK, buffer: Vec::with_capacity(PIECE), dead: Vec::new() }
    }

    /// Where the next byte goes.
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Fills the block up, and gives the number of the next.
    pub fn align(&mut self) -> io::Result<u32> {
        let end = self.end();
        let padding = (end.next_multiple_of(BLOCK) - end) as usize;
        self.buffer.resize(self.buffer.len() + padding, 0);
        u32::try_from(self.end() / BLOCK).map_err(|_| Errno::FBIG.into())
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let large = bytes.len() >= PIECE / 4;
        if large || self.buffer.len() + bytes.len() > PIECE {
            self.flush()?;
        }
        if large {
            self.file.write_all_at(bytes, self.written)?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Leaves out bytes, which are zeros.
    pub fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.flush()?;
        self.written = self.written.checked_add(bytes).ok_or(Errno::FBIG)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Says that the content of a file isn't needed any more.
    pub fn lose(&mut self, start: u32, size: u64) {
        if size > 0 {
            self.dead.push((start, size.next_multiple_of(BLOCK)));
        }
    }

    /// Writes the superblock's block, and gives the room of what was lost back where the file system can do that.
    pub fn finish(mut self, first: &[u8]) -> io::Result<File> {
        self.align()?;
        self.flush()?;
        // A hole at the end has no block that was written.
        self.file.set_len(self.written)?;
        self.file.write_all_at(first, 0)?;
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for (start, length) in &self.dead {
            match rustix::fs::fallocate(&self.file, punch, u64::from(*start) * BLOCK, *length) {
                Ok(()) => {}
                Err(Errno::NOTSUP | Errno::NOSYS) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.file)
    }
}
