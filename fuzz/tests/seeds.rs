//! Each target over its seeds and over cuts and flips of them, without an engine: the same ones each time.

use std::fs;
use std::path::Path;

/// Changed copies of each seed.
const CHANGED: usize = 200;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

fn change(random: &mut fastrand::Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..=bytes.len());
        match random.u8(..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u8(..)),
            2 => bytes.extend_from_within(at..),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.u8(..8);
                }
            }
        }
    }
    bytes
}

#[test]
fn every_target_survives_its_seeds_and_changes_of_them() {
    for (name, run) in fuzz::TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let mut random = fastrand::Rng::with_seed(1);
        run(b"");
        for seed in &seeds {
            run(seed);
            for _ in 0..CHANGED {
                run(&change(&mut random, seed));
            }
        }
    }
}

#[test]
fn every_folder_of_seeds_has_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(corpus).expect("seeds") {
        let name = entry.expect("an entry").file_name();
        assert!(fuzz::find(&name.to_string_lossy()).is_some(), "{name:?} is no target");
    }
}
