//! Bake's HCL: variables, functions, attributes, targets and groups, evaluated to plain values.
//!
//! What refers to each other may stand in any order, in any of the files. Functions of the file are put in place of their
//! calls before the library evaluates an expression.

use std::collections::BTreeMap;

use hcl::eval::{Context, Evaluate as _};
use hcl::expr::{Expression, FuncCall, ObjectKey, Operation, TemplateExpr};
use hcl::structure::{Block, Body, Structure};
use hcl::template::{Element, Template};
use serde_json::{Map, Value};

use super::functions;
use crate::error::Error;

/// Calls of a file's functions inside of each other.
const DEPTH: usize = 64;

/// Everything that files say, not evaluated yet.
#[derive(Default)]
pub struct Source {
    /// Variables and their defaults, in order.
    pub variables: Vec<Variable>,
    functions: BTreeMap<String, Function>,
    attributes: Vec<(String, Expression)>,
    /// Kind (`target`, `group`), name, fields.
    blocks: Vec<(String, String, Fields)>,
}

type Fields = Vec<(String, Expression)>;

/// A variable of a file.
pub struct Variable {
    pub name: String,
    pub description: String,
    default: Option<Expression>,
    /// Conditions that its value must meet, and what to say if it does not.
    validations: Vec<(Expression, Expression)>,
}

struct Function {
    parameters: Vec<String>,
    variadic: Option<String>,
    result: Expression,
}

/// A block with its values.
pub struct Evaluated {
    pub kind: String,
    pub name: String,
    pub fields: Map<String, Value>,
}

