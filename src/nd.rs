//! Arrays of the ndarray crate as inputs and outputs of calls, whatever their strides are.

use crate::arrays::{
    Array, Arrays, DataMut, FromResult, Inputs, Output, Owned, Place, Strided, Value,
};
use crate::element::{DType, Element};
use ndarray::{ArrayBase, ArrayRef, Dimension};

/// The elements where they lie in row-major order, else a copy that does.
fn array<V: Value, D: Dimension>(x: &ArrayRef<V, D>) -> Array<'_> {
    match x.as_slice() {
        Some(slice) => Array::with_shape(V::data(slice), x.shape()),
        None => {
            let copy: Vec<V> = x.iter().copied().collect();
            Array::copied(V::owned(copy), x.shape())
        }
    }
}

impl<'a, V: Value, S: ndarray::Data<Elem = V>, D: Dimension> From<&'a ArrayBase<S, D>>
    for Array<'a>
{
    fn from(x: &'a ArrayBase<S, D>) -> Self {
        array(x)
    }
}

impl<'a, V: Value, D: Dimension> From<&'a ArrayRef<V, D>> for Array<'a> {
    fn from(x: &'a ArrayRef<V, D>) -> Self {
        array(x)
    }
}

impl<'a, T: Element, S: ndarray::Data<Elem = T>, D: Dimension> Inputs<'a> for &'a ArrayBase<S, D> {
    type Number = T;
    type Result = ndarray::Array<T, D>;

    fn arrays(self) -> Arrays<'a> {
        std::iter::once(array(self)).collect()
    }
}

impl<'a, T: Element, D: Dimension> Inputs<'a> for &'a ArrayRef<T, D> {
    type Number = T;
    type Result = ndarray::Array<T, D>;

    fn arrays(self) -> Arrays<'a> {
        std::iter::once(array(self)).collect()
    }
}

/// As many axes as the first input has: one that the operation reduces has length 1.
impl<T: Element, D: Dimension> FromResult<T> for ndarray::Array<T, D> {
    fn from_result(numbers: Vec<T>, shape: &[usize]) -> Self {
        let mut dimensions = D::zeros(shape.len());
        dimensions.slice_mut().copy_from_slice(shape);
        // Invariant: there are as many numbers as the shape says.
        Self::from_shape_vec(dimensions, numbers).expect("numbers of a shape")
    }
}

impl<'a, T: Element, S: ndarray::DataMut<Elem = T>, D: Dimension> Output<'a>
    for &'a mut ArrayBase<S, D>
{
    fn place(self) -> Place<'a> {
        (&mut **self).place()
    }
}

impl<'a, T: Element, D: Dimension> Output<'a> for &'a mut ArrayRef<T, D> {
    fn place(self) -> Place<'a> {
        if self.is_standard_layout() {
            let shape = self.shape().to_vec();
            // Invariant: the standard layout is that of a slice.
            let slice = self.as_slice_mut().expect("an array in standard layout");
            return Place::of_shape(DataMut::of(slice), shape);
        }
        Place::Strided(Box::new(self))
    }
}

impl<T: Element, D: Dimension> Strided for &mut ArrayRef<T, D> {
    fn shape(&self) -> &[usize] {
        (**self).shape()
    }

    fn dtype(&self) -> DType {
        T::DTYPE
    }

    fn put(&mut self, results: Owned) {
        for (to, from) in self.iter_mut().zip(results.into_vec::<T>()) {
            *to = from;
        }
    }
}
