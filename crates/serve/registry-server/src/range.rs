//! `Range` of a download (RFC 9110 section 14.2) and `Content-Range` of an upload's chunk (distribution-spec, "Pushing a blob in chunks").

use std::ops::Range;

/// What of some content is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    Part(Range<u64>),
    /// Nothing that there is.
    Nothing,
}

/// Reads `bytes=…`. What is none, several ranges, or another unit may be ignored, and is.
pub(crate) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(text) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Wanted::All };
    let Some((first, last)) = text.trim().split_once('-') else { return Wanted::All };
    let (first, last) = (first.trim(), last.trim());
    let range = match (first, last) {
        ("", count) => number(count).map(|count| (size.saturating_sub(count), size)),
        (first, "") => number(first).map(|first| (first, size)),
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Some((first, last.saturating_add(1).min(size))),
            _ => None,
        },
    };
    match range {
        None => Wanted::All,
        Some((start, end)) if start < end => Wanted::Part(start..end),
        Some(_) => Wanted::Nothing,
    }
}

/// Reads `first-last`, with or without `bytes` in front, as clients send both.
pub(crate) fn chunk(text: &str) -> Option<Range<u64>> {
    let text = text.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split('/').next().unwrap_or_default();
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..last.checked_add(1)?)
}

/// Digits; too many of them are a large number.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let of = |text: &str| wanted(Some(text), 10);
        assert_eq!(of("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(of("bytes=2-5"), Wanted::Part(2..6));
        assert_eq!(of("bytes=5-"), Wanted::Part(5..10));
        assert_eq!(of("bytes=-3"), Wanted::Part(7..10));
        assert_eq!(of("bytes=-30"), Wanted::Part(0..10));
        assert_eq!(of("bytes=3-18446744073709551615"), Wanted::Part(3..10));
        assert_eq!(of("bytes=3-99999999999999999999999"), Wanted::Part(3..10));
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(of(text), Wanted::Nothing, "{text}");
        }
        for text in
            ["", "bytes=", "bytes=-", "bytes=x-y", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=+1-2"]
        {
            assert_eq!(of(text), Wanted::All, "{text}");
        }
        assert_eq!(wanted(None, 10), Wanted::All);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
    }

    #[test]
    fn chunks() {
        assert_eq!(chunk("0-4"), Some(0..5));
        assert_eq!(chunk("bytes 5-9/10"), Some(5..10));
        assert_eq!(chunk("bytes=5-9"), Some(5..10));
        for text in ["", "5", "5-", "-5", "9-5", "a-b", "0-99999999999999999999", "0-18446744073709551615"] {
            assert_eq!(chunk(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_wanted_is_there(text in "bytes=[0-9,-]{0,30}", size in 0u64..100) {
            if let Wanted::Part(range) = wanted(Some(&text), size) {
                assert!(range.start < range.end && range.end <= size);
            }
            let _ = chunk(&text);
        }
    }
}
