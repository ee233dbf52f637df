//! Lists: rows of named fields through `table`, `json` or a template.

use serde_json::{Map, Value};
use template::{Method, Options, Template};

use crate::error::Error;
use crate::format::tabwriter::align;

/// A field of a row and its heading.
pub type Column = (&'static str, &'static str);

/// How a kind of object is listed.
pub struct Listing {
    /// The table without `--format`.
    pub table: String,
    /// The template of `-q`.
    pub quiet: &'static str,
    /// The template of `--format raw`, where Docker has one.
    pub raw: &'static str,
    pub columns: &'static [Column],
    /// Labels of a row for the method `.Label "key"`, kept in the hidden field of this name.
    pub labels: bool,
}

/// The field in which a row keeps its labels for `.Label`; it is not printed.
pub const LABELS: &str = "\0labels";

const METHODS: &[(&str, Method)] = &[("Label", label)];

fn label(row: &Value, arguments: &[Value]) -> Result<Value, String> {
    let [Value::String(name)] = arguments else {
        return Err("wrong number of args for Label: want 1".to_owned());
    };
    Ok(row[LABELS].get(name).cloned().unwrap_or_else(|| Value::from("")))
}

/// The heading of `.Label "com.example.some-name"` is `some name`.
fn label_heading(_: &Value, arguments: &[Value]) -> Result<Value, String> {
    let name = arguments.first().and_then(Value::as_str).unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    Ok(last.replace(['-', '_'], " ").into())
}

impl Listing {
    /// Whether this format can be followed, before there is any row: Docker asks that of the list of containers alone,
    /// and in words of its own.
    pub fn check(&self, format: Option<&str>, quiet: bool) -> Result<(), Error> {
        let fail = |verb, error| Error::new(format!("failed to {verb} template: {error}"));
        let shape = self.shape(format, quiet);
        let template = Template::parse_with(&shape.template, self.options());
        let template = template.map_err(|error| fail("parse", error))?;
        let fields = self.columns.iter().map(|(field, _)| ((*field).to_owned(), Value::from("")));
        let row = Value::Object(fields.chain([(LABELS.to_owned(), Value::Object(Map::new()))]).collect());
        template.execute(&row).map(drop).map_err(|error| fail("execute", error))
    }

    fn options(&self) -> Options {
        Options { methods: if self.labels { METHODS } else { &[] }, ..Options::default() }
    }

    /// The whole text of the list.
    pub fn render(
        &self,
        format: Option<&str>,
        quiet: bool,
        rows: &[Map<String, Value>],
    ) -> Result<String, Error> {
        let shape = self.shape(format, quiet);
        let template = parse(&shape.template, self.options())?;
        let mut out = String::new();
        if shape.table {
            out.push_str(&self.heading(&shape.template)?);
        }
        for row in rows {
            let line = template.execute(&sorted(row)).map_err(Error::template)?;
            out.push_str(&line);
            out.push('\n');
        }
        Ok(if shape.table { align(&out) } else { out })
    }

    fn shape(&self, format: Option<&str>, quiet: bool) -> Shape {
        let format = format.filter(|format| !format.is_empty()).unwrap_or("table");
        let plain = |template: &str| Shape { template: unescape(template), table: false };
        match format {
            "table" if quiet => plain(self.quiet),
            "table" => Shape { template: unescape(&self.table), table: true },
            "raw" if quiet => plain(self.quiet),
            "raw" if !self.raw.is_empty() => plain(self.raw),
            "json" => plain("{{json .}}"),
            format => match format.strip_prefix("table ") {
                Some(template) => Shape { template: unescape(template.trim()), table: true },
                None => plain(format),
            },
        }
    }

    fn heading(&self, text: &str) -> Result<String, Error> {
        let options = Options {
            methods: if self.labels { &[("Label", label_heading)] } else { &[] },
            header: true,
            lenient: true,
            zero: None,
            null: None,
            indent: false,
        };
        let names: Map<String, Value> = self
            .columns
            .iter()
            .map(|(field, heading)| ((*field).to_owned(), Value::from(*heading)))
            .collect();
        let mut line = parse(text, options)?.execute(&Value::Object(names)).map_err(Error::template)?;
        line.push('\n');
        Ok(line)
    }
}

/// A row of a list: `row! { "Name": name, "ID": id }`.
#[macro_export]
macro_rules! row {
    ($($field:tt : $value:expr),* $(,)?) => {{
        let mut row = serde_json::Map::new();
        $( row.insert($field.to_owned(), serde_json::json!($value)); )*
        row
    }};
}

struct Shape {
    template: String,
    table: bool,
}

