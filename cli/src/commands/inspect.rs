//! `activations inspect`: what an array of activations looks like, and what that means.

use crate::args::InspectArgs;
use crate::error::CliError;
use crate::npy::Array;
use crate::operations::{read, with_parameters};
use crate::terminal::{self, Number, Progress, significant};
use serde::Serialize;
use wgpu_activations::{Activation, Elementwise, Inspect, Statistics};

/// The samples from which on a unit that is 0 for all of them is not so by chance: for inputs around
/// 0, relu makes that of one in 2^16.
const SAMPLES: u64 = 16;

/// What is printed as JSON.
#[derive(Serialize)]
struct Report<'a> {
    file: String,
    function: String,
    backend: String,
    shape: &'a [usize],
    elements: u64,
    nan: u64,
    positive_infinities: u64,
    negative_infinities: u64,
    zeros: u64,
    min: Number<f32>,
    max: Number<f32>,
    mean: Number<f64>,
    variance: Number<f64>,
    saturated: u64,
    mean_slope: Number<f64>,
    units: u64,
    dead_units: u64,
    histogram: Bins<'a>,
    findings: Vec<String>,
}

#[derive(Serialize)]
struct Bins<'a> {
    edges: Vec<Number<f32>>,
    counts: &'a [u64],
}

/// Prints statistics of a file's activations.
pub fn inspect(args: &InspectArgs) -> Result<(), CliError> {
    let f = match &args.function {
        None => Activation::Identity.into(),
        Some(name) => {
            let activation: Activation = name.parse()?;
            with_parameters(activation, &args.parameters)?
        }
    };
    if args.function.is_none() && !args.parameters.is_empty() {
        return Err(CliError::Usage(
            "-p sets a parameter of a function; name it with --function".to_owned(),
        ));
    }
    let what = Inspect::of(f)
        .unit_axis(args.axis)
        .saturation(args.saturation)
        .bins(args.bins);
    let progress = Progress::spinner();
    let Array { shape, data, .. } = read::<f32>(&args.input, &progress)?;
    let backend = super::open(&args.backend, &progress)?;
    progress.doing("computing");
    let found = backend.inspect(&what, &data, &shape)?;
    drop(progress);

    let findings = findings(&f, args, &found);
    if args.json {
        let edges = found.histogram.edges.iter().copied().map(Number);
        return terminal::print_json(&Report {
            file: args.input.display().to_string(),
            function: f.to_string(),
            backend: backend.description(),
            shape: &shape,
            elements: found.elements,
            nan: found.nan,
            positive_infinities: found.positive_infinities,
            negative_infinities: found.negative_infinities,
            zeros: found.zeros,
            min: Number(found.min),
            max: Number(found.max),
            mean: Number(found.mean),
            variance: Number(found.variance),
            saturated: found.saturated,
            mean_slope: Number(found.mean_slope),
            units: found.units,
            dead_units: found.dead_units,
            histogram: Bins {
                edges: edges.collect(),
                counts: &found.histogram.counts,
            },
            findings,
        });
    }
    terminal::print(&text(&f, &shape, &found, &findings))
}

fn share(part: u64, whole: u64) -> String {
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    format!("{part} ({percent:.1} %)")
}

fn text(f: &Elementwise, shape: &[usize], found: &Statistics, findings: &[String]) -> String {
    let of = if f.activation() == Activation::Identity {
        "y = x".to_owned()
    } else {
        format!("y = {f} of x")
    };
    let mut rows = vec![
        vec![of, format!("shape {shape:?}, {} elements", found.elements)],
        vec![
            "y from".to_owned(),
            format!("{} to {}", digits(found.min), digits(found.max)),
        ],
        vec![
            "mean, deviation".to_owned(),
            format!(
                "{}, {}",
                significant(found.mean, 6),
                significant(found.variance.sqrt(), 6)
            ),
        ],
        vec!["zeros".to_owned(), share(found.zeros, found.elements)],
        vec!["NaN".to_owned(), share(found.nan, found.elements)],
        vec![
            "infinities".to_owned(),
            share(
                found.positive_infinities + found.negative_infinities,
                found.elements,
            ),
        ],
        vec![
            "dead units".to_owned(),
            format!(
                "{} of {}",
                share(found.dead_units, found.units),
                found.units
            ),
        ],
    ];
    if f.activation() != Activation::Identity {
        rows.push(vec![
            "saturated".to_owned(),
            share(found.saturated, found.elements),
        ]);
        rows.push(vec![
            "mean |f'(x)|".to_owned(),
            significant(found.mean_slope, 6),
        ]);
    }
    let mut text = terminal::table(&rows, &[]);
    text.push('\n');
    text += &bars(found);
    for finding in findings {
        text += &format!("\n{finding}\n");
    }
    text
}

