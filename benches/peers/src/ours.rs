//! This library on the CPU and on a GPU, and plain copies.

use crate::case::{Case, Direction, Inputs};
use crate::{About, Peer};
use std::time::{Duration, Instant};
use wgpu_activations as ours;
use wgpu_activations::OfShape;

/// Name of the copies; those of this library.
const COPY: [&str; 2] = ["memcpy", "copy kernel"];
const OURS: [&str; 2] = ["ours", "ours, new output"];

pub fn is_copy(name: &str) -> bool {
    COPY.contains(&name)
}

pub fn is_ours(name: &str) -> bool {
    is_copy(name) || OURS.contains(&name)
}

fn about(name: &str, place: &str, how: &str) -> About {
    About {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        place: place.to_owned(),
        how: how.to_owned(),
    }
}

/// A function of either kind.
#[derive(Clone, Copy)]
enum Function {
    Elementwise(ours::Activation),
    Axis(ours::AxisFunction),
}

impl Function {
    fn of(case: &Case) -> Result<Self, String> {
        let name = case.function;
        let axis = || {
            name.parse()
                .map(Self::Axis)
                .map_err(|_| format!("no {name}"))
        };
        name.parse().map(Self::Elementwise).or_else(|_| axis())
    }
}

/// `memcpy` over the same threads, one array to another.
pub struct Copy {
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Copy {
    pub fn new() -> Self {
        let (x, y) = (Vec::new(), Vec::new());
        Self { x, y }
    }
}

impl Peer for Copy {
    fn about(&self) -> About {
        about(COPY[0], "cpu", "output given")
    }
    fn prepare(&mut self, case: &Case, inputs: &Inputs) -> Result<(), String> {
        self.x = inputs.x[..case.elements()].to_vec();
        self.y = vec![0.0; case.elements()];
        Ok(())
    }
    fn time(&mut self, calls: u32) -> Result<Duration, String> {
        let cpu = ours::Backend::cpu();
        let start = Instant::now();
        for _ in 0..calls {
            // The identity is `memcpy` in chunks over the threads.
            let copied = cpu.apply_into(ours::Activation::Identity, &self.x, &mut self.y);
            copied.map_err(|e| e.to_string())?;
        }
        Ok(start.elapsed())
    }
    fn result(&mut self) -> Result<Vec<f32>, String> {
        Ok(self.y.clone())
    }
}

/// The CPU backend.
pub struct Cpu {
    /// Whether a call allocates its output, as most of the others do.
    allocates: bool,
    case: Option<(Function, Direction, [usize; 2])>,
    x: Vec<f32>,
    dy: Vec<f32>,
    y: Vec<f32>,
}

impl Cpu {
    pub fn new(allocates: bool) -> Self {
        Self {
            allocates,
            case: None,
            x: Vec::new(),
            dy: Vec::new(),
            y: Vec::new(),
        }
    }

    fn call(&mut self) -> ours::Result<()> {
        let cpu = ours::Backend::cpu();
        let (function, direction, shape) = self.case.expect("`prepare` comes first");
        if self.allocates {
            self.y = Vec::new();
            self.y = vec![0.0; self.x.len()];
        }
        let (x, dy, y) = (&self.x, &self.dy, &mut self.y);
        match (function, direction) {
            (Function::Elementwise(f), Direction::Forward) => cpu.apply_into(f, x, y),
            (Function::Elementwise(f), Direction::Backward) => cpu.grad_into(f, x, dy, y),
            (Function::Axis(f), Direction::Forward) => {
                cpu.apply_into(f.along(-1), x.of_shape(&shape), y)
            }
            (Function::Axis(f), Direction::Backward) => {
                cpu.grad_into(f.along(-1), x.of_shape(&shape), dy, y)
            }
        }
    }
}

impl Peer for Cpu {
    fn about(&self) -> About {
        let how = ["output given", "output allocated"][usize::from(self.allocates)];
        about(OURS[usize::from(self.allocates)], "cpu", how)
    }
    fn prepare(&mut self, case: &Case, inputs: &Inputs) -> Result<(), String> {
        let shape = [case.rows, case.columns];
        self.case = Some((Function::of(case)?, case.direction, shape));
        self.x = inputs.x[..case.elements()].to_vec();
        self.dy = inputs.dy[..case.elements()].to_vec();
        self.y = vec![0.0; case.elements()];
        self.call().map_err(|e| e.to_string())
    }
    fn time(&mut self, calls: u32) -> Result<Duration, String> {
        let start = Instant::now();
        for _ in 0..calls {
            self.call().map_err(|e| e.to_string())?;
        }
        Ok(start.elapsed())
    }
    fn result(&mut self) -> Result<Vec<f32>, String> {
        Ok(self.y.clone())
    }
}

/// A GPU, one submission a call; or the copy kernel there.
pub struct Gpu {
    copies: bool,
    gpu: ours::Gpu,
    case: Option<(Function, Direction)>,
    arrays: Option<[ours::Tensor; 3]>,
}

impl Gpu {
    pub fn new(copies: bool) -> ours::Result<Self> {
        Ok(Self {
            copies,
            gpu: ours::Gpu::new()?,
            case: None,
            arrays: None,
        })
    }

    pub fn is_software(&self) -> bool {
        self.gpu.info().device_type == ours::wgpu::DeviceType::Cpu
    }

    fn call(&self) -> ours::Result<()> {
        let (function, direction) = self.case.expect("`prepare` comes first");
        let [x, dy, y] = self.arrays.as_ref().expect("`prepare` comes first");
        let mut batch = self.gpu.batch();
        match (function, direction) {
            _ if self.copies => batch.apply_into(ours::Activation::Identity, x, y)?,
            (Function::Elementwise(f), Direction::Forward) => batch.apply_into(f, x, y)?,
            (Function::Elementwise(f), Direction::Backward) => batch.grad_into(f, x, dy, y)?,
            (Function::Axis(f), Direction::Forward) => batch.apply_into(f.along(-1), x, y)?,
            (Function::Axis(f), Direction::Backward) => batch.grad_into(f.along(-1), x, dy, y)?,
        }
        batch.submit()?;
        self.gpu.wait()
    }
}

impl Peer for Gpu {
    fn about(&self) -> About {
        let name = if self.copies { COPY[1] } else { OURS[0] };
        about(name, "gpu", "output given; submitted and waited for")
    }
    fn prepare(&mut self, case: &Case, inputs: &Inputs) -> Result<(), String> {
        self.case = Some((Function::of(case)?, case.direction));
        let shape = [case.rows, case.columns];
        let upload = |values: &[f32]| {
            let values = &values[..case.elements()];
            self.gpu.upload(values, &shape).map_err(|e| e.to_string())
        };
        let y = self.gpu.empty(&shape).map_err(|e| e.to_string())?;
        self.arrays = Some([upload(&inputs.x)?, upload(&inputs.dy)?, y]);
        self.call().map_err(|e| e.to_string())
    }
    fn time(&mut self, calls: u32) -> Result<Duration, String> {
        let start = Instant::now();
        for _ in 0..calls {
            self.call().map_err(|e| e.to_string())?;
        }
        Ok(start.elapsed())
    }
    fn result(&mut self) -> Result<Vec<f32>, String> {
        let [_, _, y] = self.arrays.as_ref().ok_or("`prepare` comes first")?;
        y.read().map_err(|e| e.to_string())
    }
}
