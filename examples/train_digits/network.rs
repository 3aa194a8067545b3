//! A network of five layers on the device: its buffers, its matrix products, and a training step.

use crate::{Outcome, Pass};
use std::cell::RefCell;
use std::fs;
use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu_activations::{
    Backend, Chain, ChainRanges, CrossEntropy, Gpu, Inspect, Random, Step, Tensor, TypedSlice, wgpu,
};

/// Inputs, units of the hidden layers, classes.
const SIZES: [usize; 6] = [64, 32, 32, 32, 32, 10];
/// Images of a step.
const BATCH: usize = 128;

/// Products with strides, so that one kernel does for the transposes too, and the descent.
const WGSL: &str = "
struct Sizes {
    rows: u32,
    depth: u32,
    columns: u32,
    a_row: u32,
    a_step: u32,
    b_step: u32,
    b_column: u32,
    rate: f32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;

// c = a b, of a multiple of four rows.
@compute @workgroup_size(64)
fn product(@builtin(global_invocation_id) id: vec3<u32>) {
    // Four rows at a time: what is read of b serves them all.
    let row = 4u * (id.x / sizes.columns);
    let column = id.x % sizes.columns;
    if row >= sizes.rows {
        return;
    }
    var i = row * sizes.a_row;
    var j = column * sizes.b_column;
    let next = sizes.a_row;
    var total = vec4<f32>();
    for (var k = 0u; k < sizes.depth; k++) {
        total += vec4<f32>(a[i], a[i + next], a[i + 2u * next], a[i + 3u * next]) * b[j];
        i += sizes.a_step;
        j += sizes.b_step;
    }
    let at = row * sizes.columns + column;
    c[at] = total.x;
    c[at + sizes.columns] = total.y;
    c[at + 2u * sizes.columns] = total.z;
    c[at + 3u * sizes.columns] = total.w;
}

// c = c - rate a
@compute @workgroup_size(64)
fn descend(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < sizes.rows {
        c[id.x] -= sizes.rate * a[id.x];
    }
}
";

/// The images and classes, on the device.
pub struct Digits {
    images: Tensor,
    classes: Tensor,
    count: usize,
}

impl Digits {
    /// Reads examples/data/digits.npy: 64 pixels from 0 to 16 and the class, a row an image.
    pub fn load(gpu: &Gpu) -> Outcome<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits.npy");
        let file = fs::read(path)?;
        let header = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        let rows: Vec<&[u8]> = file[header..].chunks_exact(65).collect();
        let pixels = rows.iter().flat_map(|row| &row[..64]);
        let images: Vec<f32> = pixels.map(|&p| f32::from(p) / 16.0).collect();
        // Classes are u32; a tensor holds their bits.
        let classes: Vec<f32> = rows
            .iter()
            .map(|row| f32::from_bits(row[64].into()))
            .collect();
        Ok(Self {
            images: gpu.upload(&images, &[rows.len(), 64])?,
            classes: gpu.upload(&classes, &[rows.len()])?,
            count: rows.len(),
        })
    }
}

/// What a layer's slopes are.
pub struct Layer {
    pub units: u64,
    /// The mean magnitude.
    pub slope: f64,
    /// The share of those below 0.01 in magnitude.
    pub saturated: f64,
    /// Units whose slope is 0 for every image.
    pub dead: u64,
}

/// The weights, and what a step computes of a batch.
pub struct Network<'a> {
    gpu: &'a Gpu,
    product: wgpu::ComputePipeline,
    descend: wgpu::ComputePipeline,
    /// Bias and activation of each layer; the last has no activation.
    chains: Vec<Chain>,
    weights: Vec<Tensor>,
    biases: Vec<Tensor>,
    /// Of each layer the product, what becomes of it, and the gradients by both.
    sums: Vec<Tensor>,
    outputs: Vec<Tensor>,
    by_sums: Vec<Tensor>,
    by_outputs: Vec<Tensor>,
    by_weights: Vec<Tensor>,
    by_biases: Vec<Tensor>,
    /// The mean loss of a batch.
    loss: Tensor,
    uniforms: RefCell<Vec<([u32; 8], wgpu::Buffer)>>,
}

