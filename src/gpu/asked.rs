//! Known answers that ride along with the work: asked where it is recorded, judged when they
//! arrive, and waited for before its results are.

use super::{Inner, Submission, Wait};
use crate::error::Result;
use crate::kernels::{Asking, Kernels};
use crate::self_check::Answer;
use std::sync::Arc;

impl Inner {
    /// Whether there is a device behind the interface.
    pub(super) fn computes(&self) -> bool {
        self.info.backend != wgpu::Backend::Noop
    }

    /// The kernels for one recording, which ask for the known answers of what is new to them.
    pub(super) fn asking(&self) -> Kernels {
        if self.computes() {
            self.kernels.asking()
        } else {
            self.kernels.clone()
        }
    }

    /// Waits for the answers that a submission's work stands and falls with.
    pub(super) async fn answered(
        self: &Arc<Self>,
        answers: &[Arc<Answer>],
        submission: Submission,
        wait: Wait,
    ) -> Result<()> {
        if answers.is_empty() {
            return Ok(());
        }
        self.finished(submission, wait).await?;
        for answer in answers {
            answer.verdict().await?;
        }
        Ok(())
    }
}

/// Questions whose results are on their way to the host.
pub(super) struct Staged(Vec<(Asking, wgpu::Buffer)>);

impl Staged {
    /// Records the copies of what `asked` has, behind the pass that computes it.
    pub(super) fn copied(
        gpu: &Inner,
        asked: Vec<Asking>,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<Self> {
        let mut staged = Vec::with_capacity(asked.len());
        for asking in asked {
            let bytes = asking.results.size();
            let staging = gpu.create(&wgpu::BufferDescriptor {
                label: Some("activations known answers"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })?;
            encoder.copy_buffer_to_buffer(&asking.results, 0, &staging, 0, bytes);
            staged.push((asking, staging));
        }
        Ok(Self(staged))
    }

    /// Judges each when it arrives, in whatever thread polls then. In a browser it may be of a submission
    /// that was refused, and then says nothing.
    pub(super) fn submitted(
        self,
        #[cfg_attr(not(target_arch = "wasm32"), expect(unused_variables))] submission: &Submission,
    ) -> Vec<Arc<Answer>> {
        let submit = |(asking, staging): (Asking, wgpu::Buffer)| {
            let answer = asking.submitted();
            let buffer = staging.clone();
            #[cfg(target_arch = "wasm32")]
            let later = Arc::clone(&submission.0);
            staging
                .slice(..)
                .map_async(wgpu::MapMode::Read, move |mapped| {
                    // What does not come is as if never asked.
                    if mapped.is_ok()
                        && let Ok(view) = buffer.slice(..).get_mapped_range()
                    {
                        let words = bytemuck::pod_collect_to_vec(&view);
                        #[cfg(not(target_arch = "wasm32"))]
                        asking.judge(&words);
                        #[cfg(target_arch = "wasm32")]
                        wasm_bindgen_futures::spawn_local(async move {
                            if later.verdict().await.is_ok() {
                                asking.judge(&words);
                            }
                        });
                    }
                    buffer.unmap();
                });
            answer
        };
        self.0.into_iter().map(submit).collect()
    }
}
