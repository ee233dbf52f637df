//! File modes as Go's `os.FileMode` has them, which is what fsutil sends.

use engine::builds::received::EntryKind;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHARACTER_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
const IRREGULAR: u32 = 1 << 19;
const SPECIAL: u32 = DEVICE | FIFO | SOCKET | CHARACTER_DEVICE | IRREGULAR;

/// What kind of entry a mode means; none for what a build context can't hold.
pub fn kind(mode: u32, link: &str) -> Option<EntryKind> {
    match mode {
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
    let bit = |go: u32, unix: u32| if mode & go == 0 { 0 } else { unix };
    mode & 0o777 | bit(SETUID, 0o4000) | bit(SETGID, 0o2000) | bit(STICKY, 0o1000)
}

/// The mode of a file of the kernel, `st_mode`, as Go has it.
pub fn from_unix(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => DIRECTORY,
        0o120_000 => SYMLINK,
        0o060_000 => DEVICE,
        0o020_000 => DEVICE | CHARACTER_DEVICE,
        0o010_000 => FIFO,
        0o140_000 => SOCKET,
        _ => 0,
    };
    let bit = |unix: u32, go: u32| if mode & unix == 0 { 0 } else { go };
    mode & 0o777 | kind | bit(0o4000, SETUID) | bit(0o2000, SETGID) | bit(0o1000, STICKY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_go_and_of_the_kernel() {
        assert_eq!(from_unix(0o100_644), 0o644);
        assert_eq!(from_unix(0o041_777), DIRECTORY | STICKY | 0o777);
        assert_eq!(permissions(from_unix(0o104_755)), 0o4755);
        assert_eq!(kind(DIRECTORY | 0o755, ""), Some(EntryKind::Directory));
        assert_eq!(kind(SYMLINK | 0o777, "a"), Some(EntryKind::Symlink("a".to_owned())));
        assert_eq!(kind(0o644, "a"), Some(EntryKind::Hardlink("a".to_owned())));
        assert_eq!(kind(0o644, ""), Some(EntryKind::File));
        assert_eq!(kind(from_unix(0o010_644), ""), None);
        assert!(has_content(0o644) && !has_content(DIRECTORY) && !has_content(SYMLINK | 0o777));
    }
}
