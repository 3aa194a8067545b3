//! What `activations bench` measures: the operations of the registry, and arrays for them.

use crate::error::CliError;
use crate::operations::canonical;
use wgpu_activations::{
    Array, Backend, Call, Error, InputInfo, InputKind, OfShape, Operation, OperationInfo,
    operation_named, operations,
};

/// Softmax under a key mask, of which every eighth key is out.
const MASKED: &str = "masked_softmax";

/// An operation that is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    pub name: &'static str,
    info: Box<OperationInfo>,
}

impl Subject {
    /// The operations of these names or aliases, each once; all of them where there is no name.
    pub fn select(names: &[String]) -> Result<Vec<Self>, CliError> {
        let all: Vec<Self> = Self::all().collect();
        if names.is_empty() {
            return Ok(all);
        }
        let mut subjects: Vec<Self> = Vec::new();
        for name in names {
            let wanted = canonical(name);
            let is_it = |one: &&Self| {
                one.name == wanted || one.name != MASKED && one.info.aliases.contains(&&*wanted)
            };
            let Some(subject) = all.iter().find(is_it) else {
                let known = all.iter().map(|one| (one.name, one.info.aliases));
                return Err(Error::unknown_function("function of bench", name, known).into());
            };
            if subjects.iter().all(|there| there.name != subject.name) {
                subjects.push(subject.clone());
            }
        }
        Ok(subjects)
    }

    fn all() -> impl Iterator<Item = Self> {
        operations().flat_map(|info| {
            let (name, info) = (info.name, Box::new(info));
            let masked = (name == "softmax").then(|| Self {
                name: MASKED,
                info: info.clone(),
            });
            [Some(Self { name, info }), masked].into_iter().flatten()
        })
    }

    /// Whether there is a gradient by an input.
    pub fn has_gradient(&self) -> bool {
        self.info.forms[0].iter().any(|input| input.differentiable)
    }

    /// The operation along its last axis, where it has one, and its arrays around one of `shape`.
    pub fn made(&self, shape: &[usize]) -> Result<Ready, CliError> {
        let first = self.made_of(shape, Contents::ALL[0]);
        let others = || Contents::ALL[1..].iter();
        let other = || others().find_map(|&contents| self.made_of(shape, contents).ok());
        first.or_else(|error| other().ok_or(error))
    }

    fn made_of(&self, shape: &[usize], contents: Contents) -> Result<Ready, CliError> {
        let is_taken =
            |input: &&InputInfo| !input.optional || self.name == MASKED && input.name == "mask";
        let inputs = self.info.forms[0].iter().filter(is_taken).enumerate();
        let inputs: Result<Vec<Input>, CliError> = inputs
            .map(|(i, &info)| Input::new(info, i, shape, contents))
            .collect();
        let inputs = inputs?;
        let shapes: Vec<&[usize]> = inputs.iter().map(|input| &*input.shape).collect();
        let has_axis = self.info.options.iter().any(|option| option.name == "axis");
        let axis: &[_] = if has_axis { &[("axis", "-1")] } else { &[] };
        let operation = operation_named(self.info.name, axis, &shapes)?;
        let shape = {
            let call = Call::value(inputs.iter().map(Input::array));
            let shape = call.shapes(&*operation)?.remove(0);
            if inputs.len() > 1 {
                // Values may be refused, too.
                let mut y = crate::memory::zeros_of(&shape)?;
                Backend::cpu().run(&*operation, &call, &mut [Some((&mut y[..]).into())])?;
            }
            shape
        };
        Ok(Ready {
            operation,
            inputs,
            shape,
        })
    }
}

/// An operation with arrays that it takes.
pub struct Ready {
    pub operation: Box<dyn Operation>,
    pub inputs: Vec<Input>,
    /// The result's shape.
    pub shape: Vec<usize>,
}

/// What is in the arrays, of which an operation may take one and not another.
#[derive(Clone, Copy)]
struct Contents {
    /// Whether the first one has numbers from 0 to 1, as those of probabilities have.
    shares: bool,
    others: Others,
}

