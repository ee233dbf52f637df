//! Ways in: unix sockets, TCP, and one half of a socket pair in this process.
//!
//! A unix socket is made in a private directory with its final mode, then renamed to its place: at no moment
//! can anyone else connect, and a stale socket of an earlier server is replaced in one step.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engine::builds::Reach;
use http::{HeaderMap, StatusCode, header};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, tcp, unix};

use crate::error::Failure;

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listen on {}", path.display())]
    Unix {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("listen on {}: another server answers there", path.display())]
    InUse { path: PathBuf },
    #[error("listen on {}: it exists and is no socket", path.display())]
    NoSocket { path: PathBuf },
    #[error("listen on {address}")]
    Tcp {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(
        "listen on {0}: without TLS anyone who reaches this address is root here; only loopback addresses are served"
    )]
    Remote(SocketAddr),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The same process.
    InProcess,
    /// A process on this machine with this user id.
    Unix { uid: u32 },
    /// Anyone.
    Tcp,
}

impl Peer {
    /// A peer that could read any file that this process can may name one by path.
    pub fn reach(self) -> Reach {
        let ours = rustix::process::geteuid().as_raw();
        match self {
            Self::InProcess => Reach::Files,
            Self::Unix { uid } if uid == 0 || uid == ours => Reach::Files,
            Self::Unix { .. } | Self::Tcp => Reach::Nothing,
        }
    }

    /// The same for who speaks BuildKit's protocols.
    pub fn of_builds(self) -> buildkit::Peer {
        let uid = match self {
            Self::InProcess => Some(rustix::process::geteuid().as_raw()),
            Self::Unix { uid } => Some(uid),
            Self::Tcp => None,
        };
        buildkit::Peer { reach: self.reach(), uid }
    }
}

/// What a connection may ask for.
#[derive(Debug, Clone)]
pub struct Access {
    pub peer: Peer,
    /// Names in `Host` that are accepted on TCP besides addresses and this machine's own.
    pub hosts: Arc<[String]>,
}

impl Access {
    /// Refuses what a web page can send: a browser names the page in `Origin`, and a page that made its own
    /// name point here (DNS rebinding) shows that name in `Host`.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.peer != Peer::Tcp {
            return Ok(());
        }
        if headers.contains_key(header::ORIGIN) {
            return Err(Failure::new(StatusCode::FORBIDDEN, "requests of web pages are refused"));
        }
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.is_ours(host) {
            return Ok(());
        }
        Err(Failure::new(StatusCode::FORBIDDEN, format!("host {host:?} is not a name of this server")))
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = bare_host(host);
        if name.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost") {
            return true;
        }
        let node = rustix::system::uname();
        let node = node.nodename().to_string_lossy();
        name.eq_ignore_ascii_case(&node) || self.hosts.iter().any(|ours| name.eq_ignore_ascii_case(ours))
    }
}

/// The host part of `host:port`, `[::1]:port` and `::1`.
fn bare_host(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match host.rsplit_once(':') {
        Some((name, _)) if !name.contains(':') => name,
        _ => host,
    }
}

/// A place where connections come in.
pub enum Listener {
    Unix { listener: UnixListener, path: PathBuf, inode: u64 },
    Tcp(TcpListener),
}

impl Listener {
    /// A unix socket with mode 0660, owned by `group` when given.
    pub fn unix(path: &Path, group: Option<u32>) -> Result<Self, Error> {
        let fail = |source| Error::Unix { path: path.into(), source };
        check_place(path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let private = parent.join(format!(".dhow-{:016x}", fastrand::u64(..)));
        std::fs::DirBuilder::new().mode(0o700).create(&private).map_err(fail)?;
        let made = make_socket(&private.join("s"), path, group);
        // Nothing but the socket was in it, and that has moved or was never made.
        let _ = std::fs::remove_file(private.join("s"));
        let _ = std::fs::remove_dir(&private);
        let listener = made.map_err(fail)?;
        let inode = std::fs::symlink_metadata(path).map_err(fail)?.ino();
        Ok(Self::Unix { listener, path: path.into(), inode })
    }

    /// A TCP port; addresses that others can reach need `remote`.
    pub async fn tcp(address: SocketAddr, remote: bool) -> Result<Self, Error> {
        if !remote && !address.ip().is_loopback() {
            return Err(Error::Remote(address));
        }
        TcpListener::bind(address).await.map(Self::Tcp).map_err(|source| Error::Tcp { address, source })
    }

    /// A socket that a service manager opened.
    pub fn inherited(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix { listener: UnixListener::from_std(listener)?, path: PathBuf::new(), inode: 0 })
    }

