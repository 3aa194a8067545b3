//! Asking the adapter: the probes when a device is opened, and all known answers on request.

use super::asked::Staged;
use super::stream::encoder;
use super::{Gpu, Inner, Wait};
use crate::cpu::threads::{Place, elsewhere};
use crate::error::{Error, Result};
use crate::kernels::{Asking, filled_buffer};
use crate::plan::{self, Strategy};
use crate::self_check::probes::{self, Answers, GROUPS, TURNS, WORDS};
use crate::self_check::{Direction, Finding, Question, SelfCheck, Verdict, Way};
use crate::shader::{self, Pass, Unit};
use std::borrow::Cow;
use std::sync::Arc;

impl Gpu {
    /// Asks the adapter everything that this crate takes for granted: probes of its arithmetic,
    /// its barriers and its loops, and known answers of every function, forward and backward.
    /// What is found wrong is gone around from then on, or refused; see [`SelfCheck`].
    ///
    /// Nothing depends on calling it. [`Gpu::open`] makes the probes, and the first use of a
    /// function has its known answers ride along. Adopted devices ([`Gpu::from_device`]) are not
    /// probed before this is called. It compiles every function.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::Device`]; a wrong answer is in the report.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn self_check(&self) -> Result<SelfCheck> {
        pollster::block_on(self.self_check_by(Wait::Block))
    }

    /// [`Gpu::self_check`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::self_check`].
    pub async fn self_check_async(&self) -> Result<SelfCheck> {
        let gpu = self.clone();
        elsewhere(Place::Own, async move || {
            gpu.self_check_by(Wait::ELSEWHERE).await
        })
        .await
    }

    /// What is known of the adapter so far, without asking.
    pub fn findings(&self) -> SelfCheck {
        let info = &self.inner.info;
        let adapter = format!("{} on {}", info.name, info.backend);
        self.inner.kernels.trust().report(adapter)
    }

    /// The same device, taken at its word: nothing is asked beside the work, and nothing refused.
    /// For whoever measures what an adapter computes, as [`check`](crate::check) does; tensors
    /// of one are foreign to the other.
    pub fn trusting(&self) -> Self {
        self.sharing(self.inner.kernels.trusting())
    }

    async fn self_check_by(&self, wait: Wait) -> Result<SelfCheck> {
        self.inner.kernels.usable()?;
        let gpu = &self.inner;
        if !gpu.computes() {
            return Ok(self.findings());
        }
        gpu.probe(wait).await?;
        self.ask_twice(Question::all, wait).await?;
        Ok(self.findings())
    }

    /// Asks, and where answers show that barriers do not hold, again without them.
    async fn ask_twice(&self, questions: impl Fn() -> Vec<Question>, wait: Wait) -> Result<()> {
        let quirks = || self.inner.kernels.traits().quirks;
        let before = quirks();
        self.inner.ask(questions(), wait).await?;
        if quirks() != before {
            self.inner.ask(questions(), wait).await?;
        }
        Ok(())
    }
}

impl Inner {
    /// Makes the probes.
    pub(super) async fn probe(self: &Arc<Self>, wait: Wait) -> Result<()> {
        if !self.computes() {
            return Ok(());
        }
        let (findings, quirks, broken) = match self.probes(wait).await {
            Ok(answers) => probes::judge(&answers),
            Err(error @ (Error::DeviceLost { .. } | Error::OutOfMemory { .. })) => {
                return Err(error);
            }
            // A driver that does not take the probes may take the kernels.
            Err(error) => {
                let detail = format!("{error}. Each function's own known answers decide");
                let finding = Finding::new("probes", Verdict::Tolerated, detail);
                (vec![finding], plan::Quirks::all(), None)
            }
        };
        self.kernels.trust().probed(findings, quirks, broken);
        Ok(())
    }

