//! Sparse files: GNU's old header and its three pax forms (0.0, 0.1, 1.0).

use crate::Segment;
use crate::header::{BLOCK, number};
use crate::pax::Records;

/// How many runs a file may have: what a map of a megabyte can say.
pub(crate) const SEGMENTS_MAX: usize = 1 << 17;

/// What the extended header says about a sparse file.
#[derive(Default)]
pub(crate) struct Declared {
    /// The map follows at the start of the data (1.0).
    pub map_in_data: bool,
    /// The map (0.0, 0.1).
    pub segments: Option<Vec<Segment>>,
    /// The name of the file; the entry's own is made up.
    pub name: Option<Vec<u8>>,
    /// The size of the file with its holes.
    pub size: Option<u64>,
}

impl Declared {
    /// Whether this is a sparse file at all.
    pub(crate) fn is_sparse(&self) -> bool {
        self.map_in_data || self.segments.is_some()
    }
}

/// Reads the `GNU.sparse.` records; none if they make no sense.
pub(crate) fn declared(records: &Records) -> Option<Declared> {
    let mut declared = Declared::default();
    let mut version = (0, 0);
    let mut pairs: Vec<u64> = Vec::new();
    let mut map = None;
    let decimal = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u64>().ok();
    for (key, value) in records {
        let Some(key) = key.strip_prefix(b"GNU.sparse.") else { continue };
        match key {
            b"major" => version.0 = decimal(value)?,
            b"minor" => version.1 = decimal(value)?,
            b"name" => declared.name = Some(value.clone()),
            b"size" | b"realsize" => declared.size = Some(decimal(value)?),
            b"offset" | b"numbytes" => {
                // They alternate, an offset first.
                if pairs.len().is_multiple_of(2) != (key == b"offset") {
                    return None;
                }
                pairs.push(decimal(value)?);
                map = Some(());
            }
            b"map" => {
                pairs.clear();
                if !value.is_empty() {
                    for part in value.split(|byte| *byte == b',') {
                        pairs.push(decimal(part)?);
                    }
                }
                map = Some(());
            }
            _ => {}
        }
    }
    match (version, map) {
        ((1, 0), _) => declared.map_in_data = true,
        ((0, _), Some(())) => declared.segments = Some(segments(&pairs)?),
        _ => {}
    }
    Some(declared)
}

/// Offsets and lengths, by turns, as runs.
pub(crate) fn segments(pairs: &[u64]) -> Option<Vec<Segment>> {
    if !pairs.len().is_multiple_of(2) || pairs.len() / 2 > SEGMENTS_MAX {
        return None;
    }
    Some(pairs.chunks_exact(2).map(|pair| Segment { offset: pair[0], length: pair[1] }).collect())
}

/// The runs in the header block of GNU's old form, whether more blocks follow, and the file's size.
pub(crate) fn old_header(block: &[u8; BLOCK]) -> Option<(Vec<Segment>, bool, u64)> {
    let size = number(&block[483..495])?.try_into().ok()?;
    Some((old_segments(&block[386..482])?, block[482] != 0, size))
}

/// The runs in a continuation block of GNU's old form and whether more blocks follow.
pub(crate) fn old_continuation(block: &[u8; BLOCK]) -> Option<(Vec<Segment>, bool)> {
    Some((old_segments(&block[..504])?, block[504] != 0))
}

fn old_segments(bytes: &[u8]) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let offset = number(&pair[..12])?.try_into().ok()?;
        let length = number(&pair[12..])?.try_into().ok()?;
        segments.push(Segment { offset, length });
    }
    Some(segments)
}

/// Whether the runs are in order, apart, inside the file and as long together as what is stored.
pub(crate) fn is_sound(segments: &[Segment], size: u64, stored: u64) -> bool {
    let mut end = 0u64;
    let mut sum = 0u64;
    for segment in segments {
        let Some(next) = segment.offset.checked_add(segment.length) else { return false };
        if segment.offset < end {
            return false;
        }
        end = next;
        sum = sum.saturating_add(segment.length);
    }
    end <= size && sum == stored
}
