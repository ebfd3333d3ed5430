//! How long a ban lasts when the attacker is known: `bantime.increment` and its siblings.
//!
//! The formula is the administrator's Python expression, evaluated by [`crate::expr`]; the random
//! part is an argument. A formula that fails leaves the base time: a ban is never lost to it.

use crate::command::{CommandError, ErrorClass, Seconds, seconds, truth};
use crate::expr::{Expr, ExprError, Number, eval_constant};
use crate::ticket::BanTime;
use crate::time::Span;
use crate::value::Value;

/// fail2ban's formula where none is configured.
pub const DEFAULT_FORMULA: &str = "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor";

/// `bantime.*` of one jail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Increments {
    /// `bantime.increment`
    pub enabled: bool,
    /// `bantime.overalljails`
    pub overall: bool,
    factor: Option<Number>,
    formula: Option<Expr>,
    multipliers: Vec<i64>,
    /// `bantime.maxtime`
    pub max_time: Option<Seconds>,
    /// `bantime.rndtime`
    pub random_time: Option<Seconds>,
    /// What `get J bantime.OPT` answers.
    shown: Vec<(String, Value)>,
}

impl Increments {
    /// `set J bantime.OPT value`; the value to show afterwards.
    pub fn set(&mut self, option: &str, value: &Value) -> Result<Value, CommandError> {
        let text = value.to_text();
        let given = (*value != Value::None && !text.is_empty()).then_some(text.as_str());
        let mut shown = match given {
            Some(_) => value.clone(),
            None => Value::None,
        };
        match option {
            "increment" => {
                self.enabled = given.is_some() && truth(value);
                shown = Value::Bool(self.enabled);
            }
            "overalljails" => self.overall = given.is_some() && truth(value),
            "factor" => {
                self.factor = given.map(eval_constant).transpose().map_err(|e| refused(&e))?;
            }
            "formula" => {
                self.formula = given.map(Expr::parse).transpose().map_err(|e| refused(&e))?;
            }
            "multipliers" => {
                self.multipliers = match given {
                    Some(list) => list.split_whitespace().map(integer).collect::<Result<_, _>>()?,
                    None => Vec::new(),
                };
            }
            "maxtime" | "rndtime" => {
                let time = given.map(|_| seconds(value)).transpose()?;
                if let Some(time) = time {
                    shown = number(time);
                }
                match option {
                    "maxtime" => self.max_time = time,
                    _ => self.random_time = time,
                }
            }
            _ => {}
        }
        self.shown.retain(|(name, _)| name != option);
        if shown != Value::None && self.shown.len() < 64 {
            self.shown.push((option.to_owned(), shown.clone()));
        }
        Ok(shown)
    }

    /// `get J bantime.OPT`
    pub fn get(&self, option: &str) -> Value {
        let found = self.shown.iter().find(|(name, _)| name == option);
        found.map_or(Value::None, |(_, value)| value.clone())
    }

    /// The ban time of an id that has been banned `count` times before, in seconds as Python has
    /// them (the log shows whether it is an integer); `random` is in 0..1.
    pub fn ban_time(&self, base: i64, count: u32, random: f64) -> Result<Number, ExprError> {
        let plain = Number::Int(base);
        if count == 0 || base <= 0 {
            return Ok(plain);
        }
        let factor = self.factor.unwrap_or(Number::Int(1));
        let at = usize::try_from(count).unwrap_or(usize::MAX);
        let mut time = match self.multipliers.get(at).or(self.multipliers.last()) {
            Some(multiplier) => plain.times(factor).times(Number::Int(*multiplier)),
            None => plain.or_greater(self.formula(base, count, factor, random)?),
        };
        if let Some(max) = self.max_time {
            time = time.or_less(max);
        }
        if let Some(extra) = self.random_time {
            time = time.plus(Number::Float(random).times(extra));
        }
        Ok(time)
    }

    fn formula(
        &self,
        base: i64,
        count: u32,
        factor: Number,
        random: f64,
    ) -> Result<Number, ExprError> {
        let Some(formula) = &self.formula else {
            return Ok(Number::Int(base).times(Number::Int(1 << count.min(20))).times(factor));
        };
        formula.eval(&|name: &str| match name {
            "ban.Time" => Some(Number::Int(base)),
            "ban.Count" => Some(Number::Int(i64::from(count))),
            "banFactor" => Some(factor),
            "random.random()" => Some(Number::Float(random)),
            _ => None,
        })
    }

