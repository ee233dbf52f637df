//! `linux.intelRdt`: cache and memory bandwidth by the resctrl file system (kernel `Documentation/filesystems/resctrl`).
//! A class of service is a directory, a monitoring group one below its `mon_groups`; a process belongs to the one whose
//! `tasks` it was written to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci::runtime::{IntelRdt, Spec};

use crate::Error;

/// A container's place in a resctrl file system.
#[derive(Debug)]
pub(crate) struct Place {
    class: PathBuf,
    /// The class is the container's own.
    own: bool,
    monitor: Option<PathBuf>,
}

fn place(mountpoint: &Path, rdt: &IntelRdt, id: &str) -> Result<Place, Error> {
    let bad = |name: &str| name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '\0', '\n']);
    let class = match rdt.clos_id.as_str() {
        "" => mountpoint.join(id),
        "/" => mountpoint.to_owned(),
        name if bad(name) => return Err(Error::Spec { reason: format!("intelRdt: bad closID {name:?}") }),
        name => mountpoint.join(name),
    };
    let monitor = rdt.enable_monitoring.then(|| class.join("mon_groups").join(id));
    Ok(Place { class, own: rdt.clos_id.is_empty(), monitor })
}

/// The lines for the schemata file, in their order.
fn schemata(rdt: &IntelRdt) -> Result<Vec<&str>, Error> {
    let bad = |text: &str| Error::Spec { reason: format!("intelRdt: bad schema {text:?}") };
    if !rdt.mem_bw_schema.is_empty() && !rdt.mem_bw_schema.starts_with("MB:") {
        return Err(bad(&rdt.mem_bw_schema));
    }
    let single = [&rdt.l3_cache_schema, &rdt.mem_bw_schema];
    let lines: Vec<&str> =
        single.into_iter().chain(&rdt.schemata).map(String::as_str).filter(|s| !s.is_empty()).collect();
    match lines.iter().find(|line| line.contains('\n')) {
        Some(line) => Err(bad(line)),
        None => Ok(lines),
    }
}

fn mountpoint() -> Option<PathBuf> {
    let text = crate::proc::read("/proc/self/mountinfo").unwrap_or_default();
    let is_resctrl =
        |line: &&str| line.split(" - ").nth(1).is_some_and(|right| right.starts_with("resctrl "));
    text.lines().find(is_resctrl)?.split(' ').nth(4).map(PathBuf::from)
}

fn call(attempt: String) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Call { attempt, source }
}

/// Puts a process into its class and its monitoring group.
pub(crate) fn join(rdt: &IntelRdt, id: &str, pid: i32) -> Result<(), Error> {
    let what = "intelRdt is specified in config, but Intel RDT is not supported or enabled: mount the resctrl file system; it";
    let mountpoint = mountpoint().ok_or_else(|| Error::Unsupported { what: what.to_owned() })?;
    join_at(&mountpoint, rdt, id, pid)
}

fn join_at(mountpoint: &Path, rdt: &IntelRdt, id: &str, pid: i32) -> Result<(), Error> {
    let Place { class, own, monitor } = place(mountpoint, rdt, id)?;
    let lines = schemata(rdt)?;
    let made = match (class.is_dir(), own || !lines.is_empty()) {
        (true, _) => false,
        (false, false) => {
            let reason = format!(
                "intelRdt: there is no class of service {}, and no schema to make it with",
                rdt.clos_id
            );
            return Err(Error::Spec { reason });
        }
        (false, true) => {
            fs::create_dir(&class).map_err(call(format!("make {}", class.display())))?;
            true
        }
    };
    let file = class.join("schemata");
    if !made && !own {
        same_schemata(&file, &lines)?;
    } else {
        for line in lines {
            fs::write(&file, format!("{line}\n"))
                .map_err(call(format!("write {line:?} to {}", file.display())))?;
        }
    }
    if let Some(monitor) = &monitor {
        fs::create_dir(monitor).or_else(existing).map_err(call(format!("make {}", monitor.display())))?;
    }
    for dir in [Some(&class), monitor.as_ref()].into_iter().flatten() {
        let file = dir.join("tasks");
        fs::write(&file, pid.to_string()).map_err(call(format!("write {pid} to {}", file.display())))?;
    }
    Ok(())
}

fn existing(e: io::Error) -> io::Result<()> {
    if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) }
}

/// A class that somebody else has made must be what is asked for. The kernel pads what it prints with blanks.
fn same_schemata(file: &Path, lines: &[&str]) -> Result<(), Error> {
    if lines.is_empty() {
        return Ok(());
    }
    let text = fs::read_to_string(file).map_err(call(format!("read {}", file.display())))?;
    let bare = |line: &str| line.replace(' ', "");
    match lines.iter().find(|line| !text.lines().any(|has| bare(has) == bare(line))) {
        None => Ok(()),
        Some(line) => {
            let reason = format!("intelRdt: {} does not say {line:?}", file.display());
            Err(Error::Spec { reason })
        }
    }
}

