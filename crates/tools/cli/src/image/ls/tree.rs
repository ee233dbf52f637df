//! `images --tree`: what the names of images stand for, platform by platform, as Docker 28 draws it.

use api::images::{ManifestSummary, Summary};

use crate::format::text::{ellipsis, printable, short_id};
use crate::format::units::human_size_with;

/// Columns between columns.
const GAP: usize = 3;
/// The first column gets no narrower; others go before it does.
const NAME_MIN: usize = 12;

/// What it is drawn for: how wide, and whether colours are understood.
#[derive(Clone, Copy)]
pub struct Screen {
    pub columns: usize,
    pub colours: bool,
}

impl Screen {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("{code}{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The sign of an image that containers were made from, and as many spaces as it takes.
    fn chip(self, shown: bool) -> String {
        match (shown, self.colours) {
            (true, true) => "\x1b[38;5;0m\x1b[48;5;14m U \x1b[0m".to_owned(),
            (true, false) => "U".to_owned(),
            (false, true) => "   ".to_owned(),
            (false, false) => " ".to_owned(),
        }
    }
}

const BOLD: &str = "\x1b[1m";
const NAME: &str = "\x1b[34m\x1b[1m";
const FAINT: &str = "\x1b[2m";

/// What a line says of an image or a manifest.
struct Details {
    id: String,
    usage: i64,
    content: i64,
    used: bool,
}

/// A manifest of an image, by its platform.
struct Branch {
    platform: String,
    available: bool,
    details: Details,
}

struct Root {
    names: Vec<String>,
    details: Details,
    branches: Vec<Branch>,
}

/// The whole picture. Images without a tag only with `all`.
pub fn draw(images: &[Summary], all: bool, screen: Screen) -> String {
    let mut images: Vec<&Summary> =
        images.iter().filter(|image| all || !image.repo_tags.is_empty()).collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let roots: Vec<Root> = images.into_iter().map(root).collect();
    let columns = Columns::new(&roots, screen);
    let mut out = format!("{}\n\n{}\n", columns.legend(), columns.heading());
    let spaced = roots.iter().any(|root| !root.branches.is_empty());
    for root in &roots {
        out.push_str(&columns.names(root));
        out.push_str(&columns.details(&root.details, ""));
        out.push_str(if spaced { "\n" } else { "" });
        for (index, branch) in root.branches.iter().enumerate() {
            let sign = if index + 1 == root.branches.len() { "└─ " } else { "├─ " };
            let code = if branch.available { "" } else { FAINT };
            out.push_str(&columns.name(code, &format!("{sign}{}", branch.platform)));
            out.push_str(&columns.details(&branch.details, code));
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

fn root(image: &Summary) -> Root {
    let manifests = image.manifests.as_deref().unwrap_or_default();
    let branches: Vec<Branch> = manifests.iter().filter_map(branch).collect();
    let details = Details {
        id: image.id.clone(),
        usage: image.size,
        content: manifests.iter().map(|manifest| manifest.size.content).sum(),
        used: image.containers > 0 || branches.iter().any(|branch| branch.details.used),
    };
    let mut names = image.repo_tags.clone();
    // The last one stands beside the figures, and the shortest fits best there.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    Root { names, details, branches }
}

/// Only images are shown: what is attested of them is none.
fn branch(manifest: &ManifestSummary) -> Option<Branch> {
    let image = manifest.image_data.as_ref()?;
    let platform = image.platform.as_ref().map(ToString::to_string).unwrap_or_default();
    Some(Branch {
        platform: printable(&platform).into_owned(),
        available: manifest.available,
        details: Details {
            id: manifest.id.clone(),
            usage: manifest.size.total,
            content: manifest.size.content,
            used: !image.containers.is_empty(),
        },
    })
}

/// Which columns there are, and how wide the first one is.
struct Columns {
    screen: Screen,
    first: usize,
    /// Of those behind the first.
    shown: usize,
    any_used: bool,
}

/// Heading and width of each column behind the first.
const TITLES: [(&str, usize); 4] = [("ID", 12), ("DISK USAGE", 10), ("CONTENT SIZE", 12), ("EXTRA", 5)];

impl Columns {
    fn new(roots: &[Root], screen: Screen) -> Columns {
        let (mut first, mut shown) = (screen.columns, 0);
        for (_, width) in TITLES {
            if first < width + GAP + NAME_MIN {
                break;
            }
            first -= width + GAP;
            shown += 1;
        }
        // Docker counts the bytes of a branch's sign.
        let branches = |root: &Root| {
            root.branches.iter().map(|branch| branch.platform.len() + "└─ ".len()).max().unwrap_or(0)
        };
        let names = |root: &Root| root.names.iter().map(String::len).max().unwrap_or(0);
        let widest = roots.iter().map(|root| names(root).max(branches(root))).max().unwrap_or(0);
        let any_used = roots
            .iter()
            .any(|root| root.details.used || root.branches.iter().any(|branch| branch.details.used));
        Columns { screen, first: first.min(widest.max("IMAGE".len())), shown, any_used }
    }

    fn legend(&self) -> String {
        let (arrow, sign) = if self.screen.colours { ("Info →", " U ") } else { ("Info ->", "U") };
        let length = format!("{arrow}  {sign} In Use ").chars().count();
        let text = format!("{arrow}  {} In Use ", self.screen.chip(true));
        format!("{}{text}", " ".repeat(self.screen.columns.saturating_sub(length)))
    }

    fn heading(&self) -> String {
        let mut line = self.name(BOLD, "IMAGE");
        for (index, (title, width)) in TITLES.iter().take(self.shown).enumerate() {
            line.push_str(&" ".repeat(GAP));
            let fill = " ".repeat(width - title.len());
            let title = self.screen.paint(BOLD, title);
            line.push_str(&if is_right(index) { format!("{fill}{title}") } else { format!("{title}{fill}") });
        }
        line
    }

    /// A text in the first column.
    fn name(&self, code: &str, text: &str) -> String {
        let text = ellipsis(text, self.first);
        let fill = " ".repeat(self.first.saturating_sub(text.chars().count()));
        let painted = if code.is_empty() { text } else { self.screen.paint(code, &text) };
        format!("{painted}{fill}")
    }

    fn names(&self, root: &Root) -> String {
        let Some((last, before)) = root.names.split_last() else { return self.name(FAINT, "<untagged>") };
        let mut lines = String::new();
        for name in before {
            lines.push_str(&self.screen.paint(NAME, name));
            lines.push('\n');
        }
        lines + &self.name(NAME, last)
    }

    fn details(&self, details: &Details, code: &str) -> String {
        let size = |bytes: i64| human_size_with(bytes as f64, 3);
        let texts = [short_id(&details.id).to_owned(), size(details.usage), size(details.content)];
        let mut line = String::new();
        for (index, (_, width)) in TITLES.iter().take(self.shown).enumerate() {
            line.push_str(&" ".repeat(GAP));
            let Some(text) = texts.get(index) else {
                line.push_str(&self.extra(details.used, *width));
                continue;
            };
            let fill = " ".repeat(width.saturating_sub(text.chars().count()));
            let painted = if code.is_empty() { text.clone() } else { self.screen.paint(code, text) };
            line.push_str(&if is_right(index) {
                format!("{fill}{painted}")
            } else {
                format!("{painted}{fill}")
            });
        }
        line
    }

    fn extra(&self, used: bool, width: usize) -> String {
        if !self.any_used {
            return " ".repeat(width);
        }
        let wide = if self.screen.colours { 3 } else { 1 };
        format!("{}{}", self.screen.chip(used), " ".repeat(width - wide))
    }
}

/// Sizes stand at the right of their columns.
fn is_right(index: usize) -> bool {
    matches!(index, 1 | 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::images::{ImageProperties, ManifestSize, UnpackedSize};

    fn manifest(architecture: &str, content: i64, unpacked: i64, containers: &[&str]) -> ManifestSummary {
        ManifestSummary {
            id: format!("sha256:{}", architecture.repeat(20)),
            available: content > 0,
            size: ManifestSize { content, total: content + unpacked },
            kind: "image".into(),
            image_data: Some(ImageProperties {
                platform: Some(oci::Platform::new("linux", architecture, None)),
                size: UnpackedSize { unpacked },
                containers: containers.iter().map(|id| (*id).to_owned()).collect(),
            }),
            ..ManifestSummary::default()
        }
    }

    fn image(tags: &[&str], created: i64, manifests: Vec<ManifestSummary>) -> Summary {
        Summary {
            id: "sha256:0123456789abcdef".into(),
            created,
            size: 7_654_321,
            containers: 0,
            repo_tags: tags.iter().map(|text| (*text).to_owned()).collect(),
            manifests: Some(manifests),
            ..Summary::default()
        }
    }

    fn images() -> Vec<Summary> {
        let attested =
            ManifestSummary { kind: "attestation".into(), image_data: None, ..manifest("amd64", 5, 0, &[]) };
        let of_web =
            vec![manifest("amd64", 2_000_000, 5_000_000, &["c1"]), manifest("arm64", 0, 0, &[]), attested];
        vec![
            image(&["lib:1"], 1, vec![manifest("amd64", 1000, 2000, &[])]),
            image(&["web:latest", "registry.example:5000/team/web:1.0"], 2, of_web),
            image(&[], 3, Vec::new()),
        ]
    }

    /// As docker 28.2 drew the same answer, but for its warning.
    #[test]
    fn plain() {
        let drawn = draw(&images(), false, Screen { columns: 100, colours: false });
        assert_eq!(
            drawn,
            concat!(
                "                                                                                  Info ->  U In Use \n",
                "\n",
                "IMAGE                                ID             DISK USAGE   CONTENT SIZE   EXTRA\n",
                "registry.example:5000/team/web:1.0\n",
                "web:latest                           0123456789ab       7.65MB            2MB   U    \n",
                "├─ linux/amd64                       amd64amd64am          7MB            2MB   U    \n",
                "└─ linux/arm64                       arm64arm64ar           0B             0B        \n",
                "\n",
                "lib:1                                0123456789ab       7.65MB            1kB        \n",
                "└─ linux/amd64                       amd64amd64am          3kB            1kB        \n",
                "\n",
            )
        );
    }

    #[test]
    fn narrow_screens_have_fewer_columns() {
        let drawn = |columns| draw(&images(), true, Screen { columns, colours: false });
        let heading = |columns: usize| drawn(columns).lines().nth(2).unwrap().to_owned();
        assert_eq!(heading(80).split_whitespace().count(), 7);
        assert_eq!(heading(60).trim_end(), "IMAGE               ID             DISK USAGE   CONTENT SIZE");
        assert_eq!(heading(40).trim_end(), "IMAGE          ID             DISK USAGE");
        assert_eq!(heading(20).trim_end(), "IMAGE");
        assert!(drawn(80).contains("<untagged>"), "{}", drawn(80));
        assert!(!draw(&images(), false, Screen { columns: 80, colours: false }).contains("<untagged>"));
    }

    #[test]
    fn colours_only_where_they_are_understood() {
        let drawn = draw(&images(), true, Screen { columns: 80, colours: true });
        assert!(drawn.contains("\x1b[38;5;0m\x1b[48;5;14m U \x1b[0m"), "{drawn:?}");
        assert!(drawn.contains("\x1b[2m└─ linux/arm64\x1b[0m"), "what is not here is faint: {drawn:?}");
        assert!(!draw(&images(), true, Screen { columns: 80, colours: false }).contains('\x1b'));
    }
}
