//! The CPU backend's rates against its own plain copy, call by call in turn, so that a noisy
//! machine is noisy for both: `cargo bench --bench cpu [NAME...]`.

use std::time::Instant;
use wgpu_activations::{Activation, AxisFunction, Cpu, Result};

const ROWS: usize = 4096;
const COLUMNS: usize = 1024;
const ELEMENTS: usize = ROWS * COLUMNS;
const ROUNDS: usize = 25;

/// The least seconds of a call and of the copy in between.
fn least(
    cpu: &Cpu,
    x: &[f32],
    y: &mut [f32],
    mut call: impl FnMut(&mut [f32]) -> Result<()>,
) -> Result<(f64, f64)> {
    let (mut copy, mut called) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        cpu.apply_into(Activation::Identity, x, y)?;
        copy = copy.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        call(y)?;
        called = called.min(start.elapsed().as_secs_f64());
    }
    Ok((copy, called))
}

fn report(name: &str, bytes_per_element: usize, (copy, called): (f64, f64)) {
    let rate = (ELEMENTS * bytes_per_element) as f64 / called / 1e9;
    let copy_rate = (ELEMENTS * 8) as f64 / copy / 1e9;
    println!(
        "{name:28} {rate:6.1} GB/s, {:3.0} % of a copy's {copy_rate:.1}",
        100.0 * rate / copy_rate
    );
}

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let cpu = Cpu::new();
    println!("{}, f32 [{ROWS}, {COLUMNS}]", cpu.description());
    let x: Vec<f32> = (0..ELEMENTS)
        .map(|i| ((i * 7919) % 20_011) as f32 / 1000.0 - 10.0)
        .collect();
    let mut y = vec![0.0f32; ELEMENTS];
    for &f in Activation::ALL.iter().filter(|f| is_wanted(f.info().name)) {
        let forward = least(&cpu, &x, &mut y, |y| cpu.apply_into(f, &x, y))?;
        report(f.info().name, 8, forward);
        let backward = least(&cpu, &x, &mut y, |y| cpu.grad_into(f, &x, &x, y))?;
        report(&format!("{} backward", f.info().name), 12, backward);
    }
    for &f in AxisFunction::ALL.iter().filter(|f| is_wanted(f.name())) {
        for len in [2, 8, 33, 128, 1024, 8192, 65_536, 1 << 20, 1 << 22] {
            let rows = ELEMENTS / len;
            let used = rows * len;
            let results = if f.reduces() { rows } else { used };
            let forward = least(&cpu, &x, &mut y, |y| {
                cpu.apply_axis_into(f, &x[..used], &[rows, len], -1, &mut y[..results])
            })?;
            report(&format!("{f} of {len}"), 4 + 4 * results / used, forward);
        }
    }
    Ok(())
}
