//! A registry that is Docker Hub as far as this machine can tell: what tutorials name comes from there.

use std::path::Path;

use testkit::{Certificate, DockerRegistry, Host, Output, Typed};

const HUB: &str = "registry-1.docker.io";

/// Debian's registry in the place of Docker Hub, with a certificate that this machine trusts.
pub struct Hub<'a> {
    host: &'a Host,
    _registry: DockerRegistry,
}

impl<'a> Hub<'a> {
    /// Starts it on port 443 of the host's own network.
    pub fn new(host: &'a Host) -> Self {
        host.program("ip", &["link", "set", "lo", "up"]).ok();
        let new = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ];
        let root = ["-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=root"];
        host.program("openssl", &[&new[..], &root].concat()).ok();
        let name = format!("subjectAltName=DNS:{HUB}");
        let leaf = [
            "-keyout", "hub.key", "-out", "hub.pem", "-subj", "/CN=hub", "-CA", "root.pem", "-CAkey",
            "root.key",
        ];
        let use_ = ["-addext", &name, "-addext", "basicConstraints=critical,CA:FALSE"];
        host.program("openssl", &[&new[..], &leaf, &use_].concat()).ok();
        host.file("hosts", format!("127.0.0.1 localhost {HUB}\n"));
        let [certificate, key] = ["hub.pem", "hub.key"].map(|name| host.home().join(name));
        let shown = Certificate { certificate: &certificate, key: &key };
        let _registry = DockerRegistry::at(host, "127.0.0.1:443", Some(&shown));
        Self { host, _registry }
    }

    /// `dhow` where Docker Hub is here.
    pub fn dhow(&self, arguments: &[&str]) -> Typed {
        let script = "mount --bind hosts /etc/hosts && exec \"$0\" \"$@\"";
        let binary = testkit::binary();
        let own =
            ["--mount", "--propagation", "private", "sh", "-c", script, binary.to_str().expect("UTF-8")];
        self.host
            .program("unshare", &[&own[..], arguments].concat())
            .env("DHOW_ROOT", self.host.root().to_str().expect("UTF-8"))
            .env("DHOW_RUN", self.host.home().join("run").to_str().expect("UTF-8"))
            .env("SSL_CERT_FILE", self.host.home().join("root.pem").to_str().expect("UTF-8"))
    }

    /// Builds a target of a Dockerfile, puts it there under each of these names and forgets the names here.
    pub fn publish(&self, dockerfile: &Path, target: &str, names: &[&str]) {
        let dockerfile = dockerfile.to_str().expect("UTF-8");
        self.host.file("nothing/.keep", "");
        self.dhow(&["build", "-q", "--target", target, "-t", target, "-f", dockerfile, "nothing"]).ok();
        for name in names {
            self.dhow(&["tag", target, name]).ok();
            self.dhow(&["push", "-q", name]).ok();
            self.dhow(&["rmi", name]).ok();
        }
    }

    /// Builds a Dockerfile of `tests/tutorials` or of the host, as people do who look on.
    pub fn build(&self, name: &str, dockerfile: &Path, context: &str, more: &[&str]) -> Output {
        let what = ["build", "--progress", "plain", "-t", name, "-f", dockerfile.to_str().expect("UTF-8")];
        self.dhow(&[&what[..], more, &[context]].concat()).run()
    }
}
