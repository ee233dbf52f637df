//! How much is tried, and in which order: from the environment, as `cargo xtask crash` sets it.

/// What a run of all tests does by itself: a sample.
const KILLS: u64 = 20;
const POINTS_EVERY: u64 = 24;

/// How many random kills: `DHOW_CRASH_KILLS`.
pub fn kills() -> u64 {
    number("DHOW_CRASH_KILLS").unwrap_or(KILLS)
}

/// How many connections are cut.
pub fn cuts() -> u64 {
    if every() == 1 { 200 } else { 15 }
}

/// How many pulls are killed.
pub fn pull_kills() -> u64 {
    if every() == 1 { 100 } else { 8 }
}

/// Every which fault point is tried, 1 is all of them: `DHOW_CRASH_EVERY`.
pub fn every() -> u64 {
    number("DHOW_CRASH_EVERY").unwrap_or(POINTS_EVERY).max(1)
}

/// Which of `count` circumstances are tried: all, or in a sample one, another each seed and number.
pub fn sample(count: usize, seed: u64, number: usize) -> Vec<usize> {
    let one = usize::try_from(seed % 1_000_000).expect("small") + number;
    (0..count).filter(|index| every() == 1 || one % count == *index).collect()
}

/// What all choices follow from: `DHOW_CRASH_SEED`. Without it a sample is always the same: a change is judged by what it
/// changes, and `cargo xtask crash` looks for what nobody has met yet.
pub fn seed() -> u64 {
    let seed = number("DHOW_CRASH_SEED").unwrap_or(1);
    eprintln!("repeat with DHOW_CRASH_SEED={seed}");
    seed
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}
