//! Many arrays in one submission: packed side by side, so that all of a function are one
//! dispatch, all that goes up is one write and all that comes down is one copy.

use super::Gpu;
use super::stream::{HostWait, Job, Target, run};
use crate::arrays::{Data, DataMut};
use crate::axis::AxisFunction;
use crate::catalogue::Elementwise;
use crate::cpu::convert::{narrow_into, widened};
use crate::element::Element;
use crate::error::Result;
use crate::many::{Function, Item};
use crate::operation::{Piece, Words};
use crate::shape::AxisShape;
use std::collections::HashMap;
use std::ops::Range;

/// Arrays that are one dispatch: of one function, and of one length of rows.
enum Group {
    Elementwise(Elementwise),
    Axis(AxisFunction, AxisShape),
}

/// A group with its items, by their numbers.
struct Members {
    group: Group,
    items: Vec<usize>,
    /// Elements of the results, and of the inputs where those lie elsewhere.
    results: usize,
    inputs: usize,
}

/// Items by what they share.
#[derive(Default)]
struct Groups {
    all: Vec<Members>,
    /// Where the groups along an axis are, by function, length and stride of a row.
    by_rows: HashMap<(AxisFunction, usize, usize), usize>,
}

impl Groups {
    /// The group that an item belongs to.
    fn of(&mut self, function: Function) -> &mut Members {
        let new = |group| Members {
            group,
            items: Vec::new(),
            results: 0,
            inputs: 0,
        };
        let next = self.all.len();
        let index = match function {
            Function::Elementwise(f) => {
                let same = |m: &Members| matches!(m.group, Group::Elementwise(g) if g == f);
                let found = self.all.iter().position(same);
                found.unwrap_or_else(|| {
                    self.all.push(new(Group::Elementwise(f)));
                    next
                })
            }
            Function::Axis(g, shape) => {
                let key = (g, shape.len, shape.inner);
                *self.by_rows.entry(key).or_insert_with(|| {
                    self.all
                        .push(new(Group::Axis(g, AxisShape { outer: 0, ..shape })));
                    next
                })
            }
        };
        &mut self.all[index]
    }
}

/// Where a group lies in the packed array.
struct Placed {
    group: Group,
    results: Range<usize>,
    /// Where they are not in the place of the results.
    inputs: Option<Range<usize>>,
}

impl Gpu {
    /// The functions of all items, none of which is empty, in one submission.
    pub(crate) async fn many_host<T: Element>(
        &self,
        items: &[Item<'_, T>],
        wait: HostWait,
    ) -> Result<Vec<Vec<T>>> {
        let mut groups = Groups::default();
        for (i, item) in items.iter().enumerate() {
            let members = groups.of(item.function);
            members.items.push(i);
            members.results += item.results();
            if let (Group::Axis(function, shape), Function::Axis(_, of)) =
                (&mut members.group, item.function)
            {
                shape.outer += of.outer;
                if function.reduces() {
                    members.inputs += item.x.len();
                }
            }
        }

        // Results first, then the inputs that are not in their place: what comes down is the
        // beginning of what goes up.
        let traits = self.inner.kernels.traits();
        let alignment = (traits.alignment as usize / size_of::<f32>()).max(1);
        let mut end = 0usize;
        let mut place = |elements: usize| {
            let start = end.next_multiple_of(alignment);
            end = start + elements;
            start..end
        };
        let results: Vec<Range<usize>> = groups.all.iter().map(|m| place(m.results)).collect();
        let inputs = groups
            .all
            .iter()
            .map(|m| (m.inputs > 0).then(|| place(m.inputs)));
        let inputs: Vec<Option<Range<usize>>> = inputs.collect();
        let down = results.last().map_or(0, |range| range.end);
        let mut packed = vec![0.0; end];
        let mut placed = Vec::with_capacity(groups.all.len());
        let mut places = vec![0..0; items.len()];
        for ((members, results), inputs) in groups.all.into_iter().zip(results).zip(inputs) {
            let mut at = inputs.as_ref().unwrap_or(&results).start;
            let mut result = results.start;
            for i in members.items {
                let item = &items[i];
                let next = at + item.x.len();
                packed[at..next].copy_from_slice(&widened(item.x));
                at = next;
                places[i] = result..result + item.results();
                result += item.results();
            }
            placed.push(Placed {
                group: members.group,
                results,
                inputs,
            });
        }

        let mut out = vec![0.0; down];
        let piece = Piece {
            inputs: std::iter::once(0..end).collect(),
            outputs: std::iter::once(0..down).collect(),
        };
        run(
            &self.inner,
            Job {
                inputs: &[Words::new(Data::F32(&packed))],
                outputs: &mut [Target::new(DataMut::F32(&mut out), true)],
                in_last_input: true,
            },
            [piece].into_iter(),
            wait.0,
            |kernels, pass, slices, _| {
                let part = |range: &Range<usize>| {
                    let bytes = (range.start * 4) as u64..(range.end * 4) as u64;
                    slices[0].slice(bytes)
                };
                placed.iter().try_for_each(|placed| {
                    let out = part(&placed.results);
                    match (&placed.group, &placed.inputs) {
                        (Group::Elementwise(f), _) => kernels.map_in_place(pass, *f, out),
                        (Group::Axis(g, shape), None) => {
                            kernels.apply_axis_in_place(pass, *g, shape, out)
                        }
                        (Group::Axis(g, shape), Some(inputs)) => {
                            kernels.apply_axis(pass, *g, shape, part(inputs), out)
                        }
                    }
                })
            },
        )
        .await?;
        let results = places.into_iter().map(|range| &out[range]);
        Ok(results
            .map(|wide| {
                let mut y = vec![T::default(); wide.len()];
                narrow_into(wide, &mut y);
                y
            })
            .collect())
    }
}
