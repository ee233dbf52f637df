//! User and group names of an image, from its own `/etc/passwd` and `/etc/group`, as Docker reads them.

use sys::root::Root;

/// Files larger than this are no user database.
const LIMIT: u64 = 4 << 20;

/// A larger number is none that the kernel would take for what it says: -1 changes nothing (CVE-2024-40635).
const MAX_ID: u32 = i32::MAX as u32;

/// The image's databases.
#[derive(Debug, Default)]
pub(crate) struct Users {
    passwd: String,
    group: String,
}

/// Who a process is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl Users {
    /// Reads the databases of a file system; missing ones are empty.
    pub fn read(root: Option<&Root>) -> Self {
        let text = |path: &str| {
            let bytes = root.and_then(|r| r.read_file(path, LIMIT).ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self { passwd: text("/etc/passwd"), group: text("/etc/group") }
    }

    /// `USER`: a number without an entry has group 0; without a group of its own the user's groups come along. The primary
    /// group is always among the supplementary ones (CVE-2022-36109).
    pub fn process(&self, spec: &str) -> Result<Identity, String> {
        if spec.is_empty() {
            return self.process("0");
        }
        let (user, group) = parts(spec);
        let entry = self.user(user);
        let uid = match (entry, user.parse::<u32>()) {
            (Some((_, uid, _)), _) => uid,
            (None, Ok(uid)) => uid,
            (None, Err(_)) => {
                return Err(format!("unable to find user {user}: no matching entries in passwd file"));
            }
        };
        let (gid, mut groups) = match (group, entry) {
            (Some(group), _) => (self.gid(group)?, Vec::new()),
            (None, Some((name, _, gid))) => (gid, self.groups_of(name)),
            (None, None) => (0, Vec::new()),
        };
        if [uid, gid].into_iter().any(|id| id > MAX_ID) {
            return Err(format!("uids and gids must be in range 0-{MAX_ID}: {spec}"));
        }
        if !groups.contains(&gid) {
            groups.insert(0, gid);
        }
        Ok(Identity { uid, gid, groups })
    }

    /// `--chown`: a number alone is also the group; a name alone brings its group.
    pub fn owner(&self, spec: &str) -> Result<(u32, u32), String> {
        let (user, group) = parts(spec);
        let (uid, own) = match user.parse::<u32>() {
            Ok(uid) => (uid, uid),
            Err(_) => match self.user(user) {
                Some((_, uid, gid)) => (uid, gid),
                None => {
                    return Err(format!(
                        "unable to convert uid/gid chown string to host mapping: can't find uid for user {user}: no such user: {user}"
                    ));
                }
            },
        };
        match group {
            Some(group) => Ok((uid, self.gid(group).map_err(|_| {
                format!("unable to convert uid/gid chown string to host mapping: can't find gid for group {group}: no such group: {group}")
            })?)),
            None => Ok((uid, own)),
        }
    }

    /// Name, uid and gid of the entry with this name or number.
    fn user(&self, user: &str) -> Option<(&str, u32, u32)> {
        let number = user.parse::<u32>().ok();
        let entries = || {
            self.passwd.lines().filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                let uid = fields.nth(1)?.parse::<u32>().ok()?;
                Some((name, uid, fields.next()?.parse::<u32>().ok()?))
            })
        };
        entries().find(|e| e.0 == user).or_else(|| entries().find(|e| Some(e.1) == number))
    }

    fn gid(&self, group: &str) -> Result<u32, String> {
        let named = self.groups().find(|(name, _, _)| *name == group).map(|(_, gid, _)| gid);
        named
            .or_else(|| group.parse().ok())
            .ok_or_else(|| format!("unable to find group {group}: no matching entries in group file"))
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        let member = |list: &str| list.split(',').any(|m| m == user);
        self.groups().filter(|(_, _, list)| member(list)).map(|(_, gid, _)| gid).collect()
    }

    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some((name, gid, fields.next().unwrap_or_default().trim()))
        })
    }
}

fn parts(spec: &str) -> (&str, Option<&str>) {
    match spec.split_once(':') {
        Some((user, "")) => (user, None),
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users {
            passwd: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbad\n".into(),
            group: "root:x:0:\napp:x:1001:\nstaff:x:50:app,other\n".into(),
        }
    }

    #[test]
    fn processes() {
        let who = |uid, gid, groups: &[u32]| Ok(Identity { uid, gid, groups: groups.to_vec() });
        let users = users();
        assert_eq!(users.process(""), who(0, 0, &[0]));
        assert_eq!(users.process("app"), who(1000, 1001, &[1001, 50]));
        assert_eq!(users.process("1000"), who(1000, 1001, &[1001, 50]));
        assert_eq!(users.process("app:staff"), who(1000, 50, &[50]));
        assert_eq!(users.process("77"), who(77, 0, &[0]));
        assert_eq!(users.process("77:88"), who(77, 88, &[88]));
        assert_eq!(
            users.process("nope").unwrap_err(),
            "unable to find user nope: no matching entries in passwd file"
        );
        assert_eq!(
            users.process("0:nope").unwrap_err(),
            "unable to find group nope: no matching entries in group file"
        );
        assert!(users.process("4294967295").is_err() && users.process("0:4294967295").is_err());
        assert_eq!(Users::default().process("0"), who(0, 0, &[0]));
    }

    #[test]
    fn owners() {
        let users = users();
        assert_eq!(users.owner("app"), Ok((1000, 1001)));
        assert_eq!(users.owner("app:app"), Ok((1000, 1001)));
        assert_eq!(users.owner("55"), Ok((55, 55)));
        assert_eq!(users.owner("55:staff"), Ok((55, 50)));
        assert_eq!(users.owner("1:0"), Ok((1, 0)));
        assert!(users.owner("nope").is_err() && users.owner("0:nope").is_err());
    }
}
