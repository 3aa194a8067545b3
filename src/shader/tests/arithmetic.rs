//! The accuracy of the shaders where compilers take liberties: Metal's and Direct3D's use fast math
//! unasked, and hardware contracts and flushes. naga's Metal is compiled by clang as C++ with those
//! liberties, and its results for the check's inputs are held against f64.

use super::compilers::{Handed, handed};
use super::*;
use crate::catalogue::Elementwise;
use crate::check::{self, Report};
use crate::error::Result;
use crate::shape::AxisShape;
use rayon::prelude::*;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What compilers may do, each with and without flushed subnormal numbers.
const LIBERTIES: [(&str, &[&str]); 3] = [
    ("contraction", &["-mfma", "-ffp-contract=fast"]),
    ("fast math", &["-mfma", "-ffast-math"]),
    ("fast math without fma", &["-ffast-math"]),
];

/// A kernel in a program: the text of a module, and its entry point.
struct Kernel {
    handed: Handed,
    /// The bindings behind the arguments, in their order.
    bindings: Vec<u32>,
}

impl Kernel {
    fn new(text: &str, entry: &str) -> Self {
        let (module, info) = validate(text);
        let index = module.entry_points.iter().position(|e| e.name == entry);
        let used = info.get_entry_point(index.unwrap());
        let globals = module.global_variables.iter();
        let bindings = globals
            .filter(|(handle, _)| !used[*handle].is_empty())
            .filter_map(|(_, variable)| Some(variable.binding?.binding))
            .collect();
        Self {
            handed: handed(&module, &info, entry, 64).unwrap(),
            bindings,
        }
    }
}

/// A folder of this process that is removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("activations-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Kernels compiled with each of the liberties.
struct Programs {
    kernels: Vec<Kernel>,
    folder: Folder,
}

/// The folder of the headers that make C++ of Metal.
fn headers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compilers")
}

fn clang(arguments: &[&str], folder: &Path) {
    let program = env::var("ACTIVATIONS_CLANG").unwrap_or_else(|_| "clang++".to_owned());
    let output = Command::new(&program)
        .args(["-std=c++17", "-O2", "-mavx2", "-w", "-I"])
        .arg(headers())
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

impl Programs {
    fn new(name: &str, kernels: Vec<Kernel>) -> Self {
        let folder = Folder::new(name);
        let path = &folder.0;
        let mut table = String::from("#include \"kernels.h\"\n");
        let mut names = String::new();
        for (i, kernel) in kernels.iter().enumerate() {
            let text = kernel.handed.as_cpp(&format!("k{i}"));
            let entry = &kernel.handed.metal_entry;
            let text = format!(
                "#include \"kernels.h\"\n{text}\n\
                 void run_{i}(uint invocations, void** buffers) {{\n    \
                 run(k{i}::{entry}, invocations, buffers);\n}}\n"
            );
            fs::write(path.join(format!("{i}.cpp")), text).unwrap();
            let _ = writeln!(table, "void run_{i}(uint, void**);");
            let _ = write!(names, "run_{i}, ");
        }
        let _ = writeln!(table, "Run kernels[] = {{{names}}};");
        fs::write(path.join("table.cpp"), table).unwrap();
        fs::copy(headers().join("main.cpp"), path.join("main.cpp")).unwrap();

        let sources = (0..kernels.len()).map(|i| i.to_string());
        let jobs: Vec<(usize, String)> = sources
            .flat_map(|source| (0..LIBERTIES.len()).map(move |l| (l, source.clone())))
            .collect();
        jobs.par_iter().for_each(|(l, source)| {
            let (from, to) = (format!("{source}.cpp"), format!("{source}.{l}.o"));
            // Metal's literals are f32.
            let own = [
                "-Xclang",
                "-cl-single-precision-constant",
                "-c",
                &from,
                "-o",
                &to,
            ];
            clang(&[LIBERTIES[*l].1, &own].concat(), path);
        });
        (0..LIBERTIES.len()).into_par_iter().for_each(|l| {
            let objects: Vec<String> = (0..kernels.len()).map(|i| format!("{i}.{l}.o")).collect();
            let mut arguments: Vec<&str> = objects.iter().map(String::as_str).collect();
            let program = format!("program{l}");
            arguments.extend(["main.cpp", "table.cpp", "-o", &program]);
            clang(&arguments, path);
        });
        Self { kernels, folder }
    }

    fn start(&self) -> Running<'_> {
        let start = |l: usize| {
            let mut child = Command::new(self.folder.0.join(format!("program{l}")))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let pipes = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            (child, pipes.0, pipes.1)
        };
        Running {
            programs: self,
            children: (0..LIBERTIES.len()).map(start).collect(),
        }
    }
}

/// A program for each of the liberties, at work.
struct Running<'a> {
    programs: &'a Programs,
    children: Vec<(Child, ChildStdin, ChildStdout)>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        for (mut child, input, _) in self.children.drain(..) {
            drop(input);
            let _ = child.wait();
        }
    }
}

