//! The file, its connections and its transactions.

use crate::{Error, MIGRATIONS, SCHEMAS};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rustix::fs::FallocateFlags;
use std::fs::{OpenOptions, Permissions};
use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a transaction waits for another process's.
const BUSY: Duration = Duration::from_secs(60);
/// Pages that the log grows to before they are copied back. Whoever is first to open the database reads all of it, so most
/// commands do: it must be short.
const LOG_PAGES: u32 = 128;
/// Disk space that the log keeps: far more than that, so that things can still be removed when the disk is full and nothing
/// can be copied back.
const LOG_SPACE: u64 = 9 << 19;
/// The byte of the log's index that SQLite locks for reading where it has a connection. Who finds it unlocked is the first
/// and makes the index anew, for which it reads all of the log.
const IN_USE: i64 = 128;
/// Idle connections that are kept.
const IDLE_MAX: usize = 4;

/// The database. Cheap to clone; every clone shares the idle connections.
#[derive(Clone)]
pub struct Db {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    idle: Mutex<Vec<Pooled>>,
    /// Whose turn it is to write, of this process' threads: SQLite would have all others sleep for up to 100 ms at a time.
    turn: Mutex<()>,
    /// Never closed: closing any descriptor of a file takes all locks of this process on it away (fcntl(2)), those that
    /// SQLite has for another connection, too.
    presence: OnceLock<ManuallyDrop<OwnedFd>>,
}

/// A connection that may have been used before.
struct Pooled {
    connection: Connection,
    /// Whether the last change by it was durable; `None` before the first.
    durable: Option<bool>,
}

/// How long a fact holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Beyond a power failure.
    Lasting,
    /// Not longer than the machine runs.
    Fleeting,
}

/// A transaction; the functions of the nouns take one.
pub struct Tx<'c> {
    pub(crate) sql: rusqlite::Transaction<'c>,
}

impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.sql
    }
}

impl Db {
    /// Opens the file, creates it if it is missing, and brings its schema up to date. Several processes may do
    /// this at once.
    pub fn open(path: impl AsRef<Path>) -> Result<Db, Error> {
        Db::open_beside(path, false)
    }

    /// As [`Db::open`]; where there was something already (`used`) that only the database can have brought about, an empty
    /// one has lost what it knew, and is not taken for a new one: everything would be garbage.
    pub fn open_beside(path: impl AsRef<Path>, used: bool) -> Result<Db, Error> {
        let db = Db::unopened(path);
        db.prepare_file(used)?;
        Ok(db)
    }

    /// A database that may never be needed: [`Db::prepare_file`] comes before its first transaction.
    pub fn unopened(path: impl AsRef<Path>) -> Db {
        let path = path.as_ref().to_path_buf();
        Db {
            shared: Arc::new(Shared {
                path,
                idle: Mutex::default(),
                turn: Mutex::default(),
                presence: OnceLock::new(),
            }),
        }
    }

    /// What [`Db::open_beside`] does with the file.
    pub fn prepare_file(&self, used: bool) -> Result<(), Error> {
        self.close_to_others().map_err(|source| Error::Private { path: self.shared.path.clone(), source })?;
        let mut pooled = self.connect()?;
        self.migrate(&mut pooled.connection, used)?;
        // Without it all goes well until the disk is full.
        let _ = self.reserve_log();
        self.give_back(pooled);
        Ok(())
    }

