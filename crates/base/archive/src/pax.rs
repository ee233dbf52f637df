//! Extended headers (POSIX pax): records of `length key=value\n` that replace fields of the next entry.

use crate::Time;

/// Records in the order of the archive; later ones win.
pub(crate) type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Attributes are records with this key and their name behind it.
pub(crate) const XATTR: &[u8] = b"SCHILY.xattr.";

/// Reads the records; none if a length lies.
pub(crate) fn parse(mut bytes: &[u8]) -> Option<Records> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        // Some programs pad with NULs.
        if bytes.iter().all(|byte| *byte == 0) {
            break;
        }
        let space = bytes.iter().take(21).position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return None;
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=')?;
        if equals == 0 {
            return None;
        }
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Some(records)
}

/// Appends one record.
pub(crate) fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A decimal number.
pub(crate) fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Seconds with an optional fraction, of which nine digits count.
pub(crate) fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Time { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

/// The text of a time.
pub(crate) fn time_text(time: Time) -> String {
    if time.nanoseconds == 0 {
        return time.seconds.to_string();
    }
    let (sign, seconds, nanoseconds) = if time.seconds < 0 {
        ("-", -(time.seconds + 1), 1_000_000_000 - time.nanoseconds)
    } else {
        ("", time.seconds, time.nanoseconds)
    };
    let fraction = format!("{nanoseconds:09}");
    format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let mut bytes = Vec::new();
        let long = vec![b'x'; 95];
        for value in [&b""[..], b"a=b\nc", &long, &[0xff; 1000]] {
            push(&mut bytes, b"path", value);
        }
        let values: Vec<Vec<u8>> = parse(&bytes).unwrap().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, vec![b"".to_vec(), b"a=b\nc".to_vec(), long, vec![0xff; 1000]]);
    }

    #[test]
    fn lies_are_refused() {
        for bytes in [
            "5 a=b\n",
            "7 a=b\n",
            "6 a=b ",
            "99999999999999999999 a=b\n",
            "x a=b\n",
            "4 =\n",
            "3 \n",
            "-6 a=b\n",
            "6 a-b\n",
        ] {
            assert!(parse(bytes.as_bytes()).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn times() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("-1.5", -2, 500_000_000),
            ("-0.25", -1, 750_000_000),
            ("7.1234567899", 7, 123_456_789),
        ] {
            assert_eq!(time(text.as_bytes()), Some(Time { seconds, nanoseconds }), "{text}");
        }
        for text in ["", "1.x", ".5", "1e5"] {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
        for text in ["-1.5", "-0.25", "1.5", "-3", "12"] {
            assert_eq!(time_text(time(text.as_bytes()).unwrap()), text);
        }
    }
}
