//! The user's home directory, by the container's own `/etc/passwd`.

use sys::root::Root;

/// Files larger than this are no user database.
const LIMIT: u64 = 1 << 20;

/// The home of `uid`; `/` where the file does not tell.
pub(crate) fn of(root: &Root, uid: u32) -> String {
    let passwd = root.read_file("/etc/passwd", LIMIT).unwrap_or_default();
    find(&String::from_utf8_lossy(&passwd), uid).unwrap_or("/").to_owned()
}

fn find(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let own = fields.get(2)?.parse::<u32>().ok()? == uid;
        fields.get(5).copied().filter(|home| own && home.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_with_a_home_counts() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\n7:x:0:0::/seven:\na:x:7:7::/a:\nb:x:7:7::/b:";
        assert_eq!(find(passwd, 0), Some("/root"));
        assert_eq!(find(passwd, 7), Some("/a"));
        assert_eq!(find(passwd, 8), None);
    }
}
