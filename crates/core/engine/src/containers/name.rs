//! Container names: which are allowed, and how one is made up.

use crate::error::{Error, Result};

/// Checks a name that a user gave and returns it without the slash that the API may put before it.
///
/// Allowed: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, so at least two characters.
pub fn validated(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    if is_restricted_name(bare, 2) {
        return Ok(bare);
    }
    Err(Error::invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// Whether `name` is of Docker's restricted set and has at least `min` characters. Volumes use the same set.
pub fn is_restricted_name(name: &str, min: usize) -> bool {
    let bytes = name.as_bytes();
    bytes.len() >= min
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A made-up name `adjective_surname`; from the second attempt on with a digit, so that a full machine still finds one.
pub fn random(attempt: u32) -> String {
    let adjective = ADJECTIVES[fastrand::usize(..ADJECTIVES.len())];
    let surname = SURNAMES[fastrand::usize(..SURNAMES.len())];
    match attempt {
        0 => format!("{adjective}_{surname}"),
        _ => format!("{adjective}_{surname}{}", fastrand::u32(..10u32.saturating_pow(attempt.min(6)))),
    }
}

const ADJECTIVES: &[&str] = &[
    "able", "airy", "alert", "amber", "ample", "apt", "ardent", "astute", "avid", "azure", "balmy", "blithe",
    "bold", "bonny", "brave", "breezy", "bright", "brisk", "calm", "candid", "canny", "casual", "cheery",
    "civil", "clear", "clever", "coastal", "cosy", "crisp", "curious", "daring", "deft", "deep", "dapper",
    "droll", "eager", "earnest", "easy", "epic", "fabled", "fair", "fearless", "fleet", "fluent", "fond",
    "frank", "free", "fresh", "gentle", "genial", "gifted", "glad", "golden", "graceful", "grand", "hale",
    "handy", "hardy", "hearty", "honest", "hopeful", "humble", "ideal", "jaunty", "jolly", "jovial", "keen",
    "kind", "lively", "lucid", "lucky", "lunar", "mellow", "merry", "mild", "modest", "neat", "nimble",
    "noble", "novel", "open", "patient", "placid", "plucky", "polite", "proud", "quick", "quiet", "rapid",
    "ready", "rosy", "sage", "salty", "sanguine", "serene", "sharp", "silver", "sincere", "sleek", "smart",
    "snug", "sober", "solar", "spry", "staunch", "steady", "stellar", "stoic", "sunny", "swift", "tidal",
    "tidy", "tranquil", "true", "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty", "worthy",
    "zany", "zesty",
];

const SURNAMES: &[&str] = &[
    "abel",
    "alhazen",
    "amundsen",
    "anning",
    "apgar",
    "archimedes",
    "aristarchus",
    "avicenna",
    "babbage",
    "baird",
    "banneker",
    "barents",
    "bartik",
    "battuta",
    "bell",
    "bernoulli",
    "bessel",
    "blackwell",
    "bohr",
    "boole",
    "bose",
    "boyd",
    "brahe",
    "brunel",
    "burnell",
    "cabot",
    "cannon",
    "cantor",
    "carson",
    "cartier",
    "cauchy",
    "celsius",
    "chandrasekhar",
    "chatelet",
    "clarke",
    "cochran",
    "colden",
    "cook",
    "copernicus",
    "cray",
    "curie",
    "dalton",
    "darwin",
    "davinci",
    "descartes",
    "diaz",
    "dijkstra",
    "dirac",
    "drake",
    "driscoll",
    "earhart",
    "eddington",
    "einstein",
    "elion",
    "engelbart",
    "eratosthenes",
    "erikson",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "fourier",
    "franklin",
    "frobisher",
    "galileo",
    "galois",
    "gama",
    "gauss",
    "germain",
    "goodall",
    "haibt",
    "halley",
    "hamilton",
    "harrison",
    "hawking",
    "heisenberg",
    "herschel",
    "hertz",
    "heyerdahl",
    "hilbert",
    "hodgkin",
    "hopper",
    "hubble",
    "hudson",
    "humboldt",
    "huygens",
    "hypatia",
    "ibnmajid",
    "jackson",
    "jemison",
    "johnson",
    "joliot",
    "joule",
    "kalam",
    "kapitsa",
    "kare",
    "keldysh",
    "keller",
    "kepler",
    "khayyam",
    "khwarizmi",
    "kilby",
    "kirch",
    "knuth",
    "kovalevskaya",
    "lagrange",
    "lalande",
    "lamarr",
    "lamport",
    "laplace",
    "lavoisier",
    "leakey",
    "leavitt",
    "leibniz",
    "lichterman",
    "linnaeus",
    "liskov",
    "lovelace",
    "lumiere",
    "magellan",
    "margulis",
    "maury",
    "maxwell",
    "mayer",
    "mccarthy",
    "mcclintock",
    "mclean",
    "meitner",
    "mendel",
    "mendeleev",
    "mercator",
    "merian",
    "mirzakhani",
    "moore",
    "morse",
    "moser",
    "nansen",
    "napier",
    "nash",
    "neumann",
    "newton",
    "nightingale",
    "nobel",
    "noether",
    "noyce",
    "ohm",
    "panini",
    "pare",
    "pascal",
    "pasteur",
    "payne",
    "perlman",
    "pike",
    "planck",
    "poincare",
    "ptolemy",
    "pythagoras",
    "raman",
    "ramanujan",
    "ride",
    "ritchie",
    "robinson",
    "roentgen",
    "ross",
    "rubin",
    "saha",
    "sammet",
    "sanderson",
    "shackleton",
    "shannon",
    "shaw",
    "sinoussi",
    "slocum",
    "snyder",
    "spence",
    "stonebraker",
    "sutherland",
    "swanson",
    "swartz",
    "tasman",
    "taussig",
    "tesla",
    "tharp",
    "thompson",
    "torvalds",
    "tu",
    "turing",
    "varahamihira",
    "vespucci",
    "visvesvaraya",
    "volhard",
    "wallis",
    "watt",
    "wegener",
    "wescoff",
    "wilbur",
    "wiles",
    "williams",
    "wing",
    "wozniak",
    "wright",
    "wu",
    "yalow",
    "yonath",
    "zhenghe",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["ab", "a.b", "0-x", "web_1", "A1"] {
            assert_eq!(validated(good).unwrap(), good);
            assert_eq!(validated(&format!("/{good}")).unwrap(), good);
        }
        for bad in ["", "a", "-ab", "a b", "a/b", "_ab", "ä1", "//ab", "a\n"] {
            let e = validated(bad).unwrap_err();
            assert_eq!(
                e.message,
                format!("Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            );
        }
    }

    #[test]
    fn made_up_names_are_valid() {
        for attempt in 0..4 {
            let name = random(attempt);
            assert!(validated(&name).is_ok(), "{name}");
        }
        for word in ADJECTIVES.iter().chain(SURNAMES) {
            assert!(word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
    }
}
