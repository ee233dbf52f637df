//! `dhow runtime`, as engines call it that call runc.

mod bundle;
mod documents;
mod exec;
mod foreground;
mod hostile;
mod life;
mod mounts;
mod peers;
mod rootless;
