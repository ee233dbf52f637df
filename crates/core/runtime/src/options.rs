//! The option lists of mounts: which words are flags of the mount, which of the file system, and what is
//! data.

use rustix::mount::MountAttrFlags;

/// An option list, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub bind: bool,
    /// With `bind`: the mounts below come along.
    pub recursive: bool,
    pub attrs: Change,
    /// For the mounts below as well (`rro`, `rnosuid`, …).
    pub recursive_attrs: Change,
    /// `MS_PRIVATE` and the like, and whether for the mounts below as well.
    pub propagation: Option<(u64, bool)>,
    /// Not a new mount, but a change of the one that is there.
    pub remount: bool,
    /// A tmpfs starts with what lies below it.
    pub copy_up: bool,
    /// Whether ids are mapped, and whether in the mounts below as well.
    pub idmap: Option<bool>,
    /// For the file system, in order; without a value it is a flag.
    pub data: Vec<(String, Option<String>)>,
}

/// Attributes to set and to clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub set: MountAttrFlags,
    pub clear: MountAttrFlags,
}

impl Change {
    pub const NONE: Change = Change { set: MountAttrFlags::empty(), clear: MountAttrFlags::empty() };

    pub fn is_none(self) -> bool {
        self == Change::NONE
    }

    /// Both changes.
    pub fn and(self, other: Change) -> Change {
        Change {
            set: self.set | other.set,
            clear: (self.clear | other.clear).difference(self.set | other.set),
        }
    }

    fn apply(&mut self, set: bool, flag: MountAttrFlags) {
        // Access times are one field, not a bit each.
        if MountAttrFlags::MOUNT_ATTR__ATIME.contains(flag) {
            self.set.remove(MountAttrFlags::MOUNT_ATTR__ATIME);
            self.clear.remove(MountAttrFlags::MOUNT_ATTR__ATIME);
        }
        let (to, from) =
            if set { (&mut self.set, &mut self.clear) } else { (&mut self.clear, &mut self.set) };
        to.insert(flag);
        from.remove(flag);
    }
}

impl Options {
    /// Last word wins where words contradict.
    pub fn parse(words: &[String]) -> Options {
        let mut options = Options {
            bind: false,
            recursive: false,
            attrs: Change::NONE,
            recursive_attrs: Change::NONE,
            propagation: None,
            remount: false,
            copy_up: false,
            idmap: None,
            data: Vec::new(),
        };
        for word in words {
            options.word(word);
        }
        options
    }

    fn word(&mut self, word: &str) {
        if let Some((set, flag)) = attribute(word) {
            self.attrs.apply(set, flag);
            return;
        }
        if let Some((set, flag)) = word.strip_prefix('r').and_then(attribute) {
            self.recursive_attrs.apply(set, flag);
            return;
        }
        match WORDS.iter().find(|(known, _)| *known == word).map(|(_, means)| *means) {
            Some(Means::Bind { recursive }) => {
                (self.bind, self.recursive) = (true, self.recursive || recursive);
            }
            Some(Means::Propagation { kind, recursive }) => self.propagation = Some((kind, recursive)),
            Some(Means::Idmap { recursive }) => self.idmap = Some(recursive),
            Some(Means::Remount) => self.remount = true,
            Some(Means::CopyUp) => self.copy_up = true,
            Some(Means::Nothing) => {}
            Some(Means::Not(data)) => self.data.retain(|(key, _)| key != data),
            None if word.is_empty() => {}
            Some(Means::Data) | None => self.data.push(match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            }),
        }
    }

    pub fn readonly(&self) -> bool {
        self.attrs.set.contains(MountAttrFlags::MOUNT_ATTR_RDONLY)
    }

    /// The value of a data option.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.data.iter().rev().find(|(k, _)| k == key).and_then(|(_, value)| value.as_deref())
    }
}