/// Which of the results of all liberties are looked at.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// The lowest of each element, or NaN where one is NaN; the highest.
    Lowest,
    Highest,
    /// Those of one of the liberties, with flushed subnormal numbers or without.
    One(usize, bool),
}

impl Running<'_> {
    /// Results of a kernel over buffers by their bindings, of which one is the result's.
    fn results(
        &mut self,
        look: Look,
        kernel: usize,
        invocations: usize,
        buffers: &[(u32, &[u32])],
        result: u32,
    ) -> Vec<f32> {
        let bindings = &self.programs.kernels[kernel].bindings;
        // The lengths of arrays, for the checks of bounds.
        let lengths = [u32::MAX / 2; 32];
        let arguments: Vec<&[u32]> = bindings
            .iter()
            .map(|binding| buffers.iter().find(|(b, _)| b == binding).unwrap().1)
            .chain([&lengths[..]])
            .collect();
        let answer = bindings.iter().position(|b| *b == result).unwrap();
        let mut run = |l: usize, flushed: bool| -> Vec<f32> {
            let (_, input, output) = &mut self.children[l];
            let mut request = vec![
                kernel as u32,
                invocations as u32,
                u32::from(flushed),
                answer as u32,
                arguments.len() as u32,
            ];
            request.extend(arguments.iter().map(|buffer| buffer.len() as u32));
            input.write_all(bytemuck::cast_slice(&request)).unwrap();
            for buffer in &arguments {
                input.write_all(bytemuck::cast_slice(buffer)).unwrap();
            }
            input.flush().unwrap();
            let mut results = vec![0.0f32; arguments[answer].len()];
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut results);
            output.read_exact(bytes).unwrap();
            results
        };
        let highest = match look {
            Look::One(l, flushed) => return run(l, flushed),
            Look::Highest => true,
            Look::Lowest => false,
        };
        let all = (0..LIBERTIES.len()).flat_map(|l| [(l, false), (l, true)]);
        let all = all.map(|(l, flushed)| run(l, flushed));
        let further = |a: f32, b: f32| {
            let beyond = if highest { b > a } else { b < a };
            if beyond || b.is_nan() { b } else { a }
        };
        let join = |a: Vec<f32>, b: Vec<f32>| {
            let pairs = a.into_iter().zip(b);
            pairs.map(|(a, b)| further(a, b)).collect()
        };
        all.reduce(join).unwrap()
    }

    /// The reports that do not pass: of all liberties together and, where there are any, of each.
    fn breaches(
        &mut self,
        mut held: impl FnMut(&mut Self, Look) -> Result<Vec<Report>>,
    ) -> Vec<String> {
        let mut failed = |running: &mut Self, look| -> Vec<Report> {
            let reports = held(running, look).unwrap();
            assert!(reports.iter().all(|report| report.inputs > 0));
            reports.into_iter().filter(|r| !r.passed()).collect()
        };
        let mut all = failed(self, Look::Lowest);
        all.extend(failed(self, Look::Highest));
        if all.is_empty() {
            return Vec::new();
        }
        let mut breaches = Vec::new();
        for (l, (name, _)) in LIBERTIES.iter().enumerate() {
            for (flushed, how) in [(false, ""), (true, ", flushed")] {
                for report in failed(self, Look::One(l, flushed)) {
                    breaches.push(format!(
                        "{} {}, {name}{how}: {:.1} ULP, {} NaN at {:e}: {:e}, not {:e}",
                        report.function,
                        report.pass,
                        report.worst_ulp,
                        report.nan_mismatches,
                        report.worst_input,
                        report.got,
                        report.want
                    ));
                }
            }
        }
        assert!(!breaches.is_empty(), "{all:?}");
        breaches
    }
}

fn words<T: bytemuck::NoUninit>(values: &[T]) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(values)
}

/// An activation forward and backward, in two kernels from `kernel` on.
fn elementwise_breaches(programs: &Programs, kernel: usize, activation: Activation) -> Vec<String> {
    let f = Elementwise::from(activation);
    programs.start().breaches(|running, look| {
        check::held(f, |pass, x| {
            let backward = usize::from(pass == check::Pass::Backward);
            let mut padded = x.to_vec();
            padded.resize(x.len().next_multiple_of(4), 1.0);
            let uniforms = ElementwiseUniforms {
                count: padded.len() as u32 / 4,
                first: 0,
                parameters: f.packed(),
                zero: 0,
                last: padded.len() as u32 - 1,
                padding: [0; 2],
            };
            let ones = vec![1.0f32.to_bits(); padded.len()];
            let buffers = [
                (0, &words(&padded)[..]),
                (1, &ones),
                (2, &ones),
                (3, &words(&[uniforms])),
            ];
            let mut y = running.results(look, kernel + backward, padded.len() / 4, &buffers, 2);
            y.truncate(x.len());
            Ok(y)
        })
    })
}

