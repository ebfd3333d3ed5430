//! Text to tree: Python's operator precedence, by recursive descent with a bounded depth.

use super::{Binary, Compare, ExprError, MAX_DEPTH, Node, Number, Unary};

/// Parses a whole text.
pub(super) fn parse(text: &str) -> Result<Node, ExprError> {
    let tokens = tokenize(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let node = parser.ternary()?;
    if parser.at < tokens.len() { Err(ExprError::Syntax) } else { Ok(node) }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(Number),
    Name(String),
    Op(&'static str),
}

/// Longest first, so that `**` is not two `*`.
const OPERATORS: &[&str] = &[
    "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "+", "-", "*", "/", "%", "(", ")", "<", ">",
    ",", "&", "|", "^", "~",
];

/// A name with its attributes (`ban.Count`), and the text behind it.
fn dotted(text: &str) -> Result<(String, &str), ExprError> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        name.push_str(part);
        let keyword = KEYWORDS.contains(&part);
        let attribute = after.trim_start_matches([' ', '\t']).strip_prefix('.');
        let attribute = attribute.map(|text| text.trim_start_matches([' ', '\t']));
        let attribute = attribute.filter(|text| !text.starts_with(|c: char| c.is_ascii_digit()));
        match attribute {
            // Nothing after the dot, or a keyword on either side of it.
            Some(text) if keyword || !text.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                return Err(ExprError::Syntax);
            }
            Some(text) => {
                name.push('.');
                rest = text;
            }
            None if keyword && name != part => return Err(ExprError::Syntax),
            None => return Ok((name, after)),
        }
    }
}

fn tokenize(text: &str) -> Result<Vec<Token>, ExprError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut open = 0_u32;
    loop {
        let blanks = rest.len() - rest.trim_start_matches(BLANKS).len();
        let (before, after) = rest.split_at(blanks);
        rest = after;
        let Some(first) = rest.chars().next() else { break };
        // A line end ends the expression, unless a parenthesis is open.
        if before.contains(['\n', '\r']) && open == 0 && !tokens.is_empty() && first != '#' {
            return Err(ExprError::Syntax);
        }
        // A backslash joins lines.
        if let Some(joined) = rest.strip_prefix("\\\n") {
            rest = joined;
            continue;
        }
        if first == '#' {
            rest = rest.find('\n').and_then(|at| rest.get(at..)).unwrap_or("");
            continue;
        }
        let starts_number = first.is_ascii_digit()
            || (first == '.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit));
        if starts_number {
            let (number, after) = number(rest)?;
            tokens.push(Token::Number(number));
            rest = after;
        } else if first.is_alphabetic() || first == '_' {
            let (name, after) = dotted(rest)?;
            tokens.push(Token::Name(name));
            rest = after;
        } else {
            let op = OPERATORS.iter().find(|op| rest.starts_with(**op)).ok_or(ExprError::Syntax)?;
            match *op {
                "(" => open += 1,
                ")" => open = open.saturating_sub(1),
                _ => {}
            }
            tokens.push(Token::Op(op));
            rest = rest.get(op.len()..).unwrap_or("");
        }
    }
    Ok(tokens)
}

const BLANKS: [char; 5] = [' ', '\t', '\u{c}', '\n', '\r'];

/// Words that Python takes for words even right behind a number (`1if 2else 3`).
const KEYWORDS: [&str; 5] = ["and", "else", "if", "not", "or"];

/// Where the run of digits that begins at `from` ends: single underscores may be between them.
fn digits(bytes: &[u8], from: usize, is_digit: fn(&u8) -> bool) -> usize {
    let digit = |at: usize| bytes.get(at).is_some_and(is_digit);
    let mut end = from;
    while digit(end) || (end > from && bytes.get(end) == Some(&b'_') && digit(end + 1)) {
        end += 1;
    }
    end
}

