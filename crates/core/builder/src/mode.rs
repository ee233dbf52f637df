//! `--chmod`: octal as `0755`, or symbolic as `u=rwX,go=rX` (chmod(1)).

/// A parsed `--chmod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// These bits.
    Absolute(u32),
    /// Clauses in order.
    Symbolic(Vec<Clause>),
}

/// `who op permissions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Bits 4 user, 2 group, 1 others.
    who: u32,
    op: char,
    /// `rwx` as 4, 2, 1.
    bits: u32,
    /// Bits of the mode itself that are copied: 4 user, 2 group, 1 others (`g=u`).
    copied: u32,
    /// `X`: execute for directories and what is executable.
    conditional: bool,
    /// `s` and `t`.
    special: u32,
}

impl Change {
    /// Parses; the error is a message.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).map_err(|_| invalid())?;
            return if bits <= 0o7777 { Ok(Change::Absolute(bits)) } else { Err(invalid()) };
        }
        let clauses = text.split(',').map(|part| clauses(part).ok_or_else(invalid));
        Ok(Change::Symbolic(clauses.collect::<Result<Vec<_>, _>>()?.concat()))
    }

    /// The mode of directories that are made on the way to a destination: an octal mode is theirs too, as with BuildKit since
    /// 0.21, but for its special bits; a symbolic one says how the source's is changed, and they have no source.
    pub(crate) fn of_new_directory(change: Option<&Change>) -> u32 {
        match change {
            Some(Change::Absolute(bits)) => bits & 0o777,
            Some(Change::Symbolic(_)) | None => 0o755,
        }
    }

    /// The mode that `mode` becomes.
    pub(crate) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let clauses = match self {
            Change::Absolute(bits) => return *bits,
            Change::Symbolic(clauses) => clauses,
        };
        let mut mode = mode & 0o7777;
        for c in clauses {
            let execute = if c.conditional && (is_dir || mode & 0o111 != 0) { 1 } else { 0 };
            let copied = [(4, 6), (2, 3), (1, 0)].iter().filter(|(who, _)| c.copied & who != 0);
            let bits = copied.fold(c.bits | execute, |bits, (_, shift)| bits | ((mode >> shift) & 7));
            let mut set = 0;
            let mut all = 0;
            for (who, shift) in [(4, 6), (2, 3), (1, 0)] {
                if c.who & who != 0 {
                    set |= bits << shift;
                    // The bits that give a program its owner and its group go with theirs.
                    all |= 7 << shift | (who & 6) << 9;
                }
            }
            let special = (if c.who & 4 != 0 { c.special & 0o4000 } else { 0 })
                | (if c.who & 2 != 0 { c.special & 0o2000 } else { 0 })
                | (if c.who & 6 != 0 { c.special & 0o1000 } else { 0 });
            mode = match c.op {
                '+' => mode | set | special,
                '-' => mode & !(set | special),
                _ => (mode & !all) | set | special,
            };
        }
        mode
    }
}

/// `ug+rw-x`: who, and one change after the other.
fn clauses(text: &str) -> Option<Vec<Clause>> {
    let at = text.find(OPERATORS)?;
    let (who_text, mut rest) = text.split_at(at);
    let mut who = 0;
    for c in who_text.chars() {
        who |= class(c)?;
    }
    let mut clauses = Vec::new();
    while let Some(op) = rest.chars().next() {
        let end = rest[1..].find(OPERATORS).map_or(rest.len(), |at| at + 1);
        clauses.push(clause(if who == 0 { 7 } else { who }, op, &rest[1..end])?);
        rest = &rest[end..];
    }
    Some(clauses)
}

const OPERATORS: [char; 3] = ['+', '-', '='];

fn class(c: char) -> Option<u32> {
    Some(match c {
        'u' => 4,
        'g' => 2,
        'o' => 1,
        'a' => 7,
        _ => return None,
    })
}

fn clause(who: u32, op: char, permissions: &str) -> Option<Clause> {
    let mut clause = Clause { who, op, bits: 0, copied: 0, conditional: false, special: 0 };
    if let Some(from @ ('u' | 'g' | 'o')) = permissions.chars().next().filter(|_| permissions.len() == 1) {
        clause.copied = class(from)?;
        return Some(clause);
    }
    for c in permissions.chars() {
        match c {
            'r' => clause.bits |= 4,
            'w' => clause.bits |= 2,
            'x' => clause.bits |= 1,
            'X' => clause.conditional = true,
            's' => clause.special |= 0o6000,
            't' => clause.special |= 0o1000,
            _ => return None,
        }
    }
    Some(clause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (text, mode, is_dir, want) in [
            ("0755", 0o600, false, 0o755),
            ("644", 0o777, false, 0o644),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u+s,+t", 0o755, false, 0o5755),
            ("o+t", 0o755, false, 0o755),
            ("u=rwx", 0o4755, false, 0o755),
            ("g=rx", 0o6755, false, 0o4755),
            ("a=rx", 0o7755, false, 0o1555),
            ("u=rwX,go=rX", 0o2755, true, 0o755),
            ("u=rwxs", 0o755, false, 0o4755),
            ("g=u", 0o640, false, 0o660),
            ("u=rw,go=", 0o777, false, 0o600),
            ("u+x-w", 0o644, false, 0o544),
            ("a=r,u+w", 0o777, false, 0o644),
        ] {
            assert_eq!(Change::parse(text).unwrap().apply(mode, is_dir), want, "{text}");
        }
        for bad in ["", "9", "77777", "z+x", "u*x", "u+q", "x", "g=ur", "u"] {
            assert!(Change::parse(bad).is_err(), "{bad}");
        }
    }
}