    async fn probes(self: &Arc<Self>, wait: Wait) -> Result<Answers> {
        let pairs = probes::pairs();
        let workgroup = 256.min(self.kernels.traits().max_invocations);
        let given: Vec<u32> = [[0, TURNS]]
            .iter()
            .chain(&pairs)
            .flatten()
            .copied()
            .collect();
        let parts = [
            ("arithmetic", pairs.len() * WORDS, pairs.len().div_ceil(64)),
            ("together", (GROUPS * workgroup) as usize, GROUPS as usize),
            ("turns_of_a_loop", 3, 1),
        ];
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let mut encoder = encoder(self);
        let outs = self.watched(0, || {
            let given = filled_buffer(&self.device, usage, &given);
            let text = self.kernels.text(shader::probes(pairs.len(), WORDS));
            let module = self
                .device
                .create_shader_module(wgpu::ShaderModuleDescriptor {
                    label: Some("activations probes"),
                    source: wgpu::ShaderSource::Wgsl(Cow::Owned(text)),
                });
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            parts.map(|(entry_point, words, groups)| {
                // Where a shader ends early, what it did not write is told from what it wrote.
                let out = filled_buffer(&self.device, usage, &vec![0xffff_ffff; words]);
                let constants = [("workgroup_size", f64::from(workgroup))];
                let meets = entry_point == "together";
                let pipeline =
                    self.device
                        .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                            label: Some(entry_point),
                            layout: None,
                            module: &module,
                            entry_point: Some(entry_point),
                            compilation_options: wgpu::PipelineCompilationOptions {
                                constants: if meets { &constants } else { &[] },
                                zero_initialize_workgroup_memory: false,
                            },
                            cache: None,
                        });
                let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some("activations probes"),
                    layout: &pipeline.get_bind_group_layout(0),
                    entries: &[
                        wgpu::BindGroupEntry {
                            binding: 0,
                            resource: given.as_entire_binding(),
                        },
                        wgpu::BindGroupEntry {
                            binding: 1,
                            resource: out.as_entire_binding(),
                        },
                    ],
                });
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[]);
                // A few workgroups.
                pass.dispatch_workgroups(groups as u32, 1, 1);
                out
            })
        })?;
        let submission = self.submit(|| Some(encoder.finish()))?;
        self.settled([submission]).await?;
        let mut words = parts.map(|(_, words, _)| vec![0f32; words]);
        for (out, words) in outs.iter().zip(&mut words) {
            super::stream::download(self, out, words, wait).await?;
        }
        let [arithmetic, together, turns] =
            words.map(|words| bytemuck::cast_slice::<f32, u32>(&words).to_vec());
        Ok(Answers {
            arithmetic,
            together,
            workgroup,
            turns: [turns[0], turns[1], turns[2]],
        })
    }

    /// Asks for known answers, in one submission.
    async fn ask(self: &Arc<Self>, questions: Vec<Question>, wait: Wait) -> Result<()> {
        let mut encoder = encoder(self);
        let traits = self.kernels.traits();
        let asked: Vec<Asking> = self.watched(0, || {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let ask = |question| match question {
                Question::Elementwise(activation, direction) => {
                    let kind = pass_of(direction);
                    let kernels = &self.kernels;
                    let access = traits.access(u64::MAX, &[]);
                    Some(kernels.ask_elementwise(&mut pass, activation, kind, access, true))
                }
                Question::Axis(function, direction, way) => {
                    let strategy = strategy(way, &traits)?;
                    let plan = plan::of_strategy(strategy, &traits);
                    let kind = pass_of(direction);
                    let plan = (&plan, Unit::Four);
                    Some(self.kernels.ask_axis(&mut pass, function, kind, way, plan))
                }
            };
            questions.into_iter().filter_map(ask).collect()
        })?;
        let staged = Staged::copied(self, asked, &mut encoder)?;
        let submission = self.submit(|| Some(encoder.finish()))?;
        let answers = staged.submitted(&submission);
        self.finished(submission, wait).await?;
        for answer in answers {
            // What is wrong is in the report.
            let _ = answer.verdict().await;
        }
        self.healthy()
    }
}

/// The pass that a batch of tensors takes.
fn pass_of(direction: Direction) -> Pass {
    match direction {
        Direction::Forward => Pass::Forward,
        Direction::Backward => Pass::Backward,
        Direction::FromOutput => Pass::FromOutput,
    }
}

/// The strategy of a way, where a plan would take it.
fn strategy(way: Way, traits: &plan::Traits) -> Option<Strategy> {
    match way {
        Way::Short | Way::Invocation => Some(Strategy::RowPerInvocation),
        Way::Workgroup if traits.software || traits.quirks.barriers => None,
        Way::Workgroup => Some(Strategy::RowPerWorkgroup),
        Way::Split => Some(Strategy::Split {
            lanes: 2,
            segment: u32::from(traits.software),
        }),
    }
}

#[cfg(test)]
mod tests;
