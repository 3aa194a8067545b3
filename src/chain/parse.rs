//! Chains as text: `scale(0.125) | gelu | clamp(0, 6) | softmax(axis=-1)`.

use super::{Chain, Step};
use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::error::{Error, Result, shown};
use crate::names;
use std::str::FromStr;

/// The names of what is no function of the catalogue.
const OWN: [&str; 6] = ["scale", "bias", "add", "multiply", "cast", "dropout"];

impl FromStr for Chain {
    type Err = Error;

    /// Parses steps with `|` between them. A step is a name and, in parentheses, its values in
    /// order or by name: an activation with its parameters, `scale(0.125)`, `bias(axis=1)`, `add`,
    /// `multiply`, `cast(f16)`, `dropout(0.1, seed=7)`, or `softmax(axis=-1)` and its kin.
    ///
    /// # Errors
    /// [`Error::ChainSyntax`] says where, and which names look like a wrong one.
    fn from_str(text: &str) -> Result<Self> {
        let mut chain = Self::new();
        let mut at = 0;
        for part in text.split('|') {
            let begin = at + part.len() - part.trim_start().len();
            at += part.len() + 1;
            let step = step(part.trim()).map_err(|(offset, problem)| Error::ChainSyntax {
                column: text[..begin + offset].chars().count() + 1,
                problem,
            })?;
            chain = chain.step(step);
        }
        Ok(chain)
    }
}

/// A problem, and where it is in bytes from the step's beginning.
pub(crate) type Problem = (usize, String);

/// A value with its name, where it has one, and where it begins.
pub(crate) struct Argument<'a> {
    pub name: Option<&'a str>,
    pub value: &'a str,
    pub at: usize,
}

fn step(text: &str) -> std::result::Result<Step, Problem> {
    let (name, arguments) = split(text)?;
    let wanted = name.to_lowercase().replace('-', "_");
    let step = match wanted.as_str() {
        "" => return Err((0, "a step is missing".to_owned())),
        "scale" => Step::Scale(one(&arguments, "factor", None)?),
        "bias" => Step::Bias(one(&arguments, "axis", Some(-1))?),
        "add" | "multiply" | "mul" => {
            none(name, &arguments)?;
            if wanted == "add" {
                Step::Add
            } else {
                Step::Multiply
            }
        }
        "cast" => Step::Cast(one(&arguments, "dtype", None)?),
        "dropout" => {
            let [probability, seed] = values(&arguments, ["p", "seed"])?;
            Step::Dropout {
                probability: parsed(probability, "p", None)?,
                seed: parsed(seed, "seed", Some(0))?,
            }
        }
        _ => match (wanted.parse::<AxisFunction>(), wanted.parse::<Activation>()) {
            (Ok(function), _) => Step::Axis(function, one(&arguments, "axis", Some(-1))?),
            (_, Ok(activation)) => return apply(activation, &arguments),
            (_, Err(_)) => return Err((0, unknown(name))),
        },
    };
    step.check().map_err(|problem| (0, problem))?;
    Ok(step)
}

/// What is known that looks like a name that is not.
fn unknown(name: &str) -> String {
    let own = OWN.iter().map(|&name| (name, &[][..]));
    let axis = names::axis_functions().filter(|(name, _)| {
        let function: Result<AxisFunction> = name.parse();
        function.is_ok_and(|f| !f.reduces())
    });
    let taken = own.chain(names::activations()).chain(axis);
    match Error::unknown_function("step", name, taken) {
        Error::UnknownFunction {
            similar,
            elsewhere: None,
            ..
        } if similar.is_empty() => {
            let (name, own) = (shown(name), OWN.join(", "));
            format!(
                "no step is called '{name}'; there are {own} and the functions that \
                 `activations list` shows"
            )
        }
        error => error.to_string(),
    }
}

/// The name and the arguments of a step, or of any function.
pub(crate) fn split(text: &str) -> std::result::Result<(&str, Vec<Argument<'_>>), Problem> {
    let Some(open) = text.find('(') else {
        return Ok((text, Vec::new()));
    };
    let name = text[..open].trim_end();
    let Some(inside) = text[open + 1..].strip_suffix(')') else {
        let problem = match text.rfind(')') {
            Some(close) => (close + 1, "a | is missing behind this step".to_owned()),
            None => (open, "this parenthesis is not closed".to_owned()),
        };
        return Err(problem);
    };
    if inside.trim().is_empty() {
        return Ok((name, Vec::new()));
    }
    let mut at = open + 1;
    let arguments = inside.split(',').map(|part| {
        let begin = at + part.len() - part.trim_start().len();
        at += part.len() + 1;
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (Some(name.trim()), value.trim()),
            None => (None, part.trim()),
        };
        Argument {
            name,
            value,
            at: begin,
        }
    });
    Ok((name, arguments.collect()))
}

