//! What is checked, by name: for programs that check everything.

use super::{Report, prelu, random, shaping};
use crate::axis::AxisFunction;
use crate::backend::Trial;
use crate::catalogue::{Activation, Elementwise};
use crate::error::{Error, Result};
use crate::functions::{check_of, checked_operations, operation_name};

/// Something beside the catalogue and softmax that has a check of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Family {
    /// The operation of a name, where it has a check of its own: those of [`Family::all`].
    Operation(&'static str),
    /// Gradients by parameters of activations.
    ParameterGradients,
    /// The softmax family under masks, biases, scales and sinks.
    MaskedSoftmax,
    /// Random numbers and Gumbel noise.
    Noise,
}

impl Family {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let rest = [Self::ParameterGradients, Self::MaskedSoftmax, Self::Noise];
        let operations = checked_operations().map(Self::Operation);
        operations.chain(rest).collect()
    }

    /// The family of a name or an alias; none where no family has it.
    pub fn find(name: &str) -> Option<Self> {
        let wanted = operation_name(name);
        Self::all()
            .into_iter()
            .find(|family| family.name() == wanted)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operation(name) => name,
            Self::ParameterGradients => "parameter_gradients",
            Self::MaskedSoftmax => "masked_softmax",
            Self::Noise => "gumbel_noise",
        }
    }
}

/// The functions whose rates a report of a device has, in both directions.
pub const RATED: [&str; 8] = [
    "relu",
    "tanh",
    "silu",
    "gelu",
    "softmax",
    "log_softmax",
    "swiglu",
    "cross_entropy",
];

/// Something to check.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Subject {
    /// An activation with its parameters.
    Elementwise(Elementwise),
    /// A function of the softmax family.
    Axis(AxisFunction),
    /// Anything else.
    Family(Family),
}

impl Subject {
    /// Everything.
    pub fn all() -> Vec<Self> {
        let activations = Activation::ALL.iter().copied();
        let activations = activations.flat_map(super::parameter_sets);
        let axes = AxisFunction::ALL.iter().copied().map(Self::Axis);
        let families = Family::all().into_iter().map(Self::Family);
        let activations = activations.map(Self::Elementwise);
        activations.chain(axes).chain(families).collect()
    }

    /// What is checked of the function of a name or an alias, an activation also with a spread of
    /// parameters; nothing where that is another one's under another name.
    pub fn of(name: &str) -> Vec<Self> {
        if let Ok(activation) = name.parse::<Activation>() {
            let sets = super::parameter_sets(activation).into_iter();
            return sets.map(Self::Elementwise).collect();
        }
        if let Ok(function) = name.parse::<AxisFunction>() {
            return vec![Self::Axis(function)];
        }
        Family::find(name).map(Self::Family).into_iter().collect()
    }

    /// The name, with the parameters of an activation.
    pub fn name(&self) -> String {
        match self {
            Self::Elementwise(f) => f.to_string(),
            Self::Axis(function) => function.to_string(),
            Self::Family(family) => family.name().to_owned(),
        }
    }
}

/// What a check of a [`Subject`] found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The worst of each function and direction.
    pub reports: Vec<Report>,
    /// Of an activation, the gradients for upstream gradients other than 1.
    pub upstream: Option<Report>,
}

checks! {
    /// Holds a family against the reference, with a spread of parameters.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn family / family_async / family_by (family: Family) -> Vec<Report>;
    /// Holds anything against the reference.
    ///
    /// ```
    /// use wgpu_activations::{Backend, check};
    /// for subject in check::Subject::of("tanh") {
    ///     let found = check::subject(&Backend::cpu(), subject)?;
    ///     assert!(found.reports.iter().chain(&found.upstream).all(check::Report::passed));
    /// }
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn subject / subject_async / subject_by (subject: Subject) -> Found;
}

async fn family_by(backend: &Trial, family: Family) -> Result<Vec<Report>> {
    match family {
        Family::Operation(name) => match check_of(name, backend) {
            Some(check) => check.await,
            None => {
                let checked = checked_operations().map(|name| (name, &[][..]));
                Err(Error::unknown_function("function of check", name, checked))
            }
        },
        Family::ParameterGradients => prelu::parameter_gradients_by(backend).await,
        Family::MaskedSoftmax => {
            let mut reports = Vec::new();
            for &function in AxisFunction::ALL {
                reports.extend(shaping::shaped_by(backend, function).await?);
            }
            Ok(reports)
        }
        Family::Noise => random::noise_by(backend).await,
    }
}

async fn subject_by(backend: &Trial, subject: Subject) -> Result<Found> {
    let mut upstream = None;
    let reports = match subject {
        Subject::Elementwise(f) => {
            upstream = Some(super::upstream_by(backend, f).await?);
            super::elementwise_by(backend, f).await?
        }
        Subject::Axis(function) => super::axis_by(backend, function).await?,
        Subject::Family(family) => family_by(backend, family).await?,
    };
    Ok(Found { reports, upstream })
}
