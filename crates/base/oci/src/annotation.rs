//! Annotations as command lines write them: `[types[platform]:]key=value`, with types joined by commas, where a type says which
//! document of an image the annotation is of.

use crate::Platform;

/// An annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Of what.
    pub level: Level,
    /// Of which platform's manifest; of all without.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What an annotation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The manifest.
    Manifest,
    /// The index.
    Index,
    /// The manifest's line in the index.
    ManifestDescriptor,
    /// The index's line in a layout.
    IndexDescriptor,
}

impl Annotation {
    /// Reads that form: one annotation for each type; without types it is of this level. An error is a sentence.
    pub fn parse(text: &str, without: Level) -> Result<Vec<Annotation>, String> {
        let wrong = |reason: &dyn std::fmt::Display| format!("invalid annotation {text:?}: {reason}");
        let (name, value) = text.split_once('=').ok_or_else(|| wrong(&"expected key=value"))?;
        let (types, key) = match name.split_once(':') {
            Some((types, key)) => (Some(types), key),
            None => (None, name),
        };
        if key.is_empty() {
            return Err(wrong(&"the name is empty"));
        }
        let of = |level, platform| Annotation { level, platform, key: key.into(), value: value.into() };
        let Some(types) = types else { return Ok(vec![of(without, None)]) };
        let one = |word: &str| {
            let (word, platform) = match word.split_once('[') {
                Some((word, platform)) => (word, Some(platform.trim_end_matches(']'))),
                None => (word, None),
            };
            let platform = platform.map(str::parse::<Platform>).transpose().map_err(|e| wrong(&e))?;
            Ok(of(level(word)?, platform.map(|platform| platform.normalized())))
        };
        types.split(',').map(str::trim).map(one).collect()
    }
}

fn level(word: &str) -> Result<Level, String> {
    Ok(match word {
        "manifest" => Level::Manifest,
        "index" => Level::Index,
        "manifest-descriptor" => Level::ManifestDescriptor,
        "index-descriptor" => Level::IndexDescriptor,
        other => {
            return Err(format!(
                "unknown annotation type {other:?}: before the colon stand manifest, index, manifest-descriptor or index-descriptor"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_stand_before_the_colon() {
        let one = |text: &str| Annotation::parse(text, Level::Manifest).unwrap().remove(0);
        let plain = one("org.opencontainers.image.title=a:b=c");
        assert_eq!((plain.level, plain.value.as_str()), (Level::Manifest, "a:b=c"));
        assert_eq!(Annotation::parse("k=v", Level::Index).unwrap()[0].level, Level::Index);
        assert_eq!(one("index:k=v").level, Level::Index);
        let both = Annotation::parse("index,manifest[linux/amd64]:k=v", Level::Manifest).unwrap();
        assert_eq!((both.len(), both[0].platform.as_ref()), (2, None));
        assert_eq!(both[1].platform.as_ref().map(ToString::to_string).as_deref(), Some("linux/amd64"));
        assert_eq!(one("index:a:b=c").key, "a:b");
        let wrong =
            ["k", "=v", "index:=v", "foo:bar=x", "Index:a=b", "index,other:a=b", "index[x/y/z/w]:a=b"];
        for wrong in wrong {
            assert!(Annotation::parse(wrong, Level::Manifest).is_err(), "{wrong}");
        }
    }
}
