//! Numbers: decimals of any size. HCL computes with 512 bits, which is 154 digits; so do we.

use bigdecimal::num_traits::ToPrimitive as _;
use bigdecimal::{BigDecimal, RoundingMode};

pub type Number = BigDecimal;

/// Digits that are kept.
const DIGITS: u64 = 154;
/// Exponents beyond this are refused: writing such a number out would take all memory.
const EXPONENT: i64 = 10_000;

/// A number as it stands in text.
pub fn parse(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || text.contains('_') {
        return None;
    }
    // The exponent first: a number like 1e999999999 is not even read.
    if let Some((_, exponent)) = text.split_once(['e', 'E'])
        && exponent.parse::<i64>().is_ok_and(|exponent| exponent.abs() > EXPONENT)
    {
        return None;
    }
    text.parse().ok().and_then(|number| bounded(number).ok())
}

/// A result of the precision that is kept.
pub fn bounded(number: Number) -> Result<Number, String> {
    let number = if number.digits() > DIGITS { number.with_prec(DIGITS) } else { number };
    let (_, scale) = number.as_bigint_and_exponent();
    if scale.abs() > EXPONENT + DIGITS as i64 {
        return Err("the number is too large".to_owned());
    }
    Ok(number.normalized())
}

/// As text, without an exponent.
pub fn text(number: &Number) -> String {
    number.normalized().to_plain_string()
}

/// As text, with an exponent when it is shorter so: C's `%g`.
pub fn compact(number: &Number, upper: bool, precision: Option<usize>) -> String {
    let (digits, exponent) = match precision {
        None => digits(number),
        Some(precision) => rounded(number, precision.max(1) as u64),
    };
    let count = digits.len() as i64;
    let limit = match precision {
        None => 6,
        Some(precision) if precision.max(1) as i64 > count && count > exponent => count,
        Some(precision) => precision.max(1) as i64,
    };
    if exponent < -4 || exponent >= limit {
        return exponential(number, upper, Some(digits.len().saturating_sub(1)));
    }
    let sign = if is_negative(number) { "-" } else { "" };
    let plain = match exponent {
        below if below < 0 => format!("0.{}{digits}", "0".repeat((-below - 1) as usize)),
        above if above + 1 >= count => {
            format!("{digits}{}", "0".repeat((above + 1 - count) as usize))
        }
        inside => format!("{}.{}", &digits[..=inside as usize], &digits[inside as usize + 1..]),
    };
    format!("{sign}{plain}")
}

/// C's `%e`.
pub fn exponential(number: &Number, upper: bool, precision: Option<usize>) -> String {
    let precision = precision.unwrap_or(6);
    let (mut digits, exponent) = rounded(number, precision as u64 + 1);
    digits.push_str(&"0".repeat((precision + 1).saturating_sub(digits.len())));
    let (head, tail) = digits.split_at(1);
    let (point, sign) = (if tail.is_empty() { "" } else { "." }, if is_negative(number) { "-" } else { "" });
    let letter = if upper { 'E' } else { 'e' };
    let exponent = format!("{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    format!("{sign}{head}{point}{tail}{letter}{exponent}")
}

/// C's `%f`.
pub fn fixed(number: &Number, precision: Option<usize>) -> String {
    number.with_scale_round(precision.unwrap_or(6) as i64, RoundingMode::HalfEven).to_plain_string()
}

pub fn is_negative(number: &Number) -> bool {
    number.sign() == bigdecimal::num_bigint::Sign::Minus
}

/// Its digits without zeros at the ends, and the exponent of the first.
fn digits(number: &Number) -> (String, i64) {
    let (whole, scale) = number.normalized().into_bigint_and_exponent();
    let digits = whole.magnitude().to_string();
    if digits == "0" {
        return (digits, 0);
    }
    let exponent = digits.len() as i64 - 1 - scale;
    (digits, exponent)
}

fn rounded(number: &Number, precision: u64) -> (String, i64) {
    digits(&number.with_precision_round(
        std::num::NonZeroU64::new(precision).unwrap_or(std::num::NonZeroU64::MIN),
        RoundingMode::HalfEven,
    ))
}

/// A whole number, if it is one.
pub fn whole(number: &Number) -> Option<i64> {
    number.is_integer().then(|| number.to_i64()).flatten()
}
