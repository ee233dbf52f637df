//! Builds with real layers and real processes. Needs root and a static busybox.

mod cache;
mod client;
mod direct;
mod epoch;
mod explain;
mod files;
mod fixture;
mod graph;
mod idle;
mod lazy;
mod link;
mod merge;
mod opened;
mod policy;
mod provenance;
mod remote;
mod run;
mod share;
mod transfer;
mod verify;
