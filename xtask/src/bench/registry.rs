//! What a registry gives: ours and Debian's docker-registry, on files, in one run, asked by the same client over loopback.
//!
//! Throughput is that of four connections with large blobs, whose bytes the client neither checks nor keeps; the pages of
//! what is pulled are in memory. Memory is the largest resident size of the server's process until then.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use super::build::{PATIENCE, PAUSE};
use crate::setup;
use crate::shell;

/// Says that this process is in a namespace of its own already.
const INSIDE: &str = "--inside";
const LARGE: usize = 64 << 20;
const BLOBS: usize = 8;
const CONNECTIONS: usize = 4;
const ROUNDS: usize = 4;
const IMAGES: usize = 100;
const SMALL: usize = 100 << 10;
const PULLERS: usize = 1000;
const STACK: usize = 128 << 10;
const PORT: u16 = 5055;

const ROWS: [&str; 7] = [
    "push of large blobs, MB/s",
    "pull of large blobs, MB/s",
    "processor time of the server for 1 GB pulled, s",
    "push of a small image, ms",
    "1,000 concurrent pulls of a small image, s",
    "errors in them",
    "memory of the server, MiB",
];

/// Measures us and docker-registry.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    if arguments.first().is_none_or(|first| first != INSIDE) {
        return enter();
    }
    let home = shell::target().join("bench/registry");
    let content = Content::make(&home)?;
    let mut columns = Vec::new();
    for name in ["dhow", "docker-registry"] {
        // Nobody's figures have what another's files cost.
        shell::quiet(&mut Command::new("sync"))?;
        let server = Server::start(name, &home)?;
        columns.push((name, server.measure(&content).with_context(|| name.to_owned())?));
    }
    println!("{:<50}{:>16}{:>18}", "", columns[0].0, columns[1].0);
    for (row, title) in ROWS.iter().enumerate() {
        println!("{title:<50}{:>16.2}{:>18.2}", columns[0].1[row], columns[1].1[row]);
    }
    fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))
}

/// Builds and installs what is needed, then goes on in a network namespace of its own.
fn enter() -> anyhow::Result<()> {
    setup::packages(&[
        ("docker-registry", "docker-registry"),
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
    ])?;
    setup::release_binary()?;
    let home = shell::target().join("bench/registry");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh"]).arg(own);
    shell::quiet(command.args(["bench", "registry", INSIDE]))
}

/// Bytes and what they are called.
type Blob = Arc<(String, Vec<u8>)>;

/// What is pushed.
struct Content {
    large: Vec<Blob>,
    config: Blob,
    layers: Vec<Blob>,
}

impl Content {
    fn make(home: &Path) -> anyhow::Result<Self> {
        let blob = |length: usize| -> anyhow::Result<Blob> {
            let mut bytes = vec![0; length];
            fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            named(home, bytes)
        };
        let large = (0..BLOBS).map(|_| blob(LARGE)).collect::<anyhow::Result<_>>()?;
        let layers = (0..IMAGES).map(|_| blob(SMALL)).collect::<anyhow::Result<_>>()?;
        Ok(Self { large, config: named(home, b"{}".to_vec())?, layers })
    }

    fn manifest(&self, layer: &Blob) -> Vec<u8> {
        serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.config.0, "size": 2 },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.0, "size": layer.1.len() }],
        })
        .to_string()
        .into_bytes()
    }
}

fn named(home: &Path, bytes: Vec<u8>) -> anyhow::Result<Blob> {
    let path = home.join("content");
    fs::write(&path, &bytes)?;
    let sum = shell::output(Command::new("sha256sum").arg(&path))?;
    let hex = sum.split_whitespace().next().context("a sum")?;
    Ok(Arc::new((format!("sha256:{hex}"), bytes)))
}

