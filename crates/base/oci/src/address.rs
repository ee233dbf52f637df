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
}
