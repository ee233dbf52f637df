//! Parsing: from a stream of bytes of unknown origin to entries.
//!
//! There is one answer to "how long is this entry's data" and both reading and skipping use it: where parsers
//! disagree about it (PAX size against header size), an archive can hide entries (CVE-2025-62518). The PAX
//! size wins, as POSIX says and Go does.

use crate::header::{BLOCK, Header, text};
use crate::pax::{self, Records};
use crate::{Entry, Error, Kind, Segment, Time, sparse};
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Largest extended header or long name that we read, as Go has it.
const EXTENDED_MAX: u64 = 1 << 20;

/// Parses an archive from a buffered stream.
pub struct Reader<R> {
    source: R,
    /// Bytes consumed so far.
    offset: u64,
    /// Data of the current entry that was not read yet.
    data: u64,
    /// What follows the data up to the next block.
    padding: u64,
    ended: bool,
}

/// What came before an entry and belongs to it.
#[derive(Default)]
struct Pending {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// Starts at the first block.
    pub fn new(source: R) -> Reader<R> {
        Reader { source, offset: 0, data: 0, padding: 0, ended: false }
    }

    /// The stream, which is behind the end mark once [`Reader::next_entry`] has given none.
    pub fn into_inner(self) -> R {
        self.source
    }

    pub(crate) fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// The next entry; its predecessor's unread data is skipped. None at the end mark or the end of the stream.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut pending = Pending::default();
        loop {
            self.skip_data()?;
            let Some(block) = self.header_block()? else {
                let nothing = pending.records.is_empty() && pending.name.is_none() && pending.link.is_none();
                return if nothing { Ok(None) } else { Err(Error::Truncated("the headers of an entry")) };
            };
            let header = Header(&block);
            match header.type_flag() {
                b'x' | b'X' => {
                    let bytes = self.extended(&header)?;
                    let records = pax::parse(&bytes)
                        .ok_or_else(|| self.damaged("an extended header lies about lengths"))?;
                    pending.records = records;
                }
                // Go and Docker read no global records either: git puts its commit there.
                b'g' => drop(self.extended(&header)?),
                b'L' => pending.name = Some(text(&self.extended(&header)?).to_vec()),
                b'K' => pending.link = Some(text(&self.extended(&header)?).to_vec()),
                // A volume label is no file.
                b'V' => self.data_follows(header.size().ok_or_else(|| self.damaged("size is no number"))?),
                _ => return self.entry(&block, pending).map(Some),
            }
        }
    }

    /// The data of the current entry, without the holes of a sparse file.
    pub fn data(&mut self) -> Data<'_, R> {
        Data { reader: self }
    }

    /// The whole data of the current entry; more than `limit` bytes are an error.
    pub fn read_data(&mut self, entry: &Entry, limit: u64) -> Result<Vec<u8>, Error> {
        if self.data > limit {
            return Err(Error::refused(&entry.path, format!("is larger than {limit} bytes")));
        }
        let mut bytes = Vec::with_capacity(self.data as usize);
        self.data().read_to_end(&mut bytes).map_err(Error::Read)?;
        Ok(bytes)
    }

    /// Gives the current entry's data to `sink` piece by piece, without copying it.
    pub(crate) fn copy_data(
        &mut self,
        limit: u64,
        mut sink: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut left = limit.min(self.data);
        while left > 0 {
            let available = fill(&mut self.source)?;
            if available.is_empty() {
                return Err(Error::Truncated("the data of an entry"));
            }
            let count = (available.len() as u64).min(left) as usize;
            sink(&available[..count])?;
            self.source.consume(count);
            self.offset += count as u64;
            self.data -= count as u64;
            left -= count as u64;
        }
        Ok(())
    }

    fn damaged(&self, problem: &'static str) -> Error {
        Error::Damaged { offset: self.offset.saturating_sub(BLOCK as u64), problem }
    }

    fn data_follows(&mut self, size: u64) {
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip_data(&mut self) -> Result<(), Error> {
        self.copy_data(u64::MAX, |_| Ok(()))?;
        while self.padding > 0 {
            let count = (fill(&mut self.source)?.len() as u64).min(self.padding);
            if count == 0 {
                // An archive may end without the padding of its last entry.
                self.padding = 0;
                self.ended = true;
            }
            self.source.consume(count as usize);
            self.offset += count;
            self.padding -= count;
        }
        Ok(())
    }

    /// One block; none at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let available = fill(&mut self.source)?;
            if available.is_empty() {
                return if filled == 0 { Ok(None) } else { Err(Error::Truncated("a block")) };
            }
            let count = available.len().min(BLOCK - filled);
            block[filled..filled + count].copy_from_slice(&available[..count]);
            self.source.consume(count);
            filled += count;
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    /// The next header; none at the end.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.ended = true;
            return Ok(None);
        };
        if Header(&block).is_zero() {
            // The end mark is two zero blocks; one is enough at the end of the stream.
            self.ended = true;
            return match self.block()? {
                Some(second) if !Header(&second).is_zero() => {
                    Err(self.damaged("data behind half an end mark"))
                }
                _ => Ok(None),
            };
        }
        if !Header(&block).sum_is_right() {
            return Err(self.damaged("the sum of a header is wrong"));
        }
        Ok(Some(block))
    }

    /// The data of a header that is about the next one.
    fn extended(&mut self, header: &Header<'_>) -> Result<Vec<u8>, Error> {
        let size = header.size().ok_or_else(|| self.damaged("size is no number"))?;
        if size > EXTENDED_MAX {
            return Err(self.damaged("an extended header is larger than a megabyte"));
        }
        self.data_follows(size);
        let mut bytes = Vec::with_capacity(size as usize);
        self.copy_data(size, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn entry(&mut self, block: &[u8; BLOCK], pending: Pending) -> Result<Entry, Error> {
        let header = Header(block);
        let mut path = pending.name.unwrap_or_else(|| header.name());
        let mut link = pending.link.unwrap_or_else(|| header.link().to_vec());
        let declared = sparse::declared(&pending.records)
            .ok_or_else(|| self.damaged("the map of a sparse file makes no sense"))?;
        let mut fields = Fields::of(&header).map_err(|problem| self.damaged(problem))?;
        for (key, value) in pending.records {
            match &key[..] {
                b"path" => path = value,
                b"linkpath" => link = value,
                _ => fields.set(&key, value).map_err(|problem| self.damaged(problem))?,
            }
        }
        if let Some(name) = &declared.name {
            path.clone_from(name);
        }
        if path.contains(&0) || link.contains(&0) {
            return Err(Error::refused(OsString::from_vec(path), "its name has a NUL"));
        }
        let kind = kind(header.type_flag(), &path).ok_or_else(|| {
            Error::refused(OsStr::from_bytes(&path), "is of a kind that cannot be unpacked")
        })?;
        let stored = fields.size;
        let mut entry = fields.entry(path, link, kind)?;
        // Only files have data, whatever the size of anything else says; so Go has it. A directory that is written as a
        // file has some to both GNU tar and Go: who takes its data for the next header sees entries that they don't.
        let written_as_file = matches!(header.type_flag(), b'0' | 0 | b'7');
        self.data_follows(if written_as_file { stored } else { entry.size });
        if header.type_flag() == b'S' {
            self.old_sparse(block, &mut entry)?;
        } else if kind == Kind::File && declared.is_sparse() {
            self.pax_sparse(declared, &mut entry)?;
        }
        Ok(entry)
    }

    fn old_sparse(&mut self, block: &[u8; BLOCK], entry: &mut Entry) -> Result<(), Error> {
        let senseless = |reader: &Reader<R>| reader.damaged("the map of a sparse file makes no sense");
        let (mut segments, mut more, size) = sparse::old_header(block).ok_or_else(|| senseless(self))?;
        while more {
            let block = self.block()?.ok_or(Error::Truncated("the map of a sparse file"))?;
            let (next, again) = sparse::old_continuation(&block).ok_or_else(|| senseless(self))?;
            segments.extend(next);
            more = again;
            if segments.len() > sparse::SEGMENTS_MAX {
                return Err(senseless(self));
            }
        }
        self.set_sparse(entry, segments, size)
    }

    fn pax_sparse(&mut self, declared: sparse::Declared, entry: &mut Entry) -> Result<(), Error> {
        let senseless = |reader: &Reader<R>| reader.damaged("the map of a sparse file makes no sense");
        let size = declared.size.ok_or_else(|| senseless(self))?;
        let segments = match declared.segments {
            Some(segments) => segments,
            None => self.sparse_map()?.ok_or_else(|| senseless(self))?,
        };
        self.set_sparse(entry, segments, size)
    }

    fn set_sparse(&mut self, entry: &mut Entry, mut segments: Vec<Segment>, size: u64) -> Result<(), Error> {
        if !sparse::is_sound(&segments, size, self.data) {
            return Err(Error::refused(&entry.path, "the map of the sparse file does not fit its data"));
        }
        // GNU marks the end of the file by an empty run.
        segments.retain(|segment| segment.length > 0);
        entry.size = size;
        entry.sparse = Some(segments);
        Ok(())
    }

    /// The map at the start of the data (form 1.0): decimal lines, their number first, padded to a block.
    fn sparse_map(&mut self) -> Result<Option<Vec<Segment>>, Error> {
        let mut numbers: Vec<u64> = Vec::new();
        let mut digits = Vec::new();
        let mut wanted = None;
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            if self.data < BLOCK as u64 {
                return Ok(None);
            }
            let block = self.block()?.ok_or(Error::Truncated("the map of a sparse file"))?;
            self.data -= BLOCK as u64;
            for byte in block {
                if wanted.is_some_and(|wanted| numbers.len() >= wanted) {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Ok(None);
                    }
                    continue;
                }
                let text = std::str::from_utf8(&digits).ok();
                let Some(number) = text.and_then(|text| text.parse::<u64>().ok()) else { return Ok(None) };
                digits.clear();
                match wanted {
                    None if number > sparse::SEGMENTS_MAX as u64 => return Ok(None),
                    None => wanted = Some(2 * number as usize),
                    Some(_) => numbers.push(number),
                }
            }
        }
        Ok(sparse::segments(&numbers))
    }
}

