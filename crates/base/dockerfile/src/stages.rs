//! The stages of a file by their names.

use crate::ast::Dockerfile;
use std::collections::BTreeMap;

/// The stages of each name, in order: a file may have thousands, and name each in all others.
#[derive(Debug)]
pub struct StageNames<'f>(BTreeMap<&'f str, Vec<usize>>);

impl<'f> StageNames<'f> {
    /// Those of a file.
    pub fn of(file: &'f Dockerfile) -> Self {
        let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, stage) in file.stages.iter().enumerate() {
            if let Some(name) = &stage.from.name {
                named.entry(&name.text).or_default().push(index);
            }
        }
        Self(named)
    }

    /// The stage of this name above `place`, the nearest first; case does not count.
    pub fn above(&self, name: &str, place: usize) -> Option<usize> {
        self.around(name, place).0.last().copied()
    }

    /// The first stage of this name that is not above `place`.
    pub fn below(&self, name: &str, place: usize) -> Option<usize> {
        self.around(name, place).1.first().copied()
    }

    fn around(&self, name: &str, place: usize) -> (&[usize], &[usize]) {
        let named = self.0.get(name.to_lowercase().as_str()).map(Vec::as_slice).unwrap_or_default();
        named.split_at(named.partition_point(|index| *index < place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_above() {
        let text = "FROM x AS a\nFROM x AS b\nFROM x AS a\nFROM x\n";
        let file = crate::parse(text, Default::default()).unwrap();
        let names = StageNames::of(&file);
        assert_eq!([0, 1, 2, 3].map(|place| names.above("A", place)), [None, Some(0), Some(0), Some(2)]);
        assert_eq!([0, 1, 2, 3].map(|place| names.below("a", place)), [Some(0), Some(2), Some(2), None]);
        assert_eq!((names.above("c", 4), names.below("c", 0)), (None, None));
    }
}
