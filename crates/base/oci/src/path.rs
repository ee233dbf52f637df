//! Paths of images and contexts as text.

/// Bytes of the longest path that Linux takes.
pub const MAX: usize = 4095;

/// A path without `.`, `..` and doubled slashes, as far as its text tells: Go's `filepath.Clean`, which the formats that
/// Docker reads are told with.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_like_go() {
        for (path, want) in [
            ("a/", "a"),
            ("./a//b/../c", "a/c"),
            ("/../a", "/a"),
            ("../a", "../a"),
            ("../../a/..", "../.."),
            ("a/..", "."),
            ("", "."),
            ("/", "/"),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
    }
}