fn none(name: &str, arguments: &[Argument<'_>]) -> std::result::Result<(), Problem> {
    match arguments.first() {
        None => Ok(()),
        Some(first) => Err((
            first.at,
            format!("{name} takes no values; its operand is given beside the input"),
        )),
    }
}

/// The arguments in the order of `names`.
fn values<'a, 'b, const N: usize>(
    arguments: &'b [Argument<'a>],
    names: [&str; N],
) -> std::result::Result<[Option<&'b Argument<'a>>; N], Problem> {
    let mut found = [None; N];
    for (i, argument) in arguments.iter().enumerate() {
        let known = match argument.name {
            Some(name) => names.iter().position(|known| *known == name),
            None => (i < N).then_some(i),
        };
        let slot = known.and_then(|known| found.get_mut(known));
        let Some(slot) = slot else {
            let problem = match argument.name {
                Some(name) => {
                    let name = shown(name);
                    format!("there is no '{name}' here; there is {}", names.join(", "))
                }
                None => format!("this is one value too many; there is {}", names.join(", ")),
            };
            return Err((argument.at, problem));
        };
        if slot.is_some() {
            return Err((argument.at, "this is given twice".to_owned()));
        }
        *slot = Some(argument);
    }
    Ok(found)
}

fn one<T: FromStr>(
    arguments: &[Argument<'_>],
    name: &str,
    default: Option<T>,
) -> std::result::Result<T, Problem> {
    let [value] = values(arguments, [name])?;
    parsed(value, name, default)
}

fn parsed<T: FromStr>(
    argument: Option<&Argument<'_>>,
    name: &str,
    default: Option<T>,
) -> std::result::Result<T, Problem> {
    match (argument, default) {
        (Some(argument), _) => argument.value.parse().map_err(|_| {
            let problem = format!("'{}' is no value of {name}", shown(argument.value));
            (argument.at, problem)
        }),
        (None, Some(default)) => Ok(default),
        (None, None) => Err((0, format!("the value {name} is missing"))),
    }
}

fn apply(activation: Activation, arguments: &[Argument<'_>]) -> std::result::Result<Step, Problem> {
    let known = activation.info().parameters;
    let mut values = Vec::new();
    for (i, argument) in arguments.iter().enumerate() {
        let name = match (argument.name, known.get(i)) {
            (Some(name), _) if known.iter().all(|p| p.name != name) => {
                let problem = activation.unknown_parameter(name);
                return Err((argument.at, problem.to_string()));
            }
            (Some(name), _) => name,
            (None, Some(parameter)) => parameter.name,
            (None, None) => {
                let problem = format!(
                    "this is one value too many; {activation} has {}",
                    known.len()
                );
                return Err((argument.at, problem));
            }
        };
        values.push((name, parsed(Some(argument), name, None)?));
    }
    let at = arguments.first().map_or(0, |first| first.at);
    let applied = activation.with(values);
    applied
        .map(Step::Apply)
        .map_err(|error| (at, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::DType;

    #[test]
    fn text_and_chain_are_each_other() {
        let chain = Chain::new()
            .scale(0.125)
            .bias(1)
            .apply(
                Activation::LeakyRelu
                    .with([("negative_slope", 0.2)])
                    .unwrap(),
            )
            .apply(Activation::Gelu)
            .clamp(0.0, f32::INFINITY)
            .unwrap()
            .add()
            .multiply()
            .cast(DType::Bf16)
            .dropout(0.1, u64::MAX)
            .axis(AxisFunction::LogSoftmax, -2);
        assert_eq!(chain.to_string().parse::<Chain>().unwrap(), chain);
        let short = "scale( 0.125 )|bias(1)|LeakyReLU(0.2) | gelu | clamp(0,inf) |add|mul| \
                     cast(bfloat16)|dropout(0.1,18446744073709551615)|log-softmax(-2)";
        assert_eq!(short.parse::<Chain>().unwrap(), chain);
    }

    #[test]
    fn errors_say_where_and_what() {
        let error = |text: &str| text.parse::<Chain>().unwrap_err().to_string();
        for (text, column, words) in [
            ("relu | gelo", 8, "gelu"),
            ("scal(2)", 1, "scale"),
            ("relu || gelu", 7, "missing"),
            ("", 1, "missing"),
            ("relu | scale", 8, "factor"),
            ("relu | scale(x)", 14, "'x'"),
            ("relu | scale(1, 2)", 17, "too many"),
            ("clamp(0, 6", 6, "not closed"),
            ("clamp(0, 6) relu", 12, "| is missing"),
            ("clamp(NaN, 0)", 7, "min"),
            ("elu(beta=1)", 5, "alpha"),
            ("relu(1)", 6, "too many"),
            ("add(x)", 5, "operand"),
            ("dropout(0.5, p=0.5)", 14, "twice"),
            ("dropout(1.5)", 1, "probability"),
            ("cast(f64)", 6, "'f64'"),
            ("bias(axis=x)", 6, "axis"),
            ("ä | gelu | nosuchstep", 1, "no step"),
            ("gelu | nosuchstep", 8, "activations list"),
            ("gelu | nosuchstep", 8, "scale, bias"),
            ("scale(2) | entmax", 12, "SparseFunction"),
            ("relu | Swi-GLU", 8, "swiglu is a gate"),
            ("relu | soft max", 8, "did you mean softmax"),
            ("gelu(approximate=tanh)", 6, "gelu_tanh"),
        ] {
            let error = error(text);
            assert!(
                error.contains(&format!("column {column}")),
                "{text}: {error}"
            );
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
