//! `/etc/hosts` of a container (man 5 hosts), with Docker's lines in Docker's order.

use std::fmt::Write;
use std::net::IpAddr;

/// One line: an address and the names that stand for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub address: IpAddr,
    /// At least one; the first is the canonical name.
    pub names: Vec<String>,
}

const LOCAL: [(&str, &str); 6] = [
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
];

/// The file's contents: the fixed lines, then `extra` (`--add-host`, links), then the container's own.
pub fn hosts(extra: &[Entry], own: &[Entry]) -> String {
    let mut contents = String::new();
    for (address, names) in LOCAL {
        let _ = writeln!(contents, "{address}\t{names}");
    }
    for entry in extra.iter().chain(own) {
        let _ = writeln!(contents, "{}\t{}", entry.address, entry.names.join(" "));
    }
    contents
}

/// What a file says, but for lines that say nothing. Its owner may have written anything.
pub fn entries(contents: &str) -> impl Iterator<Item = Entry> + '_ {
    contents.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        let names: Vec<String> = words.map(str::to_owned).collect();
        (!names.is_empty()).then_some(Entry { address, names })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_come_last() {
        let entry = |address: &str, names: &[&str]| Entry {
            address: address.parse().unwrap(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let contents = hosts(&[entry("10.0.0.1", &["db"])], &[entry("172.17.0.2", &["web.example", "web"])]);
        assert_eq!(
            contents,
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n\
             10.0.0.1\tdb\n172.17.0.2\tweb.example web\n"
        );
    }

    #[test]
    fn lines_that_say_nothing_are_passed_over() {
        let contents = "# 1.2.3.4 a\n\n127.0.0.1\tlocalhost here # 5\nnonsense b\n10.0.0.9\n fd00::2  db  db.example\r\n";
        let all: Vec<Entry> = entries(contents).collect();
        let seen: Vec<String> = all.iter().map(|e| format!("{} {}", e.address, e.names.join(","))).collect();
        assert_eq!(seen, ["127.0.0.1 localhost,here", "fd00::2 db,db.example"]);
    }
}
