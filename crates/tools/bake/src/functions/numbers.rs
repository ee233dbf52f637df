//! Numbers.

use num_bigint::BigInt;

use super::{Arguments, Failure, Outcome};
use crate::value::{Number, Type, Value};

/// Values that `range` gives at most.
const RANGE: usize = 1024;

pub fn absolute(a: &Arguments<'_>) -> Outcome {
    Ok(a.number(0).absolute().into())
}

pub fn add(a: &Arguments<'_>) -> Outcome {
    Ok(sum(&a.number(0), &a.number(1))?.into())
}

pub fn sum(one: &Number, other: &Number) -> Result<Number, String> {
    one.plus(other)?.ok_or_else(|| "can't compute sum of opposing infinities".to_owned())
}

pub fn subtract(a: &Arguments<'_>) -> Outcome {
    Ok(difference(&a.number(0), &a.number(1))?.into())
}

pub fn difference(one: &Number, other: &Number) -> Result<Number, String> {
    one.plus(&other.negated())?.ok_or_else(|| "can't subtract infinity from itself".to_owned())
}

pub fn multiply(a: &Arguments<'_>) -> Outcome {
    Ok(product(&a.number(0), &a.number(1))?.into())
}

pub fn product(one: &Number, other: &Number) -> Result<Number, String> {
    one.times(other)?.ok_or_else(|| "can't multiply zero by infinity".to_owned())
}

pub fn negate(a: &Arguments<'_>) -> Outcome {
    Ok(a.number(0).negated().into())
}

pub fn divide(a: &Arguments<'_>) -> Outcome {
    Ok(quotient(&a.number(0), &a.number(1))?.into())
}

pub fn quotient(one: &Number, other: &Number) -> Result<Number, String> {
    one.over(other)?.ok_or_else(|| "can't divide zero by zero or infinity by infinity".to_owned())
}

pub fn modulo(a: &Arguments<'_>) -> Outcome {
    Ok(remainder(&a.number(0), &a.number(1))?.into())
}

pub fn remainder(one: &Number, other: &Number) -> Result<Number, String> {
    one.modulo(other)?.ok_or_else(|| "can't use modulo with zero and infinity".to_owned())
}

pub fn ceil(a: &Arguments<'_>) -> Outcome {
    Ok(a.number(0).rounded(true)?.into())
}

pub fn floor(a: &Arguments<'_>) -> Outcome {
    Ok(a.number(0).rounded(false)?.into())
}

pub fn int(a: &Arguments<'_>) -> Outcome {
    let number = a.number(0);
    let whole = number.truncated().filter(|_| !number.is_integer());
    Ok(whole.map_or(Ok(number), |whole| Number::from_whole(&whole))?.into())
}

pub fn signum(a: &Arguments<'_>) -> Outcome {
    Ok(a.whole(0)?.signum().into())
}

pub fn max(a: &Arguments<'_>) -> Outcome {
    most(a, |number, best| number > best)
}

pub fn min(a: &Arguments<'_>) -> Outcome {
    most(a, |number, best| number < best)
}

fn most(a: &Arguments<'_>, better: fn(&Number, &Number) -> bool) -> Outcome {
    (0..a.values.len())
        .map(|at| a.number(at))
        .reduce(|best, number| if better(&number, &best) { number } else { best })
        .map(Value::from)
        .ok_or("must pass at least one number".into())
}

/// Logarithms and powers are computed with 64 bits.
fn float(a: &Arguments<'_>, compute: fn(f64, f64) -> f64) -> Outcome {
    let result = compute(a.number(0).to_float(), a.number(1).to_float());
    Number::from_float(result).map(Value::from).ok_or_else(|| "the result is no number".into())
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
    let mut whole = BigInt::ZERO;
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
    Ok(Number::from_whole(&whole)?.into())
}

pub fn range(a: &Arguments<'_>) -> Outcome {
    let zero = Number::default();
    let towards = |from: &Number, to: &Number| Number::from(if to < from { -1 } else { 1 });
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
        at = sum(&at, &step)?;
    }
    Ok(Value::List(Type::Number, all))
}
