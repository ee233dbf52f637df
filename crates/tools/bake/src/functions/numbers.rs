//! Numbers.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::num_traits::{Signed as _, ToPrimitive as _, Zero as _};
use bigdecimal::{BigDecimal, RoundingMode};

use super::{Arguments, Failure, Outcome};
use crate::value::{Number, Type, Value, bounded};

/// Values that `range` gives at most.
const RANGE: usize = 1024;

fn number(number: Number) -> Outcome {
    Ok(bounded(number)?.into())
}

pub fn absolute(a: &Arguments<'_>) -> Outcome {
    number(a.number(0).abs())
}

pub fn add(a: &Arguments<'_>) -> Outcome {
    number(a.number(0) + a.number(1))
}

pub fn subtract(a: &Arguments<'_>) -> Outcome {
    number(a.number(0) - a.number(1))
}

pub fn multiply(a: &Arguments<'_>) -> Outcome {
    number(a.number(0) * a.number(1))
}

pub fn negate(a: &Arguments<'_>) -> Outcome {
    number(-a.number(0))
}

/// There is no infinity here: what would be one is an error.
pub fn divide(a: &Arguments<'_>) -> Outcome {
    quotient(&a.number(0), &a.number(1)).map(Value::from).map_err(Failure::from)
}

pub fn quotient(one: &Number, other: &Number) -> Result<Number, String> {
    match (one.is_zero(), other.is_zero()) {
        (true, true) => Err("can't divide zero by zero or infinity by infinity".to_owned()),
        (false, true) => Err("can't divide by zero".to_owned()),
        _ => {
            // More digits than are kept.
            let ((digits, scale), (by, by_scale)) =
                (one.as_bigint_and_exponent(), other.as_bigint_and_exponent());
            let shift = 160 + other.digits();
            let digits = digits * BigInt::from(10).pow(shift as u32) / by;
            bounded(BigDecimal::from_bigint(digits, scale - by_scale + shift as i64))
        }
    }
}

pub fn modulo(a: &Arguments<'_>) -> Outcome {
    remainder(&a.number(0), &a.number(1)).map(Value::from).map_err(Failure::from)
}

pub fn remainder(one: &Number, other: &Number) -> Result<Number, String> {
    match other.is_zero() {
        true => Err("can't use modulo with zero and infinity".to_owned()),
        false => bounded(one % other),
    }
}

pub fn ceil(a: &Arguments<'_>) -> Outcome {
    number(a.number(0).with_scale_round(0, RoundingMode::Ceiling))
}

pub fn floor(a: &Arguments<'_>) -> Outcome {
    number(a.number(0).with_scale_round(0, RoundingMode::Floor))
}

pub fn int(a: &Arguments<'_>) -> Outcome {
    number(a.number(0).with_scale_round(0, RoundingMode::Down))
}

pub fn signum(a: &Arguments<'_>) -> Outcome {
    Ok(a.whole(0)?.signum().into())
}

pub fn max(a: &Arguments<'_>) -> Outcome {
    (0..a.values.len())
        .map(|at| a.number(at))
        .max()
        .map(Value::from)
        .ok_or("must pass at least one number".into())
}

pub fn min(a: &Arguments<'_>) -> Outcome {
    (0..a.values.len())
        .map(|at| a.number(at))
        .min()
        .map(Value::from)
        .ok_or("must pass at least one number".into())
}

/// Logarithms and powers are computed with 64 bits.
fn float(a: &Arguments<'_>, compute: fn(f64, f64) -> f64) -> Outcome {
    let at = |at: usize| a.number(at).to_f64().unwrap_or(f64::NAN);
    let result = compute(at(0), at(1));
    // The shortest digits that give this number again; infinities have none.
    crate::value::parse(&result.to_string()).map(Value::from).ok_or_else(|| "the result is no number".into())
}

pub fn log(a: &Arguments<'_>) -> Outcome {
    float(a, |number, base| number.ln() / base.ln())
}

pub fn pow(a: &Arguments<'_>) -> Outcome {
    float(a, f64::powf)
}

pub fn parseint(a: &Arguments<'_>) -> Outcome {
    let Value::String(text) = a.at(0) else {
        let kind = a.at(0).kind().name();
        return Err(Failure::of(0, format!("first argument must be a string, not {kind}")));
    };
    let base = a.whole(1).map_err(|why| Failure::of(1, why))?;
    if !(2..=62).contains(&base) {
        return Err(Failure::of(1, "base must be a whole number between 2 and 62 inclusive"));
    }
    let wrong = || Failure::of(0, format!("cannot parse {text:?} as a base {base} integer"));
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() {
        return Err(wrong());
    }
    let mut whole = BigInt::zero();
    for digit in digits.chars() {
        let value = match digit {
            '0'..='9' => digit as i64 - '0' as i64,
            'a'..='z' => digit as i64 - 'a' as i64 + 10,
            'A'..='Z' if base <= 36 => digit as i64 - 'A' as i64 + 10,
            'A'..='Z' => digit as i64 - 'A' as i64 + 36,
            _ => return Err(wrong()),
        };
        if value >= base {
            return Err(wrong());
        }
        whole = whole * base + value;
    }
    if text.starts_with('-') {
        whole = -whole;
    }
    Ok(Value::Number(BigDecimal::from(whole)))
}

pub fn range(a: &Arguments<'_>) -> Outcome {
    let (zero, one) = (Number::zero(), Number::from(1));
    let towards = |from: &Number, to: &Number| if to < from { -one.clone() } else { one.clone() };
    let (from, to, step) = match a.values.len() {
        1 => (zero.clone(), a.number(0), towards(&zero, &a.number(0))),
        2 => (a.number(0), a.number(1), towards(&a.number(0), &a.number(1))),
        3 => (a.number(0), a.number(1), a.number(2)),
        _ => return Err("must have one, two, or three arguments".into()),
    };
    let down = step.is_negative();
    match () {
        () if step.is_zero() => return Err(Failure::of(2, "step must not be zero")),
        () if down && to > from => {
            return Err(Failure::of(1, "end must be less than start when step is negative"));
        }
        () if !down && to < from => {
            return Err(Failure::of(1, "end must be greater than start when step is positive"));
        }
        () => {}
    }
    let (mut all, mut at) = (Vec::new(), from);
    while if down { at > to } else { at < to } {
        if all.len() >= RANGE {
            return Err(
                "more than 1024 values were generated; either decrease the difference between start and end \
                        or use a smaller step"
                    .into(),
            );
        }
        all.push(Value::from(at.clone()));
        at += &step;
    }
    Ok(Value::List(Type::Number, all))
}
