//! Numbers: binary floats of a precision, as HCL's type system computes with Go's `big.Float`. What a text says has 512 bits,
//! what a function counted has 64, what it computed with a processor's numbers has 53; a result has as many as the more
//! precise side, rounded to the nearest, and to the even of two. There are infinities and a negative zero, no NaN: what
//! would be one is an error. Exponents beyond a limit are errors, too: writing such a number out would take all memory.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::{ToPrimitive as _, Zero as _};

/// Bits of what stands in text.
const TEXT: u64 = 512;
/// Bits of a whole number that a function gives.
const WHOLE: u64 = 64;
/// Bits of what a processor computes.
const FLOAT: u64 = 53;
/// Decimal exponents beyond this are refused.
const DECIMAL: i64 = 10_000;
/// Binary ones: some more than those.
const BINARY: i64 = 40_000;

#[derive(Debug, Clone)]
pub struct Number {
    negative: bool,
    size: Size,
    /// Bits that a result may have.
    precision: u64,
}

#[derive(Debug, Clone)]
enum Size {
    /// An odd number, or 0, and the power of two that it is multiplied with.
    Finite(BigUint, i64),
    Infinite,
}

impl Number {
    pub const TOO_LARGE: &str = "the number is too large";

    pub fn infinity(negative: bool) -> Number {
        Number { negative, size: Size::Infinite, precision: TEXT }
    }

    /// The nearest number of the precision.
    fn finite(negative: bool, digits: BigUint, exponent: i64, precision: u64) -> Result<Number, String> {
        let (mut digits, mut exponent) = (digits, exponent);
        let extra = digits.bits().saturating_sub(precision);
        if extra > 0 {
            let odd = digits.bit(extra);
            let half = digits.bit(extra - 1);
            let beyond = digits.trailing_zeros().is_some_and(|zeros| zeros < extra - 1);
            digits >>= extra;
            exponent += extra as i64;
            if half && (beyond || odd) {
                digits += 1u8;
            }
        }
        match digits.trailing_zeros() {
            None => exponent = 0,
            Some(zeros) => {
                digits >>= zeros;
                exponent += zeros as i64;
            }
        }
        match exponent.abs() > BINARY {
            true => Err(Number::TOO_LARGE.to_owned()),
            false => Ok(Number { negative, size: Size::Finite(digits, exponent), precision }),
        }
    }

    /// A whole number, with the precision of one that was counted, or more if it needs more.
    pub fn from_whole(whole: &BigInt) -> Result<Number, String> {
        let precision = whole.bits().max(WHOLE);
        Number::finite(whole.sign() == Sign::Minus, whole.magnitude().clone(), 0, precision)
    }

    /// What a processor computed; nothing of what is no number.
    pub fn from_float(float: f64) -> Option<Number> {
        if float.is_nan() {
            return None;
        }
        if float.is_infinite() {
            return Some(Number::infinity(float < 0.0));
        }
        let bits = float.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
        let (digits, exponent) = match exponent {
            0 => (fraction, -1074),
            normal => (fraction | 1 << 52, normal - 1075),
        };
        Number::finite(float.is_sign_negative(), digits.into(), exponent, FLOAT).ok()
    }

    /// The nearest number of a processor.
    pub fn to_float(&self) -> f64 {
        match self.size {
            Size::Infinite if self.negative => f64::NEG_INFINITY,
            Size::Infinite => f64::INFINITY,
            Size::Finite(..) => super::text(self).parse().unwrap_or(f64::NAN),
        }
    }

    pub fn is_negative(&self) -> bool {
        self.negative
    }

    pub fn is_infinite(&self) -> bool {
        matches!(self.size, Size::Infinite)
    }

    pub fn is_zero(&self) -> bool {
        self.parts().is_some_and(|(digits, _)| digits.is_zero())
    }

    pub fn is_integer(&self) -> bool {
        self.parts().is_some_and(|(_, exponent)| exponent >= 0)
    }

    pub(super) fn precision(&self) -> u64 {
        self.precision
    }

    /// Its digits and the power of two that they are multiplied with, if it is finite.
    pub(super) fn parts(&self) -> Option<(&BigUint, i64)> {
        match &self.size {
            Size::Finite(digits, exponent) => Some((digits, *exponent)),
            Size::Infinite => None,
        }
    }

    /// Without what is behind the point; nothing of an infinity.
    pub fn truncated(&self) -> Option<BigInt> {
        let (digits, exponent) = self.parts()?;
        let whole = match exponent {
            0.. => digits << exponent as u64,
            _ => digits >> exponent.unsigned_abs(),
        };
        Some(BigInt::from_biguint(if self.negative { Sign::Minus } else { Sign::Plus }, whole))
    }

    /// The next whole number on one side, with this one's precision.
    pub fn rounded(&self, up: bool) -> Result<Number, String> {
        let Some(mut whole) = self.truncated() else { return Ok(self.clone()) };
        if !self.is_integer() && up != self.negative {
            whole += if up { 1 } else { -1 };
        }
        Number::finite(whole.sign() == Sign::Minus, whole.magnitude().clone(), 0, self.precision)
    }

    pub fn absolute(&self) -> Number {
        Number { negative: false, ..self.clone() }
    }

    pub fn negated(&self) -> Number {
        Number { negative: !self.negative, ..self.clone() }
    }

