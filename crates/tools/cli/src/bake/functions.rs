//! The functions that bake files may call, as Docker's bake has them (those of HCL's standard library that people use there).

use hcl::Value;
use hcl::eval::{Context, FuncArgs, FuncDef, ParamType};

type Outcome = Result<Value, String>;
type Function = fn(FuncArgs) -> Outcome;

/// Declares all of them.
pub fn declare(context: &mut Context<'_>) {
    for (name, function) in TABLE {
        let definition = FuncDef::builder().variadic_param(ParamType::Any).build(*function);
        context.declare_func(*name, definition);
    }
}

#[rustfmt::skip]
const TABLE: &[(&str, Function)] = &[
    ("upper", |a| text(&a, 0).map(|t| t.to_uppercase().into())),
    ("lower", |a| text(&a, 0).map(|t| t.to_lowercase().into())),
    ("title", |a| text(&a, 0).map(|t| title(&t).into())),
    ("trimspace", |a| text(&a, 0).map(|t| t.trim().into())),
    ("trim", |a| Ok(text(&a, 0)?.trim_matches(|c| text(&a, 1).is_ok_and(|set| set.contains(c))).into())),
    ("trimprefix", |a| { let (t, p) = (text(&a, 0)?, text(&a, 1)?); Ok(t.strip_prefix(p.as_str()).unwrap_or(&t).into()) }),
    ("trimsuffix", |a| { let (t, p) = (text(&a, 0)?, text(&a, 1)?); Ok(t.strip_suffix(p.as_str()).unwrap_or(&t).into()) }),
    ("chomp", |a| text(&a, 0).map(|t| t.trim_end_matches(['\n', '\r']).into())),
    ("strlen", |a| text(&a, 0).map(|t| t.chars().count().into())),
    ("reverse", |a| text(&a, 0).map(|t| t.chars().rev().collect::<String>().into())),
    ("substr", |a| {
        let (t, from, length) = (text(&a, 0)?, whole(&a, 1)?, whole(&a, 2)?);
        let count = t.chars().count() as i64;
        let from = if from < 0 { (count + from).max(0) } else { from };
        let length = if length < 0 { count } else { length };
        Ok(t.chars().skip(from as usize).take(length as usize).collect::<String>().into())
    }),
    ("replace", |a| Ok(text(&a, 0)?.replace(&text(&a, 1)?, &text(&a, 2)?).into())),
    ("split", |a| Ok(text(&a, 1)?.split(&text(&a, 0)?).map(Value::from).collect::<Vec<_>>().into())),
    ("join", |a| {
        let mut words = Vec::new();
        for at in 1..a.len() { for item in list(&a, at)? { words.push(shown(&item)?); } }
        Ok(words.join(&text(&a, 0)?).into())
    }),
    ("format", |a| format(&a)),
    ("indent", |a| Ok(text(&a, 1)?.replace('\n', &format!("\n{}", " ".repeat(whole(&a, 0)? as usize))).into())),
    ("concat", |a| {
        let mut all = Vec::new();
        for at in 0..a.len() { all.extend(list(&a, at)?); }
        Ok(all.into())
    }),
    ("flatten", |a| { let mut all = Vec::new(); flatten(&list(&a, 0)?, &mut all); Ok(all.into()) }),
    ("distinct", |a| { let mut all: Vec<Value> = Vec::new(); for item in list(&a, 0)? { if !all.contains(&item) { all.push(item); } } Ok(all.into()) }),
    ("compact", |a| Ok(list(&a, 0)?.into_iter().filter(|item| item.as_str().is_some_and(|t| !t.is_empty())).collect::<Vec<_>>().into())),
    ("reverselist", |a| Ok(list(&a, 0)?.into_iter().rev().collect::<Vec<_>>().into())),
    ("sort", |a| { let mut all = list(&a, 0)?.iter().map(shown).collect::<Result<Vec<_>, _>>()?; all.sort(); Ok(all.into_iter().map(Value::from).collect::<Vec<_>>().into()) }),
    ("slice", |a| {
        let (all, from, to) = (list(&a, 0)?, whole(&a, 1)?, whole(&a, 2)?);
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        let part = range.and_then(|(from, to)| all.get(from..to));
        part.map(|part| part.to_vec().into()).ok_or_else(|| "slice: out of range".to_owned())
    }),
    ("element", |a| {
        let (all, at) = (list(&a, 0)?, whole(&a, 1)?);
        if all.is_empty() { return Err("element: the list is empty".to_owned()); }
        Ok(all[at.rem_euclid(all.len() as i64) as usize].clone())
    }),
    ("length", |a| match a.first() {
        Some(Value::Array(items)) => Ok(items.len().into()),
        Some(Value::Object(object)) => Ok(object.len().into()),
        _ => Err("length: a list or an object is needed".to_owned()),
    }),
    ("contains", |a| Ok(list(&a, 0)?.contains(argument(&a, 1)?).into())),
    ("hasindex", |a| Ok(index(&a).is_some().into())),
    ("index", |a| index(&a).ok_or_else(|| "index: there is no such element".to_owned())),
    ("lookup", |a| Ok(index(&a).or_else(|| a.get(2).cloned()).unwrap_or(Value::Null))),
    ("keys", |a| object(&a, 0).map(|o| o.keys().map(|k| Value::from(k.as_str())).collect::<Vec<_>>().into())),
    ("values", |a| object(&a, 0).map(|o| o.values().cloned().collect::<Vec<_>>().into())),
    ("merge", |a| {
        let mut all = hcl::Map::new();
        for at in 0..a.len() { all.extend(object(&a, at)?.clone()); }
        Ok(Value::Object(all))
    }),
    ("zipmap", |a| {
        let keys = list(&a, 0)?.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::Object(keys.into_iter().zip(list(&a, 1)?).collect()))
    }),
    ("range", |a| {
        let (from, to) = if a.len() > 1 { (whole(&a, 0)?, whole(&a, 1)?) } else { (0, whole(&a, 0)?) };
        let step = if a.len() > 2 { whole(&a, 2)? } else { 1 };
        if step <= 0 || (to - from) / step > 10_000 { return Err("range: out of bounds".to_owned()); }
        Ok((from..to).step_by(step as usize).map(Value::from).collect::<Vec<_>>().into())
    }),
    ("coalesce", |a| a.iter().find(|v| !v.is_null()).cloned().ok_or_else(|| "coalesce: all are null".to_owned())),
    ("coalescelist", |a| Ok(a.iter().find(|v| v.as_array().is_some_and(|l| !l.is_empty())).cloned().unwrap_or_else(|| Vec::<Value>::new().into()))),
    ("equal", |a| Ok((argument(&a, 0)? == argument(&a, 1)?).into())),
    ("notequal", |a| Ok((argument(&a, 0)? != argument(&a, 1)?).into())),
    ("not", |a| Ok((!truth(&a, 0)?).into())),
    ("and", |a| Ok((truth(&a, 0)? && truth(&a, 1)?).into())),
    ("or", |a| Ok((truth(&a, 0)? || truth(&a, 1)?).into())),
    ("add", |a| Ok(number(number_at(&a, 0)? + number_at(&a, 1)?))),
    ("subtract", |a| Ok(number(number_at(&a, 0)? - number_at(&a, 1)?))),
    ("multiply", |a| Ok(number(number_at(&a, 0)? * number_at(&a, 1)?))),
    ("divide", |a| match number_at(&a, 1)? { 0.0 => Err("divide: by zero".to_owned()), by => Ok(number(number_at(&a, 0)? / by)) }),
    ("modulo", |a| match number_at(&a, 1)? { 0.0 => Err("modulo: by zero".to_owned()), by => Ok(number(number_at(&a, 0)? % by)) }),
    ("greaterthan", |a| Ok((number_at(&a, 0)? > number_at(&a, 1)?).into())),
    ("lessthan", |a| Ok((number_at(&a, 0)? < number_at(&a, 1)?).into())),
    ("max", |a| extreme(&a, f64::max)),
    ("min", |a| extreme(&a, f64::min)),
    ("int", |a| Ok(number(number_at(&a, 0)?.trunc()))),
    ("abs", |a| Ok(number(number_at(&a, 0)?.abs()))),
    ("ceil", |a| Ok(number(number_at(&a, 0)?.ceil()))),
    ("floor", |a| Ok(number(number_at(&a, 0)?.floor()))),
    ("parseint", |a| i64::from_str_radix(&text(&a, 0)?, whole(&a, 1)? as u32).map(Value::from).map_err(|e| e.to_string())),
    ("jsonencode", |a| serde_json::to_string(argument(&a, 0)?).map(Value::from).map_err(|e| e.to_string())),
    ("jsondecode", |a| serde_json::from_str::<Value>(&text(&a, 0)?).map_err(|e| e.to_string())),
    ("timestamp", |_| Ok(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())),
    ("sanitize", |a| text(&a, 0).map(|t| t.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect::<String>().into())),
    ("basename", |a| text(&a, 0).map(|t| t.rsplit('/').next().unwrap_or_default().into())),
    ("dirname", |a| text(&a, 0).map(|t| t.rsplit_once('/').map_or(".", |(dir, _)| dir).into())),
    ("base64encode", |a| { use base64::Engine as _; text(&a, 0).map(|t| base64::engine::general_purpose::STANDARD.encode(t).into()) }),
];

