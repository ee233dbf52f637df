//! The commands of a shell script, as far as rules need them: names, words, flags, pipes.
//!
//! No shell: words keep their variables (`$x` becomes `${x}`), what is substituted is looked into, redirections and
//! assignments are left out. Any text is read; what is no script gives few commands or none. Nesting is bounded
//! ([`DEPTH`]), and the cost is linear.

/// Substitutions and groups inside each other that are looked into.
const DEPTH: usize = 40;

/// A script.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script {
    /// The text.
    pub text: String,
    /// Every command, in order.
    pub commands: Vec<Command>,
    /// Whether the output of one command goes to another.
    pub has_pipes: bool,
}

/// A simple command.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// What is run.
    pub name: String,
    /// The words behind, quotes removed.
    pub args: Vec<String>,
}

impl Script {
    /// Reads a script.
    pub fn parse(text: &str) -> Self {
        let mut reader = Reader {
            chars: text.chars().collect(),
            at: 0,
            depth: 0,
            out: Script::default(),
            heredocs: Vec::new(),
        };
        while reader.at < reader.chars.len() {
            reader.list();
            // A closing bracket that nothing opened.
            reader.at += 1;
        }
        Script { text: text.to_owned(), ..reader.out }
    }

    /// Whether one of the commands is a call of this program.
    pub fn uses(&self, program: &str) -> bool {
        self.commands.iter().any(|command| command.name == program)
    }

    /// Whether a command is like that.
    pub fn any(&self, is: impl Fn(&Command) -> bool) -> bool {
        self.commands.iter().any(is)
    }

    /// Whether a command of the second kind comes after the first one of the first kind.
    pub fn follows(&self, first: impl Fn(&Command) -> bool, second: impl Fn(&Command) -> bool) -> bool {
        let place = |is: &dyn Fn(&Command) -> bool| self.commands.iter().position(is);
        matches!((place(&first), place(&second)), (Some(first), Some(second)) if first < second)
    }
}

impl Command {
    /// Whether it is this program with one of these words.
    pub fn is(&self, program: &str, words: &[&str]) -> bool {
        self.name == program && self.has_any(words)
    }

    /// Whether one of these is among its words.
    pub fn has_any(&self, words: &[&str]) -> bool {
        self.args.iter().any(|arg| words.contains(&arg.as_str()))
    }

    /// Whether these words stand in it one after the other.
    pub fn has_run(&self, words: &[&str]) -> bool {
        self.args.windows(words.len()).any(|window| window == words)
    }

    /// How often it has this flag: `-abc` are three, of `--name=value` it is the name.
    pub fn count_flag(&self, flag: &str) -> usize {
        self.args.iter().map(|arg| flags(arg).filter(|found| *found == flag).count()).sum()
    }

    /// Whether it has one of these flags.
    pub fn has_flag(&self, wanted: &[&str]) -> bool {
        self.args.iter().any(|arg| flags(arg).any(|flag| wanted.contains(&flag)))
    }

    /// The values of a flag that are words of their own.
    pub fn values_of(&self, flag: &str) -> Vec<&str> {
        let is = |arg: &String| flags(arg).any(|found| found == flag);
        self.args.windows(2).filter(|pair| is(&pair[0])).map(|pair| pair[1].as_str()).collect()
    }

    /// The words that are no flags, nor values of these flags.
    pub fn operands(&self, with_value: &[&str]) -> Vec<&str> {
        let mut skip = false;
        let mut found = Vec::new();
        for arg in &self.args {
            let skipped = std::mem::take(&mut skip);
            let is_flag = flags(arg).next().is_some();
            skip = is_flag && !arg.contains('=') && flags(arg).any(|flag| with_value.contains(&flag));
            if !is_flag && !skipped {
                found.push(arg.as_str());
            }
        }
        found
    }