    /// A sum; nothing of infinities that are opposed.
    pub fn plus(&self, other: &Number) -> Result<Option<Number>, String> {
        let precision = self.precision.max(other.precision);
        let (one, two) = match (self.parts(), other.parts()) {
            (None, None) => return Ok((self.negative == other.negative).then(|| self.clone())),
            (None, _) => return Ok(Some(self.clone())),
            (_, None) => return Ok(Some(other.clone())),
            (Some(one), Some(two)) => (one, two),
        };
        let exponent = one.1.min(two.1);
        let signed = |(digits, at): (&BigUint, i64), negative: bool| {
            let sign = if negative { Sign::Minus } else { Sign::Plus };
            BigInt::from_biguint(sign, digits << (at - exponent) as u64)
        };
        let sum = signed(one, self.negative) + signed(two, other.negative);
        let negative = match sum.sign() {
            Sign::NoSign => self.is_zero() && self.negative && other.negative,
            sign => sign == Sign::Minus,
        };
        Number::finite(negative, sum.into_parts().1, exponent, precision).map(Some)
    }

    /// A product, with all its bits up to 512; nothing of zero by infinity.
    pub fn times(&self, other: &Number) -> Result<Option<Number>, String> {
        let negative = self.negative != other.negative;
        let (Some((one, at)), Some((two, by))) = (self.parts(), other.parts()) else {
            let none = self.is_zero() || other.is_zero();
            return Ok((!none).then(|| Number::infinity(negative)));
        };
        let product = Number::finite(negative, one * two, at + by, TEXT)?;
        let needed = product.parts().map_or(0, |(digits, _)| digits.bits());
        let precision = self.precision.max(other.precision).max(needed);
        Ok(Some(Number { precision, ..product }))
    }

    /// A quotient; nothing of zero by zero or infinity by infinity.
    pub fn over(&self, other: &Number) -> Result<Option<Number>, String> {
        let negative = self.negative != other.negative;
        let precision = self.precision.max(other.precision);
        let zero = || Number::finite(negative, BigUint::zero(), 0, precision);
        match (self.parts(), other.parts()) {
            (None, None) => Ok(None),
            (None, _) => Ok(Some(Number::infinity(negative))),
            (_, None) => zero().map(Some),
            (Some((one, _)), Some((two, _))) if two.is_zero() => {
                Ok((!one.is_zero()).then(|| Number::infinity(negative)))
            }
            (Some((one, at)), Some((two, by))) => {
                let shift = (precision + 2 + two.bits()).saturating_sub(one.bits());
                let shifted = one << shift;
                let quotient = &shifted / two;
                // One more bit stands for all that follow.
                let rest = u8::from(&quotient * two != shifted);
                let digits = (quotient << 1u8) + rest;
                Number::finite(negative, digits, at - by - shift as i64 - 1, precision).map(Some)
            }
        }
    }

    /// What a division to a whole number leaves, with the sign of this one; nothing where an infinity is.
    pub fn modulo(&self, other: &Number) -> Result<Option<Number>, String> {
        if self.is_infinite() || other.is_infinite() {
            return Ok(None);
        }
        if other.is_zero() {
            return Ok(Some(self.clone()));
        }
        let Some(whole) = self.over(other)?.and_then(|ratio| ratio.truncated()) else { return Ok(None) };
        let own = |number: Number| match number.parts() {
            Some((digits, at)) => Number::finite(number.negative, digits.clone(), at, self.precision),
            None => Ok(number),
        };
        let Some(part) = own(Number::from_whole(&whole)?)?.times(other)? else { return Ok(None) };
        self.plus(&own(part)?.negated())?.map(own).transpose()
    }
}

impl Default for Number {
    fn default() -> Number {
        Number::from(0i64)
    }
}

impl From<i64> for Number {
    fn from(whole: i64) -> Number {
        let digits = BigUint::from(whole.unsigned_abs());
        let zeros = digits.trailing_zeros().unwrap_or(0);
        Number { negative: whole < 0, size: Size::Finite(digits >> zeros, zeros as i64), precision: WHOLE }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let sign = |number: &Number| match number.is_zero() {
            true => 0,
            false if number.negative => -1,
            false => 1,
        };
        let signs = sign(self).cmp(&sign(other));
        if signs != Ordering::Equal {
            return signs;
        }
        let sizes = match (self.parts(), other.parts()) {
            (None, None) => Ordering::Equal,
            (None, _) => Ordering::Greater,
            (_, None) => Ordering::Less,
            (Some((one, at)), Some((two, by))) => {
                let least = at.min(by);
                (one << (at - least) as u64).cmp(&(two << (by - least) as u64))
            }
        };
        if sign(self) < 0 { sizes.reverse() } else { sizes }
    }
}

/// A number as it stands in text: digits with a point, a power of ten (`e`) or of two (`p`); or an infinity.
pub fn parse(text: &str) -> Option<Number> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(rest, "Inf" | "inf") {
        return Some(Number::infinity(negative));
    }
    let (mantissa, power, two) = match rest.find(['e', 'E', 'p']) {
        Some(at) => (&rest[..at], rest[at + 1..].parse::<i64>().ok()?, rest.as_bytes()[at] == b'p'),
        None => (rest, 0, false),
    };
    let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{before}{behind}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if power.abs() > DECIMAL || digits.len() as i64 > DECIMAL {
        return None;
    }
    let digits = digits.parse::<BigUint>().ok()?;
    let tens = if two { 0 } else { power } - behind.len() as i64;
    let twos = tens + if two { power } else { 0 };
    let whole = Number::finite(negative, digits, twos, TEXT).ok()?;
    let fives =
        Number::finite(false, BigUint::from(5u8).pow(tens.unsigned_abs() as u32), 0, TEXT + 64).ok()?;
    let number = if tens < 0 { whole.over(&fives) } else { whole.times(&fives) }.ok()??;
    let (digits, exponent) = number.parts()?;
    Number::finite(negative, digits.clone(), exponent, TEXT).ok()
}

/// A whole number, if it is one.
pub fn whole(number: &Number) -> Option<i64> {
    number.truncated().filter(|_| number.is_integer()).and_then(|whole| whole.to_i64())
}
