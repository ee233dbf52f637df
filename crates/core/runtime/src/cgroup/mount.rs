//! What a container sees at its `cgroup` mounts.

use std::path::{Path, PathBuf};

use rustix::mount::MountAttrFlags;
use sys::child::{MountSource, MountStep, Step};
use sys::mount::{Propagation, SetAttr};

use crate::Error;
use crate::mounts::{Late, Scene, errno, has_cgroup_namespace, target};
use crate::options::Options;
use crate::plan::{Label, Plan, c_string, mount_error};

/// Version 2: the file system itself. Version 1: a tmpfs with one mount for each hierarchy. With a control
/// group namespace they show the container's own group as root; without one its directory is bound.
pub(crate) fn plan(
    scene: &Scene<'_>,
    plan: &mut Plan,
    late: &mut Late,
    typ: &str,
    destination: PathBuf,
    options: &Options,
) -> Result<(), Error> {
    let layout = super::layout().map_err(|source| Error::Cgroup { path: String::new(), source })?;
    let attrs = options.attrs.and(options.recursive_attrs).set;
    if layout.v1.is_empty() || (typ == "cgroup2" && layout.v2.is_some()) {
        if layout.v2.is_none() {
            plan.warnings.push("no control groups are mounted here: the container sees none".to_owned());
            return Ok(());
        }
        return hierarchy(scene, plan, destination, "cgroup2", &[], layout.v2.as_deref(), attrs);
    }
    tmpfs(plan, late, destination.clone(), attrs)?;
    for found in &layout.v1 {
        let name = found.controllers.join(",");
        let name = name.strip_prefix("name=").unwrap_or(&name).to_owned();
        let at = destination.join(&name);
        hierarchy(scene, plan, at, "cgroup", &found.controllers, Some(&found.mountpoint), attrs)?;
        if found.controllers.len() > 1 {
            for controller in &found.controllers {
                let at = target(&destination.join(controller))?;
                let step = Step::Symlink { to: c_string(name.as_str(), "a link")?, at, replace: false };
                plan.push(format!("link control group {controller}"), step);
            }
        }
    }
    if layout.v2.is_some() {
        let at = destination.join("unified");
        hierarchy(scene, plan, at, "cgroup2", &[], layout.v2.as_deref(), attrs)?;
    }
    Ok(())
}

fn tmpfs(plan: &mut Plan, late: &mut Late, destination: PathBuf, attrs: MountAttrFlags) -> Result<(), Error> {
    let readonly = attrs.contains(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let slot = if readonly { late.slot() } else { None };
    let attrs = attrs.difference(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let options = vec![(c"mode".to_owned(), Some(c"755".to_owned()))];
    let source = MountSource::Fs { fs_type: c"tmpfs".to_owned(), source: c"tmpfs".to_owned(), options };
    push(plan, "tmpfs".into(), destination, source, attrs, slot)
}

fn hierarchy(
    scene: &Scene<'_>,
    plan: &mut Plan,
    destination: PathBuf,
    fs_type: &str,
    controllers: &[String],
    mountpoint: Option<&Path>,
    attrs: MountAttrFlags,
) -> Result<(), Error> {
    if has_cgroup_namespace(scene.spec) {
        let mut options = Vec::new();
        for controller in controllers {
            options.push(match controller.split_once('=') {
                Some((key, value)) => (c_string(key, "an option")?, Some(c_string(value, "an option")?)),
                None => (c_string(controller.as_str(), "an option")?, None),
            });
        }
        // A named hierarchy has no controllers, and says so.
        if controllers.iter().any(|c| c.starts_with("name=")) {
            options.insert(0, (c"none".to_owned(), None));
        }
        let source = MountSource::Fs {
            fs_type: c_string(fs_type, "a type")?,
            source: c_string(fs_type, "a type")?,
            options,
        };
        return push(plan, fs_type.into(), destination, source, attrs, None);
    }
    let Some(mountpoint) = mountpoint else { return Ok(()) };
    let path = scene.cgroup.map_or_else(|| mountpoint.to_owned(), |cgroup| cgroup.below(mountpoint));
    let fail = |e: std::io::Error| mount_error(path.clone(), destination.clone(), errno(&e), "");
    let tree = sys::mount::open_tree_clone(rustix::fs::CWD, &path, false).map_err(fail)?;
    let change = SetAttr { set: attrs, propagation: Some(Propagation::Private), ..SetAttr::default() };
    sys::mount::set_attr(&tree, &change).map_err(fail)?;
    push(plan, path.clone(), destination, MountSource::Tree(tree), MountAttrFlags::empty(), None)
}

fn push(
    plan: &mut Plan,
    source: PathBuf,
    destination: PathBuf,
    what: MountSource,
    attrs: MountAttrFlags,
    slot: Option<usize>,
) -> Result<(), Error> {
    let step = MountStep {
        source: what,
        target: target(&destination)?,
        directory: true,
        attrs: attrs.bits().into(),
        propagation: 0,
        recursive: false,
        over_proc: false,
        slot,
        renew: false,
    };
    plan.labeled(Label::Mount { source, destination }, Step::Mount(Box::new(step)));
    Ok(())
}
