//! Functions of files of any size: read, computed and written in parts.

use super::open;
use crate::args::RunArgs;
use crate::error::CliError;
use crate::file::NpyError;
use crate::npy::{Parts, Stored, Writer};
use crate::operations::Call;
use crate::output::{self, Target};
use crate::terminal::Progress;
use std::io;
use std::path::{Path, PathBuf};
use wgpu_activations::{Operation, Source, Stream, StreamError};

/// The least memory for parts: with less, going from part to part is all that takes time.
const LEAST: usize = 64 << 10;

/// What goes through in parts.
pub struct Files<'a> {
    args: &'a RunArgs,
    operation: Box<dyn Operation>,
    target: &'a Target,
    input: Stored,
    output_shape: Vec<usize>,
}

/// The upstream gradient where no file has it.
struct Ones(u64);

impl Source for Ones {
    fn elements(&self) -> u64 {
        self.0
    }

    fn read(&mut self, _: u64, out: &mut [f32]) -> io::Result<()> {
        out.fill(1.0);
        Ok(())
    }
}

/// Opens an input.
fn stored(path: &Path) -> Result<Stored, CliError> {
    Stored::open(path).map_err(|source| CliError::Input {
        path: path.to_owned(),
        source,
    })
}

/// What is wrong with an upstream gradient of another shape than the output's.
pub fn upstream_shape(path: &Path, got: &[usize], name: &str, want: &[usize]) -> String {
    let path = path.display();
    format!(
        "{path}: the upstream gradient has shape {got:?} where the output of {name} has {want:?}"
    )
}

impl<'a> Files<'a> {
    /// The input of a call, unless the call or its order in the file means that it must be read whole.
    pub fn open(
        args: &'a RunArgs,
        call: &dyn Call,
        target: &'a Target,
    ) -> Result<Option<Self>, CliError> {
        // What has a second input has no parts.
        let [path] = &args.inputs[..] else {
            return Ok(None);
        };
        if !call.flagged().is_empty() {
            return Ok(None);
        }
        let input = stored(path)?;
        // A row of one has no axis to leave out, and needs no parts.
        if !input.is_row_major() || input.shape.is_empty() {
            return Ok(None);
        }
        let Some((operation, output_shape)) = call.in_parts(&input.shape)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            args,
            operation,
            target,
            input,
            output_shape,
        }))
    }

    /// Writes the function's output.
    pub fn run(self) -> Result<(), CliError> {
        let shape = self.input.shape.clone();
        let output_shape = self.output_shape.clone();
        self.process(None, &output_shape, |stream, operation, inputs, y| {
            // Invariant: there is one input.
            let [x] = inputs else { return Ok(()) };
            let x: &mut dyn Source = &mut **x;
            stream.apply(operation, (x, &shape[..]), y)
        })
    }

    /// Writes the gradient by the input; `upstream` is opened unless all of it is 1. None where
    /// it must be read whole.
    pub fn grad(self, name: &str, upstream: Option<&PathBuf>) -> Result<Option<()>, CliError> {
        let shape = self.input.shape.clone();
        let opened = match upstream {
            None => None,
            Some(path) => {
                let dy = stored(path)?;
                if dy.shape != self.output_shape {
                    return Err(CliError::Usage(upstream_shape(
                        path,
                        &dy.shape,
                        name,
                        &self.output_shape,
                    )));
                }
                if !dy.is_row_major() {
                    return Ok(None);
                }
                Some((path, dy))
            }
        };
        let compute = |stream: Stream<'_>,
                       operation: &dyn Operation,
                       inputs: &mut [&mut dyn Source],
                       dx: &mut Writer<'_>| {
            // Invariant: there are two inputs.
            let [x, dy] = inputs else { return Ok(()) };
            let x: &mut dyn Source = &mut **x;
            stream.grad(operation, (x, &shape[..]), &mut **dy, dx)
        };
        let second = match opened {
            Some((path, dy)) => Second::File(path, Box::new(Parts::new(dy))),
            None => Second::Ones(Ones(count(&self.output_shape))),
        };
        self.process(Some(second), &shape, compute).map(Some)
    }

    fn process(
        self,
        mut second: Option<Second<'_>>,
        output_shape: &[usize],
        compute: impl FnOnce(
            Stream<'_>,
            &dyn Operation,
            &mut [&mut dyn Source],
            &mut Writer<'_>,
        ) -> Result<(), StreamError>,
    ) -> Result<(), CliError> {
        let backend = {
            let progress = Progress::spinner();
            open(&self.args.backend, &progress)?
        };
        let staged = self.target.begin()?;
        let elements = count(output_shape);
        let dtype = self.args.dtype.unwrap_or_else(|| self.input.float());
        let starts = staged.lay_out(&[(self.target, output_shape, dtype)])?;
        // Invariant: one array begins at one place.
        let start = starts.first().copied().unwrap_or_default();
        let file = staged.file().map_err(|e| staged.error(e))?;

        let memory = self.args.memory.0;
        if memory < LEAST {
            let least = LEAST >> 10;
            let note = format_args!("--memory is {memory} bytes; {least}K, the least, are taken");
            crate::terminal::line("note", note);
        }
        let memory = memory.max(LEAST);
        let mut x = Parts::new(self.input);
        let mut y = Writer::new(file, start, elements, dtype);
        let bar = Progress::bytes();
        let report = |progress: wgpu_activations::Progress| bar.moved(progress);
        let stream = Stream::new(&backend).memory(memory).on_progress(&report);
        let mut inputs: Vec<&mut dyn Source> = vec![&mut x];
        match &mut second {
            Some(Second::File(_, dy)) => inputs.push(&mut **dy),
            Some(Second::Ones(dy)) => inputs.push(dy),
            None => {}
        }
        compute(stream, &*self.operation, &mut inputs, &mut y).map_err(|error| {
            match (error, &second) {
                (StreamError::Read { input: 1, source }, Some(Second::File(path, _))) => {
                    CliError::Input {
                        path: path.to_path_buf(),
                        source: NpyError::reading(source),
                    }
                }
                (StreamError::Read { source, .. }, _) => CliError::Input {
                    path: self.args.inputs[0].clone(),
                    source: NpyError::reading(source),
                },
                (StreamError::Compute(error), _) => error.into(),
                (StreamError::Write(error), _) => staged.error(error),
                (error, _) => CliError::Usage(format!("{error}; --memory says how much")),
            }
        })?;
        bar.doing("writing");
        output::publish(vec![staged])?;
        drop(bar);
        let notes = |path: &PathBuf, parts: &Parts| {
            for note in parts.notes() {
                crate::terminal::line("note", format_args!("{}: {note}", path.display()));
            }
        };
        notes(&self.args.inputs[0], &x);
        if let Some(Second::File(path, dy)) = &second {
            notes(path, dy);
        }
        Ok(())
    }
}

/// The upstream gradient.
enum Second<'a> {
    File(&'a PathBuf, Box<Parts>),
    Ones(Ones),
}

/// Elements of an array of this shape, which a file's header was held against.
fn count(shape: &[usize]) -> u64 {
    shape.iter().map(|&d| d as u64).product()
}