    /// The port that was opened, for `:0`.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Stream::Unix(stream), Peer::Unix { uid }))
            }
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer::Tcp))
            }
        }
    }
}

/// Takes the socket away, unless another server has put its own there since.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, inode, .. } = self
            && std::fs::symlink_metadata(&*path).is_ok_and(|meta| meta.ino() == *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn check_place(path: &Path) -> Result<(), Error> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(Error::NoSocket { path: path.into() });
    }
    let answers = std::os::unix::net::UnixStream::connect(path).is_ok_and(who_listens_is_alive);
    if answers { Err(Error::InUse { path: path.into() }) } else { Ok(()) }
}

/// Whether there still is the process that listens at the other end. Where it was killed, children of it that have yet to go
/// hold the socket open for a moment, but nobody will answer.
fn who_listens_is_alive(stream: std::os::unix::net::UnixStream) -> bool {
    let asked = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)?.peer_cred());
    // Of one in a namespace that we don't see nothing is known.
    let Some(pid) = asked.ok().and_then(|asked| asked.pid()).filter(|pid| *pid > 0) else { return true };
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // Behind the name of its program, which may have any characters.
        Ok(stat) => !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])),
        Err(e) => e.kind() != io::ErrorKind::NotFound,
    }
}

fn make_socket(private: &Path, path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(private)?;
    std::fs::set_permissions(private, std::fs::Permissions::from_mode(0o660))?;
    if let Some(group) = group {
        std::os::unix::fs::lchown(private, None, Some(group))?;
    }
    std::fs::rename(private, path)?;
    Ok(listener)
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// The writing half of a connection.
#[derive(Debug)]
pub enum WriteHalf {
    Unix(unix::OwnedWriteHalf),
    Tcp(tcp::OwnedWriteHalf),
}

/// The reading half of a connection.
#[derive(Debug)]
pub enum ReadHalf {
    Unix(unix::OwnedReadHalf),
    Tcp(tcp::OwnedReadHalf),
}

impl Stream {
    /// Whether these are the first bytes that the peer sends. They stay to be read.
    pub async fn begins_with(&self, start: &[u8]) -> io::Result<bool> {
        loop {
            let ready = self.ready(Interest::READABLE).await?;
            let looked = self.try_io(Interest::READABLE, |socket| {
                let mut sent = vec![0; start.len()];
                let (count, _) = rustix::net::recv(socket, &mut *sent, RecvFlags::PEEK)?;
                match sent[..count] == start[..count] && count > 0 {
                    // The rest may be on its way: an error of this kind is waited for.
                    true if count < start.len() && !ready.is_read_closed() => {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                    is_same => Ok(is_same && count == start.len()),
                }
            });
            match looked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                looked => return looked,
            }
        }
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Unix(stream) => stream.ready(interest).await,
            Self::Tcp(stream) => stream.ready(interest).await,
        }
    }

    fn try_io<T>(
        &self,
        interest: Interest,
        work: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        match self {
            Self::Unix(stream) => stream.try_io(interest, || work(stream.as_fd())),
            Self::Tcp(stream) => stream.try_io(interest, || work(stream.as_fd())),
        }
    }

    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Unix(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Unix(read), WriteHalf::Unix(write))
            }
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
        }
    }
}

impl WriteHalf {
    /// True when the peer has read all that was written; unknown is true as well.
    pub fn is_taken(&self) -> bool {
        let socket = match self {
            Self::Unix(half) => half.as_ref().as_fd(),
            Self::Tcp(half) => half.as_ref().as_fd(),
        };
        sys::socket::untaken(socket).map_or(true, |amount| amount == 0)
    }

    /// True when the peer has closed both directions.
    pub async fn peer_is_gone(&self) -> bool {
        let ready = match self {
            Self::Unix(half) => half.ready(Interest::WRITABLE).await,
            Self::Tcp(half) => half.ready(Interest::WRITABLE).await,
        };
        ready.map_or(true, |ready| ready.is_write_closed())
    }
}