fn elementwise_kernels(activation: Activation, change: impl Fn(&str) -> String) -> [Kernel; 2] {
    let text = elementwise(activation, Access::single(Width::Four), [DType::F32; 3]);
    let text = change(&text);
    ["forward", "backward"].map(|entry| Kernel::new(&text, entry))
}

#[test]
#[ignore = "compiles for a minute: run by `cargo xtask compilers`"]
fn activations_keep_their_bounds() {
    let all = Activation::ALL;
    let kernels = all
        .iter()
        .flat_map(|&a| elementwise_kernels(a, str::to_owned));
    let programs = Programs::new("elementwise", kernels.collect());
    let breaches: Vec<String> = all
        .par_iter()
        .enumerate()
        .flat_map(|(i, &activation)| elementwise_breaches(&programs, 2 * i, activation))
        .collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// The harness itself: without what keeps a difference or a product, it objects.
#[test]
#[ignore = "compiles: run by `cargo xtask compilers`"]
fn what_is_not_settled_is_seen() {
    let (activation, whole) = (Activation::Silu, "settled(a.x * b.x)");
    let kernels = elementwise_kernels(activation, |text| {
        assert!(text.contains(whole), "{whole}");
        text.replace(whole, "a.x * b.x")
    });
    let programs = Programs::new("unsettled", kernels.into());
    let breaches = elementwise_breaches(&programs, 0, activation);
    assert!(!breaches.is_empty(), "{activation} without {whole}");
}

/// An entry point of the softmax family by what rows it takes.
fn row_kernels(function: AxisFunction) -> Vec<(Pass, &'static str, Unit, Kernel)> {
    let mut entries = vec![
        (Pass::Forward, "row_per_invocation", Unit::One),
        (Pass::Backward, "row_per_invocation", Unit::One),
    ];
    if !function.reduces() {
        entries.push((Pass::Forward, HELD, Unit::One));
        entries.push((Pass::Forward, IN_EIGHTS, Unit::Two));
        entries.push((Pass::Backward, IN_EIGHTS, Unit::Two));
    }
    let kernel = |(pass, entry, unit)| {
        let text = softmax(function, pass, unit);
        (pass, entry, unit, Kernel::new(&text, entry))
    };
    entries.into_iter().map(kernel).collect()
}

#[test]
#[ignore = "compiles for a minute: run by `cargo xtask compilers`"]
fn rows_keep_their_bounds() {
    // Softmin is softmax with a sign in the uniforms.
    let functions = [
        AxisFunction::Softmax,
        AxisFunction::LogSoftmax,
        AxisFunction::LogSumExp,
    ];
    let mut jobs = Vec::new();
    let mut kernels = Vec::new();
    for function in functions {
        let mut ways = Vec::new();
        for (pass, entry, unit, kernel) in row_kernels(function) {
            ways.push((pass, entry, unit, kernels.len()));
            kernels.push(kernel);
        }
        // The general way alone, and the others for the rows that they take.
        jobs.push((function, ways.clone(), false));
        if !function.reduces() {
            jobs.push((function, ways, true));
        }
    }
    let programs = Programs::new("rows", kernels);
    let breaches: Vec<String> = jobs
        .par_iter()
        .flat_map(|(function, ways, special)| {
            programs.start().breaches(|running, look| {
                check::held_rows(*function, |pass, x, dy, shape, axis| {
                    let around = AxisShape::new(shape, axis)?;
                    let pass = match pass {
                        check::Pass::Forward => Pass::Forward,
                        check::Pass::Backward => Pass::Backward,
                    };
                    let takes = |entry: &str| match entry {
                        IN_EIGHTS => {
                            [2, 4, 8].contains(&around.len)
                                && around.inner == 1
                                && x.len().is_multiple_of(8)
                        }
                        HELD => around.len <= HELD_LENGTH,
                        _ => true,
                    };
                    let of_pass = ways.iter().filter(|way| way.0 == pass);
                    let mut of_pass = of_pass.filter(|way| takes(way.1));
                    let first = of_pass.next().unwrap();
                    let &(_, entry, _, kernel) = if *special {
                        of_pass.next_back().unwrap_or(first)
                    } else {
                        first
                    };
                    let uniforms = AxisUniforms {
                        len: around.len as u32,
                        inner: around.inner as u32,
                        rows: around.rows() as u32,
                        sign: 1.0,
                        ..AxisUniforms::default()
                    };
                    let invocations = match entry {
                        IN_EIGHTS => x.len() / 8,
                        _ => around.rows(),
                    };
                    let out = match pass {
                        Pass::Forward => around.output_elements(*function),
                        _ => x.len(),
                    };
                    let out = vec![0; out];
                    let buffers = [
                        (0, &words(x)[..]),
                        (1, &words(dy)),
                        (2, &out),
                        (3, &words(&[uniforms])),
                    ];
                    Ok(running.results(look, kernel, invocations, &buffers, 2))
                })
            })
        })
        .collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
