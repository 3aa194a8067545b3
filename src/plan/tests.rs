//! Plans held against what they promise: everything is covered exactly once, and nothing passes
//! a limit of the device, for any shape and any limits.

use super::{Strategy, *};
use proptest::prelude::{
    Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest,
};
// The trait's name is that of a plan's strategy here.
use proptest::strategy::Strategy as Generator;

/// What a desktop GPU has.
const HARDWARE: Traits = Traits {
    max_binding: 2 << 30,
    alignment: 32,
    max_groups: 65_535,
    max_invocations: 1024,
    software: false,
    walk: Walk::of(false, false),
    quirks: Quirks {
        barriers: false,
        loops: false,
    },
};

/// What lavapipe has.
const SOFTWARE: Traits = Traits {
    max_binding: 128 << 20,
    alignment: 16,
    max_groups: 65_535,
    max_invocations: 1024,
    software: true,
    walk: Walk::of(true, true),
    quirks: Quirks {
        barriers: false,
        loops: false,
    },
};

/// The least that WebGPU promises.
const DOWNLEVEL: Traits = Traits {
    max_binding: 128 << 20,
    alignment: 256,
    max_groups: 65_535,
    max_invocations: 256,
    software: false,
    walk: Walk::of(false, false),
    quirks: Quirks {
        barriers: false,
        loops: false,
    },
};

/// Limits of all sizes, down to some that no device has.
fn any_traits() -> impl Generator<Value = Traits> {
    let alignments = prop::sample::select(vec![16u64, 32, 64, 256]);
    let groups = prop::sample::select(vec![4u32, 7, 100, 65_535]);
    let invocations = prop::sample::select(vec![1u32, 32, 100, 256, 1024]);
    let bindings = (256u64..=(1 << 14)).prop_map(|words| words * 4);
    let bindings = prop_oneof![bindings, Just(1024), Just(128 << 20), Just((4 << 30) - 4)];
    let flags = [any::<bool>(), any::<bool>(), any::<bool>()];
    (bindings, alignments, groups, invocations, flags).prop_map(
        |(max_binding, alignment, max_groups, max_invocations, flags)| {
            let [software, barriers, loops] = flags;
            Traits {
                max_binding,
                alignment,
                max_groups,
                max_invocations,
                software,
                walk: Walk::of(software, loops),
                quirks: Quirks { barriers, loops },
            }
        },
    )
}

/// What is wrong with the chunks of an element-wise operation.
fn check_chunks(elements: u64, traits: &Traits, chunks: &[Chunk]) -> Result<(), String> {
    let mut next = 0;
    for chunk in chunks {
        let Chunk { start, len } = *chunk;
        if start != next || len == 0 {
            return Err(format!("{chunk:?} where {next} comes next"));
        }
        if !(start * 4).is_multiple_of(traits.alignment) {
            return Err(format!("{chunk:?} is misaligned"));
        }
        if len * 4 > traits.max_binding {
            return Err(format!("{chunk:?} cannot be bound"));
        }
        let groups = (len / 4).div_ceil(u64::from(traits.elementwise_workgroup()));
        check_fold(groups, traits)?;
        next += len;
    }
    if next == elements {
        Ok(())
    } else {
        Err(format!("{next} of {elements} are covered"))
    }
}

fn check_fold(groups: u64, traits: &Traits) -> Result<(), String> {
    if groups > traits.most_groups() {
        return Err(format!("{groups} workgroups"));
    }
    let [columns, rows] = traits.fold(groups).map(u64::from);
    let most = u64::from(traits.max_groups);
    // Less than a row of surplus workgroups.
    let tight = columns * rows < groups + rows.max(1);
    if columns <= most && rows <= most && columns * rows >= groups && tight {
        Ok(())
    } else {
        Err(format!("{groups} workgroups as {columns} x {rows}"))
    }
}

