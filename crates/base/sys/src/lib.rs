//! The kernel interfaces that need unsafe code, behind safe functions.
//!
//! The only crate with `unsafe`: each block says why it is sound. Functions take and give owned or borrowed descriptors.

#![allow(unsafe_code)]

pub mod bpf;
pub mod child;
pub mod daemon;
pub mod entry;
pub mod exe;
pub mod inflate;
pub mod lock;
mod make_path;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod processor;
pub mod root;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod space;
pub mod userns;
pub mod verity;
