//! Kills, faults, full disks and damaged files: what was acknowledged is still there, what was not is whole or absent,
//! and nothing is left behind.
//!
//! `cargo xtask crash` makes the long run. What a run did is repeated by its seed, which each test prints.

mod builds;
mod damage;
mod kills;
mod limits;
mod machine;
mod operation;
#[cfg(target_arch = "x86_64")]
mod order;
#[cfg(target_arch = "x86_64")]
mod points;
mod registry;
mod settings;
#[cfg(target_arch = "x86_64")]
mod trace;
mod transfers;
