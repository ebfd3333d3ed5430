//! Python's functions of numbers, as far as durations and formulas need them: a closed table, so that
//! an expression can reach nothing else.

use super::eval::compare;
use super::{Compare, ExprError, Number};

const NAMES: &[&str] = &[
    "abs",
    "bool",
    "float",
    "int",
    "max",
    "min",
    "pow",
    "round",
    "math.atan",
    "math.ceil",
    "math.cos",
    "math.exp",
    "math.expm1",
    "math.fabs",
    "math.floor",
    "math.log",
    "math.log10",
    "math.log1p",
    "math.log2",
    "math.pow",
    "math.sin",
    "math.sqrt",
    "math.tan",
    "math.tanh",
    "math.trunc",
];

/// Whether there is a function of this name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Python's `a ** b`.
pub(super) fn power(a: Number, b: Number) -> Result<Number, ExprError> {
    if let (Number::Int(base), Number::Int(exp)) = (a, b)
        && let Ok(exp) = u32::try_from(exp)
        && let Some(exact) = base.checked_pow(exp)
    {
        return Ok(Number::Int(exact));
    }
    let (x, y) = (a.as_f64(), b.as_f64());
    if x == 0.0 && y < 0.0 {
        return Err(ExprError::ZeroDivision);
    }
    result(x.powf(y), &[x, y])
}

/// Python refuses what leaves the range of floats in functions and powers, unless an argument did.
pub(super) fn result(x: f64, args: &[f64]) -> Result<Number, ExprError> {
    if x.is_nan() && !args.iter().any(|a| a.is_nan()) {
        Err(ExprError::Domain)
    } else if x.is_infinite() && args.iter().all(|a| a.is_finite()) {
        Err(ExprError::Overflow)
    } else {
        Ok(Number::Float(x))
    }
}

/// Calls a function.
pub(super) fn call(name: &str, args: &[Number]) -> Result<Number, ExprError> {
    use Number::{Float, Int};
    let one = |f: fn(f64) -> f64, n: &Number| result(f(n.as_f64()), &[n.as_f64()]);
    match (name, args) {
        ("max", [first, second, rest @ ..]) => {
            Ok(rest.iter().fold(first.or_greater(*second), |best, n| best.or_greater(*n)))
        }
        ("min", [first, second, rest @ ..]) => {
            Ok(rest.iter().fold(first.or_less(*second), |best, n| best.or_less(*n)))
        }
        ("int" | "math.trunc", [Float(x)]) => to_int(x.trunc()),
        ("math.floor", [Float(x)]) => to_int(x.floor()),
        ("math.ceil", [Float(x)]) => to_int(x.ceil()),
        ("round", [Float(x)]) => to_int(x.round_ties_even()),
        ("int" | "math.trunc" | "math.floor" | "math.ceil" | "round", [Int(n)]) => Ok(Int(*n)),
        ("round", [n, Int(digits)]) => Ok(round_to(*n, *digits)),
        ("int", []) => Ok(Int(0)),
        ("float", []) => Ok(Float(0.0)),
        ("float", [n]) => Ok(Float(n.as_f64())),
        ("bool", []) => Ok(Int(0)),
        ("bool", [n]) => Ok(Number::from_bool(n.is_true())),
        ("abs", [Int(n)]) => Ok(n.checked_abs().map_or(Float((*n as f64).abs()), Int)),
        ("abs" | "math.fabs", [n]) => Ok(Float(n.as_f64().abs())),
        ("pow", [a, b]) => power(*a, *b),
        ("math.pow", [a, b]) => match power(Float(a.as_f64()), Float(b.as_f64())) {
            Err(ExprError::ZeroDivision) => Err(ExprError::Domain),
            other => other,
        },
        ("math.log", [n]) => one(f64::ln, positive(n)?),
        ("math.log", [n, base]) => {
            let (n, base) = (positive(n)?.as_f64().ln(), positive(base)?.as_f64().ln());
            if base == 0.0 { Err(ExprError::ZeroDivision) } else { Ok(Float(n / base)) }
        }
        ("math.log2", [n]) => one(f64::log2, positive(n)?),
        ("math.log10", [n]) => one(f64::log10, positive(n)?),
        ("math.log1p", [n]) if n.as_f64() <= -1.0 => Err(ExprError::Domain),
        ("math.log1p", [n]) => one(f64::ln_1p, n),
        ("math.sqrt", [n]) => one(f64::sqrt, n),
        ("math.exp", [n]) => one(f64::exp, n),
        ("math.expm1", [n]) => one(f64::exp_m1, n),
        ("math.sin", [n]) => one(f64::sin, n),
        ("math.cos", [n]) => one(f64::cos, n),
        ("math.tan", [n]) => one(f64::tan, n),
        ("math.atan", [n]) => one(f64::atan, n),
        ("math.tanh", [n]) => one(f64::tanh, n),
        (name, _) => Err(ExprError::Arguments(name.to_owned())),
    }
}

fn positive(n: &Number) -> Result<&Number, ExprError> {
    if compare(Compare::Le, *n, Number::Int(0)) { Err(ExprError::Domain) } else { Ok(n) }
}

fn to_int(x: f64) -> Result<Number, ExprError> {
    if x.is_nan() {
        return Err(ExprError::Domain);
    }
    if x.is_infinite() {
        return Err(ExprError::Overflow);
    }
    // Beyond 64 bits it stays a float, as every other integer that leaves them.
    Ok(if x.abs() < 9.2e18 { Number::Int(x as i64) } else { Number::Float(x) })
}

/// Python's `round(n, digits)`: the exact value decides, ties go to the even digit.
fn round_to(n: Number, digits: i64) -> Number {
    match n {
        Number::Int(_) if digits >= 0 => n,
        Number::Int(n) => match round_whole(i128::from(n), false, digits) {
            Some(rounded) => {
                i64::try_from(rounded).map_or(Number::Float(rounded as f64), Number::Int)
            }
            None => Number::Int(0),
        },
        Number::Float(x) if digits >= 0 => {
            // More digits than a float can have change nothing.
            let digits = usize::try_from(digits).unwrap_or(400).min(400);
            Number::Float(format!("{x:.digits$}").parse().unwrap_or(x))
        }
        Number::Float(x) if x.abs() < 1e30 => {
            let rounded = round_whole(x.trunc() as i128, x.fract() != 0.0, digits);
            Number::Float((rounded.unwrap_or(0) as f64).copysign(x))
        }
        Number::Float(x) => Number::Float(x),
    }
}

/// Rounds to a multiple of a power of ten; `more` if there is a fraction, which decides a tie.
/// `None` for zero, where the power is larger than any integer.
fn round_whole(n: i128, more: bool, digits: i64) -> Option<i128> {
    let power = u32::try_from(digits.checked_neg()?).ok().filter(|p| *p < 38)?;
    let (size, unit) = (n.checked_abs()?, 10_i128.pow(power));
    let (down, rest) = (size / unit, size % unit);
    let twice = rest.checked_mul(2)?;
    let up = twice > unit || (twice == unit && (more || down % 2 == 1));
    let rounded = (down + i128::from(up)).checked_mul(unit)?;
    Some(if n < 0 { -rounded } else { rounded })
}