/// The histogram as lines of text.
fn bars(found: &Statistics) -> String {
    const WIDTH: f64 = 48.0;
    let histogram = &found.histogram;
    let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
    let rows: Vec<Vec<String>> = histogram
        .counts
        .iter()
        .zip(edges(&histogram.edges))
        .map(|(&count, edge)| {
            let length = (WIDTH * count as f64 / most as f64).ceil() as usize;
            vec![edge, count.to_string(), "#".repeat(length)]
        })
        .collect();
    terminal::table(&rows, &[0, 1])
}

/// The bins' edges with as many digits as tell one from the next.
fn edges(edges: &[f32]) -> Vec<String> {
    let edges: Vec<f64> = edges.iter().map(|&edge| edge.into()).collect();
    let step = match edges[..] {
        [first, second, ..] => second - first,
        _ => 0.0,
    };
    let most = edges
        .iter()
        .fold(0.0, |most: f64, edge| most.max(edge.abs()));
    let places = -step.log10().floor() + 1.0;
    edges
        .into_iter()
        .map(|edge| {
            // An edge at 0 is off by a rounding of the largest.
            let edge = if edge.abs() < 1e-3 * step { 0.0 } else { edge };
            if !step.is_normal() || !most.is_finite() {
                significant(edge, 9)
            } else if places <= 8.0 && most < 1e9 {
                format!("{edge:.*}", places.max(0.0) as usize)
            } else {
                let digits = (most / step).log10().ceil() + 1.0;
                format!("{edge:.*e}", (digits as usize).min(8))
            }
        })
        .collect()
}

/// An f32 with as many digits as tell it from its neighbours.
fn digits(x: f32) -> String {
    let plain = x == 0.0 || !x.is_finite() || (1e-4..1e9).contains(&x.abs());
    if plain {
        x.to_string()
    } else {
        format!("{x:e}")
    }
}

/// What the numbers mean to whoever trains the network that they come from.
fn findings(f: &Elementwise, args: &InspectArgs, found: &Statistics) -> Vec<String> {
    let mut findings = Vec::new();
    let name = f.activation().info().name;
    if found.nan > 0 {
        findings.push(format!(
            "NaN: {} of the values. Every unit that reads one becomes NaN as well: look for a \
             learning rate that is too large, a logarithm of 0, or a division by 0 before this \
             layer.",
            found.nan
        ));
    }
    if found.positive_infinities + found.negative_infinities > 0 {
        findings.push(
            "There are infinities: the values have outgrown f32. Gradients through them are \
             useless."
                .to_owned(),
        );
    }
    let samples = found.elements.checked_div(found.units).unwrap_or(0);
    if found.dead_units > 0 && (2..SAMPLES).contains(&samples) {
        findings.push(format!(
            "{:.1} % of the units are 0 for each of the {samples} samples here, which are too few \
             to call them dead: relu alone makes about half of its inputs 0.",
            100.0 * found.dead_fraction()
        ));
    } else if found.dead_units > 0 && samples >= SAMPLES {
        findings.push(format!(
            "{:.1} % of the units are 0 for every sample here. Where that lasts over the whole \
             training set, they pass nothing on, and with relu they get no gradient to come back \
             to life by (dying ReLU). A smaller learning rate, a better initialisation, or \
             leaky_relu, elu, gelu and silu, whose slope below 0 is not 0 everywhere, help.",
            100.0 * found.dead_fraction()
        ));
    }
    if f.activation() == Activation::Identity {
        if found.elements > 0 && args.function.is_none() {
            findings.push(
                "Name the activation with --function to see saturation and slopes as well: the \
                 file is then taken as its input."
                    .to_owned(),
            );
        }
        return findings;
    }
    if found.saturated_fraction() > 0.5 && found.zeros >= found.saturated {
        findings.push(format!(
            "{:.1} % of the elements are on the inactive side of {name} and pass no gradient. \
             Half is usual for inputs around 0; most of them means that the inputs are off to \
             one side, by a bias or for want of a normalisation.",
            100.0 * found.saturated_fraction(),
        ));
    } else if found.saturated_fraction() > 0.5 {
        findings.push(format!(
            "{:.1} % of the elements have a slope below {}: almost no gradient passes {name} \
             there. Values that are this far out come from weights or a learning rate that are \
             too large; a normalisation before the activation brings them back.",
            100.0 * found.saturated_fraction(),
            args.saturation
        ));
    }
    if found.mean_slope.is_finite() && found.elements > found.nan {
        let (mean, layers) = (found.mean_slope, 10);
        let shown = significant(mean, 3);
        let through = mean.powi(layers);
        findings.push(if mean < 0.5 {
            format!(
                "A gradient is multiplied by {shown} on average on its way through {name}: \
                 {layers} such layers leave {through:.1e} of it (vanishing gradient), unless the \
                 weights make up for it."
            )
        } else if mean > 1.5 {
            format!(
                "A gradient is multiplied by {shown} on average on its way through {name}: \
                 {layers} such layers make it {through:.1e} times as large (exploding gradient)."
            )
        } else {
            format!(
                "A gradient is multiplied by {shown} on average on its way through {name}, \
                 which neither vanishes nor explodes over a few layers."
            )
        });
    }
    findings
}
