//! What the command line says of an operation beside its input files: parameters and flags, each
//! taken by the operation that knows it; what nobody takes is an error.

use crate::args::RunArgs;
use crate::error::CliError;
use crate::terminal;
use std::fmt::Display;
use std::path::PathBuf;
use wgpu_activations::{Activation, Elementwise, Error};

/// The options of one call.
#[derive(Debug)]
pub struct Options {
    function: &'static str,
    parameters: Vec<(String, String)>,
    /// Names that were asked for, for the error on those that were not.
    known: Vec<&'static str>,
    /// Flags that were asked for, for that of a parameter that is one.
    flags: Vec<&'static str>,
    axes: Option<Vec<isize>>,
    keepdims: bool,
    causal: bool,
    files: Vec<(&'static str, PathBuf)>,
}

impl Options {
    /// The options of a call of `function`.
    pub fn new(function: &'static str, args: &RunArgs) -> Result<Self, CliError> {
        let parameters = &args.parameters;
        for (i, (name, _)) in parameters.iter().enumerate() {
            if parameters[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(CliError::Usage(format!(
                    "the parameter {name} is given twice"
                )));
            }
        }
        let files = [
            ("mask", &args.mask),
            ("bias", &args.bias),
            ("lengths", &args.lengths),
            ("sinks", &args.sinks),
            ("weight", &args.weight),
            ("pos-weight", &args.pos_weight),
        ];
        let files = files
            .into_iter()
            .filter_map(|(name, path)| Some((name, path.clone()?)));
        Ok(Self {
            function,
            parameters: parameters.clone(),
            known: Vec::new(),
            flags: Vec::new(),
            axes: args.axis.as_ref().map(|axes| axes.0.clone()),
            keepdims: args.keepdims,
            causal: args.causal,
            files: files.collect(),
        })
    }

    /// The parameter `name` as it was given.
    fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let index = self.parameters.iter().position(|(n, _)| n == name)?;
        Some(self.parameters.remove(index).1)
    }

    fn wrong(&self, name: &str, value: &str, expected: impl Display) -> CliError {
        wrong(self.function, name, value, expected)
    }

    /// A number; infinities by name only.
    pub fn number(&mut self, name: &'static str) -> Result<Option<f32>, CliError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match number(&text) {
            Ok(value) => Ok(Some(value)),
            Err(expected) => Err(self.wrong(name, &text, expected)),
        }
    }

    /// A whole number.
    pub fn integer(&mut self, name: &'static str) -> Result<Option<i64>, CliError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let value = text.parse();
        value
            .map(Some)
            .map_err(|_| self.wrong(name, &text, "a whole number"))
    }

    /// The seed of random numbers.
    pub fn seed(&mut self) -> Result<Option<u64>, CliError> {
        let Some(text) = self.text("seed") else {
            return Ok(None);
        };
        let value = text.parse();
        let expected = "a whole number from 0 to 2^64 - 1";
        value
            .map(Some)
            .map_err(|_| self.wrong("seed", &text, expected))
    }

    /// `true` or `false`.
    pub fn truth(&mut self, name: &'static str) -> Result<Option<bool>, CliError> {
        self.choice(name, &[("true", true), ("false", false)])
    }

    /// One of several words.
    pub fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, CliError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let wanted = text.to_lowercase().replace('-', "_");
        match choices.iter().find(|(word, _)| *word == wanted) {
            Some(&(_, value)) => Ok(Some(value)),
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                Err(self.wrong(name, &text, words.join(" or ")))
            }
        }
    }

    /// The numbers of these names, as far as they are given.
    pub fn numbers(
        &mut self,
        names: &[&'static str],
    ) -> Result<Vec<(&'static str, f32)>, CliError> {
        let mut numbers = Vec::new();
        for &name in names {
            numbers.extend(self.number(name)?.map(|value| (name, value)));
        }
        Ok(numbers)
    }

    /// An activation with all parameters that are left.
    pub fn activation(&mut self, activation: Activation) -> Result<Elementwise, CliError> {
        with_parameters(activation, &std::mem::take(&mut self.parameters))
    }

    /// The one axis of `--axis`.
    pub fn axis(&mut self) -> Result<Option<isize>, CliError> {
        self.flags.push("axis");
        match self.axes.take().as_deref() {
            None => Ok(None),
            Some(&[axis]) => Ok(Some(axis)),
            Some(axes) => Err(CliError::Usage(format!(
                "{} runs along one axis, --axis has {}",
                self.function,
                axes.len()
            ))),
        }
    }

    /// All axes of `--axis`.
    pub fn axes(&mut self) -> Option<Vec<isize>> {
        self.flags.push("axis");
        self.axes.take()
    }

    /// `--keepdims`, or the parameter of that name.
    pub fn keepdims(&mut self) -> Result<bool, CliError> {
        let flag = std::mem::take(&mut self.keepdims);
        Ok(self.truth("keepdims")?.unwrap_or(false) || flag)
    }

    /// `--causal`.
    pub fn causal(&mut self) -> bool {
        self.flags.push("causal");
        std::mem::take(&mut self.causal)
    }

    /// The file of a flag such as `--mask`.
    pub fn file(&mut self, flag: &'static str) -> Option<PathBuf> {
        self.flags.push(flag);
        let index = self.files.iter().position(|(name, _)| *name == flag)?;
        Some(self.files.remove(index).1)
    }

    /// An error where something is left that the operation does not know.
    pub fn finish(self) -> Result<(), CliError> {
        let function = self.function;
        if let Some((name, _)) = self.parameters.first() {
            // PyTorch's parameters that are flags here.
            let flag = match &*name.replace('_', "-") {
                "dim" => "axis".to_owned(),
                "attn-mask" => "mask".to_owned(),
                "is-causal" => "causal".to_owned(),
                name => name.to_owned(),
            };
            let flag = self.flags.iter().find(|known| **known == flag);
            let mut known = self.known;
            known.dedup();
            let name = name.clone();
            let unknown = Error::UnknownParameter {
                function,
                name,
                known,
            };
            return Err(match flag {
                Some(flag) => CliError::Usage(format!("{unknown}; it is given as --{flag}")),
                None => unknown.into(),
            });
        }
        let left = [
            (self.axes.is_some(), "axis"),
            (self.keepdims, "keepdims"),
            (self.causal, "causal"),
        ];
        let left = left.into_iter().filter(|(given, _)| *given);
        let mut left = left
            .map(|(_, flag)| flag)
            .chain(self.files.iter().map(|(flag, _)| *flag));
        match left.next() {
            None => Ok(()),
            Some("keepdims") => Err(CliError::Usage(format!(
                "{function} reduces no axis; leave --keepdims out"
            ))),
            Some(flag) => Err(CliError::Usage(format!(
                "{function} takes no --{flag}; leave it out"
            ))),
        }
    }
}

