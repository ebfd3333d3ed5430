//! Tree to number, with Python's arithmetic; integers that leave 64 bits become floats.

use super::functions::{self, power, result};
use super::{Binary, Compare, ExprError, Node, Number, Unary};

pub(super) fn eval(
    node: &Node,
    lookup: &dyn Fn(&str) -> Option<Number>,
) -> Result<Number, ExprError> {
    match node {
        Node::Number(n) => Ok(*n),
        Node::Name(name) => lookup(name)
            .or_else(|| constant(name))
            .ok_or_else(|| ExprError::UnknownName(name.clone())),
        Node::Call(name, args) => {
            if let ([], Some(value)) = (args.as_slice(), lookup(&format!("{name}()"))) {
                return Ok(value);
            }
            if !functions::exists(name) {
                return Err(ExprError::UnknownName(name.clone()));
            }
            let args = args.iter().map(|a| eval(a, lookup)).collect::<Result<Vec<_>, _>>()?;
            functions::call(name, &args)
        }
        Node::Unary(op, operand) => unary(*op, eval(operand, lookup)?),
        Node::Binary(op, a, b) => binary(*op, eval(a, lookup)?, eval(b, lookup)?),
        Node::Compare(first, rest) => {
            let mut left = eval(first, lookup)?;
            for (op, right) in rest {
                let right = eval(right, lookup)?;
                if !compare(*op, left, right) {
                    return Ok(Number::from_bool(false));
                }
                left = right;
            }
            Ok(Number::from_bool(true))
        }
        Node::And(a, b) => {
            let a = eval(a, lookup)?;
            if a.is_true() { eval(b, lookup) } else { Ok(a) }
        }
        Node::Or(a, b) => {
            let a = eval(a, lookup)?;
            if a.is_true() { Ok(a) } else { eval(b, lookup) }
        }
        Node::If { test, then, other } => {
            if eval(test, lookup)?.is_true() {
                eval(then, lookup)
            } else {
                eval(other, lookup)
            }
        }
    }
}

fn constant(name: &str) -> Option<Number> {
    let x = match name {
        "math.pi" => std::f64::consts::PI,
        "math.e" => std::f64::consts::E,
        "math.tau" => std::f64::consts::TAU,
        "math.inf" => f64::INFINITY,
        "math.nan" => f64::NAN,
        _ => return None,
    };
    Some(Number::Float(x))
}

pub(super) fn compare(op: Compare, a: Number, b: Number) -> bool {
    let order = match (a, b) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        _ => a.as_f64().partial_cmp(&b.as_f64()),
    };
    match op {
        Compare::Lt => order.is_some_and(|o| o.is_lt()),
        Compare::Le => order.is_some_and(|o| o.is_le()),
        Compare::Gt => order.is_some_and(|o| o.is_gt()),
        Compare::Ge => order.is_some_and(|o| o.is_ge()),
        Compare::Eq => order.is_some_and(|o| o.is_eq()),
        Compare::Ne => order.is_none_or(|o| o.is_ne()),
    }
}

fn unary(op: Unary, n: Number) -> Result<Number, ExprError> {
    Ok(match (op, n) {
        (Unary::Not, n) => Number::from_bool(!n.is_true()),
        (Unary::Plus, n) => n,
        (Unary::Minus, Number::Int(n)) => {
            n.checked_neg().map_or(Number::Float(-(n as f64)), Number::Int)
        }
        (Unary::Minus, Number::Float(x)) => Number::Float(-x),
        (Unary::Invert, Number::Int(n)) => Number::Int(!n),
        (Unary::Invert, Number::Float(_)) => return Err(ExprError::NeedsInt("~")),
    })
}

/// The exact integer, or the float where it leaves 64 bits.
fn or_float(exact: Option<i64>, x: f64) -> Number {
    exact.map_or(Number::Float(x), Number::Int)
}