/// A registry that runs.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str, home: &Path) -> anyhow::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        let root = home.join(name);
        let mut command = match name {
            "dhow" => {
                let mut command = Command::new(setup::release_binary()?);
                command.args(["registry", "serve", "--addr", &address.to_string(), "--root"]).arg(&root);
                command
            }
            _ => {
                let file = home.join("registry.json");
                let config = serde_json::json!({
                    "version": 0.1,
                    "log": { "level": "error", "accesslog": { "disabled": true } },
                    "storage": { "filesystem": { "rootdirectory": root } },
                    "http": { "addr": address.to_string() },
                });
                fs::write(&file, config.to_string())?;
                let mut command = Command::new("docker-registry");
                command.arg("serve").arg(file);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self { child: command.spawn().with_context(|| format!("start {name}"))?, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > PATIENCE || server.child.try_wait()?.is_some() {
                bail!("{name} does not come up");
            }
            std::thread::sleep(PAUSE);
        }
        Ok(server)
    }

    fn measure(&self, content: &Content) -> anyhow::Result<Vec<f64>> {
        let megabytes = (BLOBS * LARGE) as f64 / 1e6;
        let begun = Instant::now();
        self.side_by_side(&content.large, |connection, blob| connection.push("bench/large", blob))?;
        let pushed = megabytes / begun.elapsed().as_secs_f64();
        let (before, begun) = (self.processor_time()?, Instant::now());
        for _ in 0..ROUNDS {
            self.side_by_side(&content.large, |connection, blob| {
                connection.get(&format!("/v2/bench/large/blobs/{}", blob.0)).map(drop)
            })?;
        }
        let pulled = megabytes * ROUNDS as f64 / begun.elapsed().as_secs_f64();
        let time = (self.processor_time()? - before) / (megabytes * ROUNDS as f64 / 1e3);
        let begun = Instant::now();
        let mut connection = Connection::open(self.address)?;
        for (number, layer) in content.layers.iter().enumerate() {
            connection.push("bench/small", &content.config)?;
            connection.push("bench/small", layer)?;
            connection.put(&format!("/v2/bench/small/manifests/v{number}"), &content.manifest(layer))?;
        }
        let image = begun.elapsed().as_secs_f64() * 1e3 / IMAGES as f64;
        let (seconds, errors) = self.storm(content)?;
        Ok(vec![pushed, pulled, time, image, seconds, errors as f64, self.memory()?])
    }

    /// Does this to all of them, over some connections at once.
    fn side_by_side(
        &self,
        blobs: &[Blob],
        work: impl Fn(&mut Connection, &Blob) -> anyhow::Result<()> + Sync,
    ) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            let part = |number: usize| {
                let work = &work;
                scope.spawn(move || {
                    let mut connection = Connection::open(self.address)?;
                    let mut own = blobs.iter().skip(number).step_by(CONNECTIONS);
                    own.try_for_each(|blob| work(&mut connection, blob))
                })
            };
            let parts: Vec<_> = (0..CONNECTIONS).map(part).collect();
            parts
                .into_iter()
                .try_for_each(|part| part.join().map_err(|_| anyhow::anyhow!("a thread died"))?)
        })
    }

    /// Many who pull the same at once: seconds, and how many did not get it.
    fn storm(&self, content: &Content) -> anyhow::Result<(f64, usize)> {
        let start = Arc::new(Barrier::new(PULLERS + 1));
        let targets = [
            "/v2/bench/small/manifests/v0".to_owned(),
            format!("/v2/bench/small/blobs/{}", content.config.0),
            format!("/v2/bench/small/blobs/{}", content.layers[0].0),
        ];
        let targets = Arc::new(targets);
        let mut threads = Vec::new();
        for _ in 0..PULLERS {
            let (start, targets, address) = (start.clone(), targets.clone(), self.address);
            let pull = move || {
                let connection = Connection::open(address);
                start.wait();
                let mut connection = connection?;
                let lengths = targets.iter().map(|target| connection.get(target));
                let lengths = lengths.collect::<anyhow::Result<Vec<usize>>>()?;
                ensure!(lengths[2] == SMALL, "a layer of {} bytes", lengths[2]);
                Ok(())
            };
            threads.push(std::thread::Builder::new().stack_size(STACK).spawn(pull)?);
        }
        start.wait();
        let begun = Instant::now();
        let errors =
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(Result::is_err).count();
        Ok((begun.elapsed().as_secs_f64(), errors))
    }

    /// Seconds of all processors.
    fn processor_time(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = text.rsplit(')').next().unwrap_or_default();
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / 100.0)
    }

    fn memory(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a largest size")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// HTTP/1.1 with bodies whose length is said.
struct Connection {
    stream: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

/// What came: status, where to go on, bytes of the body.
struct Answer {
    status: u16,
    location: Option<String>,
    length: usize,
}

impl Connection {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE * 4))?;
        Ok(Self { stream: BufReader::new(stream), buffer: vec![0; 32 << 10] })
    }

    fn ask(&mut self, method: &str, target: &str, kind: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: bench\r\nAccept: application/vnd.oci.image.manifest.v1+json\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Answer { status: 0, location: None, length: 0 };
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection ended");
            if answer.status == 0 {
                answer.status =
                    line.split(' ').nth(1).and_then(|code| code.parse().ok()).context("a status")?;
                continue;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => answer.length = value.trim().parse()?,
                "location" => answer.location = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let mut left = answer.length;
        while left > 0 {
            let most = left.min(self.buffer.len());
            let count = self.stream.read(&mut self.buffer[..most])?;
            ensure!(count > 0, "the connection ended {left} bytes early");
            left -= count;
        }
        Ok(answer)
    }

    /// Bytes of what is there.
    fn get(&mut self, target: &str) -> anyhow::Result<usize> {
        let answer = self.ask("GET", target, "", b"")?;
        ensure!(answer.status == 200, "{target}: {}", answer.status);
        Ok(answer.length)
    }

    fn push(&mut self, name: &str, blob: &Blob) -> anyhow::Result<()> {
        let begun = self.ask("POST", &format!("/v2/{name}/blobs/uploads/"), "", b"")?;
        let place = begun.location.context("where to go on")?;
        // Some say the whole address.
        let place = place.find("/v2/").map_or(place.as_str(), |at| &place[at..]);
        let separator = if place.contains('?') { '&' } else { '?' };
        let target = format!("{place}{separator}digest={}", blob.0);
        let answer = self.ask("PUT", &target, "application/octet-stream", &blob.1)?;
        ensure!(answer.status == 201, "push: {}", answer.status);
        Ok(())
    }

    fn put(&mut self, target: &str, document: &[u8]) -> anyhow::Result<()> {
        let answer = self.ask("PUT", target, "application/vnd.oci.image.manifest.v1+json", document)?;
        ensure!(answer.status == 201, "{target}: {}", answer.status);
        Ok(())
    }
}
