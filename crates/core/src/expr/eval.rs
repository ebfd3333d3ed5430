//! Tree to number, with Python's arithmetic; integers that leave 64 bits become floats.

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
            let args = args.iter().map(|a| eval(a, lookup)).collect::<Result<Vec<_>, _>>()?;
            call(name, &args, lookup)
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
        _ => return None,
    };
    Some(Number::Float(x))
}

fn compare(op: Compare, a: Number, b: Number) -> bool {
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

fn binary(op: Binary, a: Number, b: Number) -> Result<Number, ExprError> {
    use Number::{Float, Int};
    let or_float = |exact: Option<i64>, x: f64| exact.map_or(Float(x), Int);
    let (x, y) = (a.as_f64(), b.as_f64());
    Ok(match (op, a, b) {
        (Binary::Add, Int(a), Int(b)) => or_float(a.checked_add(b), x + y),
        (Binary::Add, ..) => Float(x + y),
        (Binary::Sub, Int(a), Int(b)) => or_float(a.checked_sub(b), x - y),
        (Binary::Sub, ..) => Float(x - y),
        (Binary::Mul, Int(a), Int(b)) => or_float(a.checked_mul(b), x * y),
        (Binary::Mul, ..) => Float(x * y),
        (Binary::Div | Binary::FloorDiv | Binary::Mod, ..) if y == 0.0 => {
            return Err(ExprError::ZeroDivision);
        }
        (Binary::Div, ..) => Float(x / y),
        (Binary::FloorDiv, Int(a), Int(b)) => {
            let floor = a.checked_div(b).map(|q| {
                let inexact = a.checked_rem(b).unwrap_or(0) != 0;
                if inexact && (a < 0) != (b < 0) { q - 1 } else { q }
            });
            or_float(floor, (x / y).floor())
        }
        (Binary::FloorDiv, ..) => Float((x / y).floor()),
        (Binary::Mod, Int(a), Int(b)) => {
            let rem = a.checked_rem(b).unwrap_or(0);
            Int(if rem != 0 && (rem < 0) != (b < 0) { rem + b } else { rem })
        }
        (Binary::Mod, ..) => {
            let rem = x % y;
            Float(if rem != 0.0 && (rem < 0.0) != (y < 0.0) { rem + y } else { rem })
        }
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
                None => finite(x * (b.min(4096) as f64).exp2())?,
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

fn power(a: Number, b: Number) -> Result<Number, ExprError> {
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
    finite(x.powf(y))
}

/// Python refuses what left the range of floats in functions and powers.
fn finite(x: f64) -> Result<Number, ExprError> {
    if x.is_nan() {
        Err(ExprError::Domain)
    } else if x.is_infinite() {
        Err(ExprError::Overflow)
    } else {
        Ok(Number::Float(x))
    }
}

fn call(
    name: &str,
    args: &[Number],
    lookup: &dyn Fn(&str) -> Option<Number>,
) -> Result<Number, ExprError> {
    use Number::{Float, Int};
    let wrong = || ExprError::Arguments(name.to_owned());
    match (name, args) {
        ("max" | "min", args) => {
            let op = if name == "max" { Compare::Gt } else { Compare::Lt };
            let best = |a: Number, b: Number| if compare(op, b, a) { b } else { a };
            args.iter().copied().reduce(best).ok_or_else(wrong)
        }
        ("int" | "math.trunc", [Float(x)]) => to_int(x.trunc()),
        ("math.floor", [Float(x)]) => to_int(x.floor()),
        ("math.ceil", [Float(x)]) => to_int(x.ceil()),
        ("round", [Float(x)]) => to_int(x.round_ties_even()),
        ("int" | "math.trunc" | "math.floor" | "math.ceil" | "round", [Int(n)]) => Ok(Int(*n)),
        ("round", [n, Int(digits)]) => Ok(round_to(*n, *digits)),
        ("float", [n]) => Ok(Float(n.as_f64())),
        ("bool", [n]) => Ok(Number::from_bool(n.is_true())),
        ("abs", [Int(n)]) => Ok(n.checked_abs().map_or(Float((*n as f64).abs()), Int)),
        ("abs" | "math.fabs", [n]) => Ok(Float(n.as_f64().abs())),
        ("pow", [a, b]) => power(*a, *b),
        ("math.pow", [a, b]) => power(Float(a.as_f64()), Float(b.as_f64())),
        ("math.log", [n]) => finite(positive(*n)?.ln()),
        ("math.log", [n, base]) => finite(positive(*n)?.ln() / positive(*base)?.ln()),
        ("math.log2", [n]) => finite(positive(*n)?.log2()),
        ("math.log10", [n]) => finite(positive(*n)?.log10()),
        ("math.log1p", [n]) => finite(n.as_f64().ln_1p()),
        ("math.sqrt", [n]) => finite(n.as_f64().sqrt()),
        ("math.exp", [n]) => finite(n.as_f64().exp()),
        ("math.expm1", [n]) => finite(n.as_f64().exp_m1()),
        ("math.sin", [n]) => finite(n.as_f64().sin()),
        ("math.cos", [n]) => finite(n.as_f64().cos()),
        ("math.tan", [n]) => finite(n.as_f64().tan()),
        ("math.atan", [n]) => finite(n.as_f64().atan()),
        ("math.tanh", [n]) => finite(n.as_f64().tanh()),
        (name, []) => {
            lookup(&format!("{name}()")).ok_or_else(|| ExprError::UnknownName(name.to_owned()))
        }
        ("int" | "float" | "bool" | "abs" | "round" | "pow", _) => Err(wrong()),
        (name, _) if name.starts_with("math.") => Err(wrong()),
        _ => Err(ExprError::UnknownName(name.to_owned())),
    }
}

fn positive(n: Number) -> Result<f64, ExprError> {
    let x = n.as_f64();
    if x > 0.0 { Ok(x) } else { Err(ExprError::Domain) }
}

fn to_int(x: f64) -> Result<Number, ExprError> {
    let Number::Float(x) = finite(x)? else { return Err(ExprError::Overflow) };
    // Beyond 64 bits it stays a float, as every other integer that leaves them.
    Ok(if x.abs() < 9.2e18 { Number::Int(x as i64) } else { Number::Float(x) })
}

fn round_to(n: Number, digits: i64) -> Number {
    let Ok(digits @ -300..=300) = i32::try_from(digits) else { return n };
    match n {
        Number::Int(_) if digits >= 0 => n,
        Number::Int(i) => {
            let scale = 10f64.powi(-digits);
            Number::Int(((i as f64 / scale).round_ties_even() * scale) as i64)
        }
        Number::Float(x) if digits >= 0 => {
            let digits = usize::try_from(digits).unwrap_or(0);
            Number::Float(format!("{x:.digits$}").parse().unwrap_or(x))
        }
        Number::Float(x) => {
            let scale = 10f64.powi(-digits);
            Number::Float((x / scale).round_ties_even() * scale)
        }
    }
}
