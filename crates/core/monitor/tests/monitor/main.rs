//! The monitor as a process, with real containers. Needs root and a static busybox.

mod exec;
mod fixture;
mod health;
mod init;
mod life;
mod names;
mod restart;
mod stdio;
