//! eStargz: a gzip stream whose members begin where files do, with a table of contents behind them (the format of
//! stargz-snapshotter, docs/estargz.md). Who knows it reads single files out of a registry; to all others it is `.tar.gz`.
//!
//! The archive's own bytes stay as they are and come first, its end mark with them. So its files are the same to everybody,
//! and who wants the archive as it was reads as far as the table begins. The digest of what decompresses is another one
//! though, for the table lies in a second archive behind the first.

use crate::header::BLOCK;
use crate::pieces::{gzip_level, member};
use crate::{Entry, Error, HashingWriter, Kind, Packer, Reader, Time};
use base64::Engine as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

/// The table's name in its archive.
const TOC: &str = "stargz.index.json";
/// Bytes of a file in one member at most.
const CHUNK: u64 = 4 << 20;
/// Length of the last member, which says where the table begins.
const FOOTER: usize = 51;

/// What is to be told of such a stream besides its own digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seekable {
    /// sha256 of the table.
    pub toc: [u8; 32],
    /// sha256 of all that decompresses.
    pub diff: [u8; 32],
    /// Its length.
    pub length: u64,
}

#[derive(Serialize)]
struct Table {
    version: u32,
    entries: Vec<Row>,
}

/// A line of the table: a member of the archive, or a further chunk of the file before it. What is zero is left out.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "zero")]
    size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    modtime: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "zero")]
    mode: u64,
    #[serde(skip_serializing_if = "zero")]
    uid: u64,
    #[serde(skip_serializing_if = "zero")]
    gid: u64,
    /// Where the member begins that has the chunk.
    #[serde(skip_serializing_if = "zero")]
    offset: u64,
    #[serde(skip_serializing_if = "zero")]
    dev_major: u64,
    #[serde(skip_serializing_if = "zero")]
    dev_minor: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(skip_serializing_if = "zero")]
    chunk_offset: u64,
    /// Not told of the last chunk.
    #[serde(skip_serializing_if = "zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    chunk_digest: String,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands a reference
fn zero(number: &u64) -> bool {
    *number == 0
}

impl Row {
    fn of(entry: &Entry) -> Row {
        let kind = match entry.kind {
            Kind::File => "reg",
            Kind::HardLink => "hardlink",
            Kind::Symlink => "symlink",
            Kind::Char => "char",
            Kind::Block => "block",
            Kind::Directory => "dir",
            Kind::Fifo => "fifo",
        };
        let is_link = matches!(entry.kind, Kind::HardLink | Kind::Symlink);
        let is_device = matches!(entry.kind, Kind::Char | Kind::Block);
        let (major, minor) = if is_device { entry.device } else { (0, 0) };
        let encoded = |value: &[u8]| base64::engine::general_purpose::STANDARD.encode(value);
        Row {
            name: entry.path.to_string_lossy().into_owned(),
            kind,
            size: entry.size,
            modtime: modtime(entry.mtime),
            link_name: if is_link { entry.link.to_string_lossy().into_owned() } else { String::new() },
            mode: entry.mode.into(),
            uid: entry.uid,
            gid: entry.gid,
            dev_major: major.into(),
            dev_minor: minor.into(),
            xattrs: entry
                .xattrs
                .iter()
                .map(|(n, v)| (n.to_string_lossy().into_owned(), encoded(v)))
                .collect(),
            ..Row::default()
        }
    }
}

/// RFC 3339, to the nearest second; nothing for the very first one.
fn modtime(time: Time) -> String {
    let seconds = time.seconds + i64::from(time.nanoseconds >= 500_000_000);
    let time = jiff::Timestamp::from_second(seconds).ok().filter(|_| seconds != 0);
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn named(sum: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sum))
}

/// Keeps what is consumed of a stream until it is taken.
struct Tap<R> {
    inner: R,
    taken: Vec<u8>,
}

impl<R: BufRead> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Tap<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is consumed was given by the last fill, so this gives it again without reading.
        if let Ok(available) = self.inner.fill_buf() {
            self.taken.extend_from_slice(&available[..count]);
        }
        self.inner.consume(count);
    }
}

/// The stream that is written, and the member that is being filled.
struct Members<W> {
    sink: W,
    level: libdeflater::CompressionLvl,
    offset: u64,
    member: Vec<u8>,
    plain: HashingWriter<io::Sink>,
}