/// A tensor's whole range.
fn whole(tensor: &Tensor) -> wgpu::BufferSlice<'_> {
    tensor.buffer().slice(..tensor.len() as u64 * 4)
}

/// A range as it is bound.
fn binding(slice: wgpu::BufferSlice<'_>) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer: slice.buffer(),
        offset: slice.offset(),
        size: wgpu::BufferSize::new(slice.size()),
    })
}

impl<'a> Network<'a> {
    /// A network with `function` behind every layer but the last (He et al. 2015's initial weights).
    pub fn new(gpu: &'a Gpu, _: &Digits, function: Step) -> Outcome<Self> {
        let module = gpu
            .device()
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("network"),
                source: wgpu::ShaderSource::Wgsl(WGSL.into()),
            });
        let pipeline = |entry_point| {
            gpu.device()
                .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(entry_point),
                    layout: None,
                    module: &module,
                    entry_point: Some(entry_point),
                    compilation_options: Default::default(),
                    cache: None,
                })
        };
        let hidden = Chain::new().bias(-1).apply(function);
        let layers = || SIZES.windows(2).map(|pair| [pair[0], pair[1]]).enumerate();
        let weights = layers().map(|(i, [inputs, units])| {
            let (random, width) = (
                Random::new(7).stream(i as u64),
                (6.0 / inputs as f32).sqrt(),
            );
            let of = |k| width * (2.0 * random.uniform(k) - 1.0);
            let values: Vec<f32> = (0..(inputs * units) as u64).map(of).collect();
            gpu.upload(&values, &[inputs, units])
        });
        let zeros = |shape: &[usize]| gpu.upload(&vec![0.0; shape.iter().product()], shape);
        let of_units = || {
            layers()
                .map(|(_, [_, units])| zeros(&[units]))
                .collect::<Result<_, _>>()
        };
        let of_batch = || {
            let all = layers().map(|(_, [_, units])| zeros(&[BATCH, units]));
            all.collect::<Result<_, _>>()
        };
        Ok(Self {
            gpu,
            product: pipeline("product"),
            descend: pipeline("descend"),
            chains: layers()
                .map(|(i, _)| match i + 2 == SIZES.len() {
                    true => Chain::new().bias(-1),
                    false => hidden.clone(),
                })
                .collect(),
            weights: weights.collect::<Result<_, _>>()?,
            biases: of_units()?,
            sums: of_batch()?,
            outputs: of_batch()?,
            by_sums: of_batch()?,
            by_outputs: of_batch()?,
            by_weights: layers()
                .map(|(_, pair)| zeros(&pair))
                .collect::<Result<_, _>>()?,
            by_biases: of_units()?,
            loss: zeros(&[])?,
            uniforms: RefCell::default(),
        })
    }

    /// A dispatch of a kernel of our own over a, b and c.
    fn own(
        &self,
        pass: &mut Pass<'_>,
        pipeline: &wgpu::ComputePipeline,
        arrays: [Option<wgpu::BufferSlice<'_>>; 3],
        sizes: [u32; 8],
        invocations: usize,
    ) {
        let device = self.gpu.device();
        let mut known = self.uniforms.borrow_mut();
        let place = known.iter().position(|(words, _)| *words == sizes);
        let place = place.unwrap_or_else(|| {
            let buffer = device.create_buffer_init(&BufferInitDescriptor {
                label: Some("sizes"),
                contents: bytemuck::cast_slice(&sizes),
                usage: wgpu::BufferUsages::UNIFORM,
            });
            known.push((sizes, buffer));
            known.len() - 1
        });
        let arrays = arrays.into_iter().map(|slice| slice.map(binding));
        let uniforms = Some(known[place].1.as_entire_binding());
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
            .zip(arrays.chain([uniforms]))
            .filter_map(|(binding, resource)| {
                let resource = resource?;
                Some(wgpu::BindGroupEntry { binding, resource })
            })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(invocations.div_ceil(64) as u32, 1, 1);
    }

    /// c [rows, columns] = a b over `depth`; strides along a's rows and steps, b's steps and columns.
    fn matmul(
        &self,
        pass: &mut Pass<'_>,
        [a, b, c]: [wgpu::BufferSlice<'_>; 3],
        [rows, depth, columns]: [usize; 3],
        strides: [usize; 4],
    ) {
        let [a_row, a_step, b_step, b_column] = strides.map(|s| s as u32);
        let [rows, depth, columns] = [rows, depth, columns].map(|n| n as u32);
        let sizes = [rows, depth, columns, a_row, a_step, b_step, b_column, 0];
        let arrays = [a, b, c].map(Some);
        self.own(
            pass,
            &self.product,
            arrays,
            sizes,
            (rows / 4 * columns) as usize,
        );
    }

    /// The images of a batch, and what layer i is given of them.
    fn input<'b>(&'b self, digits: &'b Digits, batch: usize, i: usize) -> wgpu::BufferSlice<'b> {
        let images = (batch * BATCH * 64 * 4) as u64;
        match i {
            0 => digits
                .images
                .buffer()
                .slice(images..images + (BATCH * 64 * 4) as u64),
            _ => whole(&self.outputs[i - 1]),
        }
    }

    /// The outputs of all layers for a batch, and the loss with its gradient by the last.
    fn forward(&self, pass: &mut Pass<'_>, digits: &Digits, batch: usize) -> Outcome {
        let kernels = self.gpu.kernels();
        for (i, pair) in SIZES.windows(2).enumerate() {
            let [inputs, units] = [pair[0], pair[1]];
            let arrays = [
                self.input(digits, batch, i),
                whole(&self.weights[i]),
                whole(&self.sums[i]),
            ];
            self.matmul(pass, arrays, [BATCH, inputs, units], [inputs, 1, units, 1]);
            let bias = [(whole(&self.biases[i]).into(), &[units][..])];
            let ranges = ChainRanges {
                operands: &bias,
                gradients: &[],
            };
            let (sums, outputs) = (whole(&self.sums[i]), whole(&self.outputs[i]));
            kernels.chain(
                pass,
                &self.chains[i],
                &[BATCH, units],
                sums,
                ranges,
                outputs,
            )?;
        }
        let classes = (batch * BATCH * 4) as u64;
        let targets = digits
            .classes
            .buffer()
            .slice(classes..classes + (BATCH * 4) as u64);
        let last = SIZES.len() - 2;
        let shape = [BATCH, SIZES[last + 1]];
        let logits = TypedSlice::f32(whole(&self.outputs[last])).of_shape(&shape);
        let targets = TypedSlice::classes(targets).mean_over(BATCH as f64);
        let (loss, by_logits) = (whole(&self.loss), whole(&self.by_outputs[last]));
        kernels.apply_with_grad(
            pass,
            CrossEntropy::new(),
            (logits, targets),
            loss,
            by_logits,
        )?;
        Ok(())
    }

    /// The gradients by all weights and biases, behind [`Network::forward`].
    fn backward(&self, pass: &mut Pass<'_>, digits: &Digits, batch: usize) -> Outcome {
        for i in (0..SIZES.len() - 1).rev() {
            let [inputs, units] = [SIZES[i], SIZES[i + 1]];
            let bias = [(whole(&self.biases[i]).into(), &[units][..])];
            let by_bias = [Some(whole(&self.by_biases[i]))];
            let ranges = ChainRanges {
                operands: &bias,
                gradients: &by_bias,
            };
            let (sums, dy) = (whole(&self.sums[i]), whole(&self.by_outputs[i]));
            let by_sums = whole(&self.by_sums[i]);
            let shape = [BATCH, units];
            let kernels = self.gpu.kernels();
            kernels.grad_chain(pass, &self.chains[i], &shape, sums, ranges, dy, by_sums)?;
            let arrays = [
                self.input(digits, batch, i),
                by_sums,
                whole(&self.by_weights[i]),
            ];
            self.matmul(pass, arrays, [inputs, BATCH, units], [1, inputs, units, 1]);
            if i > 0 {
                let arrays = [
                    by_sums,
                    whole(&self.weights[i]),
                    whole(&self.by_outputs[i - 1]),
                ];
                self.matmul(pass, arrays, [BATCH, units, inputs], [units, 1, 1, units]);
            }
        }
        Ok(())
    }

    /// Records work and submits it.
    fn submit(&self, work: impl FnOnce(&mut Pass<'_>) -> Outcome) -> Outcome {
        let mut encoder = self
            .gpu
            .device()
            .create_command_encoder(&Default::default());
        work(&mut encoder.begin_compute_pass(&Default::default()))?;
        self.gpu.queue().submit([encoder.finish()]);
        Ok(())
    }

    /// A step of descent for every batch.
    pub fn epoch(&mut self, digits: &Digits, rate: f32) -> Outcome {
        for batch in 0..digits.count / BATCH {
            self.submit(|pass| {
                self.forward(pass, digits, batch)?;
                self.backward(pass, digits, batch)?;
                let weights = self.weights.iter().zip(&self.by_weights);
                for (values, by) in weights.chain(self.biases.iter().zip(&self.by_biases)) {
                    let sizes = [values.len() as u32, 0, 0, 0, 0, 0, 0, rate.to_bits()];
                    let arrays = [Some(whole(by)), None, Some(whole(values))];
                    self.own(pass, &self.descend, arrays, sizes, values.len());
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The mean loss of all batches.
    pub fn loss(&self, digits: &Digits) -> Outcome<f32> {
        let mut total = 0.0;
        let batches = digits.count / BATCH;
        for batch in 0..batches {
            self.submit(|pass| self.forward(pass, digits, batch))?;
            total += self.loss.read()?[0];
        }
        Ok(total / batches as f32)
    }

    /// The mean magnitude of each hidden layer's gradient by its weights, for the first batch.
    pub fn gradients(&self, digits: &Digits) -> Outcome<Vec<f64>> {
        self.submit(|pass| {
            self.forward(pass, digits, 0)?;
            self.backward(pass, digits, 0)
        })?;
        let hidden = &self.by_weights[..SIZES.len() - 2];
        let means = hidden.iter().map(|by| {
            let values = by.read()?;
            Ok(values.iter().map(|v| f64::from(v.abs())).sum::<f64>() / values.len() as f64)
        });
        means.collect()
    }

    /// The slopes of the hidden layers over all batches.
    pub fn layers(&self, digits: &Digits) -> Outcome<Vec<Layer>> {
        let backend = Backend::Gpu(self.gpu.clone());
        let mut slopes = vec![Vec::new(); SIZES.len() - 2];
        for batch in 0..digits.count / BATCH {
            self.submit(|pass| self.forward(pass, digits, batch))?;
            for (i, slopes) in slopes.iter_mut().enumerate() {
                // The gradient for an upstream gradient of 1 is the slope.
                let (sums, bias) = (self.sums[i].read()?, self.biases[i].read()?);
                let (shape, units) = ([BATCH, bias.len()], [bias.len()]);
                let operands = [(&bias[..], &units[..])];
                let ones = vec![1.0; sums.len()];
                let (slope, _) =
                    backend.grad_chain(&self.chains[i], &sums, &shape, &operands, &ones)?;
                slopes.extend(slope);
            }
        }
        let layers = slopes.iter().zip(&SIZES[1..]).map(|(slopes, &units)| {
            let found =
                backend.inspect(&Inspect::default(), slopes, &[slopes.len() / units, units])?;
            let n = slopes.len() as f64;
            Ok(Layer {
                units: found.units,
                slope: slopes.iter().map(|s| f64::from(s.abs())).sum::<f64>() / n,
                saturated: slopes.iter().filter(|s| s.abs() < 0.01).count() as f64 / n,
                dead: found.dead_units,
            })
        });
        layers.collect()
    }
}
