//! Functions of files of any size: read, computed and written in parts.

use super::open;
use crate::args::RunArgs;
use crate::error::CliError;
use crate::file::NpyError;
use crate::npy::{Parts, Stored, Writer};
use crate::operations::Streamed;
use crate::output::{self, Target};
use crate::terminal::Progress;
use std::io;
use std::path::{Path, PathBuf};
use wgpu_activations::{AxisShape, Source, Stream, StreamError};

/// The least memory for parts: with less, going from part to part is all that takes time.
const LEAST: usize = 64 << 10;

/// What goes through in parts.
pub struct Files<'a> {
    args: &'a RunArgs,
    call: Streamed,
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
    /// The input of a call, unless its order in the file means that it must be read whole.
    pub fn open(
        args: &'a RunArgs,
        call: Streamed,
        target: &'a Target,
    ) -> Result<Option<Self>, CliError> {
        let input = stored(&args.inputs[0])?;
        if !input.is_row_major() {
            return Ok(None);
        }
        let mut output_shape = input.shape.clone();
        if let Streamed::Axis {
            function,
            axis,
            keepdims,
        } = call
        {
            AxisShape::new(&output_shape, axis)?;
            // A row of one has no axis to leave out, and needs no parts.
            if output_shape.is_empty() {
                return Ok(None);
            }
            // Invariant: the axis is in range, `AxisShape` has seen to it.
            let axis = axis.rem_euclid(output_shape.len() as isize) as usize;
            match (function.reduces(), keepdims) {
                (false, _) => {}
                (true, true) => output_shape[axis] = 1,
                (true, false) => drop(output_shape.remove(axis)),
            }
        }
        Ok(Some(Self {
            args,
            call,
            target,
            input,
            output_shape,
        }))
    }

    /// Writes the function's output.
    pub fn run(self) -> Result<(), CliError> {
        let (call, shape) = (self.call, self.input.shape.clone());
        let output_shape = self.output_shape.clone();
        self.process(None, &output_shape, |stream, inputs, y| {
            // Invariant: there is one input.
            let [x] = inputs else { return Ok(()) };
            match call {
                Streamed::Elementwise(f) => stream.apply(f, &mut **x, y),
                Streamed::Axis { function, axis, .. } => {
                    stream.apply_axis(function, &mut **x, &shape, axis, y)
                }
            }
        })
    }

    /// Writes the gradient by the input; `upstream` is opened unless all of it is 1. None where
    /// it must be read whole.
    pub fn grad(self, name: &str, upstream: Option<&PathBuf>) -> Result<Option<()>, CliError> {
        let (call, shape) = (self.call, self.input.shape.clone());
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
        let compute = |stream: Stream<'_>, inputs: &mut [&mut dyn Source], dx: &mut Writer<'_>| {
            // Invariant: there are two inputs.
            let [x, dy] = inputs else { return Ok(()) };
            match call {
                Streamed::Elementwise(f) => stream.grad(f, &mut **x, &mut **dy, dx),
                Streamed::Axis { function, axis, .. } => {
                    stream.grad_axis(function, &mut **x, &mut **dy, &shape, axis, dx)
                }
            }
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
        compute(stream, &mut inputs, &mut y).map_err(|error| match (error, &second) {
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
            (error, _) => CliError::Usage(format!("{error} with --memory")),
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