impl<W: Write> Members<W> {
    fn fill(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.plain.write_all(bytes).map_err(Error::Write)?;
        self.member.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the member, if there is something in it.
    fn end(&mut self) -> Result<(), Error> {
        if self.member.is_empty() {
            return Ok(());
        }
        let bytes = member(self.level, &self.member).map_err(Error::Write)?;
        self.sink.write_all(&bytes).map_err(Error::Write)?;
        self.offset += bytes.len() as u64;
        self.member.clear();
        Ok(())
    }
}

/// Writes an archive to `sink` as eStargz, compressed by gzip's `level`; the same archive gives the same bytes.
pub fn estargz<W: Write>(tar: impl BufRead, level: Option<u32>, sink: W) -> Result<(Seekable, W), Error> {
    let level = gzip_level(level).map_err(Error::Write)?;
    let plain = HashingWriter::new(io::sink());
    let mut members = Members { sink, level, offset: 0, member: Vec::new(), plain };
    let mut reader = Reader::new(Tap { inner: tar, taken: Vec::new() });
    let mut rows = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        if entry.path.strip_prefix(".").unwrap_or(&entry.path).as_os_str() == TOC {
            return Err(Error::refused(&entry.path, "this name is eStargz's own"));
        }
        if entry.sparse.is_some() {
            return Err(Error::refused(&entry.path, "a sparse file has no place in eStargz"));
        }
        if members.member.len() as u64 >= CHUNK {
            members.end()?;
        }
        let raw = std::mem::take(&mut reader.source_mut().taken);
        members.fill(&raw)?;
        file(&mut reader, &mut members, &entry, &mut rows)?;
    }
    // What is behind the end mark belongs to the archive too.
    let mut tap = reader.into_inner();
    io::copy(&mut tap.inner, &mut tap.taken).map_err(Error::Read)?;
    members.fill(&tap.taken)?;
    members.end()?;
    contents(members, rows)
}

/// The rows of an entry, and its data in members of their own.
fn file<W: Write>(
    reader: &mut Reader<Tap<impl BufRead>>,
    members: &mut Members<W>,
    entry: &Entry,
    rows: &mut Vec<Row>,
) -> Result<(), Error> {
    let first = rows.len();
    rows.push(Row::of(entry));
    if entry.kind != Kind::File {
        return Ok(());
    }
    let (mut whole, mut done) = (Sha256::new(), 0);
    while done < entry.size {
        members.end()?;
        let length = CHUNK.min(entry.size - done);
        reader.copy_data(length, |_| Ok(()))?;
        let bytes = std::mem::take(&mut reader.source_mut().taken);
        whole.update(&bytes);
        if done > 0 {
            let name = rows[first].name.clone();
            rows.push(Row { name, kind: "chunk", ..Row::default() });
        }
        let at = rows.len() - 1;
        let row = &mut rows[at];
        (row.offset, row.chunk_offset) = (members.offset, done);
        row.chunk_digest = named(&Sha256::digest(&bytes));
        row.chunk_size = if done + length < entry.size { length } else { 0 };
        members.fill(&bytes)?;
        done += length;
    }
    rows[first].digest = named(&whole.finalize());
    Ok(())
}

/// Writes the table behind the archive, and where it begins.
fn contents<W: Write>(mut members: Members<W>, rows: Vec<Row>) -> Result<(Seekable, W), Error> {
    let start = members.offset;
    let table = serde_json::to_vec(&Table { version: 1, entries: rows });
    let table = table.map_err(|error| Error::Write(error.into()))?;
    let mut packer = Packer::new(Vec::with_capacity(table.len() + 4 * BLOCK));
    packer.append_bytes(&Entry::file(TOC, 0o444, 0), &table)?;
    members.fill(&packer.finish()?)?;
    members.end()?;
    let mut sink = members.sink;
    sink.write_all(&footer(start)).map_err(Error::Write)?;
    let (_, diff, length) = members.plain.finish();
    Ok((Seekable { toc: Sha256::digest(&table).into(), diff, length }, sink))
}

