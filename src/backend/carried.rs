//! A call's arguments on their way to another thread. A future may be dropped, or forgotten, while
//! that works, so that it must own what it reads: arrays are copied, piece by piece.

use crate::arrays::{Array, Data, Owned};
use crate::catalogue::Elementwise;
use crate::chain::Chain;
use crate::cpu::threads::{PIECE, Place, elsewhere, pause};
use crate::element::Element;
use crate::random::Random;
use crate::statistics::Inspect;

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

values!(Elementwise, Random);
references!(Inspect);

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

/// An array that is another thread's.
pub(crate) async fn array(array: &Array<'_>) -> Array<'static> {
    let data = match array.data() {
        Data::F32(x) => Owned::F32(copied(x).await),
        Data::F16(x) => Owned::F16(copied(x).await),
        Data::Bf16(x) => Owned::Bf16(copied(x).await),
        Data::U8(x) => Owned::U8(copied(x).await),
        Data::U32(x) => Owned::U32(copied(x).await),
        Data::I32(x) => Owned::I32(copied(x).await),
        Data::I64(x) => Owned::I64(copied(x).await),
        // Invariant: calls of arrays in host memory are given no others.
        Data::Device(_) => unreachable!("an array on a device"),
    };
    array.with_data(data)
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
