//! Paths of the image, as text: always with `/`, lexically cleaned.

/// `path` seen from the working directory. A slash at the end, and `.`, say "directory" and stay visible as a slash.
pub(super) fn resolve(workdir: &str, path: &str) -> String {
    let is_dir = path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
    let full = if path.starts_with('/') { path.to_string() } else { format!("{}/{path}", base(workdir)) };
    let mut clean = oci::path::clean(&full);
    if is_dir && clean != "/" {
        clean.push('/');
    }
    clean
}

/// `path` seen from the working directory, without a slash at the end.
pub(super) fn directory(workdir: &str, path: &str) -> String {
    let full = if path.starts_with('/') { path.to_string() } else { format!("{}/{path}", base(workdir)) };
    oci::path::clean(&full)
}

fn base(workdir: &str) -> String {
    if workdir.starts_with('/') { workdir.to_string() } else { format!("/{workdir}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_slash_says() {
        for (workdir, path, want) in [
            ("/app", ".", "/app/"),
            ("/app", "./", "/app/"),
            ("/app", "", "/app/"),
            ("/app", "x", "/app/x"),
            ("/app", "x/", "/app/x/"),
            ("", "x", "/x"),
            ("/", ".", "/"),
            ("/app", "/etc/../x/", "/x/"),
            ("/app", "../../../x", "/x"),
        ] {
            assert_eq!(resolve(workdir, path), want, "{workdir} {path}");
        }
        assert_eq!(directory("/a", "b/"), "/a/b");
        assert_eq!(directory("a", "c"), "/a/c");
    }
}
