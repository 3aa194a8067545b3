//! What naga takes and translates, and compilers behind it refuse or get wrong.

use super::*;
use naga::proc::BoundsCheckPolicy;
use naga::{Expression, Function, Handle, MathFunction, Module, UnaryOperator};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

pub(crate) fn all_modules() -> Vec<(String, String)> {
    let mut modules = modules();
    modules.extend(row_chain::modules());
    modules
}

/// The names of a module's types that are no structs.
fn aliases(module: &Module) -> Vec<&str> {
    let types = module.types.iter().map(|(_, ty)| ty);
    let plain = types.filter(|ty| !matches!(ty.inner, TypeInner::Struct { .. }));
    plain.filter_map(|ty| ty.name.as_deref()).collect()
}

/// naga takes an alias for another type than the one that it names, and translates it so.
#[test]
fn no_type_has_two_names() {
    for (name, text) in all_modules() {
        let (module, _) = validate(&text);
        assert_eq!(aliases(&module), [""; 0], "{name}");
    }
    let text = "\nalias Four = array<f32, 4>;\nalias Fours = array<Four, 2>;\n\
                fn first(x: Fours, FourA: f32) -> f32 {\n    return x[0][0] + FourA;\n}\n";
    assert_eq!(aliases(&validate(text).0), ["Four", "Fours"]);
    let text = spelled(text);
    assert_eq!(aliases(&validate(&text).0), [""; 0]);
    assert!(
        text.contains("x: array<array<f32, 4>, 2>, FourA: f32"),
        "{text}"
    );
}

/// An expression without the negations and magnitudes that an instruction's operands may have.
fn bare(function: &Function, mut handle: Handle<Expression>) -> Handle<Expression> {
    loop {
        handle = match function.expressions[handle] {
            Expression::Unary {
                op: UnaryOperator::Negate,
                expr,
            } => expr,
            Expression::Math {
                fun: MathFunction::Abs,
                arg,
                ..
            } => arg,
            _ => return handle,
        };
    }
}

/// Pairs of choices of a function that FXC makes one exchange of, which it gets wrong where either
/// value is negated: `select(b, a, c)` beside `select(a, b, c)`, and of `x` and `-x`.
fn exchanges(function: &Function) -> usize {
    let chosen = function.expressions.iter().filter_map(|(_, expression)| {
        let &Expression::Select {
            condition,
            accept,
            reject,
        } = expression
        else {
            return None;
        };
        Some((condition, bare(function, accept), bare(function, reject)))
    });
    let chosen: Vec<_> = chosen.collect();
    let exchanged =
        |&&(condition, accept, reject): &&_| chosen.contains(&(condition, reject, accept));
    chosen.iter().filter(exchanged).count()
}

#[test]
fn nothing_is_chosen_twice() {
    let count = |module: &Module| -> usize {
        let functions = module.functions.iter().map(|(_, function)| function);
        let entries = module.entry_points.iter().map(|entry| &entry.function);
        functions.chain(entries).map(exchanges).sum()
    };
    for (name, text) in all_modules() {
        assert_eq!(count(&validate(&text).0), 0, "{name}");
    }
    for body in [
        "let c = a < b; return select(a, b, c) - 2.0 * select(b, -a, c);",
        "return select(a, -a, b < 0.0);",
    ] {
        let text = format!("fn f(a: f32, b: f32) -> f32 {{\n    {body}\n}}\n");
        assert!(count(&try_validate(&text).unwrap().0) > 0, "{body}");
    }
}

/// An entry point as wgpu-hal 30 hands it to the compilers of Direct3D and Metal.
pub(super) struct Handed {
    pub hlsl: String,
    pub hlsl_entry: String,
    pub metal: String,
    pub metal_entry: String,
}

impl Handed {
    /// The Metal in a namespace of C++, for the headers that stand in for Metal's.
    pub(super) fn as_cpp(&self, namespace: &str) -> String {
        let mut text = format!("namespace {namespace} {{\n#line 1 \"{namespace}.metal\"\n");
        for line in self.metal.lines() {
            let include = line.starts_with("#include");
            text.push_str(if include { "" } else { line });
            text.push('\n');
        }
        text.push_str("}\n");
        for (element, width) in ["float", "int", "uint", "bool"]
            .into_iter()
            .flat_map(|element| [2, 3, 4].map(|width| (element, width)))
        {
            // A constructor is a name before a parenthesis, and no end of another name.
            let name = format!("{element}{width}(");
            let mut made = String::with_capacity(text.len());
            let mut last = 0;
            for (at, _) in text.match_indices(&name) {
                if !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    made.push_str(&text[last..at]);
                    made.push_str("make_");
                    last = at;
                }
            }
            made.push_str(&text[last..]);
            text = made;
        }
        text
    }
}