impl Source {
    /// Adds a file in HCL.
    pub fn hcl(&mut self, file: &str, text: &str) -> Result<(), Error> {
        let body: Body = hcl::parse(text).map_err(|error| Error::new(format!("{file}: {error}")))?;
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => {
                    self.attributes.push((attribute.key.to_string(), attribute.expr));
                }
                Structure::Block(block) => self.block(file, block)?,
            }
        }
        Ok(())
    }

    fn block(&mut self, file: &str, block: Block) -> Result<(), Error> {
        let kind = block.identifier.to_string();
        let name = match block.labels.as_slice() {
            [label] => label.as_str().to_owned(),
            _ => return Err(Error::new(format!("{file}: a block {kind:?} needs one name"))),
        };
        let (mut fields, mut nested) = (Vec::new(), Vec::new());
        for structure in block.body {
            match structure {
                Structure::Attribute(attribute) => fields.push((attribute.key.to_string(), attribute.expr)),
                Structure::Block(block) => nested.push(block),
            }
        }
        match kind.as_str() {
            "variable" => self.variable(file, name, fields, nested),
            _ if !nested.is_empty() => Err(Error::new(format!(
                "{file}: {kind} {name:?}: unexpected block {:?}",
                nested[0].identifier()
            ))),
            "function" => self.function(file, name, fields),
            "target" | "group" => {
                self.blocks.push((kind, name, fields));
                Ok(())
            }
            _ => Err(Error::new(format!("{file}: unknown block {kind:?}"))),
        }
    }

    fn variable(
        &mut self,
        file: &str,
        name: String,
        fields: Vec<(String, Expression)>,
        nested: Vec<Block>,
    ) -> Result<(), Error> {
        let mut variable =
            Variable { name, description: String::new(), default: None, validations: Vec::new() };
        for (key, value) in fields {
            match key.as_str() {
                "default" => variable.default = Some(value),
                "description" => variable.description = text_of(&value),
                // Values of the environment get the default's type.
                "type" => {}
                _ => {
                    return Err(Error::new(format!(
                        "{file}: variable {:?}: unexpected {key:?}",
                        variable.name
                    )));
                }
            }
        }
        for block in nested {
            let field =
                |name: &str| block.body().attributes().find(|a| a.key() == name).map(|a| a.expr().clone());
            match (block.identifier(), field("condition")) {
                ("validation", Some(condition)) => {
                    let message = field("error_message").unwrap_or_else(|| "invalid value".into());
                    variable.validations.push((condition, message));
                }
                _ => {
                    return Err(Error::new(format!(
                        "{file}: variable {:?}: unexpected block",
                        variable.name
                    )));
                }
            }
        }
        self.variables.retain(|known| known.name != variable.name);
        self.variables.push(variable);
        Ok(())
    }

    fn function(&mut self, file: &str, name: String, fields: Vec<(String, Expression)>) -> Result<(), Error> {
        let mut function = Function { parameters: Vec::new(), variadic: None, result: Expression::Null };
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("params", Expression::Array(names)) => {
                    function.parameters = names.iter().map(name_of).collect()
                }
                ("variadic_params" | "variadic_param", value) => function.variadic = Some(name_of(&value)),
                ("result", value) => function.result = value,
                (key, _) => return Err(Error::new(format!("{file}: function {name:?}: unexpected {key:?}"))),
            }
        }
        self.functions.insert(name, function);
        Ok(())
    }

    /// Adds a file in JSON, whose strings may hold `${…}`.
    pub fn json(&mut self, file: &str, text: &str) -> Result<(), Error> {
        let document: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| Error::new(format!("{file}: {error}")))?;
        for (key, value) in document {
            let blocks = match (key.as_str(), value) {
                ("target" | "group" | "variable" | "function", Value::Object(blocks)) => blocks,
                (_, value) => {
                    self.attributes.push((key, expression(&value)));
                    continue;
                }
            };
            for (name, block) in blocks {
                let Value::Object(block) = block else {
                    return Err(Error::new(format!("{file}: {key} {name:?} is no object")));
                };
                let fields = block.iter().map(|(key, value)| (key.clone(), expression(value))).collect();
                match key.as_str() {
                    "variable" => self.variable(file, name, fields, Vec::new())?,
                    "function" => self.function(file, name, fields)?,
                    _ => self.blocks.push((key.clone(), name, fields)),
                }
            }
        }
        Ok(())
    }

    /// Adds a target that is values already.
    pub fn plain(&mut self, kind: &str, name: &str, fields: &Map<String, Value>) {
        let field = |(key, value): (&String, &Value)| (key.clone(), literal(value));
        self.blocks.push((kind.to_owned(), name.to_owned(), fields.iter().map(field).collect()));
    }

    /// The values of variables and attributes.
    fn values(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, hcl::Value>, Error> {
        let mut values = BTreeMap::from([
            ("BAKE_CMD_CONTEXT".to_owned(), hcl::Value::from("cwd://")),
            ("BAKE_LOCAL_PLATFORM".to_owned(), hcl::Value::from(oci::Platform::host().to_string())),
        ]);
        let null = Expression::Null;
        let variables = self.variables.iter().map(|v| (&v.name, v.default.as_ref().unwrap_or(&null)));
        let mut pending: Vec<(&String, &Expression)> =
            variables.chain(self.attributes.iter().map(|(name, value)| (name, value))).collect();
        while !pending.is_empty() {
            let mut left = Vec::new();
            let mut problem = None;
            for (name, expression) in &pending {
                match self.evaluate(expression, &values) {
                    Ok(value) => {
                        let value = match environment(name).filter(|_| self.is_variable(name)) {
                            Some(text) => typed(name, &text, &value)?,
                            None => value,
                        };
                        values.insert((*name).clone(), value);
                    }
                    Err(error) => {
                        problem.get_or_insert(format!("{name}: {}", error.message));
                        left.push((*name, *expression));
                    }
                }
            }
            match problem {
                Some(problem) if left.len() == pending.len() => return Err(Error::new(problem)),
                _ => pending = left,
            }
        }
        Ok(values)
    }

    fn is_variable(&self, name: &str) -> bool {
        self.variables.iter().any(|variable| variable.name == name)
    }

    /// Evaluates all blocks; a target with a matrix becomes several, and a group of its name.
    pub fn blocks(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Evaluated>, Error> {
        let values = self.values(environment)?;
        self.validate(&values)?;
        let mut all = Vec::new();
        for (kind, name, fields) in &self.blocks {
            let matrix = fields.iter().find(|(key, _)| key == "matrix").map(|(_, value)| value);
            let Some(matrix) = matrix.filter(|_| kind == "target") else {
                let fields = self.fields(name, fields, &values)?;
                all.push(Evaluated { kind: kind.clone(), name: name.clone(), fields });
                continue;
            };
            let matrix = self.evaluate(matrix, &values).map_err(|e| in_block(name, "matrix", e))?;
            let mut members = Vec::new();
            for choice in combinations(name, &matrix)? {
                let mut scope = values.clone();
                scope.extend(choice);
                let mut fields = self.fields(name, fields, &scope)?;
                fields.remove("matrix");
                let own = match fields.remove("name") {
                    Some(Value::String(own)) => own,
                    _ => return Err(Error::new(format!("target {name:?}: a matrix needs a name"))),
                };
                members.push(Value::from(own.clone()));
                all.push(Evaluated { kind: "target".into(), name: own, fields });
            }
            let fields = Map::from_iter([("targets".to_owned(), Value::from(members))]);
            all.push(Evaluated { kind: "group".into(), name: name.clone(), fields });
        }
        Ok(all)
    }

    /// The variables with their values, for a list of them.
    pub fn listed(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<(&Variable, Value)>, Error> {
        let values = self.values(environment)?;
        let value = |variable: &Variable| values.get(&variable.name).map_or(Value::Null, plain_value);
        Ok(self.variables.iter().map(|variable| (variable, value(variable))).collect())
    }

    fn validate(&self, values: &BTreeMap<String, hcl::Value>) -> Result<(), Error> {
        for variable in &self.variables {
            for (condition, message) in &variable.validations {
                let met = self
                    .evaluate(condition, values)
                    .map_err(|e| in_block(&variable.name, "validation", e))?;
                if met != hcl::Value::Bool(true) {
                    let message = self.evaluate(message, values)?;
                    let message = message.as_str().unwrap_or("invalid value").to_owned();
                    return Err(Error::new(format!("variable {:?}: {message}", variable.name)));
                }
            }
        }
        Ok(())
    }

    fn fields(
        &self,
        block: &str,
        fields: &[(String, Expression)],
        values: &BTreeMap<String, hcl::Value>,
    ) -> Result<Map<String, Value>, Error> {
        let mut all = Map::new();
        for (key, expression) in fields {
            let value = self.evaluate(expression, values).map_err(|e| in_block(block, key, e))?;
            all.insert(key.clone(), plain_value(&value));
        }
        Ok(all)
    }

    fn evaluate(
        &self,
        expression: &Expression,
        values: &BTreeMap<String, hcl::Value>,
    ) -> Result<hcl::Value, Error> {
        let expression = self.expand(expression.clone(), values, 0)?;
        let mut context = Context::new();
        for (name, value) in values {
            context.declare_var(hcl::Identifier::sanitized(name), value.clone());
        }
        functions::declare(&mut context);
        expression.evaluate(&context).map_err(|error| Error::new(error.to_string()))
    }

    /// Puts the results of the file's own functions in place of their calls.
    fn expand(
        &self,
        expression: Expression,
        values: &BTreeMap<String, hcl::Value>,
        depth: usize,
    ) -> Result<Expression, Error> {
        if depth > DEPTH {
            return Err(Error::new("functions call each other without end"));
        }
        let deeper = |expression: Expression| self.expand(expression, values, depth + 1);
        Ok(match expression {
            _ if self.functions.is_empty() => expression,
            Expression::Array(items) => {
                Expression::Array(items.into_iter().map(deeper).collect::<Result<_, _>>()?)
            }
            Expression::Object(object) => {
                let pairs = object.into_iter().map(|(key, value)| {
                    let key = match key {
                        ObjectKey::Expression(key) => ObjectKey::Expression(deeper(key)?),
                        key => key,
                    };
                    Ok::<_, Error>((key, deeper(value)?))
                });
                Expression::Object(pairs.collect::<Result<_, _>>()?)
            }
            Expression::Parenthesis(inner) => Expression::Parenthesis(Box::new(deeper(*inner)?)),
            Expression::Conditional(mut choice) => {
                choice.cond_expr = deeper(choice.cond_expr)?;
                choice.true_expr = deeper(choice.true_expr)?;
                choice.false_expr = deeper(choice.false_expr)?;
                Expression::Conditional(choice)
            }
            Expression::Operation(operation) => Expression::Operation(Box::new(match *operation {
                Operation::Unary(mut one) => {
                    one.expr = deeper(one.expr)?;
                    Operation::Unary(one)
                }
                Operation::Binary(mut two) => {
                    two.lhs_expr = deeper(two.lhs_expr)?;
                    two.rhs_expr = deeper(two.rhs_expr)?;
                    Operation::Binary(two)
                }
            })),
            Expression::TemplateExpr(template) => self.template(&template, values, depth)?,
            Expression::FuncCall(call) => self.call(*call, values, depth)?,
            other => other,
        })
    }

    fn template(
        &self,
        template: &TemplateExpr,
        values: &BTreeMap<String, hcl::Value>,
        depth: usize,
    ) -> Result<Expression, Error> {
        let parsed = Template::from_expr(template).map_err(|error| Error::new(error.to_string()))?;
        let mut out = String::new();
        let mut all = Template::new();
        for element in parsed.elements() {
            all = match element {
                Element::Interpolation(part) => {
                    let value = self.expand(part.expr.clone(), values, depth + 1)?;
                    all.add_interpolation(hcl::template::Interpolation { expr: value, strip: part.strip })
                }
                other => all.add_element(other.clone()),
            };
        }
        out.push_str(&all.to_string());
        Ok(Expression::from(TemplateExpr::QuotedString(out)))
    }

    fn call(
        &self,
        mut call: FuncCall,
        values: &BTreeMap<String, hcl::Value>,
        depth: usize,
    ) -> Result<Expression, Error> {
        let arguments = std::mem::take(&mut call.args);
        call.args = arguments
            .into_iter()
            .map(|argument| self.expand(argument, values, depth + 1))
            .collect::<Result<_, _>>()?;
        let name = call.name.name.to_string();
        let Some(function) = self.functions.get(&name).filter(|_| call.name.namespace.is_empty()) else {
            return Ok(Expression::FuncCall(Box::new(call)));
        };
        let mut given = Vec::with_capacity(call.args.len());
        for argument in &call.args {
            given.push(self.evaluate(argument, values)?);
        }
        if given.len() < function.parameters.len()
            || (given.len() > function.parameters.len() && function.variadic.is_none())
        {
            let (wanted, got) = (function.parameters.len(), given.len());
            return Err(Error::new(format!("function {name:?} takes {wanted} arguments, not {got}")));
        }
        let rest = given.split_off(function.parameters.len());
        let mut scope = values.clone();
        scope.extend(function.parameters.iter().cloned().zip(given));
        if let Some(variadic) = &function.variadic {
            scope.insert(variadic.clone(), hcl::Value::Array(rest));
        }
        let result = self.expand(function.result.clone(), &scope, depth + 1)?;
        Ok(Expression::from(self.evaluate(&result, &scope)?))
    }
}

fn in_block(block: &str, key: &str, error: Error) -> Error {
    Error::new(format!("{block}.{key}: {}", error.message))
}

/// Every combination of a matrix, the last axis first to change.
fn combinations(name: &str, matrix: &hcl::Value) -> Result<Vec<Vec<(String, hcl::Value)>>, Error> {
    let wrong = || Error::new(format!("target {name:?}: a matrix is an object of lists"));
    let axes = matrix.as_object().ok_or_else(wrong)?;
    let mut all: Vec<Vec<(String, hcl::Value)>> = vec![Vec::new()];
    for (axis, choices) in axes {
        let choices = choices.as_array().ok_or_else(wrong)?;
        all = all
            .iter()
            .flat_map(|before| {
                choices.iter().map(move |choice| {
                    let mut next = before.clone();
                    next.push((axis.clone(), choice.clone()));
                    next
                })
            })
            .collect();
        if all.len() > 10_000 {
            return Err(Error::new(format!("target {name:?}: the matrix has more than 10000 combinations")));
        }
    }
    Ok(all)
}

/// A value of the environment, of the default's type.
fn typed(name: &str, text: &str, default: &hcl::Value) -> Result<hcl::Value, Error> {
    let wrong = |kind: &str| Error::new(format!("variable {name:?}: {text:?} is no {kind}"));
    Ok(match default {
        hcl::Value::Bool(_) => match text.to_lowercase().as_str() {
            "1" | "t" | "true" => true.into(),
            "0" | "f" | "false" => false.into(),
            _ => return Err(wrong("bool")),
        },
        hcl::Value::Number(_) => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => whole.into(),
            (_, Ok(number)) => number.into(),
            _ => return Err(wrong("number")),
        },
        _ => text.into(),
    })
}

fn plain_value(value: &hcl::Value) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A string of JSON with what it may hold.
fn expression(value: &Value) -> Expression {
    match value {
        Value::String(text) if text.contains("${") || text.contains("%{") => {
            Expression::from(TemplateExpr::QuotedString(text.replace('\\', "\\\\").replace('"', "\\\"")))
        }
        Value::Array(items) => Expression::Array(items.iter().map(expression).collect()),
        Value::Object(object) => {
            let pair = |(key, value): (&String, &Value)| (ObjectKey::from(key.as_str()), expression(value));
            Expression::Object(object.iter().map(pair).collect())
        }
        other => literal(other),
    }
}

fn literal(value: &Value) -> Expression {
    hcl::to_expression(value).unwrap_or(Expression::Null)
}

fn text_of(expression: &Expression) -> String {
    match expression {
        Expression::String(text) => text.clone(),
        _ => String::new(),
    }
}

/// A parameter, as a name or as a string.
fn name_of(expression: &Expression) -> String {
    match expression {
        Expression::Variable(variable) => variable.to_string(),
        Expression::Array(names) => names.first().map(name_of).unwrap_or_default(),
        other => text_of(other),
    }
}