/// A number literal and the text behind it.
fn number(text: &str) -> Result<(Number, &str), ExprError> {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let (radix, is_digit): (u32, fn(&u8) -> bool) = match (at(0), at(1).to_ascii_lowercase()) {
        (b'0', b'x') => (16, u8::is_ascii_hexdigit),
        (b'0', b'o') => (8, u8::is_ascii_digit),
        (b'0', b'b') => (2, u8::is_ascii_digit),
        _ => (10, u8::is_ascii_digit),
    };
    let begin = match radix {
        10 => 0,
        // `0x_1f` is a number, too.
        _ if at(2) == b'_' => 3,
        _ => 2,
    };
    let mut end = digits(bytes, begin, is_digit);
    let mut float = false;
    if radix == 10 && at(end) == b'.' {
        float = true;
        end = digits(bytes, end + 1, is_digit);
    }
    if radix == 10 && at(end).eq_ignore_ascii_case(&b'e') {
        let sign = usize::from(matches!(at(end + 1), b'+' | b'-'));
        if at(end + 1 + sign).is_ascii_digit() {
            float = true;
            end = digits(bytes, end + 1 + sign, is_digit);
        }
    }
    // Another letter glued to a number is "invalid decimal literal".
    let glued = at(end).is_ascii_alphanumeric() || at(end) == b'_' || at(end) >= 0x80;
    if glued
        && !KEYWORDS.iter().any(|word| bytes.get(end..).unwrap_or(b"").starts_with(word.as_bytes()))
    {
        return Err(ExprError::Syntax);
    }
    let literal: String =
        text.get(..end).ok_or(ExprError::Syntax)?.chars().filter(|c| *c != '_').collect();
    let rest = text.get(end..).ok_or(ExprError::Syntax)?;
    let value = if float {
        Number::Float(literal.parse().map_err(|_| ExprError::Syntax)?)
    } else if radix == 10 {
        let zeros = literal.bytes().all(|b| b == b'0');
        if literal.len() > 1 && literal.starts_with('0') && !zeros {
            return Err(ExprError::Syntax); // as Python 3: no leading zeros
        }
        match literal.parse() {
            Ok(n) => Number::Int(n),
            Err(_) => Number::Float(literal.parse().map_err(|_| ExprError::Syntax)?),
        }
    } else {
        let digits = literal.get(2..).unwrap_or("");
        Number::Int(i64::from_str_radix(digits, radix).map_err(|_| ExprError::Syntax)?)
    };
    Ok((value, rest))
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take_op(&mut self, ops: &[&'static str]) -> Option<&'static str> {
        let Some(Token::Op(op)) = self.peek() else { return None };
        let op = *op;
        ops.contains(&op).then(|| {
            self.at += 1;
            op
        })
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(name)) if name == word);
        self.at += usize::from(found);
        found
    }

    /// Every recursion passes through here.
    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, ExprError>,
    ) -> Result<T, ExprError> {
        if self.depth >= MAX_DEPTH {
            return Err(ExprError::TooComplex);
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn ternary(&mut self) -> Result<Node, ExprError> {
        self.nested(|p| {
            let then = p.or()?;
            if !p.take_word("if") {
                return Ok(then);
            }
            let test = Box::new(p.or()?);
            if !p.take_word("else") {
                return Err(ExprError::Syntax);
            }
            let other = Box::new(p.ternary()?);
            Ok(Node::If { test, then: Box::new(then), other })
        })
    }

    /// A chain of left-associative operators; long chains make deep trees, hence the count.
    fn chain(
        &mut self,
        ops: &[(&'static str, Binary)],
        operand: fn(&mut Self) -> Result<Node, ExprError>,
    ) -> Result<Node, ExprError> {
        let names: Vec<&'static str> = ops.iter().map(|(name, _)| *name).collect();
        let mut left = operand(self)?;
        let mut links = 0;
        while let Some(op) = self.take_op(&names) {
            links = self.link(links)?;
            let right = operand(self)?;
            let Some((_, op)) = ops.iter().find(|(name, _)| *name == op) else { break };
            left = Node::Binary(*op, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn link(&self, links: usize) -> Result<usize, ExprError> {
        if links >= 4 * MAX_DEPTH { Err(ExprError::TooComplex) } else { Ok(links + 1) }
    }

    fn or(&mut self) -> Result<Node, ExprError> {
        let mut left = self.and()?;
        let mut links = 0;
        while self.take_word("or") {
            links = self.link(links)?;
            left = Node::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Node, ExprError> {
        let mut left = self.not()?;
        let mut links = 0;
        while self.take_word("and") {
            links = self.link(links)?;
            left = Node::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Node, ExprError> {
        if self.take_word("not") {
            return self.nested(|p| Ok(Node::Unary(Unary::Not, Box::new(p.not()?))));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Node, ExprError> {
        let first = self.bit_or()?;
        let mut rest = Vec::new();
        while let Some(op) = self.take_op(&["<", "<=", ">", ">=", "==", "!="]) {
            let op = match op {
                "<" => Compare::Lt,
                "<=" => Compare::Le,
                ">" => Compare::Gt,
                ">=" => Compare::Ge,
                "==" => Compare::Eq,
                _ => Compare::Ne,
            };
            rest.push((op, self.bit_or()?));
        }
        Ok(if rest.is_empty() { first } else { Node::Compare(Box::new(first), rest) })
    }

    fn bit_or(&mut self) -> Result<Node, ExprError> {
        self.chain(&[("|", Binary::BitOr)], Self::bit_xor)
    }
    fn bit_xor(&mut self) -> Result<Node, ExprError> {
        self.chain(&[("^", Binary::BitXor)], Self::bit_and)
    }
    fn bit_and(&mut self) -> Result<Node, ExprError> {
        self.chain(&[("&", Binary::BitAnd)], Self::shift)
    }
    fn shift(&mut self) -> Result<Node, ExprError> {
        self.chain(&[("<<", Binary::Shl), (">>", Binary::Shr)], Self::sum)
    }
    fn sum(&mut self) -> Result<Node, ExprError> {
        self.chain(&[("+", Binary::Add), ("-", Binary::Sub)], Self::product)
    }
    fn product(&mut self) -> Result<Node, ExprError> {
        const OPS: &[(&str, Binary)] =
            &[("*", Binary::Mul), ("/", Binary::Div), ("//", Binary::FloorDiv), ("%", Binary::Mod)];
        self.chain(OPS, Self::unary)
    }

    fn unary(&mut self) -> Result<Node, ExprError> {
        let op = match self.take_op(&["+", "-", "~"]) {
            Some("+") => Unary::Plus,
            Some("-") => Unary::Minus,
            Some(_) => Unary::Invert,
            None => return self.power(),
        };
        self.nested(|p| Ok(Node::Unary(op, Box::new(p.unary()?))))
    }

    /// `**` binds tighter than a sign on its left and looser than one on its right.
    fn power(&mut self) -> Result<Node, ExprError> {
        let base = self.atom()?;
        if self.take_op(&["**"]).is_none() {
            return Ok(base);
        }
        self.nested(|p| Ok(Node::Binary(Binary::Pow, Box::new(base), Box::new(p.unary()?))))
    }

    fn atom(&mut self) -> Result<Node, ExprError> {
        if self.take_op(&["("]).is_some() {
            let inner = self.ternary()?;
            return self.take_op(&[")"]).map(|_| inner).ok_or(ExprError::Syntax);
        }
        let token = self.peek().cloned().ok_or(ExprError::Syntax)?;
        self.at += 1;
        match token {
            Token::Number(n) => Ok(Node::Number(n)),
            Token::Name(name) => match name.as_str() {
                "True" => Ok(Node::Number(Number::Int(1))),
                "False" => Ok(Node::Number(Number::Int(0))),
                "if" | "else" | "and" | "or" | "not" | "in" | "is" | "lambda" | "None" => {
                    Err(ExprError::Syntax)
                }
                _ if self.take_op(&["("]).is_some() => Ok(Node::Call(name, self.arguments()?)),
                _ => Ok(Node::Name(name)),
            },
            Token::Op(_) => Err(ExprError::Syntax),
        }
    }

    fn arguments(&mut self) -> Result<Vec<Node>, ExprError> {
        let mut args = Vec::new();
        while self.take_op(&[")"]).is_none() {
            args.push(self.ternary()?);
            if self.take_op(&[","]).is_none() {
                self.take_op(&[")"]).ok_or(ExprError::Syntax)?;
                break;
            }
        }
        Ok(args)
    }
}