fn wrong(function: &str, name: &str, value: &str, expected: impl Display) -> CliError {
    let value = terminal::shown(value);
    CliError::Usage(format!(
        "{function}: parameter {name} = {value} must be {expected}"
    ))
}

/// An activation with parameters as they were given.
pub fn with_parameters(
    activation: Activation,
    parameters: &[(String, String)],
) -> Result<Elementwise, CliError> {
    let known = activation.info().parameters;
    // A parameter that there is not comes before a value that is no number.
    let unknown = parameters
        .iter()
        .find(|(name, _)| known.iter().all(|p| p.name != name));
    if let Some((name, _)) = unknown {
        activation.with([(&**name, 0.0)])?;
    }
    let function = activation.info().name;
    let numbers = parameters.iter().map(|(name, text)| match number(text) {
        Ok(value) => Ok((&**name, value)),
        Err(expected) => Err(wrong(function, name, text, expected)),
    });
    Ok(activation.with(numbers.collect::<Result<Vec<_>, _>>()?)?)
}

/// A number; the error says what it must be.
fn number(text: &str) -> Result<f32, &'static str> {
    let number: f32 = text.parse().map_err(|_| "a number")?;
    // Infinities are welcome by name only.
    if number.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        return Err("a number that an f32 holds");
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Axes, Cli, Command};
    use clap::Parser;

    fn options(arguments: &[&str]) -> Result<Options, CliError> {
        let all = ["activations", "run", "f", "x.npy", "-o", "y.npy"];
        let cli = Cli::try_parse_from(all.iter().chain(arguments)).unwrap();
        match cli.command {
            Command::Run(args) => Options::new("f", &args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_known_is_taken() {
        let mut o = options(&[
            "-p",
            "a=0.5",
            "-p",
            "n=-100",
            "-p",
            "on=true",
            "-p",
            "order=gate-first",
            "--axis=0,-2",
            "--mask",
            "m.npy",
            "--causal",
        ])
        .unwrap();
        assert_eq!(o.number("a").unwrap(), Some(0.5));
        assert_eq!(o.integer("n").unwrap(), Some(-100));
        assert_eq!(o.truth("on").unwrap(), Some(true));
        let order = o.choice("order", &[("value_first", 1), ("gate_first", 2)]);
        assert_eq!(order.unwrap(), Some(2));
        assert_eq!(o.axes(), Some(vec![0, -2]));
        assert_eq!(o.file("mask"), Some("m.npy".into()));
        assert!(o.causal() && !o.keepdims().unwrap());
        assert_eq!(o.number("b").unwrap(), None);
        o.finish().unwrap();
    }

    #[test]
    fn what_is_left_is_an_error() {
        let left = |arguments: &[&str]| options(arguments).unwrap().finish().unwrap_err();
        for (arguments, words) in [
            (&["-p", "a=1"][..], "no parameter 'a'"),
            (&["--axis=1"], "takes no --axis"),
            (&["--keepdims"], "reduces no axis"),
            (&["--weight", "w.npy"], "takes no --weight"),
            (&["--causal"], "takes no --causal"),
            (&["-p", "dim=0"], "no parameter 'dim'"),
        ] {
            let error = left(arguments).to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(options(&["-p", "a=1", "-p", "a=2"]).is_err());
    }

    #[test]
    fn wrong_values_say_what_is_right() {
        let with = |text: &str| options(&["-p", &format!("a={text}")]).unwrap();
        assert!(with("x").number("a").is_err());
        assert!(with("1e99").number("a").is_err());
        assert_eq!(with("-inf").number("a").unwrap(), Some(f32::NEG_INFINITY));
        assert!(with("1.5").integer("a").is_err());
        assert!(with("maybe").truth("a").is_err());
        let error = with("x")
            .choice("a", &[("none", 0), ("mean", 1)])
            .unwrap_err();
        assert!(error.to_string().contains("none or mean"), "{error}");
        assert!(options(&["--axis=0,1"]).unwrap().axis().is_err());
        assert_eq!(Axes(vec![3]).0, [3]);
    }
}