/// Why schemas of these kinds can't be set here.
pub(crate) fn lacks(l3: bool, bandwidth: bool) -> Option<&'static str> {
    let info = mountpoint().map(|mountpoint| mountpoint.join("info"));
    let entries = info.and_then(|info| fs::read_dir(info).ok()).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // The cache may be told apart for code and data.
    let has = |any: &[&str]| names.iter().any(|name| any.contains(&name.as_str()));
    if l3 && !has(&["L3", "L3CODE", "L3DATA"]) {
        return Some("Intel RDT/CAT: l3 cache schema is not enabled");
    }
    (bandwidth && !has(&["MB"])).then_some("Intel RDT/MBA: memory bandwidth schema is not enabled")
}

/// Sets other schemas of a container that was created with `rdt`; empty ones stay.
pub(crate) fn update(id: &str, rdt: &IntelRdt, l3: &str, bandwidth: &str) -> Result<(), Error> {
    let what = "a schema without the resctrl file system";
    let mountpoint = mountpoint().ok_or_else(|| Error::Unsupported { what: what.to_owned() })?;
    update_at(&mountpoint, id, rdt, l3, bandwidth)
}

fn update_at(mountpoint: &Path, id: &str, rdt: &IntelRdt, l3: &str, bandwidth: &str) -> Result<(), Error> {
    let asked = IntelRdt {
        l3_cache_schema: l3.to_owned(),
        mem_bw_schema: bandwidth.to_owned(),
        ..IntelRdt::default()
    };
    let file = place(mountpoint, rdt, id)?.class.join("schemata");
    for line in schemata(&asked)? {
        let written = fs::OpenOptions::new().write(true).open(&file);
        written
            .and_then(|mut open| std::io::Write::write_all(&mut open, format!("{line}\n").as_bytes()))
            .map_err(call(format!("write {line:?} to {}", file.display())))?;
    }
    Ok(())
}

/// The lines of the schemata of a container's class of service, without the kernel's padding.
pub fn current(id: &str, rdt: &IntelRdt) -> Vec<String> {
    let file = mountpoint().and_then(|at| place(&at, rdt, id).ok()).map(|place| place.class.join("schemata"));
    let text = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// Removes what was made for a container that is gone: its own class, or its monitoring group in a shared one.
pub fn leave(id: &str, spec: &Spec) -> Result<(), Error> {
    let Some(rdt) = spec.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref()) else { return Ok(()) };
    match mountpoint() {
        Some(mountpoint) => leave_at(&mountpoint, rdt, id),
        None => Ok(()),
    }
}

fn leave_at(mountpoint: &Path, rdt: &IntelRdt, id: &str) -> Result<(), Error> {
    let Place { class, own, monitor } = place(mountpoint, rdt, id)?;
    for dir in [monitor, own.then_some(class)].into_iter().flatten() {
        match fs::remove_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(call(format!("remove {}", dir.display()))(e));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rdt(class: &str, schema: &str) -> IntelRdt {
        IntelRdt { clos_id: class.to_owned(), l3_cache_schema: schema.to_owned(), ..IntelRdt::default() }
    }

    /// Where the kernel would fill a new directory with files a test has to make them.
    #[test]
    fn classes_are_made_compared_and_left() {
        let mount = tempfile::tempdir().unwrap();
        let at = mount.path();
        join_at(at, &rdt("", "L3:0=f"), "box", 42).unwrap();
        assert_eq!(fs::read_to_string(at.join("box/schemata")).unwrap(), "L3:0=f\n");
        assert_eq!(fs::read_to_string(at.join("box/tasks")).unwrap(), "42");
        update_at(at, "box", &rdt("", "L3:0=f"), "L3:0=3", "").unwrap();
        assert_eq!(fs::read_to_string(at.join("box/schemata")).unwrap(), "L3:0=3\n");
        assert!(update_at(at, "nobody", &rdt("", ""), "L3:0=3", "").is_err(), "a class that is not there");
        assert!(join_at(at, &rdt("gold", ""), "box", 42).is_err(), "a class that is not there");
        join_at(at, &rdt("gold", "L3:0=f"), "box", 42).unwrap();
        fs::write(at.join("gold/schemata"), "    L3:0=f;1=f\n").unwrap();
        join_at(at, &rdt("gold", "L3:0=f;1=f"), "box", 43).unwrap();
        assert!(
            join_at(at, &rdt("gold", "L3:0=1"), "box", 43).unwrap_err().to_string().contains("does not say")
        );
        fs::create_dir_all(at.join("mon_groups")).unwrap();
        let watched = IntelRdt { enable_monitoring: true, ..rdt("/", "") };
        join_at(at, &watched, "box", 44).unwrap();
        assert_eq!(fs::read_to_string(at.join("mon_groups/box/tasks")).unwrap(), "44");
        fs::remove_file(at.join("mon_groups/box/tasks")).unwrap();
        leave_at(at, &watched, "box").unwrap();
        assert!(!at.join("mon_groups/box").exists() && at.join("gold").exists());
    }

    #[test]
    fn bad_words_are_refused() {
        let at = Path::new("/nowhere");
        for class in ["..", "a/b", "a\nb"] {
            assert!(place(at, &rdt(class, ""), "box").is_err(), "{class:?}");
        }
        assert!(schemata(&rdt("", "L3:0=f\nMB:0=1")).is_err());
        assert!(schemata(&IntelRdt { mem_bw_schema: "L3:".to_owned(), ..IntelRdt::default() }).is_err());
    }
}
