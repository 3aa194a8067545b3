//! The copy kernel that the GPU's rates are compared with: one vec4 an invocation, as it is written
//! where nobody thinks about it.

use wgpu_activations::Gpu;

const TEXT: &str = "
@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4<f32>>;

@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * (groups.x * 64u) + id.x;
    if i < arrayLength(&copied) {
        copied[i] = source[i];
    }
}
";

/// Bytes that are copied at most: as much as every binding sees by WebGPU's default limits.
const MOST: u64 = 64 << 20;

/// The kernel with two buffers of its own.
pub struct CopyKernel {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    groups: [u32; 2],
    bytes: u64,
}

impl CopyKernel {
    /// For arrays of that many f32, or the part of them that one binding sees.
    pub fn new(gpu: &Gpu, elements: usize) -> Self {
        let device = gpu.device();
        let limits = device.limits();
        let most = MOST.min(limits.max_storage_buffer_binding_size);
        let bytes = (elements as u64 * 4)
            .next_multiple_of(16)
            .clamp(16, most / 16 * 16);
        let buffers = [0, 1].map(|_| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("copy"),
                size: bytes,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        });
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("copy"),
            source: wgpu::ShaderSource::Wgsl(TEXT.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("copy"),
            layout: None,
            module: &module,
            entry_point: Some("copy"),
            compilation_options: Default::default(),
            cache: None,
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("copy"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[0, 1].map(|i| wgpu::BindGroupEntry {
                binding: i,
                resource: buffers[i as usize].as_entire_binding(),
            }),
        });
        let groups = (bytes / 16).div_ceil(64);
        let rows = groups.div_ceil(u64::from(limits.max_compute_workgroups_per_dimension));
        Self {
            pipeline,
            group,
            // Both are at most a dimension's limit.
            groups: [groups.div_ceil(rows) as u32, rows as u32],
            bytes,
        }
    }

    /// Bytes that a copy reads and writes.
    pub fn bytes(&self) -> u64 {
        2 * self.bytes
    }

    /// Submits so many copies.
    pub fn submit(&self, gpu: &Gpu, copies: usize) {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            for _ in 0..copies {
                pass.dispatch_workgroups(self.groups[0], self.groups[1], 1);
            }
        }
        gpu.queue().submit([encoder.finish()]);
    }
}
