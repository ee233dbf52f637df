//! Operators.

use hcl_edit::expr::{BinaryOp, BinaryOperator, Expression, UnaryOp, UnaryOperator};

use super::diagnostic::{Diagnostics, Place};
use super::evaluate::{Outcome, Scope};
use crate::functions::{difference, product, quotient, remainder, sum};
use crate::value::{Number, Type, Value, convert};

impl Scope<'_> {
    pub(super) fn unary(&self, operation: &UnaryOp, whole: Place) -> Outcome {
        let kind = match operation.operator.value() {
            UnaryOperator::Neg => Type::Number,
            UnaryOperator::Not => Type::Bool,
        };
        match self.operand(&operation.expr, &kind, "unary operand", whole)? {
            Value::Number(number) => Ok(number.negated().into()),
            value => Ok((value != Value::Bool(true)).into()),
        }
    }

    fn operand(&self, expression: &Expression, kind: &Type, which: &str, whole: Place) -> Outcome {
        let value = self.value(expression)?;
        let place = self.place(expression);
        match convert(&value, kind) {
            Ok(Value::Null(_)) if *kind != Type::Any => {
                self.wrong(whole, "Operation failed", "Error during operation: argument must not be null.")
            }
            Ok(value) => Ok(value),
            Err(why) => self.wrong(place, "Invalid operand", format!("Unsuitable value for {which}: {why}.")),
        }
    }

    pub(super) fn binary(&self, operation: &BinaryOp, whole: Place) -> Outcome {
        use BinaryOperator as Op;
        let operator = *operation.operator.value();
        let kind = match operator {
            Op::Eq | Op::NotEq => Type::Any,
            Op::And | Op::Or => Type::Bool,
            _ => Type::Number,
        };
        let left = self.operand(&operation.lhs_expr, &kind, "left operand", whole);
        let right = self.operand(&operation.rhs_expr, &kind, "right operand", whole);
        // What is decided by one side is not spoilt by the other.
        match (operator, &left, &right) {
            (Op::And, Ok(Value::Bool(false)), _) | (Op::And, _, Ok(Value::Bool(false))) => {
                return Ok(false.into());
            }
            (Op::Or, Ok(Value::Bool(true)), _) | (Op::Or, _, Ok(Value::Bool(true))) => return Ok(true.into()),
            _ => {}
        }
        let (left, right) = match (left, right) {
            (Ok(left), Ok(right)) => (left, right),
            (left, right) => {
                let wrong = [left.err(), right.err()].into_iter().flatten();
                return Err(wrong.fold(Diagnostics::default(), Diagnostics::and));
            }
        };
        let failed =
            |why: String| self.wrong(whole, "Operation failed", format!("Error during operation: {why}."));
        match (operator, left, right) {
            (Op::Eq, left, right) => Ok(left.equals(&right).into()),
            (Op::NotEq, left, right) => Ok((!left.equals(&right)).into()),
            (Op::And, left, right) => Ok((left == Value::Bool(true) && right == Value::Bool(true)).into()),
            (Op::Or, left, right) => Ok((left == Value::Bool(true) || right == Value::Bool(true)).into()),
            (operator, Value::Number(left), Value::Number(right)) => {
                arithmetic(operator, left, right).or_else(failed)
            }
            _ => failed("numbers are needed".to_owned()),
        }
    }
}

fn arithmetic(operator: BinaryOperator, left: Number, right: Number) -> Result<Value, String> {
    use BinaryOperator as Op;
    Ok(match operator {
        Op::Less => (left < right).into(),
        Op::LessEq => (left <= right).into(),
        Op::Greater => (left > right).into(),
        Op::GreaterEq => (left >= right).into(),
        Op::Plus => sum(&left, &right)?.into(),
        Op::Minus => difference(&left, &right)?.into(),
        Op::Mul => product(&left, &right)?.into(),
        Op::Div => quotient(&left, &right)?.into(),
        _ => remainder(&left, &right)?.into(),
    })
}

/// How the types of a condition's results differ.
pub(super) fn unlike(one: &Type, other: &Type) -> String {
    match (one, other) {
        (Type::Object(ones, _), Type::Object(others, _)) => {
            for (name, kind) in ones {
                match others.get(name) {
                    None => {
                        return format!(
                            "The 'true' value includes object attribute {name:?}, which is absent in the 'false' value"
                        );
                    }
                    Some(other) if other != kind => {
                        return format!(
                            "Type mismatch for object attribute {name:?}: {}",
                            unlike(kind, other)
                        );
                    }
                    Some(_) => {}
                }
            }
            if let Some(name) = others.keys().find(|name| !ones.contains_key(*name)) {
                return format!(
                    "The 'false' value includes object attribute {name:?}, which is absent in the 'true' value"
                );
            }
        }
        (Type::Tuple(ones), Type::Tuple(others)) => {
            let (yes, no) = (ones.len(), others.len());
            if yes != no {
                return format!("The 'true' tuple has length {yes}, but the 'false' tuple has length {no}");
            }
            if let Some(at) = (0..yes).find(|at| ones[*at] != others[*at]) {
                return format!("Type mismatch for tuple element {at}: {}", unlike(&ones[at], &others[at]));
            }
        }
        _ => {}
    }
    match (one.name(), other.name()) {
        (yes, no) if yes == no => {
            "At least one deeply-nested attribute or element is not compatible across both the \
                                   'true' and the 'false' value"
                .to_owned()
        }
        (yes, no) => format!("The 'true' value is {yes}, but the 'false' value is {no}"),
    }
}
