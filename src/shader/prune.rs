//! Branches that a module's constants decide, taken out of its text. naga keeps them, and drivers copy
//! every called function into its caller before they drop what is never reached: of functions that
//! call one another eight times, that is most of the time that a pipeline takes to compile.

use std::collections::HashMap;

/// A module without the branches that its constants of `bool` and `u32` rule out, and without what
/// stands behind a return. The text is laid out as this crate's shaders are: a branch begins and ends
/// with a line of its own, at one indentation.
pub(super) fn pruned(text: &str) -> String {
    let known = constants(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    while at < lines.len() {
        at = prune_line(&lines, at, &known, &mut kept);
    }
    kept
}

type Constants<'a> = HashMap<&'a str, i64>;

/// The constants that literals and other constants decide, whatever their order.
fn constants(text: &str) -> Constants<'_> {
    let written: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let (name, value) = line
                .strip_prefix("const ")?
                .strip_suffix(';')?
                .split_once('=')?;
            Some((name.split_once(':')?.0.trim(), value))
        })
        .collect();
    let mut known = Constants::new();
    loop {
        let before = known.len();
        for &(name, value) in &written {
            if let Some(value) = decided(value, &known) {
                known.insert(name, value);
            }
        }
        if known.len() == before {
            return known;
        }
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Writes what is kept of the line or the branches at `at`, and returns where to go on.
fn prune_line(lines: &[&str], at: usize, known: &Constants<'_>, kept: &mut String) -> usize {
    let line = lines[at];
    let indent = indentation(line);
    let condition = line.trim_start().strip_prefix("if ");
    let verdict = condition
        .and_then(|rest| rest.strip_suffix(" {"))
        .and_then(|condition| decided(condition, known));
    let Some(mut taken) = verdict.map(|value| value != 0) else {
        kept.push_str(line);
        kept.push('\n');
        return at + 1;
    };
    // Past the branches that are ruled out, to the one that is taken or not decided.
    let mut begin = at;
    let mut end = end_of_branch(lines, begin, indent);
    while !taken {
        let Some(next) = lines[end].trim_start().strip_prefix("} else ") else {
            return end + 1;
        };
        begin = end;
        end = end_of_branch(lines, begin, indent);
        if next == "{" {
            break;
        }
        let condition = next.strip_prefix("if ").and_then(|n| n.strip_suffix(" {"));
        match condition.and_then(|condition| decided(condition, known)) {
            Some(value) => taken = value != 0,
            None => {
                kept.push_str(&format!("{:indent$}{next}\n", ""));
                return begin + 1;
            }
        }
    }
    kept.push_str(&format!("{:indent$}{{\n", ""));
    let mut inner = begin + 1;
    while inner < end {
        inner = prune_line(lines, inner, known, kept);
    }
    kept.push_str(&format!("{:indent$}}}\n", ""));
    let returns = lines[begin + 1..end].iter().rev().find_map(|line| {
        (indentation(line) == indent + 4).then(|| line.trim_start().starts_with("return"))
    });
    // The branches behind the one that is taken.
    while lines[end].trim_start().starts_with("} else") {
        end = end_of_branch(lines, end, indent);
    }
    end += 1;
    if returns == Some(true) {
        while end < lines.len()
            && (lines[end].trim().is_empty() || indentation(lines[end]) >= indent)
        {
            end += 1;
        }
    }
    end
}

/// The line that closes the branch that begins at `begin`.
fn end_of_branch(lines: &[&str], begin: usize, indent: usize) -> usize {
    (begin + 1..lines.len())
        .find(|&i| indentation(lines[i]) == indent && lines[i].trim_start().starts_with('}'))
        .unwrap_or(lines.len() - 1)
}

/// The value of an expression, `bool` as 0 or 1, where the constants that are known decide it.
fn decided(text: &str, known: &Constants<'_>) -> Option<i64> {
    let mut words = Words { rest: text, known };
    let value = words.any()?;
    words.rest.trim().is_empty().then_some(value)?
}

/// What is read of an expression: `None` where it cannot be, `Some(None)` where it is not decided.
type Read = Option<Option<i64>>;

struct Words<'a> {
    rest: &'a str,
    known: &'a Constants<'a>,
}

