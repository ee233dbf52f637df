//! What expressions refer to.

use std::collections::BTreeSet;

use hcl_edit::expr::{Expression, ForExpr, FuncCall, FuncName, ObjectKey, Traversal};
use hcl_edit::template::ForDirective;
use hcl_edit::visit::{self, Visit};

use super::json::{Json, Kind};
use super::syntax::Code;
use super::traversal::named;

/// Names that an expression uses and does not introduce itself.
#[derive(Debug, Default)]
pub struct References {
    /// Each with the members that are named after it.
    pub variables: Vec<(String, Vec<String>)>,
    pub functions: BTreeSet<String>,
    bound: Vec<String>,
}

/// What an expression refers to.
pub fn references(code: &Code) -> References {
    let mut all = References::default();
    match code {
        Code::Native(_, expression) => all.visit_expr(expression),
        Code::Json(json) => all.json(json),
    }
    all
}

impl References {
    fn json(&mut self, json: &Json) {
        match &json.kind {
            Kind::String(text, _) => self.text(text),
            Kind::Array(items) => items.iter().for_each(|item| self.json(item)),
            Kind::Object(members) => {
                for (label, value) in members {
                    self.text(&label.text);
                    self.json(value);
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if let Ok(template) = hcl_edit::parser::parse_template(text) {
            self.visit_template(&template);
        }
    }

    fn variable(&mut self, name: &str, path: Vec<String>) {
        if !self.bound.iter().any(|bound| bound == name) {
            self.variables.push((name.to_owned(), path));
        }
    }

    fn within(&mut self, names: Vec<String>, visit: impl FnOnce(&mut References)) {
        let count = self.bound.len();
        self.bound.extend(names);
        visit(self);
        self.bound.truncate(count);
    }
}

impl Visit for References {
    fn visit_expr(&mut self, node: &Expression) {
        match node {
            Expression::Variable(name) => self.variable(name.as_str(), Vec::new()),
            other => visit::visit_expr(self, other),
        }
    }

    fn visit_traversal(&mut self, node: &Traversal) {
        match &node.expr {
            Expression::Variable(name) => self.variable(name.as_str(), named(&node.operators)),
            other => self.visit_expr(other),
        }
        for operator in &node.operators {
            self.visit_traversal_operator(operator);
        }
    }

    fn visit_object_key(&mut self, node: &ObjectKey) {
        // A name alone is text.
        if !matches!(node, ObjectKey::Ident(_) | ObjectKey::Expression(Expression::Variable(_))) {
            visit::visit_object_key(self, node);
        }
    }

    fn visit_func_call(&mut self, node: &FuncCall) {
        self.functions.insert(full_name(&node.name));
        visit::visit_func_call(self, node);
    }

    fn visit_for_expr(&mut self, node: &ForExpr) {
        self.visit_expr(&node.intro.collection_expr);
        let names = node.intro.key_var.iter().chain([&node.intro.value_var]);
        self.within(names.map(|name| name.as_str().to_owned()).collect(), |all| {
            let parts =
                node.key_expr.iter().chain([&node.value_expr]).chain(node.cond.iter().map(|c| &c.expr));
            parts.for_each(|part| all.visit_expr(part));
        });
    }

    fn visit_for_directive(&mut self, node: &ForDirective) {
        let head = &node.for_expr;
        self.visit_expr(&head.collection_expr);
        let names = head.key_var.iter().chain([&head.value_var]);
        self.within(names.map(|name| name.as_str().to_owned()).collect(), |all| {
            all.visit_template(&head.template)
        });
    }
}

/// A function's name with its namespaces.
pub(super) fn full_name(name: &FuncName) -> String {
    let parts = name.namespace.iter().chain([&name.name]).map(|part| part.as_str());
    parts.collect::<Vec<_>>().join("::")
}