/// What is wrong with a plan.
fn check_axis(shape: &AxisShape, traits: &Traits, plan: &AxisPlan) -> Result<(), String> {
    let (outer, len, inner) = (shape.outer as u64, shape.len as u64, shape.inner as u64);
    let workgroup = u64::from(plan.workgroup);
    if workgroup == 0 || plan.workgroup > traits.max_invocations {
        return Err(format!("workgroups of {workgroup}"));
    }
    let alone = plan.strategy != Strategy::RowPerWorkgroup && plan.merging == 1;
    if traits.quirks.barriers && !alone {
        return Err("invocations meet at barriers that do not hold".to_owned());
    }
    // Blocks in order, each whole or in parts that are in order.
    let (mut block, mut step) = (0, 0);
    for chunk in &plan.chunks {
        if chunk.first_outer != block || chunk.first_step != step || chunk.outer == 0 {
            return Err(format!(
                "{chunk:?} where block {block}, step {step} come next"
            ));
        }
        if plan.chunks_per_row > 1 && chunk.outer != 1 {
            return Err(format!("{chunk:?} is a part of several blocks"));
        }
        step += chunk.steps;
        if step >= len {
            (block, step) = (block + chunk.outer, step - len);
        }
        // A binding begins less than an alignment before the first element.
        let bytes = (chunk.outer * chunk.steps.max(1) * inner) * 4 + traits.alignment - 4;
        if bytes > traits.max_binding {
            return Err(format!("{chunk:?} binds {bytes} bytes"));
        }
        let rows = chunk.outer * inner;
        let invocations = match plan.strategy {
            Strategy::RowPerInvocation => rows,
            Strategy::RowPerWorkgroup => rows * workgroup,
            Strategy::Split { lanes, .. } => rows * u64::from(lanes),
        };
        check_fold(invocations.div_ceil(workgroup), traits)?;
    }
    if (block, step) != (outer, 0) {
        return Err(format!("covered to block {block}, step {step}"));
    }
    if !(plan.chunks.len() as u64).is_multiple_of(plan.chunks_per_row) {
        return Err("the last row lacks a part".to_owned());
    }
    if let Strategy::Split { lanes, .. } = plan.strategy {
        let rows = if plan.chunks_per_row > 1 {
            inner
        } else {
            outer * inner
        };
        // And the combined result.
        let partials = rows * (u64::from(lanes) * plan.chunks_per_row + 1);
        let bytes = partials * PARTIAL_BYTES;
        if lanes == 0 || bytes > traits.max_binding || bytes > 16 << 20 {
            return Err(format!("{bytes} bytes of partial results"));
        }
        // The combination has a workgroup for each row, and may write a value for each.
        check_fold(rows, traits)?;
        if rows * 4 + traits.alignment - 4 > traits.max_binding {
            return Err(format!("{rows} rows at once"));
        }
    } else if plan.chunks_per_row != 1 {
        return Err("cut rows that are not split".to_owned());
    }
    let longest = plan
        .chunks
        .iter()
        .map(|chunk| chunk.steps)
        .max()
        .unwrap_or(0);
    let steps = match plan.strategy {
        Strategy::RowPerInvocation => longest,
        Strategy::RowPerWorkgroup => longest.div_ceil(workgroup),
        Strategy::Split { lanes, segment: 0 } => longest.div_ceil(u64::from(lanes)),
        Strategy::Split { lanes, segment } => {
            if u64::from(lanes) * u64::from(segment) < longest {
                return Err(format!("{lanes} segments of {segment} for {longest} steps"));
            }
            segment.into()
        }
    };
    // Three loops over an element, a turn more for each block, and llvmpipe's end of all loops.
    let cut = traits.software || traits.quirks.loops;
    if cut && steps * 3 + steps / 16 > 65_535 {
        return Err(format!("{steps} steps an invocation"));
    }
    Ok(())
}

fn shape(outer: usize, len: usize, inner: usize) -> AxisShape {
    AxisShape { outer, len, inner }
}