macro_rules! delegate {
    ($type:ident, read) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Unix(inner) => Pin::new(inner).poll_read(cx, buf),
                    Self::Tcp(inner) => Pin::new(inner).poll_read(cx, buf),
                }
            }
        }
    };
    ($type:ident, write) => {
        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Unix(inner) => Pin::new(inner).poll_write(cx, buf),
                    Self::Tcp(inner) => Pin::new(inner).poll_write(cx, buf),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Unix(inner) => Pin::new(inner).poll_flush(cx),
                    Self::Tcp(inner) => Pin::new(inner).poll_flush(cx),
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Unix(inner) => Pin::new(inner).poll_shutdown(cx),
                    Self::Tcp(inner) => Pin::new(inner).poll_shutdown(cx),
                }
            }
        }
    };
}

delegate!(Stream, read);
delegate!(Stream, write);
delegate!(ReadHalf, read);
delegate!(WriteHalf, write);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_bytes_are_looked_at_and_stay() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let sent = |parts: &'static [&'static str]| async move {
            let (near, mut far) = UnixStream::pair().unwrap();
            let mut near = Stream::Unix(near);
            let send = async {
                for part in parts {
                    far.write_all(part.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
                drop(far);
            };
            let (begins, ()) = tokio::join!(near.begins_with(b"PRI "), send);
            let mut all = String::new();
            near.read_to_string(&mut all).await.unwrap();
            assert_eq!(all, parts.concat());
            begins.unwrap()
        };
        assert!(sent(&["PRI * HTTP/2.0\r\n"]).await);
        assert!(sent(&["P", "R", "I", " "]).await);
        assert!(!sent(&["POST /build"]).await);
        assert!(!sent(&["P", "UT /"]).await);
        // Whoever leaves in the middle is not waited for.
        assert!(!sent(&["PRI"]).await);
        assert!(!sent(&[]).await);
    }

    fn access(peer: Peer) -> Access {
        Access { peer, hosts: ["box.example".to_owned()].into() }
    }

    fn check(peer: Peer, pairs: &[(&'static str, &'static str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        access(peer).check(&headers.collect()).is_ok()
    }

    #[test]
    fn web_pages_are_refused_on_tcp() {
        assert!(check(Peer::Tcp, &[("host", "127.0.0.1:2375")]));
        assert!(check(Peer::Tcp, &[("host", "[::1]:2375")]));
        assert!(check(Peer::Tcp, &[("host", "localhost")]));
        assert!(check(Peer::Tcp, &[("host", "BOX.example:1")]));
        assert!(!check(Peer::Tcp, &[("host", "evil.example:2375")]));
        assert!(!check(Peer::Tcp, &[]));
        assert!(!check(Peer::Tcp, &[("host", "127.0.0.1"), ("origin", "http://evil.example")]));
        assert!(check(Peer::Unix { uid: 1 }, &[("host", "anything")]));
    }

    #[tokio::test]
    async fn a_socket_is_private_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::unix(&path, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert!(matches!(Listener::unix(&path, None), Err(Error::InUse { .. })));
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 1, "nothing is left beside the socket");
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(Listener::unix(&path, None), Err(Error::NoSocket { .. })));
    }

    /// A child of a server that was killed holds its socket until it has gone as well.
    #[tokio::test]
    async fn a_socket_of_a_dead_server_is_replaced_while_its_children_go() {
        const SERVER: &str = r#"use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; bind(S, pack_sockaddr_un($ARGV[0])) or die;
            listen(S, 5) or die; $| = 1; $pid = fork; if ($pid) { print "$pid\n"; <STDIN>; exit } close STDOUT; sleep 1000"#;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let mut perl = std::process::Command::new("perl");
        perl.args(["-e", SERVER]).arg(&path).stdin(std::process::Stdio::piped());
        let mut server = perl.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut child = String::new();
        let mut told = io::BufReader::new(server.stdout.take().unwrap());
        io::BufRead::read_line(&mut told, &mut child).unwrap();
        assert!(matches!(Listener::unix(&path, None), Err(Error::InUse { .. })));
        drop(server.stdin.take());
        server.wait().unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        let listener = Listener::unix(&path, None);
        let ended = std::process::Command::new("kill").args(["-9", child.trim()]).status().unwrap();
        assert!(ended.success());
        listener.unwrap();
    }

    #[tokio::test]
    async fn tcp_is_for_loopback() {
        assert!(matches!(Listener::tcp("0.0.0.0:0".parse().unwrap(), false).await, Err(Error::Remote(_))));
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        assert!(listener.tcp_address().is_some());
    }
}
