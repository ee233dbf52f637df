//! Changes of files: copies, and what makes or removes single ones. Those in a row are one layer.

use std::collections::BTreeMap;

use bollard_buildkit_proto::pb::file_action::Action;
use bollard_buildkit_proto::pb::{ChownOpt, FileAction, FileActionCopy, FileOp, user_opt};
use engine::builds::graph::{Change, ChangeKind, Copy, CopySource, Fs, OpKind};
use tonic::Status;

use super::bad;
use super::lower::{Lowering, Part};
use super::read::Vertex;

/// What each output of the actions gives.
pub fn lower(lowering: &mut Lowering, vertex: &Vertex, op: &FileOp) -> Result<BTreeMap<i64, Part>, Status> {
    let mut outputs = BTreeMap::new();
    let mut actions = Actions { vertex, given: Vec::with_capacity(op.actions.len()) };
    for (action, uses) in op.actions.iter().zip(uses(vertex, op)) {
        let mut pending = actions.step(lowering, action)?;
        // What only the next one needs is not made before that.
        if action.output >= 0 || uses > 1 {
            pending = Pending::from(pending.settle(lowering, vertex));
        }
        if action.output >= 0 {
            outputs.insert(action.output, Part::Fs(pending.fs.clone()));
        }
        actions.given.push(pending);
    }
    if outputs.is_empty() {
        return Err(bad("changes of files give nothing"));
    }
    Ok(outputs)
}

/// How many actions work on or read what each action gives.
fn uses(vertex: &Vertex, op: &FileOp) -> Vec<usize> {
    let mut uses = vec![0; op.actions.len()];
    let inputs = op.actions.iter().flat_map(|action| [action.input, action.secondary_input]);
    for index in inputs.filter_map(|index| before(vertex, index)) {
        if let Some(count) = uses.get_mut(index) {
            *count += 1;
        }
    }
    uses
}

/// The action that an index means, where it means no input of the operation.
fn before(vertex: &Vertex, index: i64) -> Option<usize> {
    usize::try_from(index).ok()?.checked_sub(vertex.inputs.len())
}

/// A file system with changes that are not made yet.
struct Pending {
    fs: Fs,
    changes: Vec<Change>,
    /// The actions that these are.
    numbers: Vec<usize>,
}

impl From<Fs> for Pending {
    fn from(fs: Fs) -> Pending {
        Pending { fs, changes: Vec::new(), numbers: Vec::new() }
    }
}

impl Pending {
    fn settle(self, lowering: &mut Lowering, vertex: &Vertex) -> Fs {
        if self.changes.is_empty() {
            return self.fs;
        }
        let name = self.changes.iter().map(title).collect::<Vec<_>>().join(", ");
        let fs = lowering.push(vertex, self.fs, OpKind::Change(self.changes), || name);
        lowering.acts(self.numbers);
        fs
    }
}

/// The actions of one operation.
struct Actions<'v> {
    vertex: &'v Vertex,
    /// What each one so far gives.
    given: Vec<Pending>,
}

impl Actions<'_> {
    fn step(&mut self, lowering: &mut Lowering, action: &FileAction) -> Result<Pending, Status> {
        let vertex = self.vertex;
        let mut base = self.base(lowering, action.input)?;
        let what = action.action.as_ref().ok_or_else(|| bad("an action on files does nothing"))?;
        let Action::Copy(copy) = what else {
            base.changes.push(change(what)?);
            base.numbers.push(self.given.len());
            return Ok(base);
        };
        let from = self.secondary(lowering, action.secondary_input)?;
        let copy = self::copy(copy, lowering.origin(&from))?;
        let fs = base.settle(lowering, vertex);
        let name = match &copy.sources[0] {
            CopySource::Path(path) => format!("copy {path} {}", copy.dest),
            _ => "copy".to_owned(),
        };
        let fs = lowering.push(vertex, fs, OpKind::Copy(Box::new(copy)), || name);
        lowering.acts(vec![self.given.len()]);
        Ok(Pending::from(fs))
    }

    /// The file system that an action works on: an input of the operation, or what an action before gave.
    fn base(&mut self, lowering: &mut Lowering, index: i64) -> Result<Pending, Status> {
        match before(self.vertex, index) {
            Some(number) => self.take(number, index),
            None => Ok(Pending::from(lowering.input(self.vertex, index)?)),
        }
    }

    /// What a copy reads.
    fn secondary(&mut self, lowering: &mut Lowering, index: i64) -> Result<Part, Status> {
        if let Some(number) = before(self.vertex, index) {
            return Ok(Part::Fs(self.take(number, index)?.settle(lowering, self.vertex)));
        }
        match self.vertex.input(index)? {
            Some(edge) => lowering.part(edge),
            None => Ok(Part::Fs(Fs::Scratch)),
        }
    }

    /// What an action gave. Changes that wait have one who takes them: they are moved, for they may hold much.
    fn take(&mut self, number: usize, index: i64) -> Result<Pending, Status> {
        let given = self.given.get_mut(number);
        let given = given.ok_or_else(|| bad(format!("an action on files has no input {index}")))?;
        let (changes, numbers) = (std::mem::take(&mut given.changes), std::mem::take(&mut given.numbers));
        Ok(Pending { fs: given.fs.clone(), changes, numbers })
    }
}