    /// Holds the database open for whoever it is handed to, as a connection would: as long as one holds it, others
    /// that open the database need not read all of its log first.
    pub fn presence(&self) -> std::io::Result<BorrowedFd<'_>> {
        if let Some(presence) = self.shared.presence.get() {
            return Ok(presence.as_fd());
        }
        let index = ManuallyDrop::new(OwnedFd::from(std::fs::File::open(self.beside("-shm"))?));
        sys::lock::share(index.as_fd(), IN_USE, 1)?;
        Ok(self.shared.presence.get_or_init(|| index).as_fd())
    }

    /// A file that SQLite keeps with this one.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.shared.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Runs `work` on one consistent view.
    pub fn read<T, E: From<Error>>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        self.transact(TransactionBehavior::Deferred, None, work)
    }

    /// Runs `work` alone among all processes; when this returns Ok its changes survive a power failure, when
    /// it returns Err nothing was changed.
    pub fn write<T, E: From<Error>>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        self.transact(TransactionBehavior::Immediate, Some(true), work)
    }

    /// Like [`Db::write`], but a power failure may take the changes back (never in part): for facts that don't
    /// outlive their process, such as leases.
    pub fn write_fleeting<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transact(TransactionBehavior::Immediate, Some(false), work)
    }

    /// [`Db::write`] or [`Db::write_fleeting`].
    pub fn write_for<T, E: From<Error>>(
        &self,
        life: Life,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transact(TransactionBehavior::Immediate, Some(life == Life::Lasting), work)
    }

    fn transact<T, E: From<Error>>(
        &self,
        behavior: TransactionBehavior,
        durable: Option<bool>,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _turn = durable.map(|_| self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner));
        let mut pooled = self.pooled()?;
        let result = run(&mut pooled, behavior, durable, work);
        self.give_back(pooled);
        result
    }

    fn pooled(&self) -> Result<Pooled, Error> {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    fn give_back(&self, pooled: Pooled) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && pooled.connection.is_autocommit() {
            idle.push(pooled);
        }
    }

    fn open_error(&self, source: rusqlite::Error) -> Error {
        Error::Open { path: self.shared.path.clone(), source }
    }

    fn connect(&self) -> Result<Pooled, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.shared.path, flags)
            .map_err(|source| self.open_error(source))?;
        self.prepare(&mut connection).map_err(|source| self.open_error(source))?;
        Ok(Pooled { connection, durable: None })
    }

    fn prepare(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        connection.busy_handler(Some(await_other))?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        // A process that ends needn't copy the log back: the next writer's threshold does. It saves a
        // synchronous write at the end of every command.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode.eq_ignore_ascii_case("wal") {
            return Ok(());
        }
        // The switch needs the file for itself, and SQLite gives up at once where two processes both wait
        // for it while holding a read lock.
        let deadline = Instant::now() + BUSY;
        loop {
            match connection
                .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))
            {
                Ok(_) => return Ok(()),
                Err(error) if is_busy(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What is known of containers is nobody else's business, and who may read the index may lock it. SQLite gives its other
    /// files the database's mode.
    fn close_to_others(&self) -> std::io::Result<()> {
        let path = &self.shared.path;
        match std::fs::metadata(path) {
            Ok(found) if found.mode() & 0o077 == 0 => Ok(()),
            Ok(_) => [path.clone(), self.beside("-wal"), self.beside("-shm")].iter().try_for_each(|path| {
                match std::fs::set_permissions(path, Permissions::from_mode(0o600)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                    _ => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the log's disk space ahead. Its contents and its length stay as they are; SQLite locks other files.
    fn reserve_log(&self) -> std::io::Result<()> {
        let log = self.beside("-wal");
        if std::fs::metadata(&log)?.blocks() * 512 < LOG_SPACE {
            let log = std::fs::File::options().write(true).open(&log)?;
            rustix::fs::fallocate(log, FallocateFlags::KEEP_SIZE, 0, LOG_SPACE)?;
        }
        Ok(())
    }

    fn migrate(&self, connection: &mut Connection, used: bool) -> Result<(), Error> {
        let known = MIGRATIONS.len() as u32 + 1;
        let found = version(connection).map_err(|source| self.open_error(source))?;
        if found == known {
            return Ok(());
        }
        if found == 0 && used {
            return Err(Error::Emptied { path: self.shared.path.clone() });
        }
        if found > known {
            return Err(Error::Version { path: self.shared.path.clone(), found, known });
        }
        let step = |connection: &mut Connection| -> rusqlite::Result<()> {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have been first.
            match version(&tx)? {
                0 => {
                    for schema in SCHEMAS {
                        tx.execute_batch(schema)?;
                    }
                }
                found => {
                    for migration in MIGRATIONS.iter().skip(found as usize - 1) {
                        tx.execute_batch(migration)?;
                    }
                }
            }
            tx.pragma_update(None, "user_version", known)?;
            tx.commit()
        };
        step(connection).map_err(|source| self.open_error(source))
    }
}

fn run<T, E: From<Error>>(
    pooled: &mut Pooled,
    behavior: TransactionBehavior,
    durable: Option<bool>,
    work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let begin = |source| Error::Sql { attempt: "begin transaction".to_owned(), source };
    let Pooled { connection, durable: before } = pooled;
    if durable.is_some() && durable != *before {
        // NORMAL leaves out the synchronous write of the log at commit.
        let level = if durable == Some(true) { "FULL" } else { "NORMAL" };
        connection.pragma_update(None, "synchronous", level).map_err(begin)?;
        *before = durable;
    }
    let sql = connection.transaction_with_behavior(behavior).map_err(begin)?;
    let tx = Tx { sql };
    let value = work(&tx)?;
    tx.sql.commit().map_err(|source| Error::Sql { attempt: "commit transaction".to_owned(), source })?;
    Ok(value)
}

/// Sleeps once more as long as another process writes, which takes it a millisecond or a few: many that end at once would
/// be late by SQLite's own pauses, which grow up to a tenth of a second.
fn await_other(before: i32) -> bool {
    const PAUSE: Duration = Duration::from_millis(2);
    std::thread::sleep(PAUSE);
    PAUSE * before.unsigned_abs() < BUSY
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leases;

    #[test]
    fn many_open_and_write_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    // A Db of its own in each thread is what a process would have.
                    let db = Db::open(path).unwrap();
                    for round in 0..10 {
                        db.write_fleeting(|tx| leases::add(tx, &format!("{thread}.{round}"), "")).unwrap();
                    }
                });
            }
        });
        assert_eq!(Db::open(&path).unwrap().read(leases::ids).unwrap().len(), 80);
    }

    #[test]
    fn threads_of_one_process_write_in_turn_by_one_connection() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..50 {
                let db = &db;
                scope.spawn(move || db.write(|tx| leases::add(tx, &thread.to_string(), "")).unwrap());
            }
        });
        assert_eq!(db.shared.idle.lock().unwrap().len(), 1);
        assert_eq!(db.read(leases::ids).unwrap().len(), 50);
    }

    #[test]
    fn nobody_else_reads_or_locks_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let modes = || {
            ["", "-wal", "-shm"].map(|suffix| {
                let file = format!("{}{suffix}", path.display());
                std::fs::metadata(file).unwrap().mode() & 0o777
            })
        };
        let db = Db::open(&path).unwrap();
        assert_eq!(modes(), [0o600; 3]);
        for suffix in ["", "-wal", "-shm"] {
            let file = format!("{}{suffix}", path.display());
            std::fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        let _other = Db::open(&path).unwrap();
        assert_eq!(modes(), [0o600; 3]);
        drop(db);
    }

    #[test]
    fn an_error_takes_everything_back() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let result = db.write(|tx| {
            leases::add(tx, "1", "")?;
            leases::add(tx, "1", "")
        });
        assert!(matches!(result, Err(Error::Conflict { .. })));
        assert!(db.read(leases::ids).unwrap().is_empty());
    }

    #[test]
    fn the_log_has_disk_space_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        Db::open(&path).unwrap();
        let log = std::fs::metadata(dir.path().join("state.db-wal")).unwrap();
        assert!(log.blocks() * 512 >= LOG_SPACE && log.len() < LOG_SPACE);
    }

    #[test]
    fn the_log_is_not_read_anew_where_somebody_holds_the_database_open() {
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let db = Db::open(&path).unwrap();
        db.write(|tx| leases::add(tx, "1", "")).unwrap();
        let _held = db.presence().unwrap().try_clone_to_owned().unwrap();
        drop(db);
        // The checksum of the log's first page: who reads the log stops there.
        let log = std::fs::File::options().write(true).open(dir.path().join("state.db-wal")).unwrap();
        log.write_all_at(&[0; 8], 32 + 16).unwrap();
        assert_eq!(Db::open(&path).unwrap().read(leases::ids).unwrap(), ["1"]);
    }

    #[test]
    fn an_emptied_database_is_not_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        assert!(matches!(Db::open_beside(&path, true), Err(Error::Emptied { .. })));
        drop(Db::open(&path).unwrap());
        Db::open_beside(&path, true).unwrap();
    }

    #[test]
    fn refuses_a_newer_schema_and_what_is_no_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        drop(Db::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        assert!(matches!(Db::open(&path), Err(Error::Version { found: 999, .. })));
        std::fs::write(dir.path().join("text"), "x".repeat(5000)).unwrap();
        assert!(matches!(Db::open(dir.path().join("text")), Err(Error::Open { .. })));
    }
}
