//! What is refused before anything is touched: specifications that contradict themselves, or ask for what would be the
//! machine's instead of the container's.

use oci::runtime::{Hooks, IdMapping, Linux, NamespaceType, Process, Spec};

use crate::{Error, net_devices, process, sysctl};

fn bad(reason: impl Into<String>) -> Error {
    Error::Spec { reason: reason.into() }
}

/// Gives the parts that no container can do without.
pub(crate) fn check(spec: &Spec) -> Result<(&Process, &Linux), Error> {
    let process = spec.process.as_ref().ok_or_else(|| bad("there is no process"))?;
    let linux = spec.linux.as_ref().ok_or_else(|| bad("there is no linux part"))?;
    process::check(process)?;
    namespaces(spec, linux)?;
    spec.hooks.as_ref().map_or(Ok(()), hooks)?;
    sysctl::check(linux)?;
    net_devices::check(linux)?;
    if linux.personality.as_ref().is_some_and(|personality| !personality.flags.is_empty()) {
        return Err(bad("personality has flags, and the specification knows of none"));
    }
    Ok((process, linux))
}

fn namespaces(spec: &Spec, linux: &Linux) -> Result<(), Error> {
    let find = |typ| linux.namespace(typ);
    let mount = find(NamespaceType::Mount);
    let named = !spec.hostname.is_empty() || !spec.domainname.is_empty();
    if named && find(NamespaceType::Uts).is_none() {
        return Err(bad("unable to set hostname without a private UTS namespace"));
    }
    if [&spec.hostname, &spec.domainname].into_iter().any(|name| name.contains('\0')) {
        return Err(bad("the host or domain name contains a NUL byte"));
    }
    if mount.is_none() && !(linux.masked_paths.is_empty() && linux.readonly_paths.is_empty()) {
        return Err(bad("unable to restrict sys entries without a private MNT namespace"));
    }
    let user = find(NamespaceType::User);
    match user {
        None if !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty() => {
            return Err(bad(
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            ));
        }
        Some(_) if mount.is_none() => {
            return Err(bad("a user namespace has no right to mount in the mount namespace of the machine"));
        }
        Some(user) if user.path.is_none() && mount.is_some_and(|mount| mount.path.is_some()) => {
            let what = "joining a mount namespace with a new user namespace, which has no rights in it,";
            return Err(Error::Unsupported { what: what.to_owned() });
        }
        _ => {}
    }
    for mapping in linux.uid_mappings.iter().chain(&linux.gid_mappings) {
        extent(mapping)?;
    }
    match find(NamespaceType::Time) {
        _ if linux.time_offsets.is_empty() => Ok(()),
        None => Err(bad("time namespace offsets specified, but time namespace isn't enabled in the config")),
        Some(time) if time.path.is_some() => {
            let text = "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one";
            Err(bad(text))
        }
        Some(_) => Ok(()),
    }
}

fn extent(mapping: &IdMapping) -> Result<(), Error> {
    let ends = [mapping.container_id, mapping.host_id].map(|first| first.checked_add(mapping.size));
    if mapping.size == 0 || ends.contains(&None) {
        return Err(bad(format!(
            "id mapping {} {} {} is empty or ends beyond the largest id",
            mapping.container_id, mapping.host_id, mapping.size
        )));
    }
    Ok(())
}

fn hooks(hooks: &Hooks) -> Result<(), Error> {
    let all = hooks.kinds().into_iter().flat_map(|(kind, list)| list.iter().map(move |hook| (kind, hook)));
    for (kind, hook) in all {
        if !hook.path.is_absolute() {
            return Err(bad(format!("the path of {kind} hook {:?} is not absolute", hook.path)));
        }
        if hook.timeout == Some(0) {
            return Err(bad(format!("the timeout of {kind} hook {} is zero", hook.path.display())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oci::runtime::{Hook, Namespace, Personality, TimeOffset};

    use super::*;

    fn spec(change: impl FnOnce(&mut Spec, &mut Linux)) -> Spec {
        let namespaces = vec![Namespace { typ: NamespaceType::Mount, path: None }];
        let mut linux = Linux { namespaces, ..Linux::default() };
        let process = Process { args: vec!["true".to_owned()], ..Process::default() };
        let mut spec = Spec { process: Some(process), ..Spec::default() };
        change(&mut spec, &mut linux);
        spec.linux = Some(linux);
        spec
    }

    #[track_caller]
    fn refused(text: &str, change: impl FnOnce(&mut Spec, &mut Linux)) {
        let error = check(&spec(change)).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let time = |path: Option<&str>| Namespace { typ: NamespaceType::Time, path: path.map(Into::into) };
        let map = IdMapping { container_id: 0, host_id: 1000, size: 1 };
        assert!(check(&spec(|_, _| {})).is_ok());
        refused("no right to mount", |_, linux| {
            linux.namespaces = vec![Namespace { typ: NamespaceType::User, path: None }];
        });
        refused("private MNT namespace", |_, linux| {
            linux.namespaces.clear();
            linux.masked_paths.push("/proc/kcore".to_owned());
        });
        refused("UTS", |spec, _| spec.domainname = "x".to_owned());
        refused("user namespace isn't enabled", |_, linux| linux.uid_mappings.push(map));
        refused("time namespace isn't enabled", |_, linux| {
            linux.time_offsets.insert("boottime".to_owned(), TimeOffset::default());
        });
        refused("only provide one", |_, linux| {
            linux.namespaces.push(time(Some("/proc/self/ns/time")));
            linux.time_offsets.insert("boottime".to_owned(), TimeOffset::default());
        });
        refused("empty or ends beyond", |_, linux| {
            linux.namespaces.push(Namespace { typ: NamespaceType::User, path: None });
            linux.uid_mappings.push(IdMapping { size: u32::MAX, ..map });
        });
        refused("personality", |_, linux| {
            let flags = vec!["X".to_owned()];
            linux.personality = Some(Personality { domain: "LINUX".to_owned(), flags });
        });
        let hook = |path: &str, timeout| Hook { path: path.into(), timeout, ..Hook::default() };
        refused("not absolute", |spec, _| {
            spec.hooks = Some(Hooks { poststop: vec![hook("true", None)], ..Hooks::default() });
        });
        refused("is zero", |spec, _| {
            spec.hooks = Some(Hooks { prestart: vec![hook("/bin/true", Some(0))], ..Hooks::default() });
        });
    }
}