/// An empty member with the place in its header (RFC 1952 section 2.3.1.1), always of one length.
fn footer(start: u64) -> [u8; FOOTER] {
    let mut footer = [0; FOOTER];
    // gzip, deflate, with an extra field; no time; no system. 26 bytes of it, of which 22 are the field "SG".
    footer[..16].copy_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, b'S', b'G', 22, 0]);
    footer[16..38].copy_from_slice(format!("{start:016x}STARGZ").as_bytes());
    // A last block of no bytes; checksum and length of nothing are 0.
    footer[38..43].copy_from_slice(&[1, 0, 0, 0xff, 0xff]);
    footer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decompress;

    fn archive() -> Vec<u8> {
        let mut packer = Packer::new(Vec::new());
        packer.append(&Entry::directory("etc/", 0o755)).unwrap();
        let mut hosts = Entry::file("etc/hosts", 0o4644, 0);
        (hosts.uid, hosts.mtime) = (7, Time { seconds: 1_000_000_000, nanoseconds: 500_000_000 });
        hosts.xattrs.push(("user.note".into(), b"x".to_vec()));
        packer.append_bytes(&hosts, b"127.0.0.1 localhost\n").unwrap();
        packer.append(&Entry::symlink("etc/link", "hosts")).unwrap();
        packer.append(&Entry::file("empty", 0o600, 0)).unwrap();
        packer.append_bytes(&Entry::file("large", 0o644, 0), &vec![7; 9 << 20]).unwrap();
        packer.append(&Entry { device: (1, 3), ..Entry::new("null", Kind::Char, 0o666) }).unwrap();
        let mut bytes = packer.finish().unwrap();
        // As tar pads it.
        bytes.resize(bytes.len().next_multiple_of(10_240), 0);
        bytes
    }

    fn written(tar: &[u8]) -> (Seekable, Vec<u8>) {
        estargz(tar, None, Vec::new()).unwrap()
    }

    fn plain(bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        decompress(bytes).unwrap().read_to_end(&mut all).unwrap();
        all
    }

    /// The table as a reader of the format finds it: by the footer.
    fn table(bytes: &[u8]) -> (usize, serde_json::Value, Vec<u8>) {
        let footer = &bytes[bytes.len() - FOOTER..];
        assert_eq!(&footer[32..38], b"STARGZ");
        let start = usize::from_str_radix(std::str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap();
        let tar = plain(&bytes[start..]);
        let mut reader = Reader::new(&tar[..]);
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!(entry.path.to_str(), Some(TOC));
        let json = reader.read_data(&entry, 1 << 20).unwrap();
        (start, serde_json::from_slice(&json).unwrap(), json)
    }

    #[test]
    fn the_table_leads_to_every_file() {
        let tar = archive();
        let (seekable, bytes) = written(&tar);
        let (start, table, json) = table(&bytes);
        assert_eq!(seekable.toc, <[u8; 32]>::from(Sha256::digest(&json)));
        let all = plain(&bytes);
        assert_eq!((seekable.length, seekable.diff), (all.len() as u64, Sha256::digest(&all).into()));
        // The archive as it was is what stands before the table.
        assert!(all.starts_with(&tar) && plain(&bytes[..start]) == tar);
        let rows = table["entries"].as_array().unwrap();
        let kinds: Vec<_> = rows.iter().map(|row| row["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["dir", "reg", "symlink", "reg", "reg", "chunk", "chunk", "char"]);
        assert_eq!((&rows[1]["modtime"], &rows[1]["uid"]), (&"2001-09-09T01:46:41Z".into(), &7.into()));
        assert_eq!((&rows[1]["mode"], &rows[1]["xattrs"]["user.note"]), (&0o4644.into(), &"eA==".into()));
        assert_eq!((&rows[2]["linkName"], &rows[7]["devMinor"]), (&"hosts".into(), &3.into()));
        for row in rows.iter().filter(|row| row["chunkDigest"].is_string()) {
            let member = plain(&bytes[row["offset"].as_u64().unwrap() as usize..]);
            let left =
                if row["name"] == "large" { 9 << 20 } else { 20 } - row["chunkOffset"].as_u64().unwrap_or(0);
            let chunk = &member[..row["chunkSize"].as_u64().unwrap_or(left) as usize];
            assert_eq!(row["chunkDigest"], named(&Sha256::digest(chunk)), "{row}");
        }
        assert_eq!(rows[4]["digest"], named(&Sha256::digest(vec![7; 9 << 20])));
        assert_eq!(rows[3]["digest"], named(&Sha256::digest(b"")));
        assert!(written(&tar) == (seekable, bytes));
    }

    #[test]
    fn what_it_cannot_say_is_refused() {
        let mut packer = Packer::new(Vec::new());
        packer.append(&Entry::file(format!("./{TOC}"), 0o644, 0)).unwrap();
        let error = estargz(&packer.finish().unwrap()[..], None, Vec::new()).map(drop).unwrap_err();
        assert!(error.to_string().contains("eStargz's own"), "{error}");
        let cut = &archive()[..3000];
        assert!(matches!(estargz(cut, None, Vec::new()).map(drop), Err(Error::Truncated(_))));
        let (_, nothing) = written(&[0; 1024]);
        assert_eq!(table(&nothing).1["entries"], serde_json::json!([]));
    }
}
