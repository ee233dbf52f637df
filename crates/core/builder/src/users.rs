//! User and group names of an image, from its own `/etc/passwd` and `/etc/group`.

use oci::user;
use sys::root::Root;

/// The image's databases.
#[derive(Debug, Default)]
pub(crate) struct Users {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

/// Who a process is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl Users {
    /// Reads the databases of a file system; missing ones are empty. What is no file of a sensible size is an error
    /// (CVE-2024-9676).
    pub fn read(root: Option<&Root>) -> Result<Self, String> {
        let text = |path: &str| match root.map(|root| root.read_file(path, user::MAX_FILE)) {
            None => Ok(Vec::new()),
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Some(Err(e)) => Err(format!("read {path} of the image: {e}")),
        };
        Ok(Self { passwd: text("/etc/passwd")?, group: text("/etc/group")? })
    }

    /// `USER`.
    pub fn process(&self, spec: &str) -> Result<Identity, String> {
        let who = user::resolve(spec, &[], &self.passwd, &self.group).map_err(|e| e.to_string())?;
        Ok(Identity { uid: who.uid, gid: who.gid, groups: who.groups })
    }

    /// Who a directory belongs to that `WORKDIR` makes for this user. One whom the image does not know makes it as root: so
    /// Docker's builders have it.
    pub fn maker(&self, user: &str) -> Result<(u32, u32), String> {
        match user::owner(user, &self.passwd, &self.group) {
            Err(user::Error::NoUser(_) | user::Error::NoGroup(_)) => Ok((0, 0)),
            _ => self.owner(user),
        }
    }

    /// `--chown`.
    pub fn owner(&self, spec: &str) -> Result<(u32, u32), String> {
        let reason = |e| match e {
            user::Error::NoUser(user) => format!("can't find uid for user {user}: no such user: {user}"),
            user::Error::NoGroup(group) => {
                format!("can't find gid for group {group}: no such group: {group}")
            }
            other => other.to_string(),
        };
        user::owner(spec, &self.passwd, &self.group)
            .map_err(|e| format!("unable to convert uid/gid chown string to host mapping: {}", reason(e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(passwd: &str) -> Users {
        Users { passwd: passwd.into(), group: "root:x:0:\nstaff:x:50:app,other\n".into() }
    }

    #[test]
    fn messages_are_dockers() {
        let users = users("app:x:1000:1001::/home/app:/bin/sh\n");
        assert_eq!(users.process("app"), Ok(Identity { uid: 1000, gid: 1001, groups: vec![50, 1001] }));
        assert_eq!(
            users.process("nope").unwrap_err(),
            "unable to find user nope: no matching entries in passwd file"
        );
        assert_eq!(users.owner("55:staff"), Ok((55, 50)));
        assert_eq!((users.maker("app"), users.maker("nope")), (Ok((1000, 1001)), Ok((0, 0))));
        assert_eq!(
            users.owner("nope").unwrap_err(),
            "unable to convert uid/gid chown string to host mapping: can't find uid for user nope: no such user: nope"
        );
    }

    #[test]
    fn cve_2024_9676_databases_that_are_no_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        assert!(Users::read(Some(&root)).is_ok(), "none is fine");
        let passwd = dir.path().join("etc/passwd");
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "evil:x:0:0::/:/bin/sh\n").unwrap();
        std::os::unix::fs::symlink(outside.path(), &passwd).unwrap();
        let users = Users::read(Some(&root)).unwrap();
        assert!(users.process("evil").is_err(), "a link leads nowhere but below the root");
        std::fs::remove_file(&passwd).unwrap();
        std::fs::File::create(&passwd).unwrap().set_len(1 << 40).unwrap();
        assert!(Users::read(Some(&root)).unwrap_err().contains("/etc/passwd"));
        std::fs::remove_file(&passwd).unwrap();
        root.mknod("etc/passwd", rustix::fs::FileType::Fifo, 0o644, 0).unwrap();
        assert!(Users::read(Some(&root)).is_err(), "a pipe would block for ever");
    }
}