fn argument(arguments: &FuncArgs, at: usize) -> Result<&Value, String> {
    arguments.get(at).ok_or_else(|| format!("argument {} is missing", at + 1))
}

fn shown(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err("a string is needed".to_owned()),
    }
}

fn text(arguments: &FuncArgs, at: usize) -> Result<String, String> {
    shown(argument(arguments, at)?)
}

fn list(arguments: &FuncArgs, at: usize) -> Result<Vec<Value>, String> {
    argument(arguments, at)?.as_array().cloned().ok_or_else(|| "a list is needed".to_owned())
}

fn object(arguments: &FuncArgs, at: usize) -> Result<&hcl::Map<String, Value>, String> {
    argument(arguments, at)?.as_object().ok_or_else(|| "an object is needed".to_owned())
}

fn truth(arguments: &FuncArgs, at: usize) -> Result<bool, String> {
    argument(arguments, at)?.as_bool().ok_or_else(|| "true or false is needed".to_owned())
}

fn number_at(arguments: &FuncArgs, at: usize) -> Result<f64, String> {
    let value = argument(arguments, at)?;
    let parsed = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    parsed.ok_or_else(|| "a number is needed".to_owned())
}

fn whole(arguments: &FuncArgs, at: usize) -> Result<i64, String> {
    number_at(arguments, at).map(|number| number as i64)
}

