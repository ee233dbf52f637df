//! `cargo xtask vm`: the same binary on a machine with cgroup v2 alone and Debian's kernel, in software emulation.
//!
//! The machine is an initial ramfs: busybox, the release binary, the kernel modules it needs, and `tests/vm`. It has no network
//! card, an empty disk and one with an empty file system, runs `tests/vm/main`, and says PASS or FAIL for each check on its serial console.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::setup;
use crate::shell::{self, output, root};

const MODULES: &[&str] = &[
    "overlay",
    "veth",
    "bridge",
    "br_netfilter",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_ct",
    "nft_fib_inet",
    "virtio_pci",
    "virtio_blk",
    "bfq",
];

/// Bytes of each disk, of which nothing is kept.
const DISK: u64 = 64 << 20;

/// Boots the machine and reports its checks.
pub fn run() -> anyhow::Result<()> {
    setup::packages(&[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("cpio", "cpio"),
        ("modprobe", "kmod"),
        ("busybox", "busybox-static"),
        ("mkfs.ext4", "e2fsprogs"),
    ])?;
    let binary = setup::release_binary()?;
    let home = shell::target().join("vm");
    fs::create_dir_all(&home)?;
    let kernel = kernel(&home)?;
    let ramfs = ramfs(&home, &kernel, &binary)?;
    let mut machine = Command::new("qemu-system-x86_64");
    machine.args([
        "-m",
        "1536",
        "-smp",
        "2",
        "-cpu",
        "max",
        "-accel",
        "tcg",
        "-nographic",
        "-no-reboot",
        "-nic",
        "none",
    ]);
    let disk = home.join("disk");
    fs::File::create(&disk).and_then(|file| file.set_len(DISK)).context("make the disk")?;
    // The second one's file system can have the kernel check files.
    let sealed = home.join("sealed");
    fs::File::create(&sealed).and_then(|file| file.set_len(DISK)).context("make the second disk")?;
    shell::quiet(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096", "-O", "verity"]).arg(&sealed))?;
    for disk in [&disk, &sealed] {
        machine.arg("-drive").arg(format!("file={},if=virtio,format=raw,cache=unsafe", disk.display()));
    }
    machine.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(ramfs);
    machine.args(["-append", "console=ttyS0 quiet panic=-1 cgroup_no_v1=all"]).stdin(Stdio::null());
    eprintln!("+ {}", shell::display(&machine));
    let said =
        output(Command::new("timeout").arg("900").arg(machine.get_program()).args(machine.get_args()))?;
    print!("{said}");
    let result = said.lines().find_map(|line| line.trim().strip_prefix("RESULT "));
    let passed = said.lines().filter(|line| line.starts_with("PASS ")).count();
    match result {
        Some("0") if passed > 0 => Ok(()),
        Some(failures) => bail!("{failures} checks fail in the virtual machine"),
        None => bail!("the virtual machine did not come to its end"),
    }
}

struct Kernel {
    image: PathBuf,
    /// The folder that has `lib/modules/<release>`.
    folder: PathBuf,
    release: String,
}

/// Debian's kernel for virtual machines, unpacked below `home` and not installed.
fn kernel(home: &Path) -> anyhow::Result<Kernel> {
    let folder = home.join("kernel");
    if !folder.join("boot").exists() {
        let depends = output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
        let package = depends
            .lines()
            .find_map(|line| {
                line.trim().strip_prefix("Depends: ").filter(|name| name.starts_with("linux-image-"))
            })
            .context("linux-image-cloud-amd64 depends on no kernel: run apt-get update")?;
        let download = home.join("download");
        fs::create_dir_all(&download)?;
        shell::run(Command::new("apt-get").args(["-q", "download", package]).current_dir(&download))?;
        let archive = fs::read_dir(&download)?.flatten().next().context("apt-get downloaded nothing")?.path();
        shell::run(Command::new("dpkg-deb").arg("-x").arg(archive).arg(home.join("partial")))?;
        fs::rename(home.join("partial"), &folder)?;
        fs::remove_dir_all(&download)?;
    }
    let modules =
        fs::read_dir(folder.join("lib/modules"))?.flatten().next().context("a kernel without modules")?;
    let release = modules.file_name().to_string_lossy().into_owned();
    shell::run(Command::new("depmod").arg("-b").arg(&folder).arg(&release))?;
    Ok(Kernel { image: folder.join(format!("boot/vmlinuz-{release}")), folder, release })
}

/// The machine's whole file system as a cpio archive.
fn ramfs(home: &Path, kernel: &Kernel, binary: &Path) -> anyhow::Result<PathBuf> {
    let tree = home.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for folder in ["bin", "etc", "scenario"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    let busybox = setup::busybox()?;
    install(busybox, &tree.join("bin/busybox"))?;
    install(binary, &tree.join("bin/dhow"))?;
    let tests = root().join("tests/vm");
    install(&tests.join("init"), &tree.join("init"))?;
    for file in ["main", "checks", "bundles"] {
        install(&tests.join(file), &tree.join("scenario").join(file))?;
    }
    fs::create_dir(tree.join("scenario/topics"))?;
    for topic in fs::read_dir(tests.join("topics"))? {
        let topic = topic?;
        install(&topic.path(), &tree.join("scenario/topics").join(topic.file_name()))?;
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(tree.join("modules.list"), MODULES.join(" "))?;
    busybox_archive(home, busybox, &tree.join("scenario/busybox.tar"))?;
    modules(kernel, &tree)?;
    let archive = home.join("ramfs.cpio");
    let list = "find . -print0 | cpio --null --create --format=newc --quiet";
    let file = fs::File::create(&archive)?;
    shell::quiet(Command::new("sh").args(["-c", list]).current_dir(&tree).stdout(file))?;
    Ok(archive)
}

fn install(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The image that the scenario imports: busybox under its applets' names.
fn busybox_archive(home: &Path, busybox: &Path, archive: &Path) -> anyhow::Result<()> {
    let tree = home.join("busybox");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for folder in ["bin", "etc", "tmp", "var/www"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    install(busybox, &tree.join("bin/busybox"))?;
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    for applet in
        output(Command::new(busybox).arg("--list"))?.split_whitespace().filter(|&name| name != "busybox")
    {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet))?;
    }
    shell::quiet(Command::new("tar").arg("-cf").arg(archive).arg("-C").arg(&tree).arg("."))
}

/// Copies the modules that the scenario needs, and those that they need.
fn modules(kernel: &Kernel, tree: &Path) -> anyhow::Result<()> {
    for module in MODULES {
        let mut question = Command::new("modprobe");
        question.arg("-d").arg(&kernel.folder).args(["-S", &kernel.release, "--show-depends", module]);
        for line in output(&mut question)?.lines() {
            let Some(path) = line.split_whitespace().nth(1).filter(|_| line.starts_with("insmod")) else {
                continue;
            };
            let inner = Path::new(path).strip_prefix(&kernel.folder)?;
            let to = tree.join(inner);
            fs::create_dir_all(to.parent().expect("a file lies in a folder"))?;
            fs::copy(path, to)?;
        }
    }
    shell::quiet(Command::new("depmod").arg("-b").arg(tree).arg(&kernel.release))
}
