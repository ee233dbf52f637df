//! Numbers as decimal text: the shortest digits that give the number again, or as many as are asked for.

use num_bigint::BigUint;

use super::Number;

/// Digits, and how many of them stand before the point; zeros are neither first nor last.
#[derive(Clone)]
struct Decimal {
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    /// `digits` times a power of two, exactly.
    fn exact(digits: &BigUint, exponent: i64) -> Decimal {
        let (text, scale) = match exponent {
            0.. => ((digits << exponent as u64).to_string(), 0),
            _ => {
                let fives = BigUint::from(5u8).pow(exponent.unsigned_abs() as u32);
                ((digits * fives).to_string(), exponent)
            }
        };
        let point = text.len() as i64 + scale;
        Decimal { digits: text.into_bytes(), point }.trimmed()
    }

    fn trimmed(mut self) -> Decimal {
        let end = self.digits.iter().rposition(|digit| *digit != b'0').map_or(0, |at| at + 1);
        self.digits.truncate(end);
        if end == 0 {
            self.point = 0;
        }
        self
    }

    /// A digit, also behind the last.
    fn at(&self, at: usize) -> u8 {
        self.digits.get(at).copied().unwrap_or(b'0')
    }

    /// The first digits, up to the nearest or to the even.
    fn rounded(self, count: i64) -> Decimal {
        let Ok(count) = usize::try_from(count) else { return Decimal { digits: Vec::new(), point: 0 } };
        if count >= self.digits.len() {
            return self;
        }
        let half = self.digits[count] == b'5' && count + 1 == self.digits.len();
        let up = match half {
            true => count > 0 && (self.digits[count - 1] - b'0') % 2 == 1,
            false => self.digits[count] >= b'5',
        };
        if up { self.up(count) } else { self.down(count) }
    }

    fn down(mut self, count: usize) -> Decimal {
        self.digits.truncate(count);
        self.trimmed()
    }

    fn up(mut self, count: usize) -> Decimal {
        self.digits.truncate(count);
        match self.digits.iter().rposition(|digit| *digit < b'9') {
            Some(at) => {
                self.digits[at] += 1;
                self.digits.truncate(at + 1);
            }
            None => {
                self.digits = vec![b'1'];
                self.point += 1;
            }
        }
        self
    }

    /// The fewest digits that the number's neighbours do not share.
    fn shortest(number: &Number) -> Decimal {
        let Some((digits, exponent)) = number.parts() else {
            return Decimal { digits: Vec::new(), point: 0 };
        };
        let exact = Decimal::exact(digits, exponent);
        if number.is_zero() {
            return exact;
        }
        // The last bit is half of what the precision can tell apart.
        let shift = number.precision() + 1 - digits.bits();
        let (digits, exponent) = (digits << shift, exponent - shift as i64);
        let even = !digits.bit(1);
        let lower = Decimal::exact(&(&digits - 1u8), exponent);
        let upper = Decimal::exact(&(&digits + 1u8), exponent);
        for (at, &digit) in exact.digits.iter().enumerate() {
            let (low, high) = (lower.at(at), upper.at(at));
            let down = low != digit || even && at + 1 == lower.digits.len();
            let up = digit != high && (even || digit + 1 < high || at + 1 < upper.digits.len());
            match (down, up) {
                (true, true) => return exact.rounded(at as i64 + 1),
                (true, false) => return exact.down(at + 1),
                (false, true) => return exact.up(at + 1),
                (false, false) => {}
            }
        }
        exact
    }

    /// The digits that a precision asks for; without one as few as it takes.
    fn of(number: &Number, count: impl FnOnce(&Decimal) -> Option<i64>) -> Decimal {
        let Some((digits, exponent)) = number.parts() else {
            return Decimal { digits: Vec::new(), point: 0 };
        };
        let exact = Decimal::exact(digits, exponent);
        match count(&exact) {
            Some(count) => exact.rounded(count),
            None => Decimal::shortest(number),
        }
    }

    /// Without an exponent, with so many digits behind the point.
    fn plain(&self, behind: usize) -> String {
        let digit = |at: i64| usize::try_from(at).map_or('0', |at| self.at(at) as char);
        let mut out: String = (0..self.point.max(0)).map(digit).collect();
        if out.is_empty() {
            out.push('0');
        }
        if behind > 0 {
            out.push('.');
            out.extend((0..behind as i64).map(|at| digit(self.point + at)));
        }
        out
    }

    /// With an exponent, and so many digits behind the point.
    fn scientific(&self, behind: usize, upper: bool) -> String {
        let mut out = String::from(self.at(0) as char);
        if behind > 0 {
            out.push('.');
            out.extend((1..=behind).map(|at| self.at(at) as char));
        }
        let exponent = if self.digits.is_empty() { 0 } else { self.point - 1 };
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{out}{}{sign}{:02}", if upper { 'E' } else { 'e' }, exponent.abs())
    }

    /// How many digits there are behind the point.
    fn behind(&self) -> usize {
        usize::try_from(self.digits.len() as i64 - self.point).unwrap_or(0)
    }
}

fn signed(number: &Number, digits: String) -> String {
    match (number.is_infinite(), number.is_negative()) {
        (true, true) => "-Inf".to_owned(),
        (true, false) => "+Inf".to_owned(),
        (false, true) => format!("-{digits}"),
        (false, false) => digits,
    }
}

/// As text, without an exponent.
pub fn text(number: &Number) -> String {
    let decimal = Decimal::shortest(number);
    signed(number, decimal.plain(decimal.behind()))
}

/// As text, with an exponent when it is shorter so: C's `%g`.
pub fn compact(number: &Number, upper: bool, precision: Option<usize>) -> String {
    let precision = precision.map(|precision| precision.max(1) as i64);
    let decimal = Decimal::of(number, |_| precision);
    let count = decimal.digits.len() as i64;
    let limit = match precision {
        None => 6,
        Some(precision) if precision > count && count >= decimal.point => count,
        Some(precision) => precision,
    };
    let exponent = decimal.point - 1;
    let digits = match count > 0 && (exponent < -4 || exponent >= limit) {
        true => decimal.scientific(decimal.digits.len().saturating_sub(1), upper),
        false => decimal.plain(decimal.behind()),
    };
    signed(number, digits)
}

/// C's `%e`.
pub fn exponential(number: &Number, upper: bool, precision: Option<usize>) -> String {
    let precision = precision.unwrap_or(6);
    let decimal = Decimal::of(number, |_| Some(precision as i64 + 1));
    signed(number, decimal.scientific(precision, upper))
}

/// C's `%f`.
pub fn fixed(number: &Number, precision: Option<usize>) -> String {
    let precision = precision.unwrap_or(6);
    let decimal = Decimal::of(number, |exact| Some(exact.point + precision as i64));
    signed(number, decimal.plain(precision))
}
