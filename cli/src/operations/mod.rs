//! What `run` and `grad` compute: every operation of the library's registry, and chains, behind one
//! interface of arrays in and out.

mod chain;
mod input;
mod named;
mod options;
mod several;

pub use input::{Input, Output, read};
pub use named::with_parameters;
pub use options::is_only_flag;

use crate::args::RunArgs;
use crate::error::CliError;
use chain::Chained;
use named::Named;
use options::Options;
use several::Several;
use std::path::PathBuf;
use wgpu_activations::{
    Backend, Chain, Error, InputInfo, Operation, OperationInfo, operation_named, operations,
};

/// An operation with its options, ready for its inputs.
pub trait Call {
    /// What errors call it.
    fn name(&self) -> &'static str;

    /// What the inputs are that come by position, in words; as many as there are files.
    fn inputs(&self) -> Vec<InputInfo>;

    /// The inputs that flags name, with their files.
    fn flagged(&self) -> &[(InputInfo, PathBuf)] {
        &[]
    }

    /// What the gradients are of, in words; the first of them may be written alone.
    fn gradients(&self) -> Vec<&'static str>;

    /// The operation of one input file of this shape, which goes through it in parts, and the shape of
    /// its output; none where it needs the whole array in memory.
    fn in_parts(&self, _shape: &[usize]) -> Result<Option<InParts>, CliError> {
        Ok(None)
    }

    /// The shape of the operation's output for these inputs.
    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError>;

    /// The operation's output.
    fn run(&self, backend: &Backend, inputs: &[Input]) -> Result<Output, CliError>;

    /// The first `wanted` gradients, in the order of [`Call::gradients`].
    fn grad(
        &self,
        backend: &Backend,
        inputs: &[Input],
        upstream: &[f32],
        wanted: usize,
    ) -> Result<Vec<Output>, CliError>;
}

/// An operation that goes through a file in parts, and the shape of its output.
pub type InParts = (Box<dyn Operation>, Vec<usize>);

/// The call that the arguments ask for.
pub fn prepare(args: &RunArgs) -> Result<Box<dyn Call>, CliError> {
    let Some(info) = named(&args.function) else {
        return chain(args);
    };
    let mut options = Options::new(info.name, args)?;
    let axes = several::axes(&info, &mut options)?;
    let named = Named::new(&args.function, info, options, args.inputs.len())?;
    Ok(match axes {
        Some(axes) => Box::new(Several::new(named, axes)?),
        None => Box::new(named),
    })
}

/// A chain, where the text can be none of the operations' names.
fn chain(args: &RunArgs) -> Result<Box<dyn Call>, CliError> {
    let text = &args.function;
    let parsed = text.parse::<Chain>();
    if !text.contains(['|', '(']) && parsed.is_err() {
        // The library's sentence, with the names that look like it.
        operation_named(text, &[], &[])?;
    }
    let chain = Chained::new(parsed?);
    Options::new(chain.name(), args)?.none()?;
    named::check_count(chain.name(), &[chain.inputs()], args.inputs.len())?;
    Ok(Box::new(chain))
}

/// What the registry says of a name or an alias; case and `-` for `_` do not matter.
pub fn named(name: &str) -> Option<OperationInfo> {
    let wanted = spelled(name);
    operations().find(|info| info.name == wanted || info.aliases.contains(&&*wanted))
}

/// A name as the list has it, but for aliases.
fn spelled(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// The operation's name where one is called so; else the name itself as the list would have it.
pub fn canonical(name: &str) -> String {
    named(name).map_or_else(|| spelled(name), |info| info.name.to_owned())
}

/// The flag of an input that has one; others come by position.
fn flag(input: &InputInfo) -> Option<&'static str> {
    let flags = ["mask", "bias", "lengths", "sinks", "weight", "pos-weight"];
    let flag = flags
        .into_iter()
        .find(|flag| flag.replace('-', "_") == input.name);
    flag.filter(|_| input.optional)
}

/// A mistake in the options, in the library's words, and how it is said here.
fn told(info: &OperationInfo, error: Error) -> CliError {
    let Error::UnknownParameter {
        function,
        name,
        known,
    } = error
    else {
        return error.into();
    };
    // PyTorch's parameters that are flags here.
    let wanted = match &*name.replace('_', "-") {
        "dim" => "axis".to_owned(),
        "attn-mask" => "mask".to_owned(),
        "is-causal" => "causal".to_owned(),
        name => name.to_owned(),
    };
    let inputs = info.forms.iter().flatten().filter_map(flag);
    let flags = inputs.chain(known.iter().copied().filter(|name| options::is_flag(name)));
    let flags = flags.chain(several::reduces(info).then_some("keepdims"));
    let flag = flags
        .filter(|flag| *flag == wanted)
        .map(str::to_owned)
        .next();
    let known = known
        .into_iter()
        .filter(|name| !options::is_only_flag(name));
    let unknown = Error::UnknownParameter {
        function,
        name,
        known: known.collect(),
    };
    match flag {
        Some(flag) => CliError::Usage(format!("{unknown}; it is given as --{flag}")),
        None => unknown.into(),
    }
}
