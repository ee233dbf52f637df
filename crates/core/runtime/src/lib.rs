//! OCI runtime: from a bundle to a process.
