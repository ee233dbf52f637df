//! Which uid, gid and groups a container's process gets (OCI image-spec, config.md, `User`), and whom `--chown` means.
//!
//! `user[:group]`, each a name from the image's `/etc/passwd` and `/etc/group` or a number, as Docker resolves it
//! (its `user` package). The two files come from the image and are hostile: the caller reads them confined and
//! capped; a line that does not parse is skipped. A number out of `0..=2147483647` or an unknown name is an error, so that
//! nothing that says somebody else ever falls through to uid 0 (CVE-2024-40635). Who names no user before a group means
//! uid 0, and what comes after the group is nothing, as Docker has it.

use std::collections::BTreeSet;

/// Bytes of passwd or group that are read at most.
pub const MAX_FILE: u64 = 1 << 20;

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups; the primary one is among them (CVE-2022-36109).
    pub groups: Vec<u32>,
    /// The user's home directory, when passwd names one.
    pub home: Option<String>,
}

/// Why a user cannot be resolved; texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The user is a name and passwd has no such line.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// The group is a name and group has no such line.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number that is no valid id.
    #[error("uids and gids must be in range 0-2147483647: {0}")]
    Range(String),
}

/// Resolves `spec` and the extra groups of `--group-add` against the image's files.
pub fn resolve(spec: &str, extra: &[String], passwd: &[u8], group: &[u8]) -> Result<Resolved, Error> {
    let mut parts = spec.split(':');
    let (user, group_name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let wanted = if user.is_empty() { "0" } else { user };
    let entry = find_user(wanted, passwd)?;
    let uid = match (&entry, number(wanted)?) {
        (Some(e), _) => e.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(Error::NoUser(user.to_owned())),
    };
    let mut groups = BTreeSet::new();
    let gid = if group_name.is_empty() {
        if let Some(e) = &entry {
            groups.extend(group_lines(group).filter(|g| g.members.contains(&e.name.as_str())).map(|g| g.gid));
        }
        entry.as_ref().map_or(0, |e| e.gid)
    } else {
        resolve_group(group_name, group)?
    };
    for name in extra {
        groups.insert(resolve_group(name, group)?);
    }
    groups.insert(gid);
    let home = entry.map(|e| e.home).filter(|h| !h.is_empty());
    Ok(Resolved { uid, gid, groups: groups.into_iter().collect(), home })
}

/// Whom `--chown` means: a number alone is also the group, a name alone brings its group, and nobody is root.
pub fn owner(spec: &str, passwd: &[u8], group: &[u8]) -> Result<(u32, u32), Error> {
    let (user, group_name) = spec.split_once(':').unwrap_or((spec, ""));
    let user = if user.is_empty() { "0" } else { user };
    let (uid, own) = match number(user)? {
        Some(uid) => (uid, uid),
        None => {
            let entry = find_user(user, passwd)?.ok_or_else(|| Error::NoUser(user.to_owned()))?;
            (entry.uid, entry.gid)
        }
    };
    let gid = if group_name.is_empty() { own } else { resolve_group(group_name, group)? };
    Ok((uid, gid))
}

struct Passwd {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

/// The first passwd line of this name, or of this uid when `wanted` is a number.
fn find_user(wanted: &str, passwd: &[u8]) -> Result<Option<Passwd>, Error> {
    let uid = number(wanted)?;
    Ok(lines(passwd).find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id = id(fields.nth(1)?)?;
        let gid = self::id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or("");
        let hit = uid.map_or(name == wanted, |uid| uid == id);
        hit.then(|| Passwd { name: name.to_owned(), uid: id, gid, home: home.to_owned() })
    }))
}

fn resolve_group(wanted: &str, group: &[u8]) -> Result<u32, Error> {
    if let Some(gid) = number(wanted)? {
        return Ok(gid);
    }
    group_lines(group)
        .find(|g| g.name == wanted)
        .map(|g| g.gid)
        .ok_or_else(|| Error::NoGroup(wanted.to_owned()))
}

