//! Python arithmetic, as much of it as durations and `bantime.formula` need.
//!
//! fail2ban evaluates both with Python's `eval`. This is a closed language instead: numbers,
//! operators, comparisons, conditionals, a table of functions, and names that the caller resolves.
//! It must never panic, loop, or grow with its input: text, depth and node count are bounded, and
//! an integer that leaves 64 bits becomes a float.

mod eval;
mod functions;
mod syntax;

use std::fmt;

use thiserror::Error;

use crate::value::repr_float;

/// Longest expression accepted, in bytes.
pub const MAX_TEXT: usize = 4096;
/// Deepest nesting accepted.
pub const MAX_DEPTH: usize = 64;

/// A Python number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
}

impl Number {
    /// As a float.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(x) => x,
        }
    }
    /// Python's `int(x)`: truncated towards zero; saturates, NaN becomes 0.
    pub fn trunc(self) -> i64 {
        match self {
            Number::Int(n) => n,
            Number::Float(x) => x as i64,
        }
    }
    /// Python's truth.
    pub fn is_true(self) -> bool {
        match self {
            Number::Int(n) => n != 0,
            Number::Float(x) => x != 0.0,
        }
    }
    /// Python's `a * b`.
    pub fn times(self, other: Number) -> Number {
        eval::multiply(self, other)
    }
    /// Python's `a + b`.
    pub fn plus(self, other: Number) -> Number {
        eval::add(self, other)
    }
    /// Python's `max(a, b)`: the first, unless the second is greater.
    pub fn or_greater(self, other: Number) -> Number {
        if eval::compare(Compare::Gt, other, self) { other } else { self }
    }
    /// Python's `min(a, b)`: the first, unless the second is less.
    pub fn or_less(self, other: Number) -> Number {
        if eval::compare(Compare::Lt, other, self) { other } else { self }
    }
    /// Python's `a == b`.
    pub fn equals(self, other: Number) -> bool {
        eval::compare(Compare::Eq, self, other)
    }
    fn from_bool(b: bool) -> Number {
        Number::Int(i64::from(b))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Int(n) => n.fmt(f),
            Number::Float(x) => f.write_str(&repr_float(*x)),
        }
    }
}

/// Why an expression has no value. The texts are Python's where Python has one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExprError {
    /// It is not an expression.
    #[error("invalid syntax")]
    Syntax,
    /// A name nobody knows.
    #[error("name '{0}' is not defined")]
    UnknownName(String),
    /// A division by zero.
    #[error("division by zero")]
    ZeroDivision,
    /// A negative shift.
    #[error("negative shift count")]
    NegativeShift,
    /// A float where only an integer works.
    #[error("unsupported operand type(s) for {0}: 'float'")]
    NeedsInt(&'static str),
    /// An argument outside a function's domain.
    #[error("math domain error")]
    Domain,
    /// A result too large for a number.
    #[error("result too large")]
    Overflow,
    /// Wrong number of arguments.
    #[error("{0}() takes another number of arguments")]
    Arguments(String),
    /// Beyond our bounds.
    #[error("the expression is too long or too deeply nested")]
    TooComplex,
}

