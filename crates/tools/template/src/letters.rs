//! Upper and lower case as Go's `strings` has them: each letter for itself, one letter for one. So `ß` has no upper case, and
//! neither the end of a word nor a language changes anything.

/// Letters whose full mapping has more letters, and that have one of a single letter, too: those with an iota below. The
/// upper one of a block of eight lies eight further.
fn iota(letter: char) -> Option<char> {
    let code = letter as u32;
    let upper = match code {
        0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7 => code + 8,
        0x1fb3 | 0x1fc3 | 0x1ff3 => code + 9,
        _ => return None,
    };
    char::from_u32(upper)
}

fn upper_letter(letter: char) -> char {
    let mut mapped = letter.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => iota(letter).unwrap_or(letter),
    }
}

fn lower_letter(letter: char) -> char {
    // The only letter that becomes two takes its dot along.
    if letter == 'İ' { 'i' } else { letter.to_lowercase().next().unwrap_or(letter) }
}

/// What stands at the head of a word: not the same as upper case for letters that are written as two, and for Georgian.
fn title_letter(letter: char) -> char {
    match letter {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        '\u{10d0}'..='\u{10ff}' => letter,
        _ => upper_letter(letter),
    }
}

pub fn upper(text: &str) -> String {
    text.chars().map(upper_letter).collect()
}

pub fn lower(text: &str) -> String {
    text.chars().map(lower_letter).collect()
}

/// The head of each word; in ASCII, all but letters, digits and `_` is between words, elsewhere white space is.
pub fn title(text: &str) -> String {
    let mut before = ' ';
    let head = |letter: char| {
        let first = match before {
            letter if letter.is_ascii() => !letter.is_ascii_alphanumeric() && letter != '_',
            other => !other.is_alphanumeric() && other.is_whitespace(),
        };
        before = letter;
        if first { title_letter(letter) } else { letter }
    };
    text.chars().map(head).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_change_one_by_one_as_with_go() {
        assert_eq!(upper("straße ŉ ǆ İ ı ﬁ ᾳ ᾀ"), "STRAßE ŉ Ǆ İ I ﬁ ᾼ ᾈ");
        assert_eq!(lower("STRASSE İ Σ ΑΣ ǅ ẞ ᾈ"), "strasse i σ ασ ǆ ß ᾀ");
        assert_eq!(title("straße ŉ ǆa ßa it's a-b c_d 1a é·x"), "Straße ŉ ǅa ßa It'S A-B C_d 1a É·x");
    }
}
