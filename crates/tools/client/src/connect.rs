//! Ways to a server.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::error::{Error, Result};

/// Makes connections, and tells where to.
#[derive(Clone)]
pub struct Connector {
    host: Arc<str>,
    dial: Arc<dyn Fn() -> BoxFuture<'static, io::Result<Stream>> + Send + Sync>,
    in_process: bool,
}

impl Connector {
    /// A connector to `host` (for messages) through `dial`.
    pub fn new<F>(host: impl Into<Arc<str>>, dial: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, io::Result<Stream>> + Send + Sync + 'static,
    {
        Self { host: host.into(), dial: Arc::new(dial), in_process: false }
    }

    /// A connector to a server of this very program in this process: it speaks the newest version, and does not close a
    /// connection while another request may come.
    pub fn in_process<F>(dial: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, io::Result<Stream>> + Send + Sync + 'static,
    {
        Self { in_process: true, ..Self::new("embedded", dial) }
    }

    /// A connector to a unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        let path: PathBuf = path.into();
        Self::new(format!("unix://{}", path.display()), move || {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(Stream::Unix) }.boxed()
        })
    }

    /// A connector of a `DOCKER_HOST` text: `unix:///path`, `tcp://host:port`, `ssh://[user@]host[:port]`.
    pub fn from_host(host: &str) -> Result<Self> {
        let (scheme, rest) = host.split_once("://").ok_or_else(|| Error::Host(host.into()))?;
        if rest.is_empty() {
            return Err(Error::Host(host.into()));
        }
        match scheme {
            "unix" => Ok(Self::unix(rest)),
            "tcp" | "http" => Ok(Self::tcp(host, rest.trim_end_matches('/'))),
            "https" => Err(Error::Tls(host.into())),
            "ssh" => Self::ssh(host, rest),
            _ => Err(Error::Host(host.into())),
        }
    }

    fn tcp(host: &str, address: &str) -> Self {
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { address.to_owned() } else { format!("{address}:2375") };
        Self::new(host, move || {
            let address = address.clone();
            async move {
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            .boxed()
        })
    }

    fn ssh(host: &str, rest: &str) -> Result<Self> {
        let target = rest.split('/').next().unwrap_or_default();
        let (name, port) = match target.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse::<u16>().map_err(|_| Error::Host(host.into()))?)),
            None => (target, None),
        };
        // A name that begins with a dash would be an option of ssh.
        if name.is_empty() || name.starts_with('-') || name.contains(char::is_whitespace) {
            return Err(Error::Host(host.into()));
        }
        let name = name.to_owned();
        Ok(Self::new(host, move || {
            let mut command = Command::new("ssh");
            command.args(["-T", "-o", "ConnectTimeout=30"]);
            if let Some(port) = port {
                command.args(["-p", &port.to_string()]);
            }
            command.args(["--", &name, "docker", "system", "dial-stdio"]);
            async move { Piped::spawn(command).map(Box::new).map(Stream::Piped) }.boxed()
        }))
    }

    /// Where connections go to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the server is this process itself.
    pub fn is_in_process(&self) -> bool {
        self.in_process
    }

    /// A new connection.
    pub async fn dial(&self) -> Result<Stream> {
        (self.dial)().await.map_err(|source| Error::Connect { host: self.host.to_string(), source })
    }
}

/// A connection to a server. Shutting down the write side leaves the read side open.
#[derive(Debug)]
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Piped(Box<Piped>),
}

/// The standard streams of a command that reaches the server; it is killed with the connection.
#[derive(Debug)]
pub struct Piped {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    _child: Child,
}

impl Piped {
    fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (stdin @ Some(_), Some(stdout)) => Ok(Self { stdin, stdout, _child: child }),
            _ => Err(io::Error::other("command has no standard streams")),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Piped(s) => Pin::new(&mut s.stdout).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::Piped(s) => match &mut s.stdin {
                Some(stdin) => Pin::new(stdin).poll_write(cx, buf),
                None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(s) => Pin::new(s).poll_flush(cx),
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
            Self::Piped(s) => match &mut s.stdin {
                Some(stdin) => Pin::new(stdin).poll_flush(cx),
                None => Poll::Ready(Ok(())),
            },
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Piped(s) => {
                s.stdin = None;
                Poll::Ready(Ok(()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["unix:///run/x.sock", "tcp://127.0.0.1:2375", "tcp://h", "ssh://u@h", "ssh://u@h:22"] {
            assert_eq!(Connector::from_host(good).unwrap().host(), good);
        }
        for bad in [
            "",
            "unix://",
            "/run/x.sock",
            "npipe:////./pipe",
            "ssh://-oProxyCommand=x",
            "ssh://h:x",
            "https://h",
        ] {
            assert!(Connector::from_host(bad).is_err(), "{bad}");
        }
    }
}