fn fill<R: BufRead>(source: &mut R) -> Result<&[u8], Error> {
    // A second call gives what the first has found; the borrow checker wants it in two.
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
    source.fill_buf().map_err(Error::Read)
}

fn kind(flag: u8, path: &[u8]) -> Option<Kind> {
    Some(match flag {
        // Before POSIX, a directory was a file with a slash at the end of its name; what is written as POSIX has it is what it says,
        // as Go has it.
        0 if path.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Char,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => return None,
    })
}

/// The fields of a header that an extended header may replace.
struct Fields {
    mode: u32,
    uid: i64,
    gid: i64,
    size: u64,
    mtime: Time,
    device: (u32, u32),
    xattrs: Vec<(OsString, Vec<u8>)>,
}

impl Fields {
    fn of(header: &Header<'_>) -> Result<Fields, &'static str> {
        Ok(Fields {
            mode: header.mode().ok_or("mode is no number")?,
            uid: header.uid().ok_or("owner is no number")?,
            gid: header.gid().ok_or("group is no number")?,
            size: header.size().ok_or("size is no number")?,
            mtime: Time { seconds: header.mtime().ok_or("time is no number")?, nanoseconds: 0 },
            // Some programs leave rubbish there for what is no device.
            device: match (header.type_flag(), header.device()) {
                (b'3' | b'4', device) => device.ok_or("device is no number")?,
                _ => (0, 0),
            },
            xattrs: Vec::new(),
        })
    }

    fn set(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), &'static str> {
        match key {
            b"size" => {
                let size = pax::number(&value).and_then(|size| u64::try_from(size).ok());
                self.size = size.ok_or("size is no number")?;
            }
            b"uid" => self.uid = pax::number(&value).ok_or("owner is no number")?,
            b"gid" => self.gid = pax::number(&value).ok_or("group is no number")?,
            b"mtime" => self.mtime = pax::time(&value).ok_or("time is no number")?,
            _ => {
                if let Some(name) = key.strip_prefix(pax::XATTR) {
                    let name = OsString::from_vec(name.to_vec());
                    self.xattrs.retain(|(other, _)| *other != name);
                    self.xattrs.push((name, value));
                }
            }
        }
        Ok(())
    }

