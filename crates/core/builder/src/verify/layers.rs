//! Two layers, file by file, as their archives have them.

use super::Difference;
use crate::error::{BoxError, Error};
use crate::request::Env;
use archive::{Entry, HashingReader, Kind, Reader, Time};
use oci::{ChainId, Digest};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use store::Layer;

/// A line that is longer is not shown.
const LINE: u64 = 160;

/// A file of a layer, and the digest of its content.
struct File {
    entry: Entry,
    content: Digest,
}

/// What differs between two layers; `place` says which.
pub(super) fn differences(
    env: &Env,
    one: &ChainId,
    two: &ChainId,
    place: &str,
) -> Result<Vec<Difference>, Error> {
    if one == two {
        return Ok(Vec::new());
    }
    let failed = |source| Error::Store { attempt: "compare layers", source };
    let layer = |chain: &ChainId| -> Result<Layer, Error> {
        let found = env.store.layer(chain).map_err(|e| failed(e.into()))?;
        found.ok_or_else(|| failed(store::Error::NoLayer(chain.clone()).into()))
    };
    let (one, two) = (layer(one)?, layer(two)?);
    if one.diff_id == two.diff_id {
        return Ok(Vec::new());
    }
    let (a, b) = (files(env, &one).map_err(failed)?, files(env, &two).map_err(failed)?);
    let paths: std::collections::BTreeSet<&PathBuf> = a.keys().chain(b.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        let shown = format!("{place}: /{}", path.display().to_string().escape_debug());
        let mut tell = |what: String, is_time| {
            found.push(Difference { place: shown.clone(), what, is_time });
        };
        match (a.get(path), b.get(path)) {
            (Some(a), Some(b)) => {
                attributes(&a.entry, &b.entry, &mut tell);
                if a.content != b.content {
                    tell(content(env, (&one, &two), path).map_err(failed)?, false);
                }
            }
            (Some(_), None) => tell("only the first build made it".to_string(), false),
            _ => tell("only the second build made it".to_string(), false),
        }
    }
    Ok(found)
}

fn attributes(a: &Entry, b: &Entry, tell: &mut dyn FnMut(String, bool)) {
    let mut field = |name: &str, a: String, b: String| {
        if a != b {
            tell(format!("{name} {a}, then {b}"), name == "mtime");
        }
    };
    field("type", kind(a.kind).to_string(), kind(b.kind).to_string());
    field("mode", format!("{:04o}", a.mode), format!("{:04o}", b.mode));
    field("uid", a.uid.to_string(), b.uid.to_string());
    field("gid", a.gid.to_string(), b.gid.to_string());
    field("size", a.size.to_string(), b.size.to_string());
    field("mtime", time(a.mtime), time(b.mtime));
    field("link", a.link.display().to_string(), b.link.display().to_string());
    let device = |(major, minor): (u32, u32)| format!("{major}:{minor}");
    field("device", device(a.device), device(b.device));
    let values = |entry: &Entry| entry.xattrs.iter().cloned().collect::<BTreeMap<_, _>>();
    let (of_a, of_b) = (values(a), values(b));
    let names: std::collections::BTreeSet<_> = of_a.keys().chain(of_b.keys()).collect();
    let shown = |value: Option<&Vec<u8>>| match value {
        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        None => "nothing".to_string(),
    };
    for name in names {
        let what = format!("attribute {}", name.to_string_lossy());
        field(&what, shown(of_a.get(name)), shown(of_b.get(name)));
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::HardLink => "hard link",
        Kind::Symlink => "symbolic link",
        Kind::Char => "character device",
        Kind::Block => "block device",
        Kind::Directory => "directory",
        Kind::Fifo => "named pipe",
    }
}

fn time(time: Time) -> String {
    let nanoseconds = i32::try_from(time.nanoseconds).unwrap_or(0);
    match jiff::Timestamp::new(time.seconds, nanoseconds) {
        Ok(stamp) => stamp.to_string(),
        Err(_) => time.seconds.to_string(),
    }
}

/// The files of a layer by their paths.
fn files(env: &Env, layer: &Layer) -> Result<BTreeMap<PathBuf, File>, BoxError> {
    let (source, sink) = io::pipe()?;
    std::thread::scope(|scope| {
        let packed = scope.spawn(move || -> Result<(), BoxError> {
            let mut sink = BufWriter::with_capacity(64 << 10, sink);
            env.store.layer_tar(layer, &mut sink)?;
            Ok(sink.flush()?)
        });
        let mut reader = Reader::new(BufReader::with_capacity(64 << 10, source));
        let mut files = BTreeMap::new();
        while let Some(entry) = reader.next_entry()? {
            let mut content = HashingReader::new(reader.data());
            io::copy(&mut content, &mut io::sink())?;
            let content = Digest::from_sha256(content.finish().0);
            // Names of directories end with a slash.
            files.insert(entry.path.components().collect(), File { entry, content });
        }
        archive::drain(&mut reader.into_inner())?;
        packed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(files)
    })
}

/// Where the content of a file begins to differ: the line if both are text, else the byte.
fn content(env: &Env, layers: (&Layer, &Layer), path: &Path) -> Result<String, BoxError> {
    let open = |layer: &Layer| -> Result<BufReader<_>, BoxError> {
        let root = env.store.layer_root(layer)?;
        Ok(BufReader::new(root.open_file(path)?))
    };
    let (mut one, mut two) = (open(layers.0)?, open(layers.1)?);
    let (mut line, mut offset) = (1u64, 0u64);
    loop {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        (&mut one).take(LINE).read_until(b'\n', &mut a)?;
        (&mut two).take(LINE).read_until(b'\n', &mut b)?;
        if a != b {
            let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count() as u64;
            let whole = |text: &[u8]| (text.len() as u64) < LINE;
            return Ok(match (std::str::from_utf8(&a), std::str::from_utf8(&b)) {
                (Ok(x), Ok(y)) if whole(&a) && whole(&b) && !x.contains('\0') && !y.contains('\0') => {
                    format!("content of line {line}: {:?}, then {:?}", x.trim_end(), y.trim_end())
                }
                _ => format!("content from byte {}", offset + same),
            });
        }
        if a.is_empty() {
            return Ok("content".to_string());
        }
        line += u64::from(a.ends_with(b"\n"));
        offset += a.len() as u64;
    }
}