/// In a shell's quotes `\t` and `\n` arrive as two characters.
fn unescape(template: &str) -> String {
    template.replace("\\t", "\t").replace("\\n", "\n")
}

fn parse(text: &str, options: Options) -> Result<Template, Error> {
    Template::parse_with(text, options).map_err(Error::template)
}

/// A template's text over a document whose parts are rows.
pub fn execute(template: &str, document: &Value) -> Result<String, Error> {
    let template = parse(&unescape(template), Options { methods: METHODS, ..Options::default() })?;
    template.execute(document).map_err(|error| Error::new(error.to_string()))
}

/// Docker marshals a Go map, whose keys are sorted.
pub fn sorted(row: &Map<String, Value>) -> Value {
    let mut fields: Vec<(&String, &Value)> = row.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    Value::Object(fields.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listing() -> Listing {
        Listing {
            table: "table {{.ID}}\\t{{.Name}}\\t{{.Driver}}".replace("table ", ""),
            quiet: "{{.ID}}",
            raw: "id: {{.ID}}\nname: {{.Name}}\n",
            columns: &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER")],
            labels: true,
        }
    }

    fn rows() -> Vec<Map<String, Value>> {
        let row = |id: &str, name: &str, label: &str| {
            json!({"Name": name, "ID": id, "Driver": "bridge", LABELS: {"com.example.some-key": label}})
                .as_object()
                .cloned()
                .unwrap_or_default()
        };
        vec![row("0123456789ab", "bridge", "x"), row("ba9876543210", "a-much-longer-name", "y")]
    }

    #[test]
    fn shapes() {
        let run = |format: Option<&str>, quiet: bool| listing().render(format, quiet, &rows()).unwrap();
        assert_eq!(
            run(None, false),
            "NETWORK ID     NAME                 DRIVER\n\
             0123456789ab   bridge               bridge\n\
             ba9876543210   a-much-longer-name   bridge\n"
        );
        assert_eq!(run(None, true), "0123456789ab\nba9876543210\n");
        assert_eq!(
            run(Some("{{.Name}}:{{.ID}}"), false),
            "bridge:0123456789ab\na-much-longer-name:ba9876543210\n"
        );
        assert_eq!(
            run(Some("table {{.Name}}\\t{{upper .Driver}}"), false),
            "NAME                 DRIVER\nbridge               BRIDGE\na-much-longer-name   BRIDGE\n"
        );
        assert_eq!(
            run(Some("json"), false).lines().next(),
            Some(r#"{"Driver":"bridge","ID":"0123456789ab","Name":"bridge"}"#)
        );
        assert_eq!(run(Some("{{json .}}"), false), run(Some("json"), false));
        assert_eq!(run(Some("table {{.Label \"com.example.some-key\"}}"), false), "some key\nx\ny\n");
        assert_eq!(
            run(Some("raw"), false),
            "id: 0123456789ab\nname: bridge\n\nid: ba9876543210\nname: a-much-longer-name\n\n"
        );
    }

    #[test]
    fn an_empty_format_is_none() {
        let run = |format| listing().render(format, false, &rows()).unwrap();
        assert_eq!(run(Some("")), run(None));
    }

    /// As `docker network ls --format TEXT` says it, and `docker ps --format TEXT` even with no container.
    #[test]
    fn errors_say_what_is_wrong() {
        for (format, verb, said) in [
            ("{{.Nope}}", "execute", "template: :1:2: executing"),
            ("table {{.Nope}}", "execute", "template: :1:2: executing"),
            ("{{.ID.x}}", "execute", "template: :1:5: executing"),
            ("{{json}}", "execute", "template: :1:2: executing"),
            ("{{.ID", "parse", "template: :1: unclosed action"),
            ("{{nope .ID}}", "parse", "template: :1: function \"nope\" not defined"),
        ] {
            let error = listing().render(Some(format), false, &rows()).unwrap_err();
            let wanted = format!("template parsing error: {said}");
            assert!(error.message.starts_with(&wanted) && error.code == 1, "{format}: {error}");
            let error = listing().check(Some(format), false).unwrap_err();
            let wanted = format!("failed to {verb} template: {said}");
            assert!(error.message.starts_with(&wanted) && error.code == 1, "{format}: {error}");
        }
        let good = "{{.ID}} {{.Label \"x\"}} {{upper .Name}} {{json .}}";
        for format in [None, Some("table"), Some("raw"), Some("json"), Some(good)] {
            assert_eq!(listing().check(format, false), Ok(()));
        }
        assert_eq!(listing().check(None, true), Ok(()));
    }
}
