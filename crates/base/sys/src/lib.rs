//! The kernel interfaces that need unsafe code, behind safe functions.

pub mod netlink;
pub mod netns;