pub(super) fn add(a: Number, b: Number) -> Number {
    let sum = a.as_f64() + b.as_f64();
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => or_float(a.checked_add(b), sum),
        _ => Number::Float(sum),
    }
}

pub(super) fn multiply(a: Number, b: Number) -> Number {
    let product = a.as_f64() * b.as_f64();
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => or_float(a.checked_mul(b), product),
        _ => Number::Float(product),
    }
}

/// Python's `x // y` and `x % y` of floats: the remainder is exact and has the sign of `y`, the
/// quotient is what is left without it (so `11 // 0.01` is 1099).
fn divide(x: f64, y: f64) -> (f64, f64) {
    let rem = x % y;
    let quotient = (x - rem) / y;
    let (quotient, rem) = match rem != 0.0 && (rem < 0.0) != (y < 0.0) {
        true => (quotient - 1.0, rem + y),
        false if rem == 0.0 => (quotient, 0.0_f64.copysign(y)),
        false => (quotient, rem),
    };
    if quotient == 0.0 {
        return (0.0_f64.copysign(x / y), rem);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rem)
}

fn binary(op: Binary, a: Number, b: Number) -> Result<Number, ExprError> {
    use Number::{Float, Int};
    let (x, y) = (a.as_f64(), b.as_f64());
    Ok(match (op, a, b) {
        (Binary::Add, ..) => add(a, b),
        (Binary::Sub, Int(a), Int(b)) => or_float(a.checked_sub(b), x - y),
        (Binary::Sub, ..) => Float(x - y),
        (Binary::Mul, ..) => multiply(a, b),
        (Binary::Div | Binary::FloorDiv | Binary::Mod, ..) if y == 0.0 => {
            return Err(ExprError::ZeroDivision);
        }
        (Binary::Div, ..) => Float(x / y),
        (Binary::FloorDiv, Int(a), Int(b)) => {
            let floor = a.checked_div(b).map(|q| {
                let inexact = a.checked_rem(b).unwrap_or(0) != 0;
                if inexact && (a < 0) != (b < 0) { q - 1 } else { q }
            });
            or_float(floor, divide(x, y).0)
        }
        (Binary::FloorDiv, ..) => Float(divide(x, y).0),
        (Binary::Mod, Int(a), Int(b)) => {
            let rem = a.checked_rem(b).unwrap_or(0);
            Int(if rem != 0 && (rem < 0) != (b < 0) { rem + b } else { rem })
        }
        (Binary::Mod, ..) => Float(divide(x, y).1),
        (Binary::Pow, ..) => return power(a, b),
        (Binary::Shl | Binary::Shr, Int(_), Int(b)) if b < 0 => {
            return Err(ExprError::NegativeShift);
        }
        (Binary::Shl, Int(a), Int(b)) => {
            let shifted = u32::try_from(b)
                .ok()
                .and_then(|by| a.checked_shl(by).filter(|s| s.checked_shr(by) == Some(a)));
            match shifted {
                Some(s) => Int(s),
                None if a == 0 => Int(0),
                None => result(x * (b.min(4096) as f64).exp2(), &[x])?,
            }
        }
        (Binary::Shr, Int(a), Int(b)) => Int(a >> b.min(63)),
        (Binary::Shl, ..) => return Err(ExprError::NeedsInt("<<")),
        (Binary::Shr, ..) => return Err(ExprError::NeedsInt(">>")),
        (Binary::BitAnd, Int(a), Int(b)) => Int(a & b),
        (Binary::BitOr, Int(a), Int(b)) => Int(a | b),
        (Binary::BitXor, Int(a), Int(b)) => Int(a ^ b),
        (Binary::BitAnd, ..) => return Err(ExprError::NeedsInt("&")),
        (Binary::BitOr, ..) => return Err(ExprError::NeedsInt("|")),
        (Binary::BitXor, ..) => return Err(ExprError::NeedsInt("^")),
    })
}
