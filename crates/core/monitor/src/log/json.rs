//! A JSON string exactly as Docker's log writer makes it, so that logs can be compared byte by byte.

/// Appends `bytes` as a JSON string. Invalid UTF-8 becomes `\ufffd`; `<`, `>`, `&`, U+2028 and U+2029 are escaped, as Go does
/// for the sake of HTML and JavaScript.
pub fn text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        valid(chunk.valid(), out);
        // Go replaces byte by byte, and not sequence by sequence.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn valid(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'<' => "\\u003c",
            b'>' => "\\u003e",
            b'&' => "\\u0026",
            0..0x20 => {
                out.extend_from_slice(&bytes[plain..at]);
                plain = at + 1;
                control(byte, out);
                continue;
            }
            0xe2 if bytes[at..].starts_with(b"\xe2\x80\xa8") => "\\u2028",
            0xe2 if bytes[at..].starts_with(b"\xe2\x80\xa9") => "\\u2029",
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(escape.as_bytes());
        plain = at + if byte == 0xe2 { 3 } else { 1 };
    }
    out.extend_from_slice(&bytes[plain..]);
}

fn control(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u00");
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        text(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn go_escapes_these() {
        assert_eq!(json(b"a\"\\\n\r\t\x00\x1b<>&"), r#""a\"\\\n\r\u0009\u0000\u001b\u003c\u003e\u0026""#);
        assert_eq!(json("\u{2028}\u{2029}\u{20ac}".as_bytes()), "\"\\u2028\\u2029\u{20ac}\"");
        assert_eq!(json(b"\x7f"), "\"\x7f\"");
    }

    #[test]
    fn each_invalid_byte_is_replaced() {
        assert_eq!(json(b"a\xff\xe2\x82b"), r#""a\ufffd\ufffd\ufffdb""#);
    }

    #[test]
    fn any_text_is_valid_json() {
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        assert_eq!(serde_json::from_str::<String>(&json(all.as_bytes())).unwrap(), all);
    }
}
