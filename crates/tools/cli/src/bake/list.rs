//! `--list`: targets or variables, as a table or for programs.

use ::bake::{Config, Listed};
use serde_json::{Map, Value, json};

use crate::context::Cli;
use crate::error::Error;
use crate::options::mount::csv;

pub fn print(cli: &Cli, what: &str, config: &Config, variables: Vec<Listed>) -> Result<(), Error> {
    let (kind, format) = read(what)?;
    let (head, rows, documents) = match kind.as_str() {
        "targets" => targets(config),
        _ => self::variables(variables),
    };
    match format.as_str() {
        "json" => cli.println(&json(&Value::from(documents))?),
        _ => cli.print(&table(&head, &rows)),
    }
}

/// `targets`, or `type=targets,format=json`.
fn read(text: &str) -> Result<(String, String), Error> {
    let fields = csv(text)?;
    let (mut kind, mut format) = (String::new(), "table".to_owned());
    if !text.contains('=') && fields.len() == 1 {
        kind = text.to_owned();
    } else {
        for field in &fields {
            let (key, value) =
                field.split_once('=').ok_or_else(|| Error::new(format!("invalid value {field}")))?;
            match key.trim().to_lowercase().as_str() {
                "type" => kind = value.to_owned(),
                "format" => format = value.to_owned(),
                key => return Err(Error::new(format!("unexpected key '{key}' in '{field}'"))),
            }
        }
    }
    if !matches!(kind.as_str(), "targets" | "variables") {
        return Err(Error::new(format!("invalid list type {}", template::quote(&kind))));
    }
    match format.as_str() {
        "table" | "json" => Ok((kind, format)),
        other => Err(Error::new(format!("invalid list format {}", template::quote(other)))),
    }
}

type Rows = (Vec<&'static str>, Vec<Vec<String>>, Vec<Value>);

fn targets(config: &Config) -> Rows {
    let (mut rows, mut documents) = (Vec::new(), Vec::new());
    for (name, description, group) in config.listed() {
        let mut document = Map::new();
        document.insert("name".to_owned(), name.as_str().into());
        if !description.is_empty() {
            document.insert("description".to_owned(), description.as_str().into());
        }
        if group {
            document.insert("group".to_owned(), true.into());
        }
        documents.push(document.into());
        rows.push(vec![name, description]);
    }
    (vec!["TARGET", "DESCRIPTION"], rows, documents)
}

fn variables(all: Vec<Listed>) -> Rows {
    let (mut rows, mut documents) = (Vec::new(), Vec::new());
    for variable in all {
        let mut document = Map::new();
        document.insert("name".to_owned(), variable.name.as_str().into());
        if !variable.description.is_empty() {
            document.insert("description".to_owned(), variable.description.as_str().into());
        }
        document.extend(variable.kind.iter().map(|kind| ("type".to_owned(), json!(kind))));
        document.extend(variable.value.iter().map(|value| ("value".to_owned(), json!(value))));
        documents.push(document.into());
        let value = variable.value.unwrap_or_else(|| "<null>".to_owned());
        rows.push(vec![variable.name, variable.kind.unwrap_or_default(), value, variable.description]);
    }
    (vec!["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"], rows, documents)
}

/// Columns between tabs, as wide as eight characters or a multiple.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|word| (*word).to_owned()).collect();
    let all: Vec<&Vec<String>> = [&head].into_iter().chain(rows).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let widest = all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            // An empty column takes no room at all.
            if widest == 0 { 0 } else { (widest + 1).div_ceil(8) * 8 }
        })
        .collect();
    let mut out = String::new();
    for row in all {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let missing = widths[column] - cell.chars().count();
                out.push_str(&"\t".repeat(missing.div_ceil(8)));
            }
        }
        out.push('\n');
    }
    out
}

/// As Go writes JSON: two spaces, and nothing that would mean something in HTML.
pub fn json(document: &Value) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Error::new(error.to_string()))?;
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed() {
        assert_eq!(read("targets").unwrap(), ("targets".to_owned(), "table".to_owned()));
        assert_eq!(read("type=variables,format=json").unwrap(), ("variables".to_owned(), "json".to_owned()));
        for (text, want) in [
            ("things", "invalid list type \"things\""),
            ("type=targets,format=xml", "invalid list format \"xml\""),
            ("type=targets,x", "invalid value x"),
            ("kind=targets", "unexpected key 'kind' in 'kind=targets'"),
        ] {
            assert_eq!(read(text).unwrap_err().message, want);
        }
    }

    #[test]
    fn tables_have_tabs() {
        let rows = vec![vec!["a".to_owned(), "x".to_owned()], vec!["long-name".to_owned(), String::new()]];
        assert_eq!(table(&["TARGET", "DESCRIPTION"], &rows), "TARGET\t\tDESCRIPTION\na\t\tx\nlong-name\t\n");
    }
}