    /// Whether it installs with pip.
    pub fn is_pip_install(&self) -> bool {
        let pip =
            self.name.starts_with("pip") && !self.name.starts_with("pipenv") && self.has_any(&["install"]);
        pip || (self.name.starts_with("python") && self.has_run(&["-m", "pip", "install"]))
    }
}

/// The flags that a word sets.
fn flags(arg: &str) -> impl Iterator<Item = &str> {
    let long = arg.strip_prefix("--").filter(|rest| !rest.is_empty());
    let long = long.map(|rest| rest.split('=').next().unwrap_or(rest));
    let short = match arg.strip_prefix('-') {
        Some(rest) if !rest.starts_with('-') => rest,
        _ => "",
    };
    let short = short.char_indices().map(move |(at, c)| &short[at..at + c.len_utf8()]);
    long.into_iter().chain(short)
}

/// A word, and how much of it comes before the first quote.
#[derive(Default)]
struct Word {
    text: String,
    bare: Option<usize>,
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    out: Script,
    /// Here-documents whose bodies begin with the next line.
    heredocs: Vec<(String, bool)>,
}

/// Words that stand where commands do and are none.
const KEYWORDS: [&str; 13] =
    ["if", "then", "else", "elif", "fi", "while", "until", "do", "done", "!", "{", "}", "time"];

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn looks_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c))
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(c) if c.is_whitespace() && c != '\n' => self.at += 1,
                Some('\\') if self.looks_at("\\\n") => self.at += 2,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// Reads commands up to a closing bracket (which stays) or the end of the text.
    fn list(&mut self) {
        let mut words: Vec<Word> = Vec::new();
        loop {
            self.skip_blanks();
            let Some(c) = self.peek() else { break };
            match c {
                ')' => break,
                '\n' => {
                    self.finish(&mut words);
                    self.at += 1;
                    self.skip_heredocs();
                }
                ';' | '&' if !self.looks_at("&>") => {
                    self.finish(&mut words);
                    self.at += 1;
                }
                '|' => {
                    if !self.looks_at("||") {
                        self.out.has_pipes = true;
                    }
                    self.at += if self.looks_at("||") || self.looks_at("|&") { 2 } else { 1 };
                    self.finish(&mut words);
                }
                '(' => self.bracket(&mut words),
                '<' | '>' | '&' => self.redirection(),
                _ => self.piece(&mut words),
            }
        }
        self.finish(&mut words);
    }

    /// A subshell, an arithmetic command, or the brackets of a function.
    fn bracket(&mut self, words: &mut Vec<Word>) {
        if !words.is_empty() {
            words.clear();
        }
        if self.looks_at("((") {
            self.until("))");
            return;
        }
        self.at += 1;
        self.nested();
    }

    /// Reads a list inside of brackets, and eats the closing one.
    fn nested(&mut self) {
        self.depth += 1;
        if self.depth <= DEPTH {
            self.list();
        } else {
            while self.peek().is_some_and(|c| c != ')') {
                self.at += 1;
            }
        }
        self.depth -= 1;
        self.at += 1;
    }

    fn until(&mut self, end: &str) {
        while self.at < self.chars.len() && !self.looks_at(end) {
            self.at += 1;
        }
        self.at += end.len();
    }

    /// A word, where it means something special with what belongs to it.
    fn piece(&mut self, words: &mut Vec<Word>) {
        let start = self.at;
        let word = self.word();
        if self.at == start {
            self.at += 1;
            return;
        }
        let is_number = word.bare.is_none() && word.text.chars().all(|c| c.is_ascii_digit());
        if is_number && matches!(self.peek(), Some('<' | '>')) {
            return;
        }
        let bare = &word.text[..word.bare.unwrap_or(word.text.len())];
        if !words.is_empty() || (word.bare.is_some() && !is_assignment(bare)) {
            words.push(word);
            return;
        }
        match word.text.as_str() {
            text if KEYWORDS.contains(&text) => {}
            "for" | "select" | "function" => self.header(),
            "case" => self.case(),
            "esac" => {}
            "[[" => self.until("]]"),
            text if is_assignment(text) => {
                if text.ends_with('=') && self.peek() == Some('(') {
                    self.until(")");
                }
            }
            _ => words.push(word),
        }
    }

    /// The rest of `for x in …`, up to its `do`.
    fn header(&mut self) {
        while self.peek().is_some_and(|c| !matches!(c, ';' | '\n' | '{' | ')')) {
            let before = self.at;
            self.skip_blanks();
            self.word();
            self.at = self.at.max(before + 1);
        }
    }

    /// `case x in`: patterns look like closing brackets, so they are skipped here.
    fn case(&mut self) {
        self.skip_blanks();
        self.word();
        self.skip_blanks();
        self.word();
        self.depth += 1;
        while self.depth <= DEPTH {
            while self.peek().is_some_and(|c| c.is_whitespace() || c == ';' || c == '&') {
                self.at += 1;
            }
            self.skip_blanks();
            if self.peek().is_none() || self.looks_at("esac") {
                break;
            }
            while self.peek().is_some_and(|c| c != ')') {
                self.at += 1;
            }
            self.at += 1;
            self.branch();
        }
        self.depth -= 1;
    }

    /// The commands of one branch, up to `;;` or `esac`.
    fn branch(&mut self) {
        let mut words: Vec<Word> = Vec::new();
        loop {
            self.skip_blanks();
            let Some(c) = self.peek() else { break };
            let at_start = words.is_empty();
            match c {
                ';' if self.looks_at(";;") || self.looks_at(";&") => break,
                'e' if at_start && self.looks_at("esac") => break,
                '\n' => {
                    self.finish(&mut words);
                    self.at += 1;
                    self.skip_heredocs();
                }
                ';' | ')' => {
                    self.finish(&mut words);
                    self.at += 1;
                }
                '&' if !self.looks_at("&>") => {
                    self.finish(&mut words);
                    self.at += 1;
                }
                '|' => {
                    self.out.has_pipes |= !self.looks_at("||");
                    self.at += if self.looks_at("||") { 2 } else { 1 };
                    self.finish(&mut words);
                }
                '(' => self.bracket(&mut words),
                '<' | '>' | '&' => self.redirection(),
                _ => self.piece(&mut words),
            }
        }
        self.finish(&mut words);
    }

    /// `> file`, `2>&1`, `<<EOF`: no part of the command's words.
    fn redirection(&mut self) {
        if self.looks_at("<(") || self.looks_at(">(") {
            self.at += 2;
            self.nested();
            return;
        }
        let here = self.looks_at("<<") && !self.looks_at("<<<");
        while self.peek().is_some_and(|c| matches!(c, '<' | '>' | '&' | '|')) {
            self.at += 1;
        }
        let strips = here && self.peek() == Some('-');
        if strips {
            self.at += 1;
        }
        self.skip_blanks();
        let target = self.word();
        if here && !target.text.is_empty() {
            self.heredocs.push((target.text, strips));
        }
    }

    fn skip_heredocs(&mut self) {
        for (end, strips) in std::mem::take(&mut self.heredocs) {
            while self.at < self.chars.len() {
                let rest = &self.chars[self.at..];
                let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
                let line: String = rest[..length].iter().collect();
                self.at += length + 1;
                let line = if strips { line.trim_start_matches('\t') } else { &line };
                if line == end {
                    break;
                }
            }
        }
    }

    /// A command is complete.
    fn finish(&mut self, words: &mut Vec<Word>) {
        let mut words = std::mem::take(words).into_iter().map(|word| word.text);
        let Some(mut name) = words.next() else { return };
        let args: Vec<String> = words.collect();
        if name == "[" {
            return;
        }
        if ["command", "exec", "builtin", "busybox"].contains(&name.as_str())
            && let Some(real) = args.first().filter(|arg| !arg.starts_with('-'))
        {
            name = real.clone();
        }
        self.out.commands.push(Command { name, args });
    }

    /// One word, quotes removed.
    fn word(&mut self) -> Word {
        let mut word = Word::default();
        while let Some(c) = self.peek() {
            match c {
                c if c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '<' | '>') => break,
                '\\' => {
                    self.at += 1;
                    if let Some(next) = self.peek() {
                        self.at += 1;
                        if next != '\n' {
                            word.text.push(next);
                        }
                    }
                }
                '\'' => {
                    word.bare.get_or_insert(word.text.len());
                    self.at += 1;
                    self.single(&mut word.text);
                }
                '"' => {
                    word.bare.get_or_insert(word.text.len());
                    self.at += 1;
                    self.double(&mut word.text);
                }
                '$' => self.dollar(&mut word.text),
                '`' => self.backticks(&mut word.text),
                c => {
                    word.text.push(c);
                    self.at += 1;
                }
            }
        }
        word
    }

    fn single(&mut self, text: &mut String) {
        while let Some(c) = self.peek() {
            self.at += 1;
            if c == '\'' {
                return;
            }
            text.push(c);
        }
    }

    fn double(&mut self, text: &mut String) {
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.at += 1;
                    return;
                }
                '$' => self.dollar(text),
                '`' => self.backticks(text),
                '\\' => {
                    self.at += 1;
                    match self.peek() {
                        Some('\n') => self.at += 1,
                        Some(c @ ('"' | '\\' | '$' | '`')) => {
                            text.push(c);
                            self.at += 1;
                        }
                        _ => text.push('\\'),
                    }
                }
                c => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// `$x`, `${x…}`, `$(…)`, `$((…))`, `$'…'`.
    fn dollar(&mut self, text: &mut String) {
        self.at += 1;
        match self.peek() {
            Some('(') if self.looks_at("((") => {
                self.until("))");
                text.push_str("${VAR}");
            }
            Some('(') => {
                self.at += 1;
                let heredocs = std::mem::take(&mut self.heredocs);
                self.nested();
                self.heredocs = heredocs;
                text.push_str("${VAR}");
            }
            Some('{') => {
                let start = self.at;
                let mut open = 0usize;
                while let Some(c) = self.peek() {
                    self.at += 1;
                    open = if c == '{' { open + 1 } else { open - usize::from(c == '}') };
                    if open == 0 {
                        break;
                    }
                }
                text.push('$');
                text.extend(&self.chars[start..self.at]);
            }
            Some('\'') => {
                self.at += 1;
                self.single(text);
            }
            Some(c) if c.is_alphanumeric() || "_@*#?-$!".contains(c) => {
                text.push_str("${");
                let single = !c.is_alphabetic() && c != '_';
                text.push(c);
                self.at += 1;
                while let Some(c) = self.peek().filter(|c| !single && (c.is_alphanumeric() || *c == '_')) {
                    text.push(c);
                    self.at += 1;
                }
                text.push('}');
            }
            _ => text.push('$'),
        }
    }

    fn backticks(&mut self, text: &mut String) {
        self.at += 1;
        let inner: String = {
            let start = self.at;
            while self.peek().is_some_and(|c| c != '`') {
                self.at += if self.peek() == Some('\\') { 2 } else { 1 };
            }
            self.at = self.at.min(self.chars.len());
            self.chars[start.min(self.at)..self.at].iter().collect()
        };
        self.at += 1;
        text.push_str("${VAR}");
        if self.depth < DEPTH {
            let mut inside = Reader {
                chars: inner.chars().collect(),
                at: 0,
                depth: self.depth + 1,
                out: Script::default(),
                heredocs: Vec::new(),
            };
            inside.list();
            self.out.commands.append(&mut inside.out.commands);
            self.out.has_pipes |= inside.out.has_pipes;
        }
    }
}