/// Whole numbers stay whole.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { (value as i64).into() } else { value.into() }
}

fn extreme(arguments: &FuncArgs, choose: fn(f64, f64) -> f64) -> Outcome {
    let mut best = number_at(arguments, 0)?;
    for at in 1..arguments.len() {
        best = choose(best, number_at(arguments, at)?);
    }
    Ok(number(best))
}

fn index(arguments: &FuncArgs) -> Option<Value> {
    match (arguments.first()?, arguments.get(1)?) {
        (Value::Object(object), Value::String(key)) => object.get(key).cloned(),
        (Value::Array(items), at) => items.get(usize::try_from(at.as_i64()?).ok()?).cloned(),
        _ => None,
    }
}

fn flatten(items: &[Value], all: &mut Vec<Value>) {
    for item in items {
        match item {
            Value::Array(inner) => flatten(inner, all),
            other => all.push(other.clone()),
        }
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let out = if start { c.to_ascii_uppercase() } else { c };
            start = c.is_whitespace();
            out
        })
        .collect()
}

/// `%s`, `%v`, `%d`, `%q` and `%%`.
fn format(arguments: &FuncArgs) -> Outcome {
    let pattern = text(arguments, 0)?;
    let (mut out, mut at) = (String::new(), 0);
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') => out.push('%'),
            Some(verb @ ('s' | 'v' | 'd' | 'q')) => {
                at += 1;
                let value = text(arguments, at)?;
                out.push_str(&if verb == 'q' { format!("{value:?}") } else { value });
            }
            other => return Err(format!("format: unsupported verb {other:?}")),
        }
    }
    Ok(out.into())
}
