//! The use cases: containers, images, networks, volumes, exec, builds, events and prune.
