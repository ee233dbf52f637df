//! The 512-byte block that stands before each entry (POSIX ustar, with GNU's numbers).

use crate::{Entry, Kind, Time};
use std::os::unix::ffi::OsStrExt;

/// Size of a block; everything in an archive is padded to it.
pub(crate) const BLOCK: usize = 512;

/// A block as read.
pub(crate) struct Header<'b>(pub &'b [u8; BLOCK]);

/// Who wrote the block: it decides what the bytes behind the link name mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Before POSIX: no more fields.
    V7,
    /// POSIX: device and prefix.
    Ustar,
    /// GNU: device, then fields of its own.
    Gnu,
}

impl<'b> Header<'b> {
    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Whether the sum fits, computed over unsigned or (as some old programs did) signed bytes.
    pub(crate) fn sum_is_right(&self) -> bool {
        let Some(stored) = number(&self.0[148..156]) else { return false };
        let bytes = self.0[..148].iter().chain([b' '; 8].iter()).chain(self.0[156..].iter());
        let unsigned: i64 = bytes.clone().map(|byte| i64::from(*byte)).sum();
        let signed: i64 = bytes.map(|byte| i64::from(*byte as i8)).sum();
        stored == unsigned || stored == signed
    }

    pub(crate) fn flavour(&self) -> Flavour {
        match &self.0[257..265] {
            b"ustar  \0" => Flavour::Gnu,
            magic if magic.starts_with(b"ustar") => Flavour::Ustar,
            _ => Flavour::V7,
        }
    }

    pub(crate) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(crate) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.flavour() {
            // star keeps times in the last bytes of the prefix and says so at the very end.
            Flavour::Ustar if &self.0[508..512] == b"tar\0" => text(&self.0[345..476]),
            Flavour::Ustar => text(&self.0[345..500]),
            Flavour::V7 | Flavour::Gnu => &[],
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(crate) fn link(&self) -> &'b [u8] {
        text(&self.0[157..257])
    }

    pub(crate) fn size(&self) -> Option<u64> {
        number(&self.0[124..136])?.try_into().ok()
    }

    pub(crate) fn mode(&self) -> Option<u32> {
        Some(number(&self.0[100..108])? as u32 & 0o7777)
    }

    pub(crate) fn uid(&self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub(crate) fn gid(&self) -> Option<i64> {
        number(&self.0[116..124])
    }

    pub(crate) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    pub(crate) fn device(&self) -> Option<(u32, u32)> {
        if self.flavour() == Flavour::V7 {
            return Some((0, 0));
        }
        Some((number(&self.0[329..337])?.try_into().ok()?, number(&self.0[337..345])?.try_into().ok()?))
    }
}

/// The bytes of a field up to its first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

/// A number: octal digits between spaces and NULs (none is 0), or GNU's big-endian two's complement with the
/// highest bit set in front.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i64 = if negative { -1 } else { 0 };
        for (index, byte) in field.iter().enumerate() {
            // The marking bit is no part of the number.
            let byte = match index {
                0 if negative => *byte | 0x80,
                0 => *byte & 0x7f,
                _ => *byte,
            };
            let shifted = value.checked_mul(256)?;
            value = shifted.checked_add(i64::from(byte))?;
        }
        return Some(value);
    }
    let digits = text(field).trim_ascii();
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Largest values that the octal fields hold.
pub(crate) const ID_MAX: u64 = 0o7777777;
pub(crate) const SIZE_MAX: u64 = 0o77777777777;

/// What of an entry does not fit a block and needs an extended header.
#[derive(Default)]
pub(crate) struct Misfit {
    pub path: bool,
    pub link: bool,
    pub uid: bool,
    pub gid: bool,
    pub size: bool,
    pub mtime: bool,
}

/// The block of an entry and what of it didn't fit.
pub(crate) fn encode(entry: &Entry) -> ([u8; BLOCK], Misfit) {
    let mut block = [0; BLOCK];
    let mut misfit = Misfit::default();
    let path = entry.path.as_os_str().as_bytes();
    match split(path) {
        Some((prefix, name)) => {
            block[..name.len()].copy_from_slice(name);
            block[345..345 + prefix.len()].copy_from_slice(prefix);
        }
        None => {
            misfit.path = true;
            block[..100].copy_from_slice(&path[..100]);
        }
    }
    let link = entry.link.as_os_str().as_bytes();
    misfit.link = link.len() > 100;
    let fits = link.len().min(100);
    block[157..157 + fits].copy_from_slice(&link[..fits]);

    octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
    misfit.uid = entry.uid > ID_MAX;
    octal(&mut block[108..116], if misfit.uid { 0 } else { entry.uid });
    misfit.gid = entry.gid > ID_MAX;
    octal(&mut block[116..124], if misfit.gid { 0 } else { entry.gid });
    misfit.size = entry.size > SIZE_MAX;
    octal(&mut block[124..136], if misfit.size { 0 } else { entry.size });
    let seconds = u64::try_from(entry.mtime.seconds).ok().filter(|seconds| *seconds <= SIZE_MAX);
    misfit.mtime = seconds.is_none() || entry.mtime.nanoseconds != 0;
    octal(&mut block[136..148], seconds.unwrap_or(0));
    block[156] = flag(entry.kind);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], u64::from(entry.device.0));
    octal(&mut block[337..345], u64::from(entry.device.1));
    seal(&mut block);
    (block, misfit)
}

/// The block of an extended header with this many bytes of records.
pub(crate) fn encode_extended(size: usize) -> [u8; BLOCK] {
    let (mut block, _) =
        encode(&Entry { mtime: Time::default(), ..Entry::file("PaxHeaders", 0o644, size as u64) });
    block[156] = b'x';
    seal(&mut block);
    block
}

/// Puts the sum in.
fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
    block[155] = b' ';
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    for (index, byte) in field[..digits].iter_mut().enumerate() {
        *byte = b'0' + (value >> (3 * (digits - 1 - index)) & 7) as u8;
    }
    field[digits] = 0;
}

/// Splits a path into prefix and name so that both fit; none if there is no slash at the right place.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((&[], path));
    }
    // The name is what remains behind the slash: not empty, and the slash itself isn't stored.
    let from = path.len().saturating_sub(101);
    let slash = (from..path.len() - 1).find(|index| path[*index] == b'/')?;
    (1..=155).contains(&slash).then(|| (&path[..slash], &path[slash + 1..]))
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Char => b'3',
        Kind::Block => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_octal_and_binary_numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(
            number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]),
            Some(-256)
        );
        assert_eq!(number(&[0x80, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn splits_long_names() {
        let name = "a".repeat(60);
        let long = format!("{name}/{name}/{name}");
        let (prefix, rest) = split(long.as_bytes()).unwrap();
        assert_eq!([prefix, b"/", rest].concat(), long.as_bytes());
        assert!(split("x".repeat(101).as_bytes()).is_none());
        assert!(split(format!("{}/", "x".repeat(100)).as_bytes()).is_none());
        assert!(split(format!("/{}", "x".repeat(100)).as_bytes()).is_none());
    }
}