    /// The longest ban a restored row may claim.
    pub fn max_ban_time(&self, base: i64) -> BanTime {
        match self.max_time {
            Some(max) if self.enabled => BanTime::from_number(max),
            None if self.enabled => BanTime::Permanent,
            _ => BanTime::from_secs(base),
        }
    }
}

/// How many attempts one failure of an id with `count` earlier bans stands for; a float where
/// Python has one, since the log shows it.
pub fn bad_attempts(count: u32, max_retry: u32) -> Number {
    let grown = f64::from(1_u32 << count.min(20)) / 2.0 + 1.0;
    Number::Float(grown).or_less(Number::Int(i64::from(max_retry)))
}

/// Seconds as a Python number.
pub fn number(time: Seconds) -> Value {
    match time {
        Number::Int(n) => Value::Int(n),
        Number::Float(x) => Value::Float(x),
    }
}

/// Seconds as a span.
pub fn span(time: Seconds) -> Span {
    match time {
        Number::Int(n) => Span::from_secs(n),
        Number::Float(x) => Span::from_secs_f64(x),
    }
}

fn refused(error: &ExprError) -> CommandError {
    CommandError::new(ErrorClass::ValueError, error.to_string())
}

fn integer(text: &str) -> Result<i64, CommandError> {
    text.parse().map_err(|_| {
        let shown = crate::value::repr_str(text);
        let text = format!("invalid literal for int() with base 10: {shown}");
        CommandError::new(ErrorClass::ValueError, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increments(options: &[(&str, &str)]) -> Increments {
        let mut i = Increments::default();
        for (name, value) in options {
            i.set(name, &Value::str(*value)).unwrap();
        }
        i
    }

    #[test]
    fn times_grow_as_documented() {
        let example = "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)";
        for (options, base, count, expected) in [
            (&[][..], 600, 0, "600"),
            (&[], 600, 1, "1200"),
            (&[], 600, 30, "629145600"),
            (&[("factor", "2")], 600, 1, "2400"),
            (&[("factor", "1.5")], 600, 1, "1800.0"),
            (&[("maxtime", "30m")], 600, 5, "1800"),
            (&[("multipliers", "1 2 4")], 600, 1, "1200"),
            (&[("multipliers", "1 2 4")], 600, 9, "2400"),
            (&[("formula", "ban.Time/2")], 600, 1, "600"),
            (&[("formula", "ban.Time*1.0")], 600, 1, "600"),
            (&[("formula", example)], 60, 1, "163.09690970754272"),
            (&[("rndtime", "100")], 600, 1, "1250.0"),
        ] {
            let time = increments(options).ban_time(base, count, 0.5).unwrap();
            assert_eq!(time.to_string(), expected, "{options:?}");
        }
        assert!(increments(&[("formula", "1/0")]).ban_time(600, 1, 0.0).is_err());
    }

    #[test]
    fn options_show_as_pythons() {
        let mut i = Increments::default();
        for (option, value, expected) in [
            ("increment", Value::str("true"), "True"),
            ("increment", Value::str("off"), "False"),
            ("factor", Value::str("1"), "'1'"),
            ("maxtime", Value::str("1w"), "604800"),
            ("maxtime", Value::str(""), "None"),
            ("overalljails", Value::str("true"), "'true'"),
            ("foo", Value::str("x"), "'x'"),
        ] {
            assert_eq!(i.set(option, &value).unwrap().repr(), expected, "{option}");
            assert_eq!(i.get(option).repr(), expected, "{option}");
        }
        assert!(i.set("multipliers", &Value::str("a")).is_err());
        assert!(i.set("factor", &Value::str("1/0")).is_err());
    }

    #[test]
    fn known_bad_counts_more() {
        for (count, expected) in [(1, "2.0"), (2, "3.0"), (3, "5.0"), (4, "5"), (99, "5")] {
            assert_eq!(bad_attempts(count, 5).to_string(), expected);
        }
    }
}