fn title(change: &Change) -> String {
    let verb = match change.kind {
        ChangeKind::File { .. } => "mkfile",
        ChangeKind::Directory { .. } => "mkdir",
        ChangeKind::Link { .. } => "symlink",
        ChangeKind::Gone { .. } => "rm",
    };
    format!("{verb} {}", change.path)
}

fn copy(given: &FileActionCopy, from: engine::builds::graph::Origin) -> Result<Copy, Status> {
    let chmod = match (given.mode_str.as_str(), u32::try_from(given.mode)) {
        ("", Err(_)) => None,
        ("", Ok(mode)) => Some(format!("{:04o}", mode & 0o7777)),
        (text, _) => Some(text.to_owned()),
    };
    let source = if given.src.is_empty() { "/" } else { &given.src };
    is_path(source)?;
    is_path(&given.dest)?;
    let source = if given.allow_wildcard { source.to_owned() } else { literal(source) };
    Ok(Copy {
        is_add: given.attempt_unpack_docker_compatibility,
        from,
        sources: vec![CopySource::Path(source)],
        dest: absolute(&given.dest),
        chown: given.owner.as_ref().map(owner),
        chmod,
        parents: false,
        whole: !given.dir_copy_contents,
        replaces: given.always_replace_existing_dest_paths,
        rooted: !given.create_dest_path,
        time: Some(given.timestamp).filter(|nanos| *nanos >= 0),
        link: false,
        exclude: given.exclude_patterns.clone(),
        include: given.include_patterns.clone(),
        required: given.required_paths.clone(),
        unpack: None,
        literal: None,
    })
}

/// A pattern that fits one path alone.
fn literal(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// Whether the kernel takes it for a path.
fn is_path(text: &str) -> Result<(), Status> {
    if text.contains('\0') {
        return Err(bad(format!("{text:?} is no path")));
    }
    match text.len() > oci::path::MAX {
        true => Err(bad(format!("a path cannot be longer than {} bytes", oci::path::MAX))),
        false => Ok(()),
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn change(action: &Action) -> Result<Change, Status> {
    let bits = |mode: i32| u32::try_from(mode).unwrap_or(0) & 0o7777;
    let (path, kind, owner, time) = match action {
        Action::Mkfile(file) => {
            let kind = ChangeKind::File { mode: bits(file.mode), data: file.data.clone() };
            (&file.path, kind, file.owner.as_ref(), file.timestamp)
        }
        Action::Mkdir(dir) => {
            let kind = ChangeKind::Directory { mode: bits(dir.mode), parents: dir.make_parents };
            (&dir.path, kind, dir.owner.as_ref(), dir.timestamp)
        }
        Action::Symlink(link) => {
            let kind = ChangeKind::Link { target: link.oldpath.clone() };
            (&link.newpath, kind, link.owner.as_ref(), link.timestamp)
        }
        Action::Rm(gone) => {
            let kind = ChangeKind::Gone { optional: gone.allow_not_found, pattern: gone.allow_wildcard };
            (&gone.path, kind, None, -1)
        }
        Action::Copy(_) => return Err(bad("a copy is no change of a single file")),
    };
    is_path(path)?;
    let time = Some(time).filter(|time| *time > 0);
    Ok(Change { path: absolute(path), kind, owner: owner.map(self::owner), time })
}

/// `user:group`; who is not given is root.
fn owner(given: &ChownOpt) -> String {
    let part = |part: &Option<bollard_buildkit_proto::pb::UserOpt>| match part
        .as_ref()
        .and_then(|p| p.user.as_ref())
    {
        Some(user_opt::User::ByName(named)) => Some(named.name.clone()),
        Some(user_opt::User::ById(id)) => Some(id.to_string()),
        None => None,
    };
    let user = part(&given.user).unwrap_or_else(|| "0".to_owned());
    match part(&given.group) {
        Some(group) => format!("{user}:{group}"),
        None => user,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_no_patterns() {
        assert_eq!(literal("/a*[b]?\\"), "/a\\*\\[b]\\?\\\\");
        assert_eq!(literal("/plain"), "/plain");
    }

    #[test]
    fn paths_of_any_length_are_refused() {
        let deep = "a/".repeat(20_000);
        let from = || engine::builds::graph::Origin::Context(None);
        let given = |src: &str, dest: &str| FileActionCopy {
            src: src.to_owned(),
            dest: dest.to_owned(),
            timestamp: -1,
            ..Default::default()
        };
        assert!(copy(&given("a", "b"), from()).is_ok());
        for given in [given(&deep, "b"), given("a", &deep), given("a\0", "b")] {
            assert!(copy(&given, from()).is_err());
        }
    }

    #[test]
    fn owners() {
        use bollard_buildkit_proto::pb::{NamedUserOpt, UserOpt};
        let name = |name: &str| {
            let named = NamedUserOpt { name: name.to_owned(), input: 0 };
            Some(UserOpt { user: Some(user_opt::User::ByName(named)) })
        };
        let id = |id| Some(UserOpt { user: Some(user_opt::User::ById(id)) });
        assert_eq!(owner(&ChownOpt { user: name("app"), group: id(7) }), "app:7");
        assert_eq!(owner(&ChownOpt { user: id(3), group: None }), "3");
        assert_eq!(owner(&ChownOpt { user: None, group: name("g") }), "0:g");
    }
}
