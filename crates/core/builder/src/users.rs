//! User and group names of an image, from its own `/etc/passwd` and `/etc/group`.

use crate::error::{Error, StepError};
use crate::graph::Op;
use crate::session::Session;
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

/// Whom the image does not know, or why nobody can tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<String> for Unknown {
    fn from(message: String) -> Self {
        Self { message, hint: None }
    }
}

impl Unknown {
    /// As an error of a step.
    pub fn of_step(self, session: &Session<'_>, op: &Op) -> Error {
        let Self { message, hint } = self;
        Error::Step(Box::new(StepError { hint, ..*session.step_error(op, message) }))
    }
}

impl Users {
    /// Reads the databases of a file system; missing ones are empty. What is no file of a sensible size is an error
    /// (CVE-2024-9676).
    pub fn read(root: Option<&Root>) -> Result<Self, Unknown> {
        let text = |path: &str| match root.map(|root| root.read_file(path, user::MAX_FILE)) {
            None => Ok(Vec::new()),
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Some(Err(e)) => Err(Unknown::from(format!("read {path} of the image: {e}"))),
        };
        Ok(Self { passwd: text("/etc/passwd")?, group: text("/etc/group")? })
    }

    /// `USER`.
    pub fn process(&self, spec: &str) -> Result<Identity, Unknown> {
        let who = user::resolve(spec, &[], &self.passwd, &self.group);
        let who = who.map_err(|e| Unknown { hint: self.hint(&e), message: e.to_string() })?;
        Ok(Identity { uid: who.uid, gid: who.gid, groups: who.groups })
    }

    /// Who a directory belongs to that `WORKDIR` makes for this user. One whom the image does not know makes it as root: so
    /// Docker's builders have it.
    pub fn maker(&self, user: &str) -> Result<(u32, u32), Unknown> {
        match user::owner(user, &self.passwd, &self.group) {
            Err(user::Error::NoUser(_) | user::Error::NoGroup(_)) => Ok((0, 0)),
            _ => self.owner(user),
        }
    }

    /// `--chown`.
    pub fn owner(&self, spec: &str) -> Result<(u32, u32), Unknown> {
        let reason = |e: &user::Error| match e {
            user::Error::NoUser(user) => format!("can't find uid for user {user}: no such user: {user}"),
            user::Error::NoGroup(group) => {
                format!("can't find gid for group {group}: no such group: {group}")
            }
            other => other.to_string(),
        };
        user::owner(spec, &self.passwd, &self.group).map_err(|e| Unknown {
            message: format!("unable to convert uid/gid chown string to host mapping: {}", reason(&e)),
            hint: self.hint(&e),
        })
    }

    /// What to do about a name that the image does not have.
    fn hint(&self, error: &user::Error) -> Option<String> {
        let (name, file, make, alpine) = match error {
            user::Error::NoUser(name) => (name, &self.passwd, "useradd", "adduser -D"),
            user::Error::NoGroup(name) => (name, &self.group, "groupadd", "addgroup"),
            user::Error::Range(_) => return None,
        };
        if file.is_empty() {
            return Some(format!("the image has no names of its own: use a number in place of {name}"));
        }
        let text = String::from_utf8_lossy(file);
        let known = text.lines().filter_map(|line| line.split(':').next());
        let near = dockerfile::nearest(name, known).map(|near| format!("did you mean {near}? "));
        let near = near.unwrap_or_default();
        Some(format!(
            "{near}add `RUN {make} {name}` before (`RUN {alpine} {name}` on Alpine), or use a number"
        ))
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
            users.process("nope").unwrap_err().message,
            "unable to find user nope: no matching entries in passwd file"
        );
        assert_eq!(users.owner("55:staff"), Ok((55, 50)));
        assert_eq!((users.maker("app"), users.maker("nope")), (Ok((1000, 1001)), Ok((0, 0))));
        assert_eq!(
            users.owner("nope").unwrap_err().message,
            "unable to convert uid/gid chown string to host mapping: can't find uid for user nope: no such user: nope"
        );
    }

    #[test]
    fn whoever_is_missing_can_be_made() {
        let users = users("root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n");
        let hint = |unknown: Unknown| unknown.hint.unwrap();
        assert_eq!(
            hint(users.process("app").unwrap_err()),
            "add `RUN useradd app` before (`RUN adduser -D app` on Alpine), or use a number"
        );
        assert!(hint(users.owner("noed").unwrap_err()).starts_with("did you mean node? add `RUN useradd"));
        assert!(hint(users.owner("node:web").unwrap_err()).starts_with("add `RUN groupadd web`"));
        assert_eq!(users.process("-1").unwrap_err().hint, None);
        let none = Users::default().process("app").unwrap_err();
        assert_eq!(hint(none), "the image has no names of its own: use a number in place of app");
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
        assert!(Users::read(Some(&root)).unwrap_err().message.contains("/etc/passwd"));
        std::fs::remove_file(&passwd).unwrap();
        root.mknod("etc/passwd", rustix::fs::FileType::Fifo, 0o644, 0).unwrap();
        assert!(Users::read(Some(&root)).is_err(), "a pipe would block for ever");
    }
}
