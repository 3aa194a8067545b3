//! A call's arguments on their way to another thread. A future may be dropped, or forgotten, while
//! that works, so that it must own what it reads: arrays are copied, piece by piece.

use crate::axis::AxisFunction;
use crate::catalogue::Elementwise;
use crate::chain::Chain;
use crate::cpu::threads::{PIECE, Place, elsewhere, pause};
use crate::element::Element;
use crate::gate::Gate;
use crate::gumbel::GumbelSoftmax;
use crate::loss::{BceWithLogits, BinaryCrossEntropy, CrossEntropy, NllLoss, Targets};
use crate::prelu::Prelu;
use crate::random::Random;
use crate::rrelu::Rrelu;
use crate::shaping::{Settings, Shaping};
use crate::sparse::SparseFunction;
use crate::statistics::Inspect;
use std::marker::PhantomData;

/// Elements that a call computes on the thread of its executor: some hundred microseconds of the
/// slowest functions.
pub(crate) const FEW: usize = 16 * 1024;

/// An argument that can be carried to another thread.
pub(crate) trait Carry: Sync {
    type Owned: Lend + Send + 'static;

    /// Elements that a call goes over for it.
    fn elements(&self) -> usize {
        0
    }

    /// How many times a call goes over its elements for it.
    fn passes(&self) -> usize {
        1
    }

    /// What it is on the other thread.
    fn carried(&self) -> impl Future<Output = Self::Owned> + Send;
}

/// What was carried, as the argument that it was.
pub(crate) trait Lend {
    type Lent<'a>
    where
        Self: 'a;

    fn lent(&self) -> Self::Lent<'_>;
}

/// What was lent, as the call takes it.
pub(crate) trait Give<'a> {
    type Given;

    fn given(&'a self) -> Self::Given;
}

impl<T: Copy> Give<'_> for T {
    type Given = T;

    fn given(&self) -> T {
        *self
    }
}

/// A value that is copied.
pub(crate) struct Value<T>(T);

impl<T: Copy> Lend for Value<T> {
    type Lent<'a>
        = T
    where
        T: 'a;

    fn lent(&self) -> T {
        self.0
    }
}

/// A value instead of the reference to it.
pub(crate) struct Kept<T>(T);

impl<T> Lend for Kept<T> {
    type Lent<'a>
        = &'a T
    where
        T: 'a;

    fn lent(&self) -> &T {
        &self.0
    }
}

macro_rules! values {
    ($($type:ty),*) => {
        $(impl Carry for $type {
            type Owned = Value<Self>;

            async fn carried(&self) -> Value<Self> {
                Value(*self)
            }
        })*
    };
}

macro_rules! references {
    ($($type:ty),*) => {
        $(impl Carry for &$type {
            type Owned = Kept<$type>;

            async fn carried(&self) -> Kept<$type> {
                Kept((*self).clone())
            }
        })*
    };
}

values!(
    AxisFunction,
    Elementwise,
    GumbelSoftmax,
    Random,
    Rrelu,
    SparseFunction,
    isize
);
references!(
    Gate,
    Prelu,
    Inspect,
    CrossEntropy,
    NllLoss,
    BceWithLogits,
    BinaryCrossEntropy
);

/// A number of elements.
impl Carry for usize {
    type Owned = Value<Self>;

    fn elements(&self) -> usize {
        *self
    }

    async fn carried(&self) -> Value<Self> {
        Value(*self)
    }
}

impl Carry for &Chain {
    type Owned = Kept<Chain>;

    fn passes(&self) -> usize {
        self.steps().len().max(1)
    }

    async fn carried(&self) -> Kept<Chain> {
        Kept((*self).clone())
    }
}

impl Carry for &str {
    type Owned = String;

    async fn carried(&self) -> String {
        (*self).to_owned()
    }
}

impl Lend for String {
    type Lent<'a> = &'a str;

    fn lent(&self) -> &str {
        self
    }
}

/// A copy, made in pieces.
pub(crate) async fn copied<T: Copy + Sync + Send>(array: &[T]) -> Vec<T> {
    let mut copy = Vec::with_capacity(array.len());
    for (i, piece) in array.chunks(PIECE).enumerate() {
        if i > 0 {
            pause().await;
        }
        copy.extend_from_slice(piece);
    }
    copy
}

/// Where results go: as many numbers, of that type.
pub(crate) struct Like<T> {
    length: usize,
    number: PhantomData<T>,
}

pub(crate) fn like<T: Element>(out: &[T]) -> Like<T> {
    Like {
        length: out.len(),
        number: PhantomData,
    }
}

impl<T: Element> Like<T> {
    pub(crate) fn zeros(&self) -> Vec<T> {
        vec![T::default(); self.length]
    }
}

/// Writes results to where they belong, in pieces.
pub(crate) async fn copy_back<T: Element>(results: Vec<T>, out: &mut [T]) {
    for (i, (piece, out)) in results.chunks(PIECE).zip(out.chunks_mut(PIECE)).enumerate() {
        if i > 0 {
            pause().await;
        }
        out.copy_from_slice(piece);
    }
    // To give memory back takes as long as to copy it.
    if results.len() > PIECE {
        elsewhere(Place::Pool, async move || drop(results)).await;
    }
}

