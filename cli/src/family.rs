//! The families beside the catalogue and softmax, as far as `activations check` checks them.

use crate::operations;
use wgpu_activations::check::{self, Report};
use wgpu_activations::{AxisFunction, Backend, Gate, Result, SparseFunction};

/// Something that has a check of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    /// A gated linear unit.
    Gate(Gate),
    /// hardmax, sparsemax, entmax.
    Sparse(SparseFunction),
    /// gumbel_softmax.
    GumbelSoftmax,
    /// maxout.
    Maxout,
    /// rrelu.
    Rrelu,
    /// prelu, with the gradient by the slope.
    Prelu,
    /// Gradients by parameters of activations.
    ParameterGradients,
    /// The softmax family under masks, biases, scales and sinks.
    MaskedSoftmax,
    /// Random numbers and Gumbel noise.
    Noise,
    /// cross_entropy.
    CrossEntropy,
    /// nll_loss.
    NllLoss,
    /// The binary losses.
    BinaryCrossEntropy,
}

impl Family {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let gates = Gate::ALL.iter().copied().map(Self::Gate);
        let sparse = SparseFunction::ALL.iter().copied().map(Self::Sparse);
        let rest = [
            Self::GumbelSoftmax,
            Self::Maxout,
            Self::Rrelu,
            Self::Prelu,
            Self::ParameterGradients,
            Self::MaskedSoftmax,
            Self::Noise,
            Self::CrossEntropy,
            Self::NllLoss,
            Self::BinaryCrossEntropy,
        ];
        gates.chain(sparse).chain(rest).collect()
    }

    /// The family of a name or an alias; none where no family has it.
    pub fn find(name: &str) -> Option<Self> {
        let wanted = match &*operations::canonical(name) {
            // One check holds both.
            "binary_cross_entropy_with_logits" => "binary_cross_entropy".to_owned(),
            name => name.to_owned(),
        };
        Self::all()
            .into_iter()
            .find(|family| family.name() == wanted)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gate(gate) => gate.name(),
            Self::Sparse(function) => function.name(),
            Self::GumbelSoftmax => "gumbel_softmax",
            Self::Maxout => "maxout",
            Self::Rrelu => "rrelu",
            Self::Prelu => "prelu",
            Self::ParameterGradients => "parameter_gradients",
            Self::MaskedSoftmax => "masked_softmax",
            Self::Noise => "gumbel_noise",
            Self::CrossEntropy => "cross_entropy",
            Self::NllLoss => "nll_loss",
            Self::BinaryCrossEntropy => "binary_cross_entropy",
        }
    }

    /// Its check, with a spread of parameters.
    pub fn check(self, backend: &Backend) -> Result<Vec<Report>> {
        match self {
            Self::Gate(gate) => check::gate::gate(backend, &gate),
            Self::Sparse(function) => {
                let same = |f: &SparseFunction| f.name() == function.name();
                let all = check::sparse::functions().into_iter().filter(same);
                let reports: Result<Vec<Vec<Report>>> =
                    all.map(|f| check::sparse::sparse(backend, f)).collect();
                Ok(reports?.concat())
            }
            Self::GumbelSoftmax => check::sparse::gumbel_softmax(backend),
            Self::Maxout => check::sparse::maxout(backend),
            Self::Rrelu => check::random::rrelu(backend),
            Self::Prelu => check::prelu::prelu(backend),
            Self::ParameterGradients => check::prelu::parameter_gradients(backend),
            Self::MaskedSoftmax => {
                let functions = AxisFunction::ALL.iter();
                let reports: Result<Vec<Vec<Report>>> = functions
                    .map(|&function| check::shaping::shaped(backend, function))
                    .collect();
                Ok(reports?.concat())
            }
            Self::Noise => check::random::noise(backend),
            Self::CrossEntropy => check::loss::cross_entropy(backend),
            Self::NllLoss => check::loss::nll_loss(backend),
            Self::BinaryCrossEntropy => check::loss::binary_cross_entropy(backend),
        }
    }
}