/// What a word means that is no attribute.
#[derive(Clone, Copy, Debug)]
enum Means {
    Bind {
        recursive: bool,
    },
    Propagation {
        kind: u64,
        recursive: bool,
    },
    Idmap {
        recursive: bool,
    },
    Remount,
    CopyUp,
    /// They say what is so anyway, or how much the kernel is to complain.
    Nothing,
    /// A flag of the file system, which the kernel takes by this name.
    Data,
    /// Takes such a flag back.
    Not(&'static str),
}

const WORDS: [(&str, Means); 26] = [
    ("bind", Means::Bind { recursive: false }),
    ("rbind", Means::Bind { recursive: true }),
    ("private", Means::Propagation { kind: libc::MS_PRIVATE, recursive: false }),
    ("rprivate", Means::Propagation { kind: libc::MS_PRIVATE, recursive: true }),
    ("slave", Means::Propagation { kind: libc::MS_SLAVE, recursive: false }),
    ("rslave", Means::Propagation { kind: libc::MS_SLAVE, recursive: true }),
    ("shared", Means::Propagation { kind: libc::MS_SHARED, recursive: false }),
    ("rshared", Means::Propagation { kind: libc::MS_SHARED, recursive: true }),
    ("unbindable", Means::Propagation { kind: libc::MS_UNBINDABLE, recursive: false }),
    ("runbindable", Means::Propagation { kind: libc::MS_UNBINDABLE, recursive: true }),
    ("idmap", Means::Idmap { recursive: false }),
    ("ridmap", Means::Idmap { recursive: true }),
    ("remount", Means::Remount),
    ("tmpcopyup", Means::CopyUp),
    ("defaults", Means::Nothing),
    ("silent", Means::Nothing),
    ("loud", Means::Nothing),
    ("sync", Means::Data),
    ("async", Means::Not("sync")),
    ("dirsync", Means::Data),
    ("mand", Means::Data),
    ("nomand", Means::Not("mand")),
    // A file system counts versions or not; only the old call could ask for it, and most took no notice.
    ("iversion", Means::Nothing),
    ("noiversion", Means::Nothing),
    ("lazytime", Means::Data),
    ("nolazytime", Means::Not("lazytime")),
];

/// Words for mount attributes, and whether they set or clear them. With an `r` in front they are for the mounts below too.
const ATTRIBUTES: [(&str, bool, MountAttrFlags); 18] = [
    ("ro", true, MountAttrFlags::MOUNT_ATTR_RDONLY),
    ("rw", false, MountAttrFlags::MOUNT_ATTR_RDONLY),
    ("nosuid", true, MountAttrFlags::MOUNT_ATTR_NOSUID),
    ("suid", false, MountAttrFlags::MOUNT_ATTR_NOSUID),
    ("nodev", true, MountAttrFlags::MOUNT_ATTR_NODEV),
    ("dev", false, MountAttrFlags::MOUNT_ATTR_NODEV),
    ("noexec", true, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ("exec", false, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ("nosymfollow", true, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ("symfollow", false, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ("nodiratime", true, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ("diratime", false, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ("noatime", true, MountAttrFlags::MOUNT_ATTR_NOATIME),
    ("strictatime", true, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
    // Relative access times are the kernel's default and the zero of that field.
    ("relatime", false, MountAttrFlags::MOUNT_ATTR__ATIME),
    ("atime", false, MountAttrFlags::MOUNT_ATTR__ATIME),
    ("norelatime", false, MountAttrFlags::MOUNT_ATTR__ATIME),
    ("nostrictatime", false, MountAttrFlags::MOUNT_ATTR__ATIME),
];

fn attribute(word: &str) -> Option<(bool, MountAttrFlags)> {
    let found = ATTRIBUTES.iter().find(|(known, ..)| *known == word);
    found.map(|(_, set, flag)| (*set, *flag))
}

/// Every word that is understood, sorted.
pub(crate) fn words() -> Vec<String> {
    let plain = ATTRIBUTES.iter().map(|(word, ..)| (*word).to_owned());
    let recursive = ATTRIBUTES.iter().map(|(word, ..)| format!("r{word}"));
    let other = WORDS.iter().map(|(word, _)| (*word).to_owned());
    let mut words: Vec<String> = plain.chain(recursive).chain(other).collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Options {
        Options::parse(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_and_data_are_told_apart() {
        let options = parse("nosuid noexec nodev ro size=65536k mode=1777 newinstance");
        assert!(options.readonly());
        assert_eq!(options.value("size"), Some("65536k"));
        assert_eq!(options.data.last(), Some(&("newinstance".to_owned(), None)));
        assert!(options.attrs.set.contains(MountAttrFlags::MOUNT_ATTR_NOEXEC));
    }

    #[test]
    fn the_last_word_wins() {
        assert!(!parse("ro rw").readonly());
        assert!(parse("rw ro").readonly());
        assert_eq!(parse("rprivate rslave").propagation, Some((libc::MS_SLAVE, true)));
        assert!(parse("sync async").data.is_empty());
        assert_eq!(parse("noatime strictatime").attrs.set, MountAttrFlags::MOUNT_ATTR_STRICTATIME);
        assert!(parse("noatime relatime").attrs.set.is_empty());
    }

    #[test]
    fn recursive_words_are_no_data() {
        let options = parse("rbind rro rnosuid relatime");
        assert!(options.bind && options.recursive && options.data.is_empty());
        assert!(!options.readonly());
        let both = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
        assert_eq!(options.recursive_attrs.set, both);
    }

    /// The whole list of the specification.
    #[test]
    fn every_word_of_the_specification_is_known() {
        let words = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime \
            noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev \
            rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro \
            rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave \
            strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap";
        let told = super::words();
        assert!(words.split_whitespace().all(|word| told.iter().any(|known| known == word)), "{told:?}");
        assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
        let options = parse(&words.split_whitespace().collect::<Vec<_>>().join(" "));
        // Flags of the file system itself, which the kernel takes by these names.
        let data: Vec<&str> = options.data.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(data, ["dirsync", "sync"]);
    }
}
