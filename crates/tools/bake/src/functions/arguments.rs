//! What a function is given, and how it fails.

use crate::value::{Number, Value, whole};

/// Why a function gives nothing, and the argument whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub argument: Option<usize>,
    pub message: String,
}

impl Failure {
    pub fn of(argument: usize, message: impl Into<String>) -> Failure {
        Failure { argument: Some(argument), message: message.into() }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure { argument: None, message }
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Failure {
        message.to_owned().into()
    }
}

/// Arguments: converted to the types of their parameters, as many as there must be at least.
pub struct Arguments<'v> {
    pub values: &'v [Value],
    /// The user's home directory.
    pub home: &'v str,
}

impl Arguments<'_> {
    pub fn at(&self, at: usize) -> &Value {
        self.values.get(at).unwrap_or(&Value::NULL)
    }

    pub fn text(&self, at: usize) -> &str {
        self.at(at).as_str().unwrap_or_default()
    }

    pub fn truth(&self, at: usize) -> bool {
        *self.at(at) == Value::Bool(true)
    }

    pub fn number(&self, at: usize) -> Number {
        match self.at(at) {
            Value::Number(number) => number.clone(),
            _ => Number::default(),
        }
    }

    /// A whole number of 64 bits, or why it is none.
    pub fn whole(&self, at: usize) -> Result<i64, String> {
        let number = self.number(at);
        whole(&number).ok_or_else(|| match (number.is_integer(), number.is_negative()) {
            (false, _) => {
                "value must be a whole number, between -9223372036854775808 and 9223372036854775807"
                    .to_owned()
            }
            (true, true) => "value must be greater than or equal to -9223372036854775808".to_owned(),
            (true, false) => "value must be less than or equal to 9223372036854775807".to_owned(),
        })
    }

    /// The elements of a list, a set or a tuple; nothing for other values.
    pub fn items(&self, at: usize) -> &[Value] {
        self.at(at).items().unwrap_or_default()
    }

    pub fn home(&self) -> &str {
        self.home
    }
}