impl<'a> Words<'a> {
    /// Whether the next word is one of these, the longer ones first.
    fn eat(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let rest = self.rest.trim_start();
        let word = words.iter().find(|word| rest.starts_with(**word))?;
        self.rest = &rest[word.len()..];
        Some(word)
    }

    fn any(&mut self) -> Read {
        let mut value = self.all()?;
        while self.eat(&["||", "|"]).is_some() {
            value = match (value, self.all()?) {
                (Some(0), other) | (other, Some(0)) => other,
                (Some(_), _) | (_, Some(_)) => Some(1),
                (None, None) => None,
            };
        }
        Some(value)
    }

    fn all(&mut self) -> Read {
        let mut value = self.comparison()?;
        while self.eat(&["&&", "&"]).is_some() {
            value = match (value, self.comparison()?) {
                (Some(0), _) | (_, Some(0)) => Some(0),
                (Some(_), other) | (other, Some(_)) => other,
                (None, None) => None,
            };
        }
        Some(value)
    }

    fn comparison(&mut self) -> Read {
        let a = self.product()?;
        let Some(by) = self.eat(&["==", "!=", ">=", "<=", ">", "<"]) else {
            return Some(a);
        };
        let b = self.product()?;
        Some(a.zip(b).map(|(a, b)| {
            i64::from(match by {
                "==" => a == b,
                "!=" => a != b,
                ">=" => a >= b,
                "<=" => a <= b,
                ">" => a > b,
                _ => a < b,
            })
        }))
    }

    fn product(&mut self) -> Read {
        let mut value = self.one()?;
        while let Some(by) = self.eat(&["*", "/", "+", "-"]) {
            let other = self.one()?;
            value = value.zip(other).and_then(|(a, b)| match by {
                "*" => a.checked_mul(b),
                "/" => a.checked_div(b),
                // A sum's parts may be products, which are not looked for.
                _ => None,
            });
        }
        Some(value)
    }

    fn one(&mut self) -> Read {
        if self.eat(&["!"]).is_some() {
            return Some(self.one()?.map(|value| i64::from(value == 0)));
        }
        if self.eat(&["("]).is_some() {
            let value = self.any()?;
            self.eat(&[")"])?;
            return Some(value);
        }
        let rest = self.rest.trim_start();
        let length = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        // A call or an index is nothing that a constant decides, and its end is not looked for.
        if word.is_empty() || after.starts_with(['(', '[']) {
            return None;
        }
        self.rest = after;
        Some(match word {
            "true" => Some(1),
            "false" => Some(0),
            word => match word.strip_suffix('u').map(str::parse) {
                Some(Ok(number)) => Some(number),
                _ => self.known.get(word).copied(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{constants, decided, pruned};

    #[test]
    fn expressions() {
        let text = "const A: bool = true;\nconst B: bool = !A && C;\nconst U: u32 = 4u;\n\
                    const P: u32 = 8u / U;\nconst F: f32 = 2.5;\n";
        let known = constants(text);
        let of = |text| decided(text, &known);
        assert_eq!(known.get("P"), Some(&2));
        for (text, value) in [
            ("A", Some(1)),
            ("B", Some(0)),
            ("!A | B", Some(0)),
            ("P > 1u", Some(1)),
            ("(U == 4u) & !(P == 4u)", Some(1)),
            ("row >= uniforms.rows || A", Some(1)),
            ("row >= uniforms.rows || B", None),
            ("B && row < 3u", Some(0)),
            ("bit(kept, 3u) && B", None),
            ("values[0] > 1u", None),
            ("F > 2u", None),
            ("A B", None),
            ("", None),
        ] {
            assert_eq!(of(text), value, "{text}");
        }
    }

    #[test]
    fn branches() {
        let text = "\
const A: bool = false;
fn f(x: f32) -> f32 {
    if A {
        return 1.0;
    } else if x > 2.0 {
        if !A {
            g();
        }
        h();
    } else {
        i();
    }
    if A {
        j();
    } else if !A {
        k();
    } else {
        l();
    }
    if !A {
        return 2.0;
    }

    return 3.0;
}
fn m() {
}
";
        let kept = "\
const A: bool = false;
fn f(x: f32) -> f32 {
    if x > 2.0 {
        {
            g();
        }
        h();
    } else {
        i();
    }
    {
        k();
    }
    {
        return 2.0;
    }
}
fn m() {
}
";
        assert_eq!(pruned(text), kept);
    }
}