/// A plan that is there and right.
fn planned(shape: AxisShape, traits: &Traits) -> AxisPlan {
    let plan = axis(&shape, traits).unwrap_or_else(|| panic!("no plan for {shape:?}"));
    if let Err(error) = check_axis(&shape, traits, &plan) {
        panic!("{shape:?} on {traits:?}: {error}\n{:?}", plan.strategy);
    }
    plan
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn chunks_cover_every_element_once(
        traits in any_traits(),
        binding_counts in 0u64..50,
        rest in -5i64..6,
        sign in prop::sample::select(vec![1u64, 1000]),
    ) {
        let elements = (traits.max_binding / 4 * binding_counts / sign).saturating_add_signed(rest);
        // Dispatches of few workgroups cut more than bindings do.
        let elements = elements.min(traits.most_groups() * 64 * 5000);
        let chunks: Vec<Chunk> = chunks(elements, &traits).collect();
        if let Err(error) = check_chunks(elements, &traits, &chunks) {
            prop_assert!(false, "{elements} on {traits:?}: {error}");
        }
    }

    #[test]
    fn folds_hold_all_workgroups(traits in any_traits(), share in 0.0f64..=1.0) {
        // Rounding may pass the end.
        let groups = ((traits.most_groups() as f64 * share) as u64).clamp(1, traits.most_groups());
        for groups in [groups, 1, traits.most_groups(), u64::from(traits.max_groups)] {
            prop_assert_eq!(check_fold(groups, &traits), Ok(()));
        }
    }

    #[test]
    fn plans_cover_every_step_once(
        traits in any_traits(),
        outer in 0usize..2000,
        len in prop_oneof![0usize..70, 0usize..100_000],
        inner in prop_oneof![Just(1usize), 0usize..200, 0usize..5000],
    ) {
        let shape = shape(outer, len, inner);
        // Millions of one-step chunks would say no more than thousands.
        let blocks_a_binding = traits.max_binding / 4 / (len * inner).max(1) as u64;
        prop_assume!(blocks_a_binding > 0 || outer * len * inner / (traits.max_binding as usize) < 10_000);
        if let Some(plan) = axis(&shape, &traits) {
            let found = check_axis(&shape, &traits, &plan);
            prop_assert!(found.is_ok(), "{:?} on {:?}: {:?}, {:?}", shape, traits, found, plan.strategy);
        }
    }

    /// On limits that devices have, a block that can be bound has a plan.
    #[test]
    fn bindable_blocks_are_planned(
        outer in 1usize..100_000,
        len in prop_oneof![1usize..100, 1usize..100_000],
        inner in prop_oneof![Just(1usize), 1usize..300],
        traits in prop::sample::select(vec![HARDWARE, SOFTWARE, DOWNLEVEL]),
    ) {
        // No more blocks than a buffer of 4 GiB holds.
        let outer = outer.min((1 << 30) / (len * inner));
        let shape = shape(outer, len, inner);
        prop_assume!(len * inner * 4 + 256 <= 128 << 20);
        planned(shape, &traits);
    }
}

/// The sizes that shapes are known to break at.
#[test]
fn extreme_shapes_have_plans() {
    const MILLION: usize = 1_000_000;
    for traits in [HARDWARE, SOFTWARE, DOWNLEVEL] {
        for (outer, len, inner) in [
            (0, 5, 1),
            (0, 5, 7),
            (1, 1, 1),
            (1, 2, 1),
            (10 * MILLION, 2, 1),
            (1, 10 * MILLION, 1),
            (1, 2, 10 * MILLION),
            (8, 512, 64),
            (8, 64, 512),
            (40 * MILLION, 1, 1),
            (65_535 * 64 + 1, 1, 1),
            (1, 65_535, 65),
            (3, 1, 30 * MILLION),
            (1, 400 * MILLION, 1),
            (3, 40 * MILLION, 1),
            (2, 10 * MILLION, 5),
            (1, MILLION, 64),
            (1, 40 * MILLION, 2),
            (100, 100_000, 64),
            (1, 100_000, 100),
            // No elements, but a value for each row of a function that reduces.
            (5, 0, 3),
            (100 * MILLION, 0, 1),
            (MILLION, 0, 1000),
        ] {
            planned(shape(outer, len, inner), &traits);
        }
    }
}

/// One step that no binding holds is the caller's to tile; an axis of larger blocks is cut.
#[test]
fn blocks_larger_than_a_binding_are_cut_or_refused() {
    let wide = shape(1, 2, 40_000_000);
    assert_eq!(axis(&wide, &SOFTWARE), None);
    assert_eq!(axis(&wide, &DOWNLEVEL), None);
    let whole = planned(wide, &HARDWARE);
    assert_eq!(whole.chunks_per_row, 1);
    for (outer, len, inner) in [(1, 40_000_000, 1), (3, 40_000_000, 1), (2, 10_000_000, 5)] {
        let cut = planned(shape(outer, len, inner), &SOFTWARE);
        assert!(cut.chunks_per_row > 1, "{cut:?}");
        assert_eq!(cut.chunks.len() as u64, outer as u64 * cut.chunks_per_row);
        assert!(
            matches!(cut.strategy, Strategy::Split { lanes, .. } if lanes > 1),
            "{cut:?}"
        );
    }
}