/// A parsed expression; evaluating it cannot take longer than it is long.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Number(Number),
    Name(String),
    Call(String, Vec<Node>),
    Unary(Unary, Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    Compare(Box<Node>, Vec<(Compare, Node)>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    If { test: Box<Node>, then: Box<Node>, other: Box<Node> },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unary {
    Plus,
    Minus,
    Invert,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
    Shl,
    Shr,
    BitAnd,
    BitOr,
    BitXor,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
}

impl Expr {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Expr, ExprError> {
        if text.len() > MAX_TEXT {
            return Err(ExprError::TooComplex);
        }
        Ok(Expr(syntax::parse(text)?))
    }

    /// Its value; `lookup` resolves names (dotted names whole: `ban.Time`) and calls without
    /// arguments that are no built-in function, written with parentheses (`random.random()`).
    pub fn eval(&self, lookup: &dyn Fn(&str) -> Option<Number>) -> Result<Number, ExprError> {
        eval::eval(&self.0, lookup)
    }
}

/// Parses and evaluates an expression without names.
pub fn eval_constant(text: &str) -> Result<Number, ExprError> {
    Expr::parse(text)?.eval(&|_| None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(expr: &str) -> String {
        let lookup = |name: &str| match name {
            "ban.Time" => Some(Number::Int(600)),
            "ban.Count" => Some(Number::Int(3)),
            "banFactor" => Some(Number::Int(1)),
            "random.random()" => Some(Number::Float(0.5)),
            _ => None,
        };
        match Expr::parse(expr).and_then(|e| e.eval(&lookup)) {
            Ok(n) => n.to_string(),
            Err(e) => format!("! {e}"),
        }
    }

    #[test]
    fn values_are_pythons() {
        for (expr, expected) in [
            ("1+2*3", "7"),
            ("(1+2)*3", "9"),
            ("2**3**2", "512"),
            ("-2**2", "-4"),
            ("2**-1", "0.5"),
            ("7//2", "3"),
            ("-7//2", "-4"),
            ("-7%3", "2"),
            ("7%-3", "-2"),
            ("-7.5%2", "0.5"),
            ("6/2", "3.0"),
            ("1<<3", "8"),
            ("1<<70", "1.1805916207174113e+21"),
            ("0<<70", "0"),
            ("-1>>200", "-1"),
            ("1 if 0 else 2", "2"),
            ("1/0 if 0 else 5", "5"),
            ("0 and 1/0", "0"),
            ("3 or 1/0", "3"),
            ("not 0", "1"),
            ("1 < 2 < 3", "1"),
            ("1 < 3 < 2", "0"),
            ("5 & 6 | 8 ^ 1", "13"),
            ("~5", "-6"),
            ("0x1f + 0b11 + 0o7", "41"),
            ("1_000", "1000"),
            ("0x_1f", "31"),
            ("1e1_0", "10000000000.0"),
            ("1if 0else 2", "2"),
            ("0or.5", "! invalid syntax"),
            ("2or.5", "2"),
            ("ban . Count", "3"),
            ("ban.", "! invalid syntax"),
            ("ban.or", "! invalid syntax"),
            ("ban.5", "! invalid syntax"),
            ("77848476217240.625", "77848476217240.62"),
            ("2.0**-44", "5.684341886080802e-14"),
            ("1._5", "! invalid syntax"),
            ("1_e5", "! invalid syntax"),
            ("1__0", "! invalid syntax"),
            (".5 + 1. + 1e3", "1001.5"),
            ("max(1, 2.5, 2)", "2.5"),
            ("max(5)", "! max() takes another number of arguments"),
            ("11 // 0.01", "1099.0"),
            ("-1 % 0.5", "0.0"),
            ("1 % -0.5", "-0.0"),
            ("math.inf ** 0.5", "inf"),
            ("math.log1p(-1)", "! math domain error"),
            ("math.pow(0, -1)", "! math domain error"),
            ("round(15, -1)", "20"),
            ("round(25.0, -1)", "20.0"),
            ("round(25.5, -1)", "30.0"),
            ("round(-250, -2)", "-200"),
            ("min(3, 1,)", "1"),
            ("int(-1.5)", "-1"),
            ("round(2.5)", "2"),
            ("round(2.675, 2)", "2.67"),
            ("math.floor(-1.5)", "-2"),
            ("math.sqrt(16)", "4.0"),
            ("abs(-3)", "3"),
            ("9223372036854775807 + 1", "9.223372036854776e+18"),
            ("99999999999999999999", "1e+20"),
            ("5 # seconds", "5"),
            ("random.random() * 2", "1.0"),
            ("ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor", "4800"),
            (
                "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)",
                "12051.3221539126",
            ),
            ("", "! invalid syntax"),
            ("1 2", "! invalid syntax"),
            ("1+", "! invalid syntax"),
            ("010", "! invalid syntax"),
            ("1h", "! invalid syntax"),
            ("__import__('os')", "! invalid syntax"),
            ("open(1)", "! name 'open' is not defined"),
            ("abc", "! name 'abc' is not defined"),
            ("1/0", "! division by zero"),
            ("1.0//0", "! division by zero"),
            ("1<<-1", "! negative shift count"),
            ("1.0<<1", "! unsupported operand type(s) for <<: 'float'"),
            ("10**10**10", "! result too large"),
            ("math.log(0)", "! math domain error"),
        ] {
            assert_eq!(text(expr), expected, "{expr}");
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        for hostile in [
            "(".repeat(3000),
            "-".repeat(3000) + "1",
            "not ".repeat(1000) + "1",
            "2**".repeat(1000) + "1",
            "1+".repeat(2000) + "1",
            "1 if 1 else ".repeat(300) + "1",
            "9".repeat(MAX_TEXT + 1),
        ] {
            assert_eq!(Expr::parse(&hostile), Err(ExprError::TooComplex));
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[-+*/%()<>=!~&|^0-9.,a-z _#]{0,60}") {
            let _ = Expr::parse(&text).and_then(|e| e.eval(&|_| Some(Number::Int(i64::MIN))));
        }
    }
}
