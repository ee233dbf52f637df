//! Names of devices that vendors describe, `vendor.com/class=name` (Container Device Interface, SPEC.md 1.1.0).

/// Whether this is a device's whole name, and no path.
pub fn is_qualified(text: &str) -> bool {
    text.split_once('=').is_some_and(|(kind, name)| is_kind(kind) && is_name(name))
}

/// Whether this is `vendor.com/class`.
pub fn is_kind(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(vendor, class)| is_word(vendor, false, "_-.") && is_word(class, false, "_-."))
}

/// Whether this can be the name of one device of a kind.
pub fn is_name(text: &str) -> bool {
    is_word(text, true, "_-.:")
}

/// A letter, or also a digit, then letters, digits and some signs, and no sign at the end.
fn is_word(text: &str, digit_first: bool, signs: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(|c: char| if digit_first { plain(c) } else { c.is_ascii_alphabetic() })
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || signs.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["v.com/d=0", "nvidia.com/gpu=all", "a/b=c:d.e-f_g", "v/c.d=GPU-1"] {
            assert!(is_qualified(good), "{good}");
        }
        for bad in [
            "/dev/null",
            "/dev/a=b",
            "v.com=0",
            "v.com/d",
            "v.com/d=",
            "v.com/d=-",
            "1v/d=0",
            "v/d/e=0",
            "v/d=a b",
        ] {
            assert!(!is_qualified(bad), "{bad}");
        }
    }
}