/// `NAME=value`, `NAME+=value`, `NAME[0]=value`.
fn is_assignment(text: &str) -> bool {
    let Some((name, _)) = text.split_once('=') else { return false };
    let name = name.strip_suffix('+').unwrap_or(name);
    let name = name.split('[').next().unwrap_or(name);
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name arg|arg` of each command.
    fn commands(text: &str) -> Vec<String> {
        let script = Script::parse(text);
        script.commands.iter().map(|c| format!("{} {}", c.name, c.args.join("|")).trim().to_owned()).collect()
    }

    #[test]
    fn scripts() {
        for (text, want) in [
            ("apt-get update && apt-get install -y a", vec!["apt-get update", "apt-get install|-y|a"]),
            ("a; b & c || d\ne", vec!["a", "b", "c", "d", "e"]),
            ("FOO=bar BAZ='x y' make all", vec!["make all"]),
            ("X=1", vec![]),
            ("(cd /x; ls) && { pwd; }", vec!["cd /x", "ls", "pwd"]),
            ("if [ -f x ]; then rm x; else touch y; fi", vec!["rm x", "touch y"]),
            ("if [[ $a && $b ]]; then rm x; fi", vec!["rm x"]),
            ("for i in a b c; do echo $i; done", vec!["echo ${i}"]),
            ("while read l; do echo; done < file", vec!["read l", "echo"]),
            ("case $x in a|b) one ;; *) two; three;; esac; four", vec!["one", "two", "three", "four"]),
            ("f() { ls; }; f", vec!["ls", "f"]),
            ("echo \"$(curl -s x | tar xz)\" 'a b'", vec!["curl -s|x", "tar xz", "echo ${VAR}|a b"]),
            ("echo `date +%s` b", vec!["date +%s", "echo ${VAR}|b"]),
            ("ls > out 2>&1 < in", vec!["ls"]),
            ("ls 2> /dev/null extra", vec!["ls extra"]),
            ("ls &> out", vec!["ls"]),
            ("cat <<EOF > x && b\ntext apt-get\nEOF\nc", vec!["cat", "b", "c"]),
            ("a \\\n  b # comment && c\nd", vec!["a b", "d"]),
            ("echo ${x:-y z} $((1 + 2)) a$b", vec!["echo ${x:-y z}|${VAR}|a${b}"]),
            (
                "command -v x; command ls a; exec dumb-init",
                vec!["command -v|x", "ls ls|a", "dumb-init dumb-init"],
            ),
            ("diff <(a) <(b)", vec!["a", "b", "diff"]),
            ("x=(a b); c", vec!["c"]),
            ("a ) b", vec!["a", "b"]),
            ("'unclosed", vec!["unclosed"]),
            ("echo a#b #c", vec!["echo a#b"]),
            ("((i++)); a", vec!["a"]),
        ] {
            assert_eq!(commands(text), want, "{text}");
        }
    }

    #[test]
    fn pipes() {
        for (text, want) in [("a | b", true), ("a || b", false), ("a |& b", true), ("echo 'a | b'", false)] {
            assert_eq!(Script::parse(text).has_pipes, want, "{text}");
        }
    }

    #[test]
    fn flags_and_operands() {
        let script = Script::parse("useradd -rm -u 12345 --home=/x --shell /bin/sh -- name");
        let command = &script.commands[0];
        assert!(command.has_flag(&["r"]) && command.has_flag(&["home"]) && !command.has_flag(&["x"]));
        assert_eq!(command.values_of("u"), ["12345"]);
        assert_eq!(command.operands(&["u", "shell"]), ["--", "name"]);
        assert_eq!(Script::parse("a -qq -q").commands[0].count_flag("q"), 3);
        assert!(Script::parse("python3 -m pip install x").commands[0].is_pip_install());
        assert!(!Script::parse("pipenv install x").commands[0].is_pip_install());
    }

    #[test]
    fn hostile_scripts_are_quick() {
        for piece in ["$(", "(", "`", "case x in a) ", "\"$(", "${", "<<E ", "x=(", "[[ "] {
            Script::parse(&piece.repeat(50_000));
        }
    }
}
