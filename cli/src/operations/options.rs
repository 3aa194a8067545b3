//! What the command line says of an operation beside its input files: parameters and flags, each
//! taken by the operation that knows it; what nobody takes is an error.

use super::{flag, told};
use crate::args::RunArgs;
use crate::error::CliError;
use std::path::PathBuf;
use wgpu_activations::{Error, InputInfo, OperationInfo};

/// The options of one call.
#[derive(Debug)]
pub struct Options {
    function: &'static str,
    /// Names with values.
    parameters: Vec<(String, String)>,
    axes: Option<Vec<isize>>,
    keepdims: bool,
    causal: bool,
    files: Vec<(&'static str, PathBuf)>,
}

/// Whether a flag says the value of an option.
pub fn is_flag(option: &str) -> bool {
    ["axis", "causal"].contains(&option)
}

/// Whether `-p` does not: a flag says it, or how many files there are.
pub fn is_only_flag(option: &str) -> bool {
    ["axis", "arrays"].contains(&option)
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
            axes: args.axis.as_ref().map(|axes| axes.0.clone()),
            keepdims: args.keepdims,
            causal: args.causal,
            files: files.collect(),
        })
    }

    /// All axes of `--axis`.
    pub fn axes(&mut self) -> Option<Vec<isize>> {
        self.axes.take()
    }

    /// `--keepdims`.
    pub fn keepdims(&mut self) -> bool {
        std::mem::take(&mut self.keepdims)
    }

    /// Names with values as the registry has them, flags among them, and the inputs that flags name.
    pub fn of(mut self, info: &OperationInfo) -> Result<Told, CliError> {
        if let Some((name, _)) = self.parameters.iter().find(|(name, _)| is_only_flag(name)) {
            let known = info.options.iter().map(|option| option.name);
            let unknown = Error::UnknownParameter {
                function: self.function,
                name: name.clone(),
                known: known.collect(),
            };
            return Err(told(info, unknown));
        }
        let mut values = std::mem::take(&mut self.parameters);
        let takes = |name: &str| info.options.iter().any(|option| option.name == name);
        if takes("axis")
            && let Some(axes) = self.axes.take()
        {
            let &[axis] = &axes[..] else {
                return Err(CliError::Usage(format!(
                    "{} runs along one axis, --axis has {}",
                    self.function,
                    axes.len()
                )));
            };
            values.push(("axis".to_owned(), axis.to_string()));
        }
        if takes("causal") && std::mem::take(&mut self.causal) {
            let given = |(name, _): &(String, String)| name == "causal";
            if !values.iter().any(given) {
                values.push(("causal".to_owned(), "upper_left".to_owned()));
            }
        }
        let mut files = Vec::new();
        for input in info.forms.iter().flatten() {
            let flag = flag(input);
            let taken = self.files.iter().position(|(name, _)| Some(*name) == flag);
            files.extend(taken.map(|i| (*input, self.files.remove(i).1)));
        }
        self.none()?;
        Ok(Told { values, files })
    }

    /// An error where there is anything.
    pub fn none(self) -> Result<(), CliError> {
        let function = self.function;
        if let Some((name, _)) = self.parameters.into_iter().next() {
            let known = Vec::new();
            let unknown = Error::UnknownParameter {
                function,
                name,
                known,
            };
            return Err(unknown.into());
        }
        let left = [(self.axes.is_some(), "axis"), (self.causal, "causal")];
        let left = left.into_iter().filter(|(given, _)| *given);
        let files = self.files.iter().map(|(flag, _)| *flag);
        let mut left = left.map(|(_, flag)| flag).chain(files);
        match left.next() {
            Some(flag) => Err(CliError::Usage(format!(
                "{function} takes no --{flag}; leave it out"
            ))),
            None if self.keepdims => Err(CliError::Usage(format!(
                "{function} reduces no axis; leave --keepdims out"
            ))),
            None => Ok(()),
        }
    }
}

/// Options as an operation takes them.
#[derive(Debug)]
pub struct Told {
    /// Names with values.
    pub values: Vec<(String, String)>,
    /// Inputs that flags name.
    pub files: Vec<(InputInfo, PathBuf)>,
}
