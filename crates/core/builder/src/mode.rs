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
        let clauses = text.split(',').map(|part| clause(part).ok_or_else(invalid));
        Ok(Change::Symbolic(clauses.collect::<Result<_, _>>()?))
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
            let bits = c.bits | execute;
            let mut set = 0;
            let mut all = 0;
            for (who, shift) in [(4, 6), (2, 3), (1, 0)] {
                if c.who & who != 0 {
                    set |= bits << shift;
                    all |= 7 << shift;
                }
            }
            let special = (if c.who & 4 != 0 { c.special & 0o4000 } else { 0 })
                | (if c.who & 2 != 0 { c.special & 0o2000 } else { 0 })
                | (c.special & 0o1000);
            mode = match c.op {
                '+' => mode | set | special,
                '-' => mode & !(set | special),
                _ => (mode & !all) | set | special,
            };
        }
        mode
    }
}

fn clause(text: &str) -> Option<Clause> {
    let at = text.find(['+', '-', '='])?;
    let (who_text, rest) = text.split_at(at);
    let mut who = 0;
    for c in who_text.chars() {
        who |= match c {
            'u' => 4,
            'g' => 2,
            'o' => 1,
            'a' => 7,
            _ => return None,
        };
    }
    let mut clause = Clause {
        who: if who == 0 { 7 } else { who },
        op: rest.chars().next()?,
        bits: 0,
        conditional: false,
        special: 0,
    };
    for c in rest[1..].chars() {
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
            ("u+s,o+t", 0o755, false, 0o5755),
        ] {
            assert_eq!(Change::parse(text).unwrap().apply(mode, is_dir), want, "{text}");
        }
        for bad in ["", "9", "77777", "z+x", "u*x", "u+q", "x"] {
            assert!(Change::parse(bad).is_err(), "{bad}");
        }
    }
}