fn group_lines(group: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = id(fields.nth(1)?)?;
        let members =
            fields.next().unwrap_or("").split(',').map(str::trim).filter(|m| !m.is_empty()).collect();
        Some(Group { name, gid, members })
    })
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    file.split(|b| *b == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A decimal id of the allowed range.
fn id(text: &str) -> Option<u32> {
    number(text).ok().flatten()
}

/// `Some` for a decimal number in range, `None` for a name, an error for what looks like a number but is no id.
fn number(text: &str) -> Result<Option<u32>, Error> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match digits.parse::<u32>() {
        Ok(n) if n <= i32::MAX as u32 && !text.starts_with('-') => Ok(Some(n)),
        _ => Err(Error::Range(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# note\nbad line\nweb:x:1000:1001::/srv:/bin/sh\n\
        huge:x:4294967295:0::/:/bin/sh\nneg:x:-1:0::/:/bin/sh\n1e3:x:7:7::/:/x\n";
    const GROUP: &[u8] = b"root:x:0:root\nweb:x:1001:\naudio:x:63:web,other\nvideo:x:44: web \nbroken\n";

    fn groups(spec: &str, extra: &[&str]) -> Result<(u32, u32, Vec<u32>), Error> {
        let extra: Vec<_> = extra.iter().map(|s| (*s).to_owned()).collect();
        resolve(spec, &extra, PASSWD, GROUP).map(|r| (r.uid, r.gid, r.groups))
    }

    #[test]
    fn forms_of_docker() {
        assert_eq!(groups("", &[]).unwrap(), (0, 0, vec![0]));
        assert_eq!(groups("web", &[]).unwrap(), (1000, 1001, vec![44, 63, 1001]));
        assert_eq!(groups("1000", &[]).unwrap(), (1000, 1001, vec![44, 63, 1001]));
        assert_eq!(groups("web:audio", &[]).unwrap(), (1000, 63, vec![63]));
        assert_eq!(groups("1234", &[]).unwrap(), (1234, 0, vec![0]));
        assert_eq!(groups("1234:5678", &[]).unwrap(), (1234, 5678, vec![5678]));
        assert_eq!(groups("1234", &["audio", "99"]).unwrap(), (1234, 0, vec![0, 63, 99]));
        assert_eq!(groups("1e3", &[]).unwrap(), (7, 7, vec![7]));
        assert_eq!(groups("+5", &[]).unwrap(), (5, 0, vec![0]));
        assert_eq!(groups("007:+9", &[]).unwrap(), (7, 9, vec![9]));
        assert_eq!(groups("web:", &[]).unwrap(), (1000, 1001, vec![44, 63, 1001]));
        assert_eq!(groups("web:audio:more", &[]).unwrap(), (1000, 63, vec![63]));
        assert_eq!(groups(":", &[]).unwrap(), (0, 0, vec![0]));
        assert_eq!(groups(":audio", &[]).unwrap(), (0, 63, vec![63]));
        assert_eq!(groups(":4242", &[]).unwrap(), (0, 4242, vec![4242]));
        assert_eq!(resolve("web", &[], PASSWD, GROUP).unwrap().home.as_deref(), Some("/srv"));
    }

    #[test]
    fn owners() {
        let owner = |spec| owner(spec, PASSWD, GROUP);
        assert_eq!(owner("web"), Ok((1000, 1001)));
        assert_eq!(owner("web:audio"), Ok((1000, 63)));
        assert_eq!(owner("1000"), Ok((1000, 1000)));
        assert_eq!(owner("1:0"), Ok((1, 0)));
        assert_eq!(owner("nobody"), Err(Error::NoUser("nobody".into())));
        assert_eq!(owner("0:nope"), Err(Error::NoGroup("nope".into())));
        assert_eq!(owner(":5"), Ok((0, 5)));
        assert_eq!(owner(":audio"), Ok((0, 63)));
        assert_eq!(owner(":"), Ok((0, 0)));
        // -1 is "leave it as it is" to chown(2).
        for spec in ["4294967295", "0:4294967295", "-1"] {
            assert!(matches!(owner(spec), Err(Error::Range(_))), "{spec}");
        }
    }

    #[test]
    fn cve_2016_3697_a_number_is_never_a_name() {
        let passwd = b"1000:x:0:0::/:/bin/sh\n77:x:0:0::/:/bin/sh\nweb:x:77:77::/:/bin/sh\n";
        let group = b"88:x:0:\n";
        let who = |spec| resolve(spec, &[], passwd, group).map(|who| (who.uid, who.gid));
        assert_eq!(who("1000"), Ok((1000, 0)));
        assert_eq!(who("77"), Ok((77, 77)));
        assert_eq!(who("1000:88"), Ok((1000, 88)));
        assert_eq!(super::owner("1000:88", passwd, group), Ok((1000, 88)));
    }

    #[test]
    fn nothing_falls_through_to_root() {
        let out_of_range = ["2147483648", "4294967295", "+4294967296", "-1", "-0", "99999999999999999999"];
        for spec in out_of_range {
            assert_eq!(groups(spec, &[]), Err(Error::Range(spec.into())));
            assert_eq!(groups(&format!("web:{spec}"), &[]), Err(Error::Range(spec.into())));
        }
        for spec in ["0x0", " 0", "0 ", "٠", "huge", "neg", "nobody", "bad line"] {
            assert_eq!(groups(spec, &[]), Err(Error::NoUser(spec.into())));
        }
        assert_eq!(groups(":nope", &[]), Err(Error::NoGroup("nope".into())));
        assert_eq!(groups("web:nope", &[]), Err(Error::NoGroup("nope".into())));
        assert_eq!(groups("web", &["nope"]), Err(Error::NoGroup("nope".into())));
    }
}
