//! Containers made for real, as root, from busybox. Every test has its own root file system in a temporary
//! directory and its own control group, and leaves neither processes nor mounts nor groups behind.

mod attacks;
mod cgroups;
mod exec;
mod hardening;
mod latency;
mod life;
mod mounts;
mod namespaces;
mod scene;
mod specification;
