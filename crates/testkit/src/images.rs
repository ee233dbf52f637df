//! The images that tests run: busybox as a whole distribution, and Debian with servers in it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::Host;

impl Host {
    /// Imports `busybox:latest`: a shell, its tools, a passwd file with `root`, `nobody` and `app` (uid 1000).
    pub fn busybox(&self) {
        self.dhow(&["import", "--change", "CMD [\"sh\"]", "-", "busybox:latest"]).input(busybox()).ok();
    }

    /// Imports `services:latest`: Debian with nginx, PostgreSQL, Redis and Python.
    ///
    /// # Panics
    /// When the archive was not made: `cargo xtask test` makes it.
    pub fn services(&self) {
        self.debian("DHOW_TEST_SERVICES", "services");
    }

    /// Imports `languages:latest`: Debian with Node, npm, Go, Java's compiler and pip.
    ///
    /// # Panics
    /// When the archive was not made: `cargo xtask test` makes it.
    pub fn languages(&self) {
        self.debian("DHOW_TEST_LANGUAGES", "languages");
    }

    fn debian(&self, variable: &str, name: &str) {
        let archive = std::env::var_os(variable)
            .map_or_else(|| crate::target().join(format!("images/{name}.tar")), PathBuf::from);
        assert!(archive.exists(), "{} is missing: `cargo xtask test` makes it", archive.display());
        self.dhow(&["import", archive.to_str().expect("UTF-8"), name]).ok();
    }
}

/// A root file system around Debian's static busybox, as a tar archive.
pub fn busybox() -> Vec<u8> {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| archive().expect("write to memory")).clone()
}

fn archive() -> std::io::Result<Vec<u8>> {
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .expect("busybox-static is installed: `cargo xtask test` does that");
    let listed = Command::new(program).arg("--list").output()?.stdout;
    let mut tar = tar::Builder::new(Vec::new());
    for (folder, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("root", 0o700),
        ("home/app", 0o755),
        ("var/www", 0o755),
    ] {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        tar.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
    }
    let bytes = std::fs::read(program)?;
    tar.append_data(&mut header(tar::EntryType::Regular, 0o755, bytes.len()), "bin/busybox", &bytes[..])?;
    for applet in String::from_utf8_lossy(&listed).split_whitespace().filter(|&name| name != "busybox") {
        tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), format!("bin/{applet}"), "busybox")?;
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
    let group = "root:x:0:\nnogroup:x:65534:\napp:x:1000:\nstaff:x:50:app\n";
    for (name, contents) in [("etc/passwd", passwd), ("etc/group", group)] {
        tar.append_data(
            &mut header(tar::EntryType::Regular, 0o644, contents.len()),
            name,
            contents.as_bytes(),
        )?;
    }
    tar.into_inner()
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(size as u64);
    header
}
