//! Users and their passwords: `name:hash` lines with bcrypt hashes.
//!
//! A hash is slow to check on purpose. So only as many are checked at a time as there are processors, only some more may
//! wait, and what was right is remembered for some minutes: as a keyed digest, in memory, as long as the user's line is the same.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::watched::{Watched, lines};
use super::{Error, rules};
use crate::answer::Result;
use crate::error::{Code, Failure};

/// How long a right password is remembered, and how many are.
const REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);
const REMEMBERED: usize = 1000;
/// How many may wait for their password to be checked.
const WAITING: usize = 100;

type Users = HashMap<String, String>;

pub(super) struct Passwords {
    users: Watched<Users>,
    secret: [u8; 32],
    known: Mutex<HashMap<[u8; 32], Instant>>,
    checks: Semaphore,
    places: Semaphore,
}

impl Passwords {
    pub(super) fn open(path: &Path) -> Result<Passwords, Error> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut secret = [0; 32];
        // Never fails for so few bytes.
        let _ = rustix::rand::getrandom(&mut secret[..], rustix::rand::GetRandomFlags::empty());
        Ok(Passwords {
            users: Watched::open(path, parse)?,
            secret,
            known: Mutex::default(),
            checks: Semaphore::new(processors),
            places: Semaphore::new(WAITING),
        })
    }

    /// Whether there is such a user.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.users.now().contains_key(name)
    }

    /// What changes with the user's password.
    pub(super) fn fingerprint(&self, name: &str) -> Option<String> {
        let users = self.users.now();
        Some(hex::encode(&Sha256::digest(users.get(name)?)[..16]))
    }

    /// Succeeds when this is the user's password. It takes as long for a user that there is not.
    pub(super) async fn check(&self, name: &str, password: &str) -> Result<()> {
        let users = self.users.now();
        let (hash, real) = match users.get(name) {
            Some(hash) => (hash.clone(), true),
            None => match users.values().next() {
                Some(other) => (other.clone(), false),
                None => return Err(wrong()),
            },
        };
        let mark = self.mark(name, password, &hash);
        if real && self.remembers(&mark) {
            return Ok(());
        }
        let busy = |_| Failure::says(Code::TooManyRequests, "too many passwords are being checked");
        let _place = self.places.try_acquire().map_err(busy)?;
        // It is never closed.
        let _check = self.checks.acquire().await.map_err(|_| Failure::new(Code::Unknown))?;
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        match right {
            Ok(Ok(true)) if real => {
                self.remember(mark);
                Ok(())
            }
            _ => Err(wrong()),
        }
    }

    fn mark(&self, name: &str, password: &str, hash: &str) -> [u8; 32] {
        let length = |text: &str| (text.len() as u64).to_be_bytes();
        let digest = Sha256::new().chain_update(self.secret).chain_update(length(name)).chain_update(name);
        let digest = digest.chain_update(length(password)).chain_update(password).chain_update(hash);
        digest.finalize().into()
    }

    fn remembers(&self, mark: &[u8; 32]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(mark).is_some_and(|since| since.elapsed() < REMEMBERED_FOR)
    }

    fn remember(&self, mark: [u8; 32]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, since| since.elapsed() < REMEMBERED_FOR);
        if known.len() < REMEMBERED {
            known.insert(mark, Instant::now());
        }
    }
}

fn wrong() -> Failure {
    Failure::says(Code::Unauthorized, "incorrect username or password")
}

fn parse(text: &str) -> Result<Users, (usize, String)> {
    let mut users = Users::new();
    for (number, line) in lines(text) {
        let (name, hash) = line.split_once(':').ok_or((number, "no colon after the name".to_owned()))?;
        if !["$2a$", "$2b$", "$2y$"].iter().any(|kind| hash.starts_with(kind)) || hash.len() != 60 {
            return Err((number, "only bcrypt hashes are taken: `htpasswd -B` makes them".to_owned()));
        }
        if name.is_empty() || rules::is_reserved(name) {
            return Err((number, format!("{name:?} can't be a user's name")));
        }
        users.insert(name.to_owned(), hash.to_owned());
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_htpasswd() {
        let hash = bcrypt::hash("x", 4).unwrap();
        let users = parse(&format!("# people\nann:{hash}\n\n bob:{hash}\r\n")).unwrap();
        assert_eq!(users.len(), 2);
        for line in ["ann", "ann:$apr1$x$y", "ann:{SHA}x", "ann:plain", ":x"] {
            assert_eq!(parse(&format!("# x\n{line}")).unwrap_err().0, 2, "{line}");
        }
        assert!(parse(&format!("anonymous:{hash}")).is_err());
    }

    #[tokio::test]
    async fn passwords_are_checked_and_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        std::fs::write(&path, format!("ann:{}", bcrypt::hash("right", 4).unwrap())).unwrap();
        let passwords = Passwords::open(&path).unwrap();
        for _ in 0..2 {
            assert!(passwords.check("ann", "right").await.is_ok());
            for (name, password) in
                [("ann", "wrong"), ("ann", ""), ("bob", "right"), ("", "right"), ("ann", "right\0")]
            {
                assert!(passwords.check(name, password).await.is_err(), "{name} {password:?}");
            }
        }
        let first = passwords.fingerprint("ann");
        assert!(first.is_some() && passwords.fingerprint("bob").is_none());
    }
}
