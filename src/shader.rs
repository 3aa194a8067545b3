//! WGSL: the shader files, and the composer that joins them with a generated shim. Public, so
//! that a caller's own shader can fuse an activation.

mod chain;
mod custom;
mod elementwise;
mod fused;
mod gate;
mod loss;
mod memory;
mod names;
mod prelu;
mod prune;
mod random;
mod reduce;
mod row_chain;
mod softmax;
mod sparse;
mod statistics;

pub(crate) use chain::{CHAIN_ENTRY_POINT, ChainModule, Link, OPERAND_GRADIENTS, OPERANDS, Reach};
pub(crate) use custom::{CustomText, custom, declares};
pub(crate) use elementwise::{Access, elementwise};
pub use fused::fused;
pub(crate) use gate::gate;
pub(crate) use loss::{ClassModule, ElementModule, LossPass, class_loss, element_loss};
pub(crate) use memory::Width;
pub(crate) use prelu::{Bend, prelu};
pub(crate) use random::{Draw, random};
pub(crate) use reduce::{Term, reduce};
pub(crate) use row_chain::RowChainModule;
pub(crate) use softmax::{
    HELD, HELD_LENGTH, IN_EIGHTS, Shaped, Sink, Unit, Value, shaped_softmax, softmax,
};
#[cfg(test)]
pub(crate) use softmax::{ROW_ENTRY_POINTS, SOFTMAX_ENTRY_POINTS};
#[cfg(test)]
pub(crate) use sparse::SPARSE_ENTRY_POINTS;
pub(crate) use sparse::{Argmax, Sparse, argmax, noisy_softmax, sparse, sparse_grad};
pub(crate) use statistics::statistics;

use crate::catalogue::Activation;

/// `exp`, `log1p`, `tanh`, `erf`, the normal distribution and their kin in f32: pure functions, but
/// for the `opaque_zero` that [`fused`] explains.
pub const MATH: &str = include_str!("../shaders/math.wgsl");
/// Every activation and its derivative as pure functions over [`MATH`].
pub const ACTIVATIONS: &str = include_str!("../shaders/activations.wgsl");
/// f16 and bf16 from and to f32, rounded to nearest even, on devices with and without either: pure
/// functions over words of two numbers each, `unpack_f16`, `pack_f16`, `unpack_bf16`, `pack_bf16`
/// four at a time, `f16_to_f32`, `f32_to_f16`, `bf16_to_f32`, `f32_to_bf16` one at a time.
pub const HALF: &str = include_str!("../shaders/half.wgsl");
const STEPS: &str = include_str!("../shaders/steps.wgsl");
const PROBES: &str = include_str!("../shaders/probes.wgsl");

/// The name of an activation's WGSL function; its derivative's is that of [`derivative_name`].
/// What WGSL has itself (`abs`, `clamp`, `exp`, `tanh`) ends in an underscore.
pub fn function_name(activation: Activation) -> String {
    let name = activation.info().name;
    match activation {
        Activation::Abs | Activation::Clamp | Activation::Exp | Activation::Tanh => {
            format!("{name}_")
        }
        _ => name.to_owned(),
    }
}

/// The name of an activation's derivative in WGSL.
pub fn derivative_name(activation: Activation) -> String {
    format!("{}_grad", activation.info().name)
}

/// A number in WGSL. Infinities and NaN are no constant expressions there; they are made from bits
/// with the opaque zero of [`MATH`], whose names have that prefix.
pub(crate) fn literal(value: f32, prefix: &str) -> String {
    if value.is_finite() {
        format!("f32({value:e})")
    } else {
        format!("bitcast<f32>({}u + {prefix}opaque_zero)", value.to_bits())
    }
}

/// The module of the probes, for that many pairs and words for each.
pub(crate) fn probes(pairs: usize, words: usize) -> String {
    format!("{MATH}\nconst PAIRS: u32 = {pairs}u;\nconst WORDS: u32 = {words}u;\n{PROBES}")
}

/// How many f32 an invocation of an element-wise kernel handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lanes {
    /// One: for the up to three elements that are left over.
    One,
    /// A vec4.
    Four,
}

impl Lanes {
    pub(crate) fn count(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Four => 4,
        }
    }
}

/// An activation's parameters as further arguments of its WGSL functions: `, uniforms.p0` and on.
fn uniform_arguments(activation: Activation) -> String {
    (0..activation.info().parameters.len())
        .map(|i| format!(", uniforms.p{i}"))
        .collect()
}

/// A module with its aliases written out. To naga an alias is a type of its own beside the one that
/// it names: HLSL's arrays then have two constructors of one name, and Metal's are structs that do not
/// convert into each other.
pub(crate) fn spelled(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(at) = text.find("\nalias ").map(|at| at + 1) {
        let Some((name, named, length)) = text[at..].split_once(';').and_then(|(alias, _)| {
            let (name, named) = alias["alias ".len()..].split_once('=')?;
            Some((name.trim().to_owned(), named.trim().to_owned(), alias.len()))
        }) else {
            break;
        };
        text.replace_range(at..=at + length, "");
        text = with_word(&text, &name, &named);
    }
    text
}

/// A text with each whole word that is `word` replaced.
fn with_word(text: &str, word: &str, by: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut replaced = String::with_capacity(text.len());
    let mut last = 0;
    for (at, _) in text.match_indices(word) {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        if before.ends_with(part) || after.starts_with(part) {
            continue;
        }
        replaced.push_str(&text[last..at]);
        replaced.push_str(by);
        last = at + word.len();
    }
    replaced + &text[last..]
}