/// What arrays of numbers or targets beside the first one are.
#[derive(Clone, Copy, PartialEq)]
enum Others {
    /// Numbers of the same shape; a class for each row.
    Like,
    /// As many numbers as the last axis is long.
    Row,
    /// Numbers from 0 to 1 of the same shape.
    Shares,
}

impl Contents {
    /// The likeliest first.
    const ALL: [Self; 6] = [
        Self::new(false, Others::Like),
        Self::new(false, Others::Row),
        Self::new(false, Others::Shares),
        Self::new(true, Others::Like),
        Self::new(true, Others::Row),
        Self::new(true, Others::Shares),
    ];

    const fn new(shares: bool, others: Others) -> Self {
        Self { shares, others }
    }
}

/// An array of an operation.
pub struct Input {
    info: InputInfo,
    shape: Vec<usize>,
    pub values: Values,
}

pub enum Values {
    Numbers(Vec<f32>),
    Classes(Vec<i32>),
    Mask(Vec<u8>),
}

impl Input {
    fn new(
        info: InputInfo,
        place: usize,
        shape: &[usize],
        contents: Contents,
    ) -> Result<Self, CliError> {
        let len = shape[shape.len() - 1];
        let elements: usize = shape.iter().product();
        let seed = place as u64 + 1;
        let shares = |count| noise(count, 0.5, seed).map(|x| x.iter().map(|x| x + 0.5).collect());
        let kind = (info.kind, place, contents.others);
        let (values, shape) = match kind {
            (InputKind::Mask, ..) => {
                let keep = (0..len).map(|key| u8::from(key % 8 != 7)).collect();
                (Values::Mask(keep), vec![len])
            }
            (_, 1.., Others::Shares) => (Values::Numbers(shares(elements)?), shape.to_vec()),
            (InputKind::Targets, ..) => {
                // Scattered over the row; a class is below 2^31 wherever a row fits in memory.
                let classes = (0..elements / len).map(|row| (row * 7919 % len) as i32);
                let rows = shape[..shape.len() - 1].to_vec();
                (Values::Classes(classes.collect()), rows)
            }
            (_, 0, _) if contents.shares => (Values::Numbers(shares(elements)?), shape.to_vec()),
            (_, 1.., Others::Row) => (Values::Numbers(noise(len, 1.0, seed)?), vec![len]),
            _ => (Values::Numbers(noise(elements, 8.0, seed)?), shape.to_vec()),
        };
        Ok(Self {
            info,
            shape,
            values,
        })
    }

    /// As the library takes it.
    pub fn array(&self) -> Array<'_> {
        let array: Array<'_> = match &self.values {
            Values::Numbers(x) => x.of_shape(&self.shape).into(),
            Values::Classes(classes) => classes.of_shape(&self.shape).into(),
            Values::Mask(keep) => keep.of_shape(&self.shape).into(),
        };
        if self.info.optional {
            return array.named(self.info.name);
        }
        array
    }

    /// The lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::Numbers(x) => size_of_val(&x[..]),
            Values::Classes(classes) => size_of_val(&classes[..]),
            Values::Mask(keep) => keep.len(),
        }
    }
}

/// Uniform values in [-scale, scale): both sides of every branch. A fixed sequence (splitmix64,
/// Steele et al. 2014), so that runs compare.
pub fn noise(len: usize, scale: f32, seed: u64) -> Result<Vec<f32>, CliError> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 24 bits are exact in f32.
        ((z >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    let mut values = crate::memory::room(len)?;
    values.extend(std::iter::repeat_with(next).take(len));
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation of the registry has arrays that it takes.
    #[test]
    fn every_operation_is_measured() {
        let all = Subject::select(&[]).unwrap();
        assert!(all.len() > 60, "{}", all.len());
        for subject in all {
            let shape: &[usize] = match subject.name {
                "softmax2d" => &[2, 4, 6],
                _ => &[4, 6],
            };
            let ready = subject
                .made(shape)
                .unwrap_or_else(|e| panic!("{}: {e}", subject.name));
            assert!(!ready.inputs.is_empty());
        }
    }

    #[test]
    fn a_shape_that_does_not_fit_is_an_error() {
        let subject = Subject::select(&["swiglu".to_owned()]).unwrap().remove(0);
        let error = subject.made(&[4, 5]).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains('5')));
    }
}
