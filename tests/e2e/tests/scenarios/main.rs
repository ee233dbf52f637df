//! What a person does with Dhow, typed as they type it: with no daemon, with a daemon, with two engines on one root.

/// Each scenario becomes three tests, one a mode.
macro_rules! in_every_mode {
    ($($scenario:ident)*) => {$(
        mod $scenario {
            #[test]
            fn embedded() {
                super::$scenario(&testkit::Host::new(testkit::Mode::Embedded));
            }

            #[test]
            fn daemon() {
                super::$scenario(&testkit::Host::new(testkit::Mode::Daemon));
            }

            #[test]
            fn two_engines() {
                super::$scenario(&testkit::Host::new(testkit::Mode::TwoEngines));
            }
        }
    )*};
}

mod applications;
mod attached;
mod attacks;
mod bake;
mod bases;
mod build;
mod build_attacks;
mod build_names;
mod build_requests;
mod buildkit;
mod builds_pushed;
mod caches;
mod checks;
mod containers;
mod contents;
mod crash;
mod devices;
mod events;
mod exec;
mod files;
mod healing;
mod hostile;
mod hub;
mod images;
mod layers;
mod manifests;
mod memory;
mod names;
mod network;
mod outputs;
mod privileges;
mod registries;
mod registry_server;
mod restart;
mod results;
mod runtime;
mod security;
mod seekable;
mod servers;
mod signatures;
mod terminal;
mod transfers;
mod tutorials;
mod volumes;