/// A module of this crate with its inputs declared writable, as their bindings must be where they
/// are ranges of the buffer that the result goes to: a buffer has one usage in a dispatch.
pub(crate) fn in_one_buffer(text: &str) -> String {
    text.replace("var<storage, read> ", "var<storage, read_write> ")
}

/// Which pass of a function a module computes, and which of its buffers are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pass {
    /// out = f(x).
    Forward,
    /// out = f(out).
    ForwardInPlace,
    /// out = dy · f'(x).
    Backward,
    /// out = out · f'(x).
    BackwardInPlace,
    /// out = dy · f'(x) where x holds f's output; for softmax alone.
    FromOutput,
}

impl Pass {
    /// The entry point of the element-wise module.
    pub(crate) fn entry_point(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::ForwardInPlace => "forward_in_place",
            Self::Backward | Self::FromOutput => "backward",
            Self::BackwardInPlace => "backward_in_place",
        }
    }

    pub(crate) fn is_backward(self) -> bool {
        matches!(
            self,
            Self::Backward | Self::BackwardInPlace | Self::FromOutput
        )
    }

    /// Whether x has a binding of its own.
    pub(crate) fn binds_x(self) -> bool {
        self != Self::ForwardInPlace
    }

    /// Whether the upstream gradient has a binding of its own.
    pub(crate) fn binds_dy(self) -> bool {
        matches!(self, Self::Backward | Self::FromOutput)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    mod arithmetic;
    mod compilers;
    mod fast_math;

    pub(crate) use compilers::all_modules;

    use super::*;
    use crate::axis::AxisFunction;
    use crate::element::DType;
    use crate::kernels::{
        AxisUniforms, ElementwiseUniforms, LossOptions, Slot, StatisticsUniforms, axis_slots,
        class_slots, elementwise_slots,
    };
    use crate::kernels::{DimensionUniforms, FactorUniforms, ShapingUniforms, shaped_slots};
    use crate::kernels::{ElementUniforms, RandomUniforms, draw_slots, element_slots};
    use crate::kernels::{GateUniforms, SumUniforms, gate_slots, sum_slots};
    use crate::kernels::{Kin, module_slots};
    use crate::kernels::{PreluUniforms, prelu_slots};
    use crate::plan::PARTIAL_BYTES;
    use fast_math::{Bits, Language};
    use naga::back::{glsl, hlsl, msl, pipeline_constants::process_overrides, spv};
    use naga::front::wgsl;
    use naga::proc::BoundsCheckPolicies;
    use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
    use naga::{AddressSpace, ShaderStage, StorageAccess, TypeInner};
    use std::mem::offset_of;

    const PASSES: [Pass; 5] = [
        Pass::Forward,
        Pass::ForwardInPlace,
        Pass::Backward,
        Pass::BackwardInPlace,
        Pass::FromOutput,
    ];

    /// Every array alone and all of them, with elements' values of every kind.
    const SHAPED: [Shaped; 6] = {
        const fn of(mask: bool, bias: bool, lengths: bool, value: Value) -> Shaped {
            Shaped {
                mask,
                runs: bias,
                mask_runs: mask && bias,
                bias,
                lengths,
                sink: match (lengths, mask == bias) {
                    (false, _) => Sink::None,
                    (true, false) => Sink::Number,
                    (true, true) => Sink::Array,
                },
                by_sink: false,
                value,
            }
        }
        [
            of(false, false, true, Value::Plain),
            of(true, false, false, Value::Plain),
            of(false, false, false, Value::Scaled),
            of(true, false, true, Value::Scaled),
            of(false, true, false, Value::Scaled),
            of(true, true, true, Value::Capped),
        ]
    };
    const SHAPED_PASSES: [Pass; 2] = [Pass::Forward, Pass::Backward];

    /// Each pass of a function, with each unit of rows; in place, a result has the input's length.
    fn with_units(function: AxisFunction) -> impl Iterator<Item = (Pass, Unit)> {
        PASSES
            .into_iter()
            .filter(move |pass| {
                let in_place = matches!(pass, Pass::ForwardInPlace | Pass::BackwardInPlace);
                !(in_place && function.reduces())
            })
            .flat_map(|pass| Unit::ALL.map(|unit| (pass, unit)))
    }

    fn shaped_modules() -> impl Iterator<Item = (Pass, Shaped)> {
        let by_sink = SHAPED.into_iter().filter(|s| s.sink != Sink::None);
        let by_sink = by_sink.map(|s| Shaped { by_sink: true, ..s });
        SHAPED_PASSES
            .iter()
            .flat_map(|&p| SHAPED.map(|s| (p, s)))
            .chain(by_sink.map(|s| (Pass::Backward, s)))
    }

    fn try_validate(text: &str) -> Result<(naga::Module, ModuleInfo), String> {
        let module = wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        let info = validator
            .validate(&module)
            .map_err(|error| error.emit_to_string(text))?;
        Ok((module, info))
    }

    fn validate(text: &str) -> (naga::Module, ModuleInfo) {
        try_validate(text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Ways to walk arrays of f32 with every activation, and all ways and types with one.
    fn elementwise_variants(activation: Activation) -> Vec<(Access, [DType; 3])> {
        let single = |width, dtype| (Access::single(width), [dtype; 3]);
        let mut variants = vec![
            single(Width::One, DType::F32),
            single(Width::Four, DType::F32),
        ];
        if activation == Activation::Elu {
            variants.push(single(Width::Eight, DType::F32));
            let units = 3;
            let width = Width::Four;
            variants.push((Access { width, units }, [DType::F32; 3]));
            for width in [Width::Two, Width::Four, Width::Eight] {
                variants.extend([DType::F16, DType::Bf16].map(|dtype| single(width, dtype)));
                let mixed = [DType::F16, DType::F32, DType::Bf16];
                variants.push((Access::single(width), mixed));
                variants.push((Access::single(width), [DType::F32, DType::F16, DType::F32]));
            }
        }
        variants
    }

    /// Words of 64 bits are for software adapters, all of which take SPIR-V.
    #[test]
    fn long_words_validate() {
        for dtypes in [
            [DType::F32; 3],
            [DType::F16; 3],
            [DType::F32, DType::Bf16, DType::F16],
        ] {
            let access = Access::single(Width::Long);
            let text = elementwise(Activation::Elu, access, dtypes);
            let module = wgsl::parse_str(&text).unwrap();
            let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SHADER_INT64);
            let info = validator.validate(&module).unwrap();
            let constants = [("workgroup_size".to_owned(), 64.0)].into_iter().collect();
            let stage = (ShaderStage::Compute, "forward");
            let (module, info) =
                process_overrides(&module, &info, Some(stage), &constants).unwrap();
            let options = spv::PipelineOptions {
                shader_stage: ShaderStage::Compute,
                entry_point: "forward".to_owned(),
            };
            spv::write_vec(&module, &info, &spv::Options::default(), Some(&options)).unwrap();
            // Without the feature, it is seen that there are such words.
            assert!(try_validate(&text).is_err());
        }
    }

    /// Every module of the crate, by a name.
    fn modules() -> Vec<(String, String)> {
        let mut modules = Vec::new();
        for &activation in Activation::ALL {
            for (access, dtypes) in elementwise_variants(activation) {
                let name = format!("{activation}, {access:?}, {dtypes:?}");
                let text = elementwise(activation, access, dtypes);
                modules.push((format!("{name}, one buffer"), in_one_buffer(&text)));
                modules.push((name, text));
            }
        }
        modules.extend(Activation::ALL.iter().map(|&activation| {
            let text = statistics(activation);
            (format!("statistics of {activation}"), text)
        }));
        for &function in AxisFunction::ALL {
            // A unit each: what is around the arrays is one text.
            let units = with_units(function).enumerate();
            for (_, (pass, unit)) in units.filter(|(i, _)| i % 4 == 0) {
                let text = softmax(function, pass, unit);
                let name = format!("{function}, {pass:?}, {unit:?}");
                modules.push((format!("{name}, one buffer"), in_one_buffer(&text)));
                modules.push((name, text));
            }
            for (i, (pass, shaped)) in shaped_modules().enumerate() {
                let unit = Unit::ALL[i % Unit::ALL.len()];
                let text = shaped_softmax(function, pass, shaped, unit);
                let name = format!("{function}, {pass:?}, {shaped:?}, {unit:?}");
                modules.push((format!("{name}, one buffer"), in_one_buffer(&text)));
                modules.push((name, text));
            }
        }
        for draw in Draw::ALL {
            let text = random(draw);
            modules.push((format!("{draw:?}, one buffer"), in_one_buffer(&text)));
            modules.push((format!("{draw:?}"), text));
        }
        modules.extend(reduce::modules());
        modules.extend(
            chain::modules()
                .into_iter()
                .map(|(name, _, text)| (name, text)),
        );
        for bend in Bend::ALL {
            let text = prelu(bend);
            modules.push((format!("prelu, {bend:?}, one buffer"), in_one_buffer(&text)));
            modules.push((format!("prelu, {bend:?}"), text));
        }
        modules.extend(
            gate::modules()
                .into_iter()
                .map(|(name, _, text)| (name, text)),
        );
        for module in ClassModule::all() {
            modules.push((format!("{module:?}"), class_loss(module)));
        }
        for module in ElementModule::all() {
            modules.push((format!("{module:?}"), element_loss(module)));
        }
        for kin in kin_modules() {
            let text = kin.text();
            modules.push((format!("{kin:?}, one buffer"), in_one_buffer(&text)));
            modules.push((format!("{kin:?}"), text));
        }
        modules
    }

    /// The modules of the kin of softmax.
    fn kin_modules() -> Vec<Kin> {
        let mut modules: Vec<Kin> = Argmax::ALL.map(Kin::Argmax).into();
        for sparse in Sparse::ALL {
            modules.push(Kin::Sparse(sparse));
            modules.extend([false, true].map(|in_place| Kin::SparseGrad(sparse, in_place)));
        }
        modules.extend([false, true].map(|backward| Kin::Noisy { backward }));
        modules
    }

    /// The entry points of one of them.
    fn kin_entry_points(kin: Kin) -> Vec<&'static str> {
        let mut names = ROW_ENTRY_POINTS.to_vec();
        if matches!(kin, Kin::Sparse(_)) {
            names.extend(SPARSE_ENTRY_POINTS);
        }
        if matches!(kin, Kin::Noisy { .. }) {
            names.push(HELD);
        }
        names
    }

    /// No word of the library's is one of a custom function's, whatever the caller calls it.
    #[test]
    fn callers_names_are_out_of_reach() {
        let texts = modules().into_iter().map(|(_, text)| text);
        let kernels = row_chain::modules().into_iter().map(|(_, text)| text);
        for text in texts.chain(kernels).chain([HALF.to_owned()]) {
            let names = names::Names::of(&text);
            let mut words = names.words();
            assert_eq!(words.find(|word| word.starts_with(custom::PREFIX)), None);
        }
    }

    /// A row without its WGSL pair, or with another number of parameters, fails here.
    #[test]
    fn every_row_has_its_wgsl_pair() {
        let (module, _) = validate(&format!("{MATH}\n{ACTIVATIONS}"));
        for &activation in Activation::ALL {
            for name in [function_name(activation), derivative_name(activation)] {
                let function = module.functions.iter().map(|(_, f)| f);
                let found = function
                    .filter(|f| f.name.as_deref() == Some(&name))
                    .collect::<Vec<_>>();
                assert_eq!(found.len(), 1, "{name} in activations.wgsl");
                let arity = 1 + activation.info().parameters.len();
                assert_eq!(found[0].arguments.len(), arity, "arguments of {name}");
            }
        }
    }

    #[test]
    fn every_module_validates() {
        for &activation in Activation::ALL {
            for (access, dtypes) in elementwise_variants(activation) {
                let (module, _) = validate(&elementwise(activation, access, dtypes));
                let names = module.entry_points.iter().map(|e| e.name.as_str());
                for pass in PASSES {
                    assert!(names.clone().any(|name| name == pass.entry_point()));
                }
                assert_eq!(names.count(), 4);
            }
            validate(&fused([("f", activation)]).unwrap());
        }
        for &function in AxisFunction::ALL {
            for (pass, unit) in with_units(function) {
                let (module, _) = validate(&softmax(function, pass, unit));
                let names: Vec<&str> = module
                    .entry_points
                    .iter()
                    .map(|e| e.name.as_str())
                    .collect();
                // No row that is reduced lies in eights.
                let count = SOFTMAX_ENTRY_POINTS.len() - usize::from(function.reduces());
                assert_eq!(names, SOFTMAX_ENTRY_POINTS[..count]);
            }
        }
    }

    /// The text of an entry point in each language that wgpu's backends take.
    struct Translated {
        msl: String,
        hlsl: String,
        glsl: String,
    }

    impl Translated {
        fn texts(&self) -> [(&str, Language); 3] {
            [
                (&self.msl, Language::Metal),
                (&self.hlsl, Language::Hlsl),
                (&self.glsl, Language::Glsl),
            ]
        }
    }

    /// Translates one entry point to every target with the options of wgpu's backends; the error
    /// names the target.
    fn translate(
        module: &naga::Module,
        info: &ModuleInfo,
        entry: &str,
        workgroup: u32,
    ) -> Result<Translated, String> {
        let stage = (ShaderStage::Compute, entry);
        let constants = [("workgroup_size".to_owned(), f64::from(workgroup))];
        let constants = constants.into_iter().collect();
        let (module, info) = process_overrides(module, info, Some(stage), &constants)
            .map_err(|error| format!("overrides: {error}"))?;

        let options = spv::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: entry.to_owned(),
        };
        for lang_version in [(1, 0), (1, 3)] {
            let target = spv::Options {
                lang_version,
                zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
                ..spv::Options::default()
            };
            let words = spv::write_vec(&module, &info, &target, Some(&options))
                .map_err(|error| format!("SPIR-V: {error}"))?;
            // The magic number.
            assert_eq!(words[0], 0x0723_0203);
        }

        let options = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, entry.to_owned())),
            ..msl::PipelineOptions::default()
        };
        let target = msl::Options {
            lang_version: (2, 0),
            zero_initialize_workgroup_memory: false,
            ..msl::Options::default()
        };
        let (msl, reflected) = msl::write_string(&module, &info, &target, &options)
            .map_err(|error| format!("MSL: {error}"))?;
        for name in reflected.entry_point_names {
            name.map_err(|error| format!("MSL: {error}"))?;
        }

        let options = hlsl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, entry.to_owned())),
        };
        let mut texts = Vec::new();
        for shader_model in [hlsl::ShaderModel::V5_1, hlsl::ShaderModel::V6_0] {
            let target = hlsl::Options {
                shader_model,
                zero_initialize_workgroup_memory: false,
                ..hlsl::Options::default()
            };
            let mut text = String::new();
            let reflected = hlsl::Writer::new(&mut text, &target, &options)
                .write(&module, &info, None)
                .map_err(|error| format!("HLSL: {error}"))?;
            for name in reflected.entry_point_names {
                name.map_err(|error| format!("HLSL: {error}"))?;
            }
            texts.push(text);
        }

        let options = glsl::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: entry.to_owned(),
            multiview: None,
        };
        let mut translated = String::new();
        for version in [
            glsl::Version::new_gles(310),
            glsl::Version::new_gles(320),
            glsl::Version::Desktop(430),
            glsl::Version::Desktop(460),
        ] {
            let target = glsl::Options {
                version,
                zero_initialize_workgroup_memory: false,
                ..glsl::Options::default()
            };
            let mut text = String::new();
            let policies = BoundsCheckPolicies::default();
            glsl::Writer::new(&mut text, &module, &info, &target, &options, policies)
                .and_then(|mut writer| writer.write())
                .map_err(|error| format!("GLSL {version}: {error}"))?;
            assert!(
                text.contains(&format!("local_size_x = {workgroup}")),
                "{text}"
            );
            translated = text;
        }

        Ok(Translated {
            msl,
            hlsl: texts.concat(),
            glsl: translated,
        })
    }

    /// The functions that divide real numbers. WGSL's quotient may be 2.5 ULP off, for which there is
    /// room in no result: `ratio` has it corrected, and the others divide what is a correction or a
    /// small part of a sum.
    const DIVIDING: [&str; 9] = [
        "ratio",
        // The rounding error of a logarithm's argument.
        "log_one_plus",
        "log1p_any",
        "clamped_log_rest",
        "gumbel_of",
        "mills",
        // Steps to a threshold that is refined.
        "terms",
        "refined",
        "refined_in_phase",
    ];

    fn assert_divides_with_room(name: &str, module: &naga::Module, info: &ModuleInfo) {
        for (handle, function) in module.functions.iter() {
            let divides = function.expressions.iter().any(|(expression, what)| {
                let real = || {
                    let kind = info[handle][expression]
                        .ty
                        .inner_with(&module.types)
                        .scalar_kind();
                    kind == Some(naga::ScalarKind::Float)
                };
                let op = naga::BinaryOperator::Divide;
                matches!(what, naga::Expression::Binary { op: o, .. } if *o == op) && real()
            });
            let function = function.name.as_deref().unwrap_or_default();
            assert!(
                !divides || DIVIDING.contains(&function),
                "{name}: {function}"
            );
        }
    }

    #[test]
    fn every_entry_point_translates_to_every_target() {
        let (mut translated, mut found) = (0, Bits::default());
        for (name, text) in modules() {
            let (module, info) = validate(&text);
            assert_divides_with_room(&name, &module, &info);
            for entry in &module.entry_points {
                let entry = entry.name.as_str();
                let result = translate(&module, &info, entry, 64);
                let targets = result.unwrap_or_else(|error| panic!("{name}, {entry}: {error}"));
                for (text, language) in targets.texts() {
                    let kept = fast_math::kept(&module, &info, entry, text, language);
                    let what = || format!("{name}, {entry}, {language:?}");
                    found += kept.unwrap_or_else(|error| panic!("{}: {error}", what()));
                }
                translated += 1;
            }
        }
        let shaped = shaped_modules().count();
        let rows = AxisFunction::ALL.iter().map(|&function| {
            let plain = with_units(function).count().div_ceil(4);
            let eights = usize::from(!function.reduces());
            plain * (ROW_ENTRY_POINTS.len() + 1 + eights) + shaped * (ROW_ENTRY_POINTS.len() + 1)
        });
        let elementwise = Activation::ALL
            .iter()
            .map(|&f| elementwise_variants(f).len() * 4);
        let all = elementwise.sum::<usize>() + rows.sum::<usize>();
        let statistics = Activation::ALL.len() * 3;
        let draws = 2 * Draw::ALL.len();
        let sums = reduce::modules().len() * reduce::ENTRY_POINTS.len();
        let gates = gate::modules();
        let gates = gates
            .iter()
            .map(|(_, lanes, _)| gate::entry_points(*lanes).len());
        let gates: usize = gates.sum();
        let losses = ClassModule::all().len() * 5 + ElementModule::all().len();
        let prelu = Bend::ALL.len() * 2 * 2;
        let chains = chain::modules().len();
        let kin = kin_modules()
            .into_iter()
            .map(|kin| kin_entry_points(kin).len());
        let kin = 2 * kin.sum::<usize>();
        assert_eq!(
            translated,
            2 * all + statistics + draws + sums + gates + losses + prelu + kin + chains
        );
        // In each of three languages, each tests for NaN; half of them add in order, and split.
        let least = 3 * translated;
        assert!(
            found.casts > 4 * least && found.masks > 2 * least,
            "{found:?}"
        );
        assert!(found.calls > least / 2, "{found:?}");
    }

    #[test]
    fn chains_around_rows_translate_to_every_target() {
        for (name, text) in row_chain::modules() {
            let (module, info) = validate(&text);
            assert_eq!(module.entry_points.len(), SOFTMAX_ENTRY_POINTS.len() - 1);
            for entry in &module.entry_points {
                let result = translate(&module, &info, &entry.name, 64);
                result.unwrap_or_else(|error| panic!("{name}, {}: {error}", entry.name));
            }
        }
    }

    /// The probes use what kernels do not, the built-in max: they ask about it.
    #[test]
    fn probes_translate_to_every_target() {
        let (module, info) = validate(&probes(128, 30));
        for (entry, workgroup) in [("arithmetic", 64), ("together", 64), ("turns_of_a_loop", 1)] {
            translate(&module, &info, entry, workgroup).unwrap();
        }
        assert_eq!(module.entry_points.len(), 3);
    }

    /// Workgroups that no power of two divides, and the largest that limits allow.
    #[test]
    fn workgroups_of_any_size_translate() {
        let (module, info) = validate(&softmax(AxisFunction::Softmax, Pass::Forward, Unit::Four));
        for workgroup in [1, 7, 100, 256, 1024] {
            for entry in SOFTMAX_ENTRY_POINTS {
                translate(&module, &info, entry, workgroup).unwrap();
            }
        }
        let zero = translate(&module, &info, "row_per_invocation", 0);
        assert!(zero.is_err_and(|error| error.contains("workgroup_size")));
    }

    /// The harness itself: broken text and a missing entry point are seen.
    #[test]
    fn broken_shaders_are_seen() {
        assert!(try_validate("fn f() -> f32 { return 1u; }").is_err());
        let text = elementwise(
            Activation::Gelu,
            Access::single(Width::One),
            [DType::F32; 3],
        );
        let (module, info) = validate(&text);
        assert!(translate(&module, &info, "no_such_entry_point", 64).is_err());
        assert!(translate(&module, &info, "forward", 64).is_ok());
    }

    /// The bindings that an entry point refers to, as (number, is a uniform, is written).
    pub(crate) fn used(
        module: &naga::Module,
        info: &ModuleInfo,
        entry: &str,
    ) -> Vec<(u32, bool, bool)> {
        let index = module.entry_points.iter().position(|e| e.name == entry);
        let uses = info.get_entry_point(index.unwrap());
        let mut used = Vec::new();
        for (handle, variable) in module.global_variables.iter() {
            let (usage, Some(binding)) = (uses[handle], &variable.binding) else {
                continue;
            };
            if usage.is_empty() {
                continue;
            }
            assert_eq!(binding.group, 0);
            let writable = match variable.space {
                AddressSpace::Storage { access } => access.contains(StorageAccess::STORE),
                _ => false,
            };
            assert!(writable || !usage.contains(GlobalUse::WRITE));
            used.push((
                binding.binding,
                variable.space == AddressSpace::Uniform,
                writable,
            ));
        }
        used.sort_unstable();
        used
    }

    fn bound(slots: &[Slot]) -> Vec<(u32, bool, bool)> {
        let mut bound: Vec<_> = slots
            .iter()
            .map(|&slot| {
                let ty = slot.binding_type();
                let writable = ty == wgpu::BufferBindingType::Storage { read_only: false };
                (
                    slot.number(),
                    ty == wgpu::BufferBindingType::Uniform,
                    writable,
                )
            })
            .collect();
        bound.sort_unstable();
        bound
    }

    #[test]
    fn bind_groups_are_what_entry_points_use() {
        let mut compared = 0;
        for &activation in Activation::ALL {
            for (access, dtypes) in elementwise_variants(activation) {
                let (module, info) = validate(&elementwise(activation, access, dtypes));
                for pass in PASSES {
                    let used = used(&module, &info, pass.entry_point());
                    let what = format!("{activation}, {access:?}, {dtypes:?}, {pass:?}");
                    assert_eq!(used, bound(&elementwise_slots(pass)), "{what}");
                    compared += used.len();
                }
            }
        }
        for &function in AxisFunction::ALL {
            for (pass, unit) in with_units(function) {
                // From the output, a result has its accuracy.
                if function != AxisFunction::Softmax && pass == Pass::FromOutput {
                    continue;
                }
                let (module, info) = validate(&softmax(function, pass, unit));
                for entry in SOFTMAX_ENTRY_POINTS {
                    // A function that reduces is done after the combination.
                    if entry == "split_finish" && function.reduces() && !pass.is_backward()
                        || entry == HELD && (function.reduces() || pass.is_backward())
                        || entry == IN_EIGHTS && function.reduces()
                    {
                        continue;
                    }
                    let used = used(&module, &info, entry);
                    let slots = axis_slots(function, pass, entry);
                    let what = format!("{function}, {pass:?}, {unit:?}, {entry}");
                    assert_eq!(used, bound(&slots), "{what}");
                    compared += used.len();
                }
            }
        }
        for (name, bindings, text) in chain::modules() {
            let (module, info) = validate(&text);
            assert_eq!(used(&module, &info, CHAIN_ENTRY_POINT), bindings, "{name}");
            compared += bindings.len();
        }
        for draw in Draw::ALL {
            let (module, info) = validate(&random(draw));
            let used = used(&module, &info, "fill");
            assert_eq!(used, bound(&draw_slots(draw)), "{draw:?}");
            compared += used.len();
        }
        for module_of in ClassModule::all() {
            let (module, info) = validate(&class_loss(module_of));
            for entry in ROW_ENTRY_POINTS {
                if entry == "split_finish" && module_of.pass == LossPass::Loss {
                    continue;
                }
                let used = used(&module, &info, entry);
                let slots = class_slots(module_of, entry);
                assert_eq!(used, bound(&slots), "{module_of:?}, {entry}");
                compared += used.len();
            }
        }
        for module_of in ElementModule::all() {
            let (module, info) = validate(&element_loss(module_of));
            let used = used(&module, &info, "each");
            assert_eq!(used, bound(&element_slots(module_of)), "{module_of:?}");
            compared += used.len();
        }
        for kin in kin_modules() {
            let (module, info) = validate(&kin.text());
            for entry in kin_entry_points(kin) {
                // A kind that reduces is done after the combination.
                if entry == "split_finish" && kin == Kin::Argmax(Argmax::Maxout)
                    || entry == HELD && kin == (Kin::Noisy { backward: true })
                {
                    continue;
                }
                let used = used(&module, &info, entry);
                assert_eq!(used, bound(&module_slots(kin, entry)), "{kin:?}, {entry}");
                compared += used.len();
            }
        }
        for &function in AxisFunction::ALL {
            for (pass, shaped) in shaped_modules() {
                let text = shaped_softmax(function, pass, shaped, Unit::Two);
                let (module, info) = validate(&text);
                for entry in SOFTMAX_ENTRY_POINTS {
                    if entry == IN_EIGHTS
                        || entry == "split_finish"
                            && (function.reduces() && !pass.is_backward() || shaped.by_sink)
                        || entry == HELD && (function.reduces() || pass.is_backward())
                    {
                        continue;
                    }
                    let used = used(&module, &info, entry);
                    let slots = shaped_slots(function, pass, shaped, entry);
                    let what = format!("{function}, {pass:?}, {shaped:?}, {entry}");
                    let mut bound = bound(&slots);
                    // Where nothing is scaled and there is no sink, parts are merged without constants.
                    if entry == "split_combine" && !used.contains(&(13, true, false)) {
                        assert!(
                            shaped.value == Value::Plain && shaped.sink == Sink::None,
                            "{what}"
                        );
                        bound.retain(|&(number, ..)| number != 13);
                    }
                    assert_eq!(used, bound, "{what}");
                    compared += used.len();
                }
            }
        }
        assert!(compared > 1000, "{compared}");
        // Another pass' bindings are seen to be others.
        let forward = bound(&elementwise_slots(Pass::Forward));
        assert_ne!(forward, bound(&elementwise_slots(Pass::Backward)));
    }

    #[test]
    fn inputs_in_the_results_buffer_are_writable() {
        let texts = [
            elementwise(Activation::Elu, Access::single(Width::One), [DType::F32; 3]),
            softmax(AxisFunction::Softmax, Pass::Backward, Unit::Four),
        ];
        for (text, entry) in texts.iter().zip(["backward", "row_per_invocation"]) {
            let (module, info) = validate(&in_one_buffer(text));
            let used = used(&module, &info, entry);
            let writable = used.iter().filter(|(_, _, writable)| *writable);
            assert_eq!((used.len(), writable.count()), (4, 3));
        }
    }

    /// The members of a struct of a module with their offsets, and its span.
    fn layout(module: &naga::Module, name: &str) -> (Vec<(String, u32)>, u32) {
        let mut types = module.types.iter().map(|(_, ty)| ty);
        let ty = types.find(|ty| ty.name.as_deref() == Some(name)).unwrap();
        let TypeInner::Struct { ref members, span } = ty.inner else {
            panic!("{name} is no struct");
        };
        let members = members
            .iter()
            .map(|member| (member.name.clone().unwrap(), member.offset));
        (members.collect(), span)
    }

    macro_rules! offsets {
        ($type:ty: $($member:ident),*) => {
            vec![$((stringify!($member).to_owned(), offset_of!($type, $member) as u32)),*]
        };
    }

    #[test]
    fn uniforms_lie_where_the_host_writes_them() {
        let (module, _) = validate(&elementwise(
            Activation::Elu,
            Access::single(Width::Four),
            [DType::F32; 3],
        ));
        let (members, span) = layout(&module, "Uniforms");
        let mut expected = offsets!(ElementwiseUniforms: count, first);
        let parameters = offset_of!(ElementwiseUniforms, parameters) as u32;
        for i in 0..crate::catalogue::MAX_PARAMETERS as u32 {
            expected.push((format!("p{i}"), parameters + 4 * i));
        }
        expected.extend(offsets!(ElementwiseUniforms: zero, last));
        assert_eq!(members, expected);
        // The buffer may be longer than the struct, never shorter.
        assert!(span as usize <= size_of::<ElementwiseUniforms>());

        let (module, _) = validate(&statistics(Activation::Elu));
        let (members, span) = layout(&module, "Uniforms");
        let expected = offsets!(
            StatisticsUniforms: count, first, lanes, units, inner, phase, lane_first, p0, p1,
            saturation, mean, shrink, bins, bins_per_half, zero
        );
        assert_eq!(members, expected);
        assert!(span as usize <= size_of::<StatisticsUniforms>());

        for module in ElementModule::all() {
            let (module, _) = validate(&element_loss(module));
            let (members, span) = layout(&module, "Uniforms");
            let expected = offsets!(
                ElementUniforms: count, x_first, target_first, weight_first, positive_first,
                dy_first, out_first, weight_start, weight_stride, weight_count, positive_start,
                positive_stride, positive_count, dy_each, scale, p0, p1, p2, zero
            );
            assert_eq!(members, expected);
            assert!(span as usize <= size_of::<ElementUniforms>());
        }
        for module in ClassModule::all() {
            let (module, _) = validate(&class_loss(module));
            let (members, span) = layout(&module, "Options");
            let expected = offsets!(
                LossOptions: ignore, classes, target_first, weight_first, dy_first, loss_first,
                dy_each, keep, spread, scale
            );
            assert_eq!(members, expected);
            assert!(span as usize <= size_of::<LossOptions>());
            assert_eq!(u64::from(layout(&module, "Row").1), PARTIAL_BYTES);
        }

        let (module, _) = validate(&softmax(AxisFunction::Softmax, Pass::Backward, Unit::One));
        let (members, span) = layout(&module, "Uniforms");
        let expected = offsets!(
            AxisUniforms: len, inner, rows, x_first, dy_first, out_first, lanes, partials,
            partial_first, row_first, segment, sign, zero, row_offset, step_offset, number
        );
        assert_eq!(members, expected);
        assert!(span as usize <= size_of::<AxisUniforms>());

        let (random, _) = validate(&random(Draw::Uniform));
        let (members, span) = layout(&random, "Uniforms");
        let expected = offsets!(
            RandomUniforms: count, x_first, dy_first, out_first, block_low, block_high, skip,
            stream_low, stream_high, seed_low, seed_high, lower, width, width_rest, zero
        );
        assert_eq!(members, expected);
        assert!(span as usize <= size_of::<RandomUniforms>());
        let shaped = SHAPED[SHAPED.len() - 1];
        let text = shaped_softmax(AxisFunction::Softmax, Pass::Backward, shaped, Unit::One);
        let (shaped_module, _) = validate(&text);
        let (members, span) = layout(&shaped_module, "Shaping");
        let expected = offsets!(
            ShapingUniforms: mask_first, bias_first, lengths_first, sinks_first, mask_step,
            bias_step, keys, causal, diagonal, cap_hi, cap_lo, sink, turn, nan_rows, count,
            padding_0, scale, rate, dimensions
        );
        assert_eq!(members, expected);
        assert!(span as usize <= size_of::<ShapingUniforms>());
        let (members, span) = layout(&shaped_module, "Factor");
        let expected = offsets!(
            FactorUniforms: hi, lo, pre, mid, post, exponent, rest, padding
        );
        assert_eq!(members, expected);
        assert_eq!(span as usize, size_of::<FactorUniforms>());
        let (members, span) = layout(&shaped_module, "Dimension");
        let mut expected = offsets!(DimensionUniforms: size, mask, bias, lengths, sinks, query);
        let padding = offset_of!(DimensionUniforms, padding) as u32;
        expected.extend((0..2).map(|i| (format!("padding_{i}"), padding + 4 * i)));
        assert_eq!(members, expected);
        assert_eq!(span as usize, size_of::<DimensionUniforms>());

        let (_, span) = layout(&module, "Row");
        let strides = module.types.iter().filter_map(|(_, ty)| match ty.inner {
            TypeInner::Array { base, stride, .. } => {
                (module.types[base].name.as_deref() == Some("Row")).then_some(stride)
            }
            _ => None,
        });
        for bytes in strides.chain([span]) {
            assert_eq!(u64::from(bytes), PARTIAL_BYTES);
        }
    }

    #[test]
    fn gates_bind_what_they_use() {
        for (name, lanes, text) in gate::modules() {
            let (module, info) = validate(&text);
            for &entry in gate::entry_points(lanes) {
                let used = used(&module, &info, entry);
                assert_eq!(used, bound(&gate_slots(entry)), "{name}, {entry}");
            }
        }
        let text = gate(Activation::Swish, true, Lanes::One);
        let (members, span) = layout(&validate(&text).0, "Uniforms");
        let mut expected = offsets!(
            GateUniforms: count, half, x_first, gate_first, dy_first, out_first, out_gate_first,
            gate_leads
        );
        let at = offset_of!(GateUniforms, parameters) as u32;
        expected.extend([("p0".to_owned(), at), ("p1".to_owned(), at + 4)]);
        expected.extend(offsets!(GateUniforms: limit, offset, zero));
        assert_eq!(members, expected);
        assert!(span as usize <= size_of::<GateUniforms>());
    }

    #[test]
    fn prelu_binds_what_it_uses() {
        for bend in Bend::ALL {
            let (module, info) = validate(&prelu(bend));
            for entry in ["forward", "backward"] {
                let used = used(&module, &info, entry);
                assert_eq!(used, bound(&prelu_slots(entry)), "{bend:?}, {entry}");
            }
            let (members, span) = layout(&module, "Uniforms");
            let expected = offsets!(
                PreluUniforms: count, index, x_first, dy_first, out_first, slope_first, r1, k2,
                r2, k3, r3, zero
            );
            assert_eq!(members, expected);
            assert!(span as usize <= size_of::<PreluUniforms>());
        }
    }

    #[test]
    fn sums_bind_what_they_use() {
        for term in reduce::terms() {
            let (module, info) = validate(&reduce(term));
            for entry in reduce::ENTRY_POINTS {
                let used = used(&module, &info, entry);
                assert_eq!(used, bound(&sum_slots(term, entry)), "{term:?}, {entry}");
            }
            let (members, span) = layout(&module, "Uniforms");
            let mut expected = offsets!(
                SumUniforms: len, r1, k2, r2, k3, r3, rows, lanes, segment, columns, x_first,
                dy_first, out_first, from_first, from_slots, to_first, to_slots
            );
            let at = offset_of!(SumUniforms, parameters) as u32;
            expected.extend([("p0".to_owned(), at), ("p1".to_owned(), at + 4)]);
            expected.extend(offsets!(SumUniforms: divisor, zero));
            assert_eq!(members, expected);
            assert!(span as usize <= size_of::<SumUniforms>());
        }
    }

    /// What is fused stands in a caller's shader, and bindings stay the caller's.
    #[test]
    fn a_callers_shader_fuses_an_activation() {
        let infinite = Activation::Hardtanh
            .with([("max_val", f32::INFINITY)])
            .unwrap();
        let celu = Activation::Celu.with([("alpha", -1e-38)]).unwrap();
        for f in [Activation::Mish.into(), infinite, celu] {
            let fused = fused([("activate", f)]).unwrap();
            let text = format!(
                "{fused}\n@group(0) @binding(0) var<storage, read_write> data: array<f32>;\n\
                 @compute @workgroup_size(64)\n\
                 fn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n    \
                 data[id.x] = activate(data[id.x]) + activate_grad(data[id.x]);\n}}"
            );
            let (module, info) = validate(&text);
            assert_eq!(used(&module, &info, "main"), [(0, false, true)]);
        }
    }
}
