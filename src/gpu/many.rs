//! Many arrays in one submission: packed side by side, so that all of an operation are one
//! dispatch, all that goes up is one write and all that comes down is one copy.

use super::Gpu;
use super::stream::{HostWait, Job, Target, run};
use crate::arrays::{Data, DataMut, TypedSlice};
use crate::cpu::convert::{narrow_into, widened};
use crate::element::Element;
use crate::error::Result;
use crate::many::Item;
use crate::operation::{Operation, Piece, Rows, Words};
use crate::shape::AxisShape;
use std::collections::HashMap;
use std::ops::Range;

/// Items that are one dispatch: of one operation, and of one length and stride of rows.
struct Group<'a> {
    operation: &'a dyn Operation,
    /// All rows together.
    rows: Rows,
    /// The items, by their numbers.
    items: Vec<usize>,
    /// Elements of the results, and of the inputs where those lie elsewhere.
    results: usize,
    inputs: usize,
}

/// Items by what they share.
fn grouped<'a, T: Element>(items: &'a [&Item<'_, T>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut known: HashMap<(String, usize, usize), usize> = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        let AxisShape { outer, len, inner } = item.rows.shape;
        // What it prints are its options; what is numbered begins anew in every array.
        let name = match item.rows.numbered {
            true => i.to_string(),
            false => format!("{:?}", item.operation),
        };
        let key = (name, len, inner);
        let index = *known.entry(key).or_insert_with(|| {
            let shape = AxisShape {
                outer: 0,
                len,
                inner,
            };
            groups.push(Group {
                operation: &*item.operation,
                rows: Rows { shape, ..item.rows },
                items: Vec::new(),
                results: 0,
                inputs: 0,
            });
            groups.len() - 1
        });
        let group = &mut groups[index];
        group.items.push(i);
        group.rows.shape.outer += outer;
        group.results += item.results();
        if !item.rows.in_place {
            group.inputs += item.x().len();
        }
    }
    groups
}

/// Where a group lies in the packed array.
struct Placed<'a> {
    operation: &'a dyn Operation,
    shape: [usize; 3],
    results: Range<usize>,
    /// Where they are not in the place of the results.
    inputs: Option<Range<usize>>,
}

impl Gpu {
    /// The operations of all items, none of which is empty, in one submission.
    pub(crate) async fn many_host<T: Element>(
        &self,
        items: &[&Item<'_, T>],
        wait: HostWait,
    ) -> Result<Vec<Vec<T>>> {
        let groups = grouped(items);
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
        let results: Vec<Range<usize>> = groups.iter().map(|m| place(m.results)).collect();
        let inputs = groups
            .iter()
            .map(|m| (m.inputs > 0).then(|| place(m.inputs)));
        let inputs: Vec<Option<Range<usize>>> = inputs.collect();
        let down = results.last().map_or(0, |range| range.end);
        let mut packed = vec![0.0; end];
        let mut placed = Vec::with_capacity(groups.len());
        let mut places = vec![0..0; items.len()];
        for ((group, results), inputs) in groups.into_iter().zip(results).zip(inputs) {
            let mut at = inputs.as_ref().unwrap_or(&results).start;
            let mut result = results.start;
            for i in group.items {
                let item = &items[i];
                let next = at + item.x().len();
                packed[at..next].copy_from_slice(&widened(item.x()));
                at = next;
                places[i] = result..result + item.results();
                result += item.results();
            }
            let AxisShape { outer, len, inner } = group.rows.shape;
            placed.push(Placed {
                operation: group.operation,
                shape: [outer, len, inner],
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
                    let (operation, out) = (placed.operation, part(&placed.results));
                    let x = placed.inputs.as_ref().map_or(out, part);
                    let x = TypedSlice::f32(x).of_shape(&placed.shape);
                    match placed.inputs {
                        None => kernels.apply_in_place(pass, operation, x),
                        Some(_) => kernels.apply(pass, operation, x, out),
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
