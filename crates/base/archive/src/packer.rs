//! Writing archives: ustar, with an extended header only where an entry needs one.

use crate::header::{self, BLOCK};
use crate::{Entry, Error, Time, pax};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

/// Writes an archive, entry by entry. The same entries give the same bytes.
pub struct Packer<W> {
    sink: W,
    buffer: Vec<u8>,
    /// The time of every entry, where they have no own.
    time: Option<Time>,
}

/// Data is copied in pieces of this size.
const BUFFER: usize = 256 << 10;

impl<W: Write> Packer<W> {
    /// Starts an archive.
    pub fn new(sink: W) -> Packer<W> {
        Packer { sink, buffer: Vec::new(), time: None }
    }

    /// Gives every entry this time of modification.
    #[must_use]
    pub fn at(self, seconds: i64) -> Packer<W> {
        Packer { time: Some(Time { seconds, nanoseconds: 0 }), ..self }
    }

    /// Adds an entry without data.
    pub fn append(&mut self, entry: &Entry) -> Result<(), Error> {
        self.append_file(entry, io::empty())
    }

    /// Adds a file with these bytes; its size is theirs.
    pub fn append_bytes(&mut self, entry: &Entry, bytes: &[u8]) -> Result<(), Error> {
        let entry = Entry { size: bytes.len() as u64, ..entry.clone() };
        self.begin(&entry)?;
        self.sink.write_all(bytes).map_err(Error::Write)?;
        self.end(&entry)
    }

    /// Begins an entry whose `entry.size` bytes of data the caller writes to [`Packer::sink`].
    pub fn begin(&mut self, entry: &Entry) -> Result<(), Error> {
        self.header(entry)
    }

    /// Ends what [`Packer::begin`] began.
    pub fn end(&mut self, entry: &Entry) -> Result<(), Error> {
        self.pad(entry.size)
    }

    /// Where the archive goes.
    pub fn sink(&mut self) -> &mut W {
        &mut self.sink
    }

    /// Adds an entry and `entry.size` bytes of data. A source that has more is cut; one that has less (a file
    /// that shrinks while it is read) is filled up with zeros, as the header is out already.
    pub fn append_file(&mut self, entry: &Entry, mut data: impl Read) -> Result<(), Error> {
        self.header(entry)?;
        let mut left = entry.size;
        self.buffer.resize(BUFFER, 0);
        while left > 0 {
            let wanted = left.min(BUFFER as u64) as usize;
            let count = match data.read(&mut self.buffer[..wanted]) {
                Ok(0) => {
                    self.buffer[..wanted].fill(0);
                    wanted
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::entry("read", &entry.path)(error)),
            };
            self.sink.write_all(&self.buffer[..count]).map_err(Error::Write)?;
            left -= count as u64;
        }
        self.pad(entry.size)
    }

    /// The stream without an end mark.
    pub fn into_sink(self) -> W {
        self.sink
    }

    /// Writes the end mark and gives the stream back.
    pub fn finish(mut self) -> Result<W, Error> {
        self.sink.write_all(&[0; 2 * BLOCK]).map_err(Error::Write)?;
        self.sink.flush().map_err(Error::Write)?;
        Ok(self.sink)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        self.sink.write_all(&[0; BLOCK][..padding]).map_err(Error::Write)
    }

    fn header(&mut self, entry: &Entry) -> Result<(), Error> {
        let dated = self.time.map(|mtime| Entry { mtime, ..entry.clone() });
        let entry = dated.as_ref().unwrap_or(entry);
        let (block, misfit) = header::encode(entry);
        let mut records = Vec::new();
        if misfit.path {
            pax::push(&mut records, b"path", entry.path.as_os_str().as_bytes());
        }
        if misfit.link {
            pax::push(&mut records, b"linkpath", entry.link.as_os_str().as_bytes());
        }
        for (misfit, key, value) in [
            (misfit.uid, "uid", entry.uid),
            (misfit.gid, "gid", entry.gid),
            (misfit.size, "size", entry.size),
        ] {
            if misfit {
                pax::push(&mut records, key.as_bytes(), value.to_string().as_bytes());
            }
        }
        if misfit.mtime {
            pax::push(&mut records, b"mtime", pax::time_text(entry.mtime).as_bytes());
        }
        for (name, value) in &entry.xattrs {
            pax::push(&mut records, &[pax::XATTR, name.as_bytes()].concat(), value);
        }
        if !records.is_empty() {
            self.sink.write_all(&header::encode_extended(records.len())).map_err(Error::Write)?;
            self.sink.write_all(&records).map_err(Error::Write)?;
            self.pad(records.len() as u64)?;
        }
        self.sink.write_all(&block).map_err(Error::Write)
    }
}
