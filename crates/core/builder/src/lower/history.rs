//! The `created_by` texts of an image's history, as BuildKit writes them.

use crate::graph::{Copy, CopySource};
use oci::image::Healthcheck;
use std::time::Duration;

/// A string as Go's `%q` prints it.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            c => out.push_str(&escaped(c)),
        }
    }
    out.push('"');
    out
}

/// A character within quotes, but for the quotes themselves.
fn escaped(c: char) -> String {
    match c {
        '\x07' => "\\a".into(),
        '\x08' => "\\b".into(),
        '\t' => "\\t".into(),
        '\n' => "\\n".into(),
        '\x0b' => "\\v".into(),
        '\x0c' => "\\f".into(),
        '\r' => "\\r".into(),
        '\\' => "\\\\".into(),
        c if c < ' ' || c == '\x7f' => format!("\\x{:02x}", u32::from(c)),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.into(),
    }
}

/// A list as Go's `%q` prints it.
pub(super) fn quoted_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|i| quoted(i)).collect();
    format!("[{}]", items.join(" "))
}

/// `RUN |1 A=b /bin/sh -c … # buildkit`.
pub(super) fn run(argv: &[String], args: &[(&str, &str)]) -> String {
    let mut words = Vec::new();
    if !args.is_empty() {
        words.push(format!("|{}", args.len()));
        words.extend(args.iter().map(|(name, value)| format!("{name}={value}")));
    }
    words.extend_from_slice(argv);
    format!("RUN {} # buildkit", words.join(" "))
}

/// `COPY --chown=a:b src dst # buildkit`; `dest` as the Dockerfile has it.
pub(super) fn copy(copy: &Copy, dest: &str) -> String {
    let mut text = String::from(if copy.is_add { "ADD" } else { "COPY" });
    if copy.parents {
        text += " --parents";
    }
    if let Some(chown) = &copy.chown {
        text += &format!(" --chown={chown}");
    }
    if let Some(chmod) = &copy.chmod {
        text += &format!(" --chmod={chmod}");
    }
    for source in &copy.sources {
        text.push(' ');
        match source {
            CopySource::Path(path) => text += path,
            CopySource::Inline { name, .. } => text += &format!("<<{name}"),
            CopySource::Url { url, .. } | CopySource::Git { url, .. } => text += url,
        }
    }
    format!("{text} {dest} # buildkit")
}

/// `HEALTHCHECK {Test:[CMD-SHELL …] Interval:30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}`.
pub(super) fn healthcheck(check: &Healthcheck) -> String {
    let time = |nanos: i64| go_duration(Duration::from_nanos(nanos.unsigned_abs()));
    format!(
        "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        check.test.join(" "),
        time(check.interval),
        time(check.timeout),
        time(check.start_period),
        time(check.start_interval),
        check.retries
    )
}

/// Go's `time.Duration.String`.
fn go_duration(d: Duration) -> String {
    let nanos = d.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    if nanos < 1_000_000_000 {
        let (unit, scale) = if nanos < 1_000 {
            ("ns", 1)
        } else if nanos < 1_000_000 {
            ("µs", 1_000)
        } else {
            ("ms", 1_000_000)
        };
        return format!("{}{unit}", decimal(nanos, scale));
    }
    let total = d.as_secs();
    let seconds = decimal(nanos - u128::from(total / 60 * 60) * 1_000_000_000, 1_000_000_000);
    match (total / 3600, total / 60 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, m) => format!("{m}m{seconds}s"),
        (h, m) => format!("{h}h{m}m{seconds}s"),
    }
}

fn decimal(value: u128, scale: u128) -> String {
    let (whole, part) = (value / scale, value % scale);
    if part == 0 {
        return whole.to_string();
    }
    let digits = (scale as f64).log10() as usize;
    format!("{whole}.{}", format!("{part:0digits$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_texts() {
        assert_eq!(go_duration(Duration::from_secs(30)), "30s");
        assert_eq!(go_duration(Duration::from_secs(90)), "1m30s");
        assert_eq!(go_duration(Duration::from_secs(3600)), "1h0m0s");
        assert_eq!(go_duration(Duration::from_millis(1500)), "1.5s");
        assert_eq!(go_duration(Duration::from_millis(100)), "100ms");
        assert_eq!(quoted_list(&["a".into(), "b \"c\"".into()]), r#"["a" "b \"c\""]"#);
        assert_eq!(super::quoted("\u{7}\u{b}\u{1b}\u{85}é"), "\"\\a\\v\\x1b\\u0085é\"");
        let argv = vec!["/bin/sh".to_string(), "-c".into(), "x".into()];
        assert_eq!(run(&argv, &[]), "RUN /bin/sh -c x # buildkit");
        assert_eq!(run(&argv, &[("A", "b"), ("B", "")]), "RUN |2 A=b B= /bin/sh -c x # buildkit");
    }
}