impl<T: Element> Carry for &[T] {
    type Owned = Vec<T>;

    fn elements(&self) -> usize {
        self.len()
    }

    async fn carried(&self) -> Vec<T> {
        copied(self).await
    }
}

/// A shape.
impl Carry for &[usize] {
    type Owned = Vec<usize>;

    async fn carried(&self) -> Vec<usize> {
        self.to_vec()
    }
}

impl<T> Lend for Vec<T> {
    type Lent<'a>
        = &'a [T]
    where
        T: 'a;

    fn lent(&self) -> &[T] {
        self
    }
}

pub(crate) enum OwnTargets {
    Indices(Vec<i64>),
    Indices32(Vec<i32>),
    Probabilities(Vec<f32>),
}

impl Carry for Targets<'_> {
    type Owned = OwnTargets;

    fn elements(&self) -> usize {
        match self {
            Self::Indices(classes) => classes.len(),
            Self::Indices32(classes) => classes.len(),
            Self::Probabilities(probabilities) => probabilities.len(),
        }
    }

    async fn carried(&self) -> OwnTargets {
        match self {
            Self::Indices(classes) => OwnTargets::Indices(copied(classes).await),
            Self::Indices32(classes) => OwnTargets::Indices32(copied(classes).await),
            Self::Probabilities(q) => OwnTargets::Probabilities(copied(q).await),
        }
    }
}

impl Lend for OwnTargets {
    type Lent<'a> = Targets<'a>;

    fn lent(&self) -> Targets<'_> {
        match self {
            Self::Indices(classes) => Targets::Indices(classes),
            Self::Indices32(classes) => Targets::Indices32(classes),
            Self::Probabilities(probabilities) => Targets::Probabilities(probabilities),
        }
    }
}

/// An array with its shape.
type Shaped<T> = (Vec<T>, Vec<usize>);

async fn shaped<T: Copy + Send + Sync>((array, shape): (&[T], &[usize])) -> Shaped<T> {
    (copied(array).await, shape.to_vec())
}

fn lent<T>((array, shape): &Shaped<T>) -> (&[T], &[usize]) {
    (array, shape)
}

/// Operands with their shapes.
impl Carry for &[(&[f32], &[usize])] {
    type Owned = OwnOperands;

    fn elements(&self) -> usize {
        self.iter().map(|(array, _)| array.len()).sum()
    }

    async fn carried(&self) -> OwnOperands {
        let mut all = Vec::with_capacity(self.len());
        for &operand in *self {
            all.push(shaped(operand).await);
        }
        OwnOperands(all)
    }
}

pub(crate) struct OwnOperands(Vec<Shaped<f32>>);
pub(crate) struct LentOperands<'a>(Vec<(&'a [f32], &'a [usize])>);

impl Lend for OwnOperands {
    type Lent<'a> = LentOperands<'a>;

    fn lent(&self) -> LentOperands<'_> {
        LentOperands(self.0.iter().map(lent).collect())
    }
}

impl<'a, 'b: 'a> Give<'a> for LentOperands<'b> {
    type Given = &'a [(&'b [f32], &'b [usize])];

    fn given(&'a self) -> Self::Given {
        &self.0
    }
}

pub(crate) struct OwnShaping {
    mask: Option<Shaped<u8>>,
    bias: Option<Shaped<f32>>,
    lengths: Option<Shaped<u32>>,
    sinks: Option<Shaped<f32>>,
    settings: Settings,
}

impl Carry for &Shaping<'_> {
    type Owned = OwnShaping;

    fn elements(&self) -> usize {
        let mask = self.mask.map_or(0, |(mask, _)| mask.len());
        mask + self.bias.map_or(0, |(bias, _)| bias.len())
    }

    async fn carried(&self) -> OwnShaping {
        async fn some<T: Copy + Send + Sync>(array: Option<(&[T], &[usize])>) -> Option<Shaped<T>> {
            match array {
                Some(array) => Some(shaped(array).await),
                None => None,
            }
        }
        OwnShaping {
            mask: some(self.mask).await,
            bias: some(self.bias).await,
            lengths: some(self.lengths).await,
            sinks: some(self.sinks).await,
            settings: self.settings,
        }
    }
}

/// A shaping by value, which the call takes by reference.
pub(crate) struct LentShaping<'a>(Shaping<'a>);

impl Lend for OwnShaping {
    type Lent<'a> = LentShaping<'a>;

    fn lent(&self) -> LentShaping<'_> {
        LentShaping(Shaping {
            mask: self.mask.as_ref().map(lent),
            bias: self.bias.as_ref().map(lent),
            lengths: self.lengths.as_ref().map(lent),
            sinks: self.sinks.as_ref().map(lent),
            settings: self.settings,
        })
    }
}

impl<'a, 'b: 'a> Give<'a> for LentShaping<'b> {
    type Given = &'a Shaping<'b>;

    fn given(&'a self) -> Self::Given {
        &self.0
    }
}
