//! Known answers ride along: what is used for the first time is recorded on its known inputs,
//! too, in the same pass. Whoever submits the pass reads the results and settles the question.

use super::{Kernels, Operand, filled_buffer, lock};
use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::element::DType;
use crate::error::Result;
use crate::plan::{self, AxisChunk, AxisPlan, Quirks, Strategy};
use crate::self_check::answers::{self, GUARD, Inputs};
use crate::self_check::{Answer, Consult, Question, Way};
use crate::shader::{Access, Pass, Unit};
use crate::shape::AxisShape;
use std::sync::{Arc, Mutex};

/// What one recording asked, and all answers that it stands and falls with.
#[derive(Debug, Default)]
pub(super) struct Asked {
    asking: Mutex<Vec<Asking>>,
    relied: Mutex<Vec<Arc<Answer>>>,
}

/// A question that is recorded. Dropped without an answer, it is as if never asked.
#[derive(Debug)]
pub(crate) struct Asking {
    pub answer: Arc<Answer>,
    /// The results, and words behind them that must stay.
    pub results: wgpu::Buffer,
    inputs: Inputs,
    quirks: Quirks,
    kernels: Kernels,
}

impl Asking {
    /// Notes that it was submitted: others need not ask.
    pub(crate) fn submitted(&self) -> Arc<Answer> {
        self.answer.submitted();
        self.kernels.trust().under_way(&self.answer);
        Arc::clone(&self.answer)
    }

    /// Settles the question by what came back.
    pub(crate) fn judge(self, words: &[u32]) {
        let judged = answers::judge(self.answer.question, &self.inputs, words);
        let mut trust = self.kernels.trust();
        trust.settle(&self.answer, self.quirks, Some(judged));
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.answer.is_settled() {
            let mut trust = self.kernels.trust();
            trust.settle(&self.answer, self.quirks, None);
        }
    }
}

impl Kernels {
    /// The same kernels for one recording, which asks for known answers.
    pub(crate) fn asking(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            asked: (!self.trusting).then(Arc::default),
            trusting: self.trusting,
        }
    }

    /// The same kernels, which ask nothing and refuse nothing.
    pub(crate) fn trusting(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            asked: None,
            trusting: true,
        }
    }

    /// The questions that were recorded since the last call.
    pub(crate) fn take_asking(&self) -> Vec<Asking> {
        let asked = self.asked.as_ref();
        asked.map_or_else(Vec::new, |asked| std::mem::take(&mut *lock(&asked.asking)))
    }

    /// The answers that what was recorded since the last call depends on.
    pub(crate) fn take_relied(&self) -> Vec<Arc<Answer>> {
        let asked = self.asked.as_ref();
        asked.map_or_else(Vec::new, |asked| std::mem::take(&mut *lock(&asked.relied)))
    }

    /// Before work is recorded: an error where it is not to be trusted; where nobody knows, it is
    /// asked.
    pub(super) fn consult(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        question: Question,
        ask: impl FnOnce(&Self, &mut wgpu::ComputePass<'_>) -> Asking,
    ) -> Result<()> {
        if self.trusting {
            return Ok(());
        }
        let known = self.trust().consult(question)?;
        let Some(asked) = &self.asked else {
            return Ok(());
        };
        let answer = match known {
            Consult::Go => return Ok(()),
            Consult::Await(answer) => answer,
            Consult::Ask => {
                let mut asking = lock(&asked.asking);
                let before = asking.iter().find(|a| a.answer.question == question);
                match before {
                    Some(before) => Arc::clone(&before.answer),
                    None => {
                        let new = ask(self, pass);
                        let answer = Arc::clone(&new.answer);
                        asking.push(new);
                        answer
                    }
                }
            }
        };
        lock(&asked.relied).push(answer);
        Ok(())
    }

    /// [`Kernels::consult`] before work that computes an activation.
    pub(super) fn consult_activation(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        activation: Activation,
        kind: Pass,
        access: Access,
    ) -> Result<()> {
        let question = Question::Elementwise(activation, kind.into());
        self.consult(pass, question, |kernels, pass| {
            kernels.ask_elementwise(pass, activation, kind, access, false)
        })
    }

    /// Records an activation's known inputs by `access`, and with some left over where `tail`.
    pub(crate) fn ask_elementwise(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        activation: Activation,
        kind: Pass,
        access: Access,
        tail: bool,
    ) -> Asking {
        let question = Question::Elementwise(activation, kind.into());
        let inputs = answers::inputs(question, tail);
        self.ask(question, kind, inputs, |operands, _| {
            self.record_elementwise(pass, activation.into(), kind, operands, access);
        })
    }

    /// Records a function's known rows in the way of `plan`, which is one for other rows, by the unit
    /// of those; every unit divides known rows.
    pub(crate) fn ask_axis(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        kind: Pass,
        way: Way,
        (plan, unit): (&AxisPlan, Unit),
    ) -> Asking {
        let question = Question::Axis(function, kind.into(), way);
        let inputs = answers::inputs(question, false);
        self.ask(question, kind, inputs, |operands, shape| {
            let chunk = AxisChunk {
                first_outer: 0,
                outer: shape.outer as u64,
                first_step: 0,
                steps: shape.len as u64,
            };
            let plan = AxisPlan {
                strategy: match plan.strategy {
                    Strategy::Split { segment, .. } => plan::short_split(segment, shape.len),
                    other => other,
                },
                chunks: [chunk].into(),
                chunks_per_row: 1,
                ..*plan
            };
            self.record_axis(pass, function, shape, kind, (&plan, unit), operands);
        })
    }

    /// Records a question's inputs by `record`, which gets x, dy and the result as `kind` binds
    /// them.
    fn ask(
        &self,
        question: Question,
        kind: Pass,
        inputs: Inputs,
        record: impl FnOnce([Option<Operand<'_>>; 3], &AxisShape),
    ) -> Asking {
        // In place, the result lies where its input was.
        let first = match kind {
            Pass::ForwardInPlace => &inputs.x[..],
            Pass::BackwardInPlace => &inputs.dy,
            Pass::Forward | Pass::Backward | Pass::FromOutput => &[],
        };
        let mut result: Vec<u32> = bytemuck::cast_slice(first).to_vec();
        result.resize(inputs.results, 0);
        result.extend(GUARD);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let of = |words: &[u32]| filled_buffer(&self.inner.device, usage, words);
        let x = kind.binds_x().then(|| of(bytemuck::cast_slice(&inputs.x)));
        let dy = kind
            .binds_dy()
            .then(|| of(bytemuck::cast_slice(&inputs.dy)));
        let results = of(&result);
        let operand = |buffer, elements: usize| Operand {
            buffer,
            offset: 0,
            bytes: elements as u64 * 4,
            dtype: DType::F32,
            what: "known answers",
        };
        let operands = [
            x.as_ref().map(|x| operand(x, inputs.x.len())),
            dy.as_ref().map(|dy| operand(dy, inputs.dy.len())),
            Some(operand(&results, inputs.results)),
        ];
        record(operands, &inputs.shape);
        Asking {
            answer: Arc::new(Answer::new(question)),
            results,
            inputs,
            quirks: self.traits().quirks,
            kernels: self.trusting(),
        }
    }
}
