//! File modes as Go's `os.FileMode` has them, which is what fsutil sends.

use std::ffi::OsStr;

use api::containers::unix_mode;
use engine::builds::received::EntryKind;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const CHARACTER_DEVICE: u32 = 1 << 21;
const IRREGULAR: u32 = 1 << 19;
const SPECIAL: u32 = DEVICE | FIFO | SOCKET | CHARACTER_DEVICE | IRREGULAR;

/// What kind of entry a mode means; none for what a build context can't hold.
pub fn kind(mode: u32, link: &OsStr) -> Option<EntryKind> {
    match mode {
        _ if mode & SPECIAL == FIFO => Some(EntryKind::Fifo),
        _ if mode & SPECIAL != 0 => None,
        _ if mode & DIRECTORY != 0 => Some(EntryKind::Directory),
        _ if mode & SYMLINK != 0 => Some(EntryKind::Symlink(link.to_owned())),
        _ if !link.is_empty() => Some(EntryKind::Hardlink(link.to_owned())),
        _ => Some(EntryKind::File),
    }
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
        super::kind(mode, OsStr::new(link))
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
        assert_eq!(kind(go_mode(0o060_644), ""), None);
        assert_eq!(kind(FIFO | DEVICE | 0o644, ""), None);
        assert!(has_content(0o644) && !has_content(DIRECTORY) && !has_content(SYMLINK | 0o777));
    }
}
