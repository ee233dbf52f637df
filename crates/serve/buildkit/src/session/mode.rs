//! File modes as Go's `os.FileMode` has them, which is what fsutil sends.

use api::containers::unix_mode;
use engine::builds::received::EntryKind;

use super::packet::Stat;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
/// A device of this kind has both bits.
const CHARACTER: u32 = 1 << 21 | DEVICE;
const IRREGULAR: u32 = 1 << 19;
const SPECIAL: u32 = DEVICE | FIFO | SOCKET | CHARACTER | IRREGULAR;

/// What kind of entry is told of; none for what a build context can't hold.
pub fn kind(stat: &Stat) -> Option<EntryKind> {
    let (mode, link) = (stat.mode, stat.link());
    let number = || Some((stat.device_major.try_into().ok()?, stat.device_minor.try_into().ok()?));
    match mode & SPECIAL {
        FIFO => return Some(EntryKind::Fifo),
        DEVICE => return number().map(EntryKind::BlockDevice),
        CHARACTER => return number().map(EntryKind::CharacterDevice),
        0 => {}
        _ => return None,
    }
    Some(match mode {
        _ if mode & DIRECTORY != 0 => EntryKind::Directory,
        _ if mode & SYMLINK != 0 => EntryKind::Symlink(link.to_owned()),
        _ if !link.is_empty() => EntryKind::Hardlink(link.to_owned()),
        _ => EntryKind::File,
    })
}

/// Whether content can be asked for: fsutil's rule, which both sides must share.
pub fn has_content(mode: u32) -> bool {
    mode & (DIRECTORY | SYMLINK | SPECIAL) == 0
}

/// Permission bits as the kernel has them.
pub fn permissions(mode: u32) -> u32 {
    unix_mode(mode) & 0o7777
}

#[cfg(test)]
mod tests {
    use api::containers::go_mode;

    use super::*;

    fn kind(mode: u32, link: &str) -> Option<EntryKind> {
        super::kind(&Stat { mode, link: link.into(), device_major: 8, device_minor: 1, ..Stat::default() })
    }

    const STICKY: u32 = 1 << 20;

    #[test]
    fn modes_of_go_and_of_the_kernel() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o041_777), DIRECTORY | STICKY | 0o777);
        assert_eq!(permissions(go_mode(0o104_755)), 0o4755);
        assert_eq!(kind(DIRECTORY | 0o755, ""), Some(EntryKind::Directory));
        assert_eq!(kind(SYMLINK | 0o777, "a"), Some(EntryKind::Symlink("a".into())));
        assert_eq!(kind(0o644, "a"), Some(EntryKind::Hardlink("a".into())));
        assert_eq!(kind(0o644, ""), Some(EntryKind::File));
        assert_eq!(kind(go_mode(0o010_644), ""), Some(EntryKind::Fifo));
        assert_eq!(kind(go_mode(0o060_644), ""), Some(EntryKind::BlockDevice((8, 1))));
        assert_eq!(kind(go_mode(0o020_644), ""), Some(EntryKind::CharacterDevice((8, 1))));
        let nowhere = Stat { mode: go_mode(0o020_644), device_major: -1, ..Stat::default() };
        assert_eq!(super::kind(&nowhere), None);
        assert_eq!(kind(FIFO | DEVICE | 0o644, ""), None);
        assert!(has_content(0o644) && !has_content(DIRECTORY) && !has_content(SYMLINK | 0o777));
    }
}
