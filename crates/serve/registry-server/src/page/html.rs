//! A document that is written once from top to bottom. Text comes in escaped, and there is no other way in.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8888;--link:#0550ae}\
@media(prefers-color-scheme:dark){:root{--link:#79b8ff}}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:64rem;margin:0 auto;padding:1rem}\
a{color:var(--link)}a:focus-visible{outline:3px solid var(--link);outline-offset:2px}\
.skip{position:absolute;left:-100vw}.skip:focus{position:static}\
table{border-collapse:collapse;width:100%}caption{text-align:left;padding:.5rem 0}\
th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}\
.number{text-align:right;white-space:nowrap}\
pre{border:1px solid var(--line);padding:.6rem;overflow-x:auto}\
dt{font-weight:600}dd{margin:0 0 .5rem;overflow-wrap:anywhere}";

pub(super) struct Html(String);

impl Html {
    /// A page with this heading, and links to where it belongs.
    pub(super) fn page(title: &str, path: &[(&str, &str)]) -> Html {
        let mut html =
            Html(String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"));
        html.0.push_str("<meta name=\"viewport\" content=\"width=device-width\">\n");
        html.element("title", &format!("{title} - registry"));
        let _ = write!(html.0, "<style>{STYLE}</style>\n</head>\n<body>\n");
        html.0.push_str("<a class=\"skip\" href=\"#main\">Skip to the content</a>\n");
        if !path.is_empty() {
            html.0.push_str("<nav aria-label=\"Breadcrumb\">");
            for (address, text) in path {
                html.link(address, text);
                html.0.push_str(" / ");
            }
            html.0.push_str("</nav>\n");
        }
        html.0.push_str("<main id=\"main\">\n");
        html.element("h1", title);
        html
    }

    /// The document, and the policy that lets a browser use its style and nothing else.
    pub(super) fn finish(mut self) -> (String, String) {
        self.0.push_str("</main>\n</body>\n</html>\n");
        let style = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        (self.0, policy)
    }

    fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(character),
                // Also what turns the direction of writing round.
                other if other.is_control() || ('\u{202a}'..='\u{202e}').contains(&other) => {
                    self.0.push('\u{fffd}')
                }
                other => self.0.push(other),
            }
        }
    }

    /// An element with a text; its name is one of ours.
    pub(super) fn element(&mut self, name: &'static str, text: &str) {
        let _ = write!(self.0, "<{name}>");
        self.text(text);
        let _ = writeln!(self.0, "</{name}>");
    }

    pub(super) fn link(&mut self, address: &str, text: &str) {
        self.0.push_str("<a href=\"");
        self.text(address);
        self.0.push_str("\">");
        self.text(text);
        self.0.push_str("</a>");
    }

    /// Where the next entries are.
    pub(super) fn more(&mut self, address: &str) {
        self.0.push_str("<p>");
        self.link(address, "Next entries");
        self.0.push_str("</p>\n");
    }

    pub(super) fn begin_table(&mut self, caption: &str, columns: &[&'static str]) {
        self.0.push_str("<table>\n");
        self.element("caption", caption);
        self.0.push_str("<thead><tr>");
        for column in columns {
            let class = if matches!(*column, "Size" | "Tags") { " class=\"number\"" } else { "" };
            let _ = write!(self.0, "<th scope=\"col\"{class}>{column}</th>");
        }
        self.0.push_str("</tr></thead>\n<tbody>\n");
    }

    pub(super) fn end_table(&mut self) {
        self.0.push_str("</tbody>\n</table>\n");
    }

    pub(super) fn begin_row(&mut self) {
        self.0.push_str("<tr>");
    }

    pub(super) fn end_row(&mut self) {
        self.0.push_str("</tr>\n");
    }

    /// What the row is about.
    pub(super) fn link_cell(&mut self, address: &str, text: &str) {
        self.0.push_str("<th scope=\"row\">");
        self.link(address, text);
        self.0.push_str("</th>");
    }

    pub(super) fn cell(&mut self, text: &str) {
        self.0.push_str("<td>");
        self.text(text);
        self.0.push_str("</td>");
    }

    pub(super) fn number_cell(&mut self, text: &str) {
        self.0.push_str("<td class=\"number\">");
        self.text(text);
        self.0.push_str("</td>");
    }

    /// A short text for a long one.
    pub(super) fn code_cell(&mut self, short: &str, long: &str) {
        self.0.push_str("<td><code title=\"");
        self.text(long);
        self.0.push_str("\">");
        self.text(short);
        self.0.push_str("</code></td>");
    }

    pub(super) fn begin_facts(&mut self) {
        self.0.push_str("<dl>\n");
    }

    pub(super) fn fact(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.element("dt", name);
            self.element("dd", text);
        }
    }

    pub(super) fn end_facts(&mut self) {
        self.0.push_str("</dl>\n");
    }
}

/// `1.5 MB`, as Docker shows sizes.
pub(super) fn bytes(count: u64) -> String {
    let (mut value, mut unit) = (count as f64, 0);
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (count, text) in [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000_000, "2.0 GB")] {
            assert_eq!(bytes(count), text);
        }
        assert!(bytes(u64::MAX).ends_with(" PB"));
    }

    #[test]
    fn texts_stay_texts() {
        let mut html = Html::page("<script>", &[("/\"onclick=\"x", "'&'")]);
        html.cell("a\u{202e}b\0<img>");
        let (document, policy) = html.finish();
        assert!(
            !document.contains("<script>") && !document.contains("<img>") && !document.contains("\"onclick")
        );
        assert!(document.contains("&lt;script&gt;") && document.contains("&#39;&amp;&#39;"));
        assert!(!document.contains('\u{202e}') && !document.contains('\0'));
        assert!(policy.starts_with("default-src 'none'"));
    }
}