    fn entry(self, path: Vec<u8>, link: Vec<u8>, kind: Kind) -> Result<Entry, Error> {
        let path = PathBuf::from(OsString::from_vec(path));
        let id = |what: &str, id: i64| {
            // The last number of 32 bits means "no change" to the kernel.
            let id = u64::try_from(id).ok().filter(|id| *id < u64::from(u32::MAX));
            id.ok_or_else(|| Error::refused(&path, format!("its {what} is out of range")))
        };
        let (uid, gid) = (id("owner", self.uid)?, id("group", self.gid)?);
        if self.size > i64::MAX as u64 {
            return Err(Error::refused(&path, "its size is out of range"));
        }
        Ok(Entry {
            kind,
            mode: self.mode,
            uid,
            gid,
            size: if kind == Kind::File { self.size } else { 0 },
            mtime: self.mtime,
            link: match kind {
                Kind::HardLink | Kind::Symlink => PathBuf::from(OsString::from_vec(link)),
                _ => PathBuf::new(),
            },
            device: self.device,
            xattrs: self.xattrs,
            sparse: None,
            path,
        })
    }
}

/// The data of one entry.
pub struct Data<'r, R> {
    reader: &'r mut Reader<R>,
}

impl<R: BufRead> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reader.data == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let available = self.reader.source.fill_buf()?;
        if available.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                Error::Truncated("the data of an entry"),
            ));
        }
        let count = (available.len().min(buffer.len()) as u64).min(self.reader.data) as usize;
        buffer[..count].copy_from_slice(&available[..count]);
        self.reader.source.consume(count);
        self.reader.offset += count as u64;
        self.reader.data -= count as u64;
        Ok(count)
    }
}
