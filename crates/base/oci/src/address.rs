//! Addresses of servers and repositories as text, for people and documents.

/// An address without what lets somebody in: a token may stand where a user's name does. With ssh that is only who asks, and
/// stays.
pub fn without_userinfo(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, host)) = authority.rsplit_once('@') else { return address.to_owned() };
    let name = user.split(':').next().unwrap_or_default();
    let kept = match scheme.to_ascii_lowercase().as_str() {
        "ssh" | "git+ssh" | "ssh+git" if !name.is_empty() => format!("{name}@"),
        _ => String::new(),
    };
    format!("{scheme}://{kept}{host}{}", &rest[authority.len()..])
}

/// A part of an address without its percent signs. What does not stand for a byte stays as it is.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let hexadecimal = |pair: Option<&[u8]>| {
        let pair =
            std::str::from_utf8(pair?).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hexadecimal(bytes.get(at + 1..at + 3))) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lets_in_any_more() {
        for (address, want) in [
            ("https://me:secret@h/a@b", "https://h/a@b"),
            ("https://TOKEN@h/a.git#main", "https://h/a.git#main"),
            ("HTTP://a@b:c@h:8080?x=y@z", "HTTP://h:8080?x=y@z"),
            ("http://h/a", "http://h/a"),
            ("https://h?a@b", "https://h?a@b"),
            ("ssh://git@h:22/a.git", "ssh://git@h:22/a.git"),
            ("ssh://me:secret@h/a", "ssh://me@h/a"),
            ("SSH://me:secret@h", "SSH://me@h"),
            ("ssh://:secret@h/a", "ssh://h/a"),
            ("git://me@h/a", "git://h/a"),
            ("git@h:a/b.git", "git@h:a/b.git"),
            ("/a@b", "/a@b"),
            ("https://", "https://"),
            ("", ""),
        ] {
            assert_eq!(without_userinfo(address), want, "{address}");
        }
    }

    #[test]
    fn percent_signs_stand_for_bytes() {
        for (text, want) in
            [("sp%20ace", "sp ace"), ("%2E%2e", ".."), ("50%", "50%"), ("%zz%+1", "%zz%+1"), ("é", "é")]
        {
            assert_eq!(percent_decoded(text), want.as_bytes(), "{text}");
        }
        assert_eq!(percent_decoded("%ff%00"), [0xff, 0]);
    }
}