fn name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::RowPerInvocation => "row per invocation",
        Strategy::RowPerWorkgroup => "row per workgroup",
        Strategy::Split { .. } => "split",
    }
}

/// Each kind of device takes the strategies that suit it, and hardware all three.
#[test]
fn strategies_follow_the_shape() {
    let shapes = [
        shape(1_000_000, 2, 1),
        shape(8, 512, 64),
        shape(4096, 1024, 1),
        shape(64, 100_000, 1),
        shape(1, 10_000_000, 1),
        shape(2, 100_000, 3),
    ];
    let taken = |traits: &Traits| {
        let names = shapes
            .iter()
            .map(|&shape| name(planned(shape, traits).strategy));
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let all = ["row per invocation", "row per workgroup", "split"];
    assert_eq!(taken(&HARDWARE), all.into());
    // A barrier costs a software adapter more than the whole row.
    assert_eq!(taken(&SOFTWARE), ["row per invocation", "split"].into());
}

/// The harness itself: plans with a gap, an overlap, or past a limit are seen.
#[test]
fn wrong_plans_are_seen() {
    let rows = shape(100, 1000, 1);
    let good = planned(rows, &SOFTWARE);
    let wrong = |change: fn(&mut AxisPlan)| {
        let mut plan = good.clone();
        change(&mut plan);
        check_axis(&rows, &SOFTWARE, &plan)
    };
    for (what, change) in [
        (
            "nothing",
            (|plan| plan.chunks = Few::default()) as fn(&mut AxisPlan),
        ),
        ("a block too few", |plan| plan.chunks[0].outer -= 1),
        ("a block too many", |plan| plan.chunks[0].outer += 1),
        ("twice", |plan| plan.chunks.push(plan.chunks[0])),
        ("a step too few", |plan| plan.chunks[0].steps -= 1),
        ("a late start", |plan| plan.chunks[0].first_step += 1),
        ("no workgroup", |plan| plan.workgroup = 0),
        ("a large workgroup", |plan| plan.workgroup = 2048),
        ("much scratch", |plan| {
            plan.strategy = Strategy::Split {
                lanes: 1 << 20,
                segment: 0,
            }
        }),
        ("a long walk", |plan| {
            plan.strategy = Strategy::RowPerInvocation;
            plan.chunks[0].steps = 100_000;
        }),
        ("short segments", |plan| {
            plan.strategy = Strategy::Split {
                lanes: 4,
                segment: 16,
            }
        }),
        ("no lanes", |plan| {
            plan.strategy = Strategy::Split {
                lanes: 0,
                segment: 0,
            }
        }),
    ] {
        assert!(wrong(change).is_err(), "{what} passes");
    }
    let small = Traits {
        max_binding: 1024,
        ..SOFTWARE
    };
    assert!(check_axis(&rows, &small, &good).is_err());
    let quirks = Quirks {
        barriers: true,
        ..Quirks::default()
    };
    assert!(check_axis(&rows, &Traits { quirks, ..SOFTWARE }, &good).is_err());
    let chunks: Vec<Chunk> = chunks(1000, &small).collect();
    assert_eq!(check_chunks(1000, &small, &chunks), Ok(()));
    assert!(check_chunks(1001, &small, &chunks).is_err());
    assert!(check_chunks(1000, &small, &chunks[1..]).is_err());
    assert!(
        check_chunks(
            1000,
            &Traits {
                alignment: 65_536,
                ..small
            },
            &chunks
        )
        .is_err()
    );
    assert!(
        check_chunks(
            1000,
            &Traits {
                max_binding: 512,
                ..small
            },
            &chunks
        )
        .is_err()
    );
    assert!(
        check_fold(
            17,
            &Traits {
                max_groups: 4,
                ..small
            }
        )
        .is_err()
    );
}