pub(super) fn handed(
    module: &Module,
    info: &ModuleInfo,
    entry: &str,
    workgroup: u32,
) -> Result<Handed, String> {
    let stage = (ShaderStage::Compute, entry);
    let constants = [("workgroup_size".to_owned(), f64::from(workgroup))];
    let constants = constants.into_iter().collect();
    let (module, info) = process_overrides(module, info, Some(stage), &constants)
        .map_err(|error| format!("overrides: {error}"))?;
    let bindings: Vec<(naga::ResourceBinding, bool)> = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| Some((variable.binding?, variable.space)))
        .map(|(binding, space)| (binding, space == AddressSpace::Uniform))
        .collect();

    let target = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        binding_map: bindings
            .iter()
            .map(|(binding, uniform)| {
                let target = hlsl::BindTarget {
                    register: binding.binding,
                    restrict_indexing: *uniform,
                    ..hlsl::BindTarget::default()
                };
                (*binding, target)
            })
            .collect(),
        fake_missing_bindings: false,
        // The number of workgroups is no builtin of Direct3D's.
        special_constants_binding: Some(hlsl::BindTarget {
            space: 9,
            ..hlsl::BindTarget::default()
        }),
        zero_initialize_workgroup_memory: false,
        ..hlsl::Options::default()
    };
    let options = hlsl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, entry.to_owned())),
    };
    let mut hlsl = String::new();
    let reflected = hlsl::Writer::new(&mut hlsl, &target, &options)
        .write(&module, &info, None)
        .map_err(|error| format!("HLSL: {error}"))?;
    let hlsl_entry = match &reflected.entry_point_names[..] {
        [Ok(name)] => name.clone(),
        other => return Err(format!("HLSL: {other:?}")),
    };

    let restrict = BoundsCheckPolicy::Restrict;
    let resources = bindings.iter().zip(0..).map(|((binding, _), slot)| {
        let target = msl::BindTarget {
            buffer: Some(slot),
            mutable: true,
            ..msl::BindTarget::default()
        };
        (*binding, target)
    });
    let resources = msl::EntryPointResources {
        resources: resources.collect(),
        sizes_buffer: Some(bindings.len() as u8),
        ..msl::EntryPointResources::default()
    };
    let target = msl::Options {
        lang_version: (3, 0),
        per_entry_point_map: [(entry.to_owned(), resources)].into_iter().collect(),
        fake_missing_bindings: false,
        bounds_check_policies: BoundsCheckPolicies {
            index: restrict,
            buffer: restrict,
            image_load: restrict,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: false,
        ..msl::Options::default()
    };
    let options = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, entry.to_owned())),
        ..msl::PipelineOptions::default()
    };
    let (metal, reflected) = msl::write_string(&module, &info, &target, &options)
        .map_err(|error| format!("MSL: {error}"))?;
    let metal_entry = match &reflected.entry_point_names[..] {
        [Ok(name)] => name.clone(),
        other => return Err(format!("MSL: {other:?}")),
    };
    Ok(Handed {
        hlsl,
        hlsl_entry,
        metal,
        metal_entry,
    })
}

/// Writes what `cargo xtask compilers` gives to compilers into the folder that a variable names: each
/// module as WGSL, and each entry point that no other repeats as HLSL and, in C++, as Metal. A line of
/// `index.tsv` has an entry point's module, number, names in WGSL and HLSL, bindings with their types,
/// and the module's name.
#[test]
#[ignore = "writes what `cargo xtask compilers` reads"]
fn texts_for_compilers() {
    let folder = std::env::var_os("ACTIVATIONS_TEXTS").expect("ACTIVATIONS_TEXTS names a folder");
    let folder = Path::new(&folder);
    let mut index = String::new();
    let mut seen = HashSet::new();
    // With one buffer, only a binding's access differs.
    let modules = all_modules()
        .into_iter()
        .filter(|(name, _)| !name.ends_with("one buffer"));
    let mut modules: Vec<(String, String)> = modules.collect();
    modules.push(("the self-check".to_owned(), probes(128, 30)));
    for (m, (name, text)) in modules.iter().enumerate() {
        let (module, info) = validate(text);
        let mut any = false;
        for (e, entry) in module.entry_points.iter().enumerate() {
            let handed = handed(&module, &info, &entry.name, 64).unwrap();
            if !seen.insert(handed.hlsl.clone()) {
                continue;
            }
            any = true;
            let number = format!("{m:04}_{e}");
            fs::write(folder.join(format!("{number}.hlsl")), &handed.hlsl).unwrap();
            let cpp = handed.as_cpp(&format!("m{number}"));
            fs::write(folder.join(format!("{number}.cpp")), cpp).unwrap();
            let bound = used(&module, &info, &entry.name).into_iter();
            let bound = bound.map(|(binding, uniform, writable)| {
                let ty = match (uniform, writable) {
                    (true, _) => "uniform",
                    (false, true) => "storage",
                    (false, false) => "read-only-storage",
                };
                format!("{binding}:{ty}")
            });
            let bound: Vec<String> = bound.collect();
            let constants = if entry.workgroup_size_overrides.is_some() {
                64
            } else {
                0
            };
            let _ = writeln!(
                index,
                "{m:04}\t{number}\t{}\t{}\t{}\t{constants}\t{name}",
                entry.name,
                handed.hlsl_entry,
                bound.join(",")
            );
        }
        if any {
            fs::write(folder.join(format!("{m:04}.wgsl")), text).unwrap();
        }
    }
    fs::write(folder.join("index.tsv"), index).unwrap();
}
