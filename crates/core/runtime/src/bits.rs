//! Lists of numbers as the kernel writes them (`0-3,7`): processors, memory nodes.

use crate::Error;

/// No machine has more.
const HIGHEST: usize = 8191;

/// The numbers as bits. `what` is for the error.
pub(crate) fn parse(list: &str, what: &str) -> Result<Vec<u64>, Error> {
    let bad = || Error::Spec { reason: format!("{what} {list:?} is no list of numbers up to {HIGHEST}") };
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n <= HIGHEST).ok_or_else(bad);
    let mut mask = Vec::new();
    for part in list.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(bad());
        }
        if mask.len() <= last / 64 {
            mask.resize(last / 64 + 1, 0u64);
        }
        for bit in first..=last {
            if let Some(word) = mask.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        assert_eq!(parse("0-3,7", "cpus").unwrap(), [0b1000_1111]);
        assert_eq!(parse("64, 1", "cpus").unwrap(), [2, 1]);
        for bad in ["", "a", "3-1", "1,", "-1", "9000"] {
            assert!(parse(bad, "cpus").is_err(), "{bad:?}");
        }
    }
}
