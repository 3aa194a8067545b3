//! NumPy arrays as the library sees them.

use half::{bf16, f16};
use numpy::npyffi::{self, PY_ARRAY_API, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use wgpu_activations::{
    Array, ArrayMut, DType, Gpu, InputKind, Lengths, Mask, OfShape, Result as Computed, Targets,
    Tensor, Value,
};

/// The number that NumPy gave to `ml_dtypes.bfloat16`; 0, a bool's, where nobody asked.
static BFLOAT16: AtomicI32 = AtomicI32::new(0);

/// Makes arrays of `ml_dtypes.bfloat16`, which is told, known.
#[pyfunction]
pub fn set_bfloat16(dtype: &Bound<'_, PyArrayDescr>) {
    BFLOAT16.store(dtype.num(), Ordering::Relaxed);
}

/// The types of elements that the library reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    F32,
    F16,
    Bf16,
    /// A bool, too.
    U8,
    U32,
    I32,
    I64,
}

impl Type {
    fn of(dtype: &Bound<'_, PyArrayDescr>) -> Option<Self> {
        let known = match (dtype.kind(), dtype.itemsize()) {
            (b'f', 4) => Self::F32,
            (b'f', 2) => Self::F16,
            (b'b' | b'u', 1) => Self::U8,
            (b'u', 4) => Self::U32,
            (b'i', 4) => Self::I32,
            (b'i', 8) => Self::I64,
            (_, 2) if is_bfloat16(dtype) => Self::Bf16,
            _ => return None,
        };
        // Of one byte there is no order.
        (known == Self::U8 || dtype.is_native_byteorder() == Some(true)).then_some(known)
    }

    fn is_number(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }
}

fn is_bfloat16(dtype: &Bound<'_, PyArrayDescr>) -> bool {
    let bfloat16 = BFLOAT16.load(Ordering::Relaxed);
    bfloat16 != 0 && dtype.num() == bfloat16
}

/// NumPy's object for a type of the library's.
pub fn descriptor(py: Python<'_>, dtype: DType) -> PyResult<Bound<'_, PyArrayDescr>> {
    match dtype {
        DType::F32 => Ok(numpy::dtype::<f32>(py)),
        DType::F16 => PyArrayDescr::new(py, "float16"),
        // Who has such numbers has imported it.
        DType::Bf16 => PyArrayDescr::new(py, py.import("ml_dtypes")?.getattr("bfloat16")?),
    }
}

/// A kind of inputs as Python has it.
pub fn word(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Numbers => "numbers",
        InputKind::Targets => "targets",
        InputKind::Mask => "mask",
        InputKind::Lengths => "lengths",
    }
}

/// An array of NumPy's that is row-major, aligned and of this machine's byte order, kept while it is
/// read or written.
pub struct Held {
    object: Py<PyAny>,
    data: *mut u8,
    dtype: Type,
    shape: Vec<usize>,
    len: usize,
}

// SAFETY: the memory is the array's, which lives as long as this, and NumPy never moves it. A program that
// writes an array while another thread reads it gets mixed numbers, as from NumPy's own functions, which
// release the interpreter's lock too.
unsafe impl Send for Held {}

impl Held {
    /// The array as it is, where the library can read it so.
    fn of(object: &Bound<'_, PyAny>) -> Option<Self> {
        // SAFETY: an object of the interpreter, which is attached.
        if unsafe { npyffi::PyArray_CheckExact(object.py(), object.as_ptr()) } == 0 {
            return None;
        }
        let array = object.cast::<PyUntypedArray>().ok()?;
        if !array.is_c_contiguous() || !array.is_aligned() {
            return None;
        }
        let dtype = Type::of(&array.dtype())?;
        // SAFETY: it is an array.
        let data = unsafe { (*npyffi::_PyArray_GET_ITEM_DATA(array.as_array_ptr())).data };
        Some(Self {
            object: object.clone().unbind(),
            data: data.cast(),
            dtype,
            shape: array.shape().to_vec(),
            len: array.len(),
        })
    }

    /// An array for an input of this kind; converted where that loses nothing.
    pub fn input(
        object: &Bound<'_, PyAny>,
        kind: InputKind,
        function: &str,
        name: &str,
    ) -> PyResult<Self> {
        let fits = |held: &Self| match kind {
            InputKind::Numbers => held.dtype.is_number(),
            InputKind::Targets => {
                held.dtype.is_number() || matches!(held.dtype, Type::I32 | Type::I64)
            }
            InputKind::Mask => held.dtype == Type::U8,
            InputKind::Lengths => held.dtype == Type::U32,
        };
        if let Some(held) = Self::of(object).filter(fits) {
            return Ok(held);
        }
        let converted = convert(object.py())?.call1((object, word(kind), function, name))?;
        Self::of(&converted).ok_or_else(|| PyTypeError::new_err(format!("{name} is no array")))
    }

    /// A new array of zeros with the type of another one.
    pub fn zeros(py: Python<'_>, shape: &[usize], like: &Held) -> PyResult<Self> {
        let like = like.object.bind(py).cast::<PyUntypedArray>()?.dtype();
        Self::zeros_of(py, shape, like)
    }

    /// A new array of zeros of a type of the library's.
    pub fn zeros_as(py: Python<'_>, shape: &[usize], dtype: DType) -> PyResult<Self> {
        Self::zeros_of(py, shape, descriptor(py, dtype)?)
    }

    /// A new array of f32.
    pub fn f32_zeros(py: Python<'_>, shape: &[usize]) -> PyResult<Self> {
        Self::zeros_of(py, shape, numpy::dtype::<f32>(py))
    }

    fn zeros_of(py: Python<'_>, shape: &[usize], dtype: Bound<'_, PyArrayDescr>) -> PyResult<Self> {
        let mut dims: Vec<npy_intp> = shape.iter().map(|&n| n as npy_intp).collect();
        // SAFETY: as many lengths as it is told; the type's reference is handed over.
        let array = unsafe {
            let (rank, dims) = (dims.len() as i32, dims.as_mut_ptr());
            let array = PY_ARRAY_API.PyArray_Zeros(py, rank, dims, dtype.into_dtype_ptr(), 0);
            Bound::from_owned_ptr_or_err(py, array)?
        };
        Self::of(&array).ok_or_else(|| PyTypeError::new_err("NumPy made no array of zeros"))
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn is_f32(&self) -> bool {
        self.dtype == Type::F32
    }

    /// Whether the two have memory in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        let range = |held: &Self| {
            let size = match held.dtype {
                Type::U8 => 1,
                Type::F16 | Type::Bf16 => 2,
                Type::F32 | Type::U32 | Type::I32 => 4,
                Type::I64 => 8,
            };
            let begin = held.data as usize;
            begin..begin + held.len * size
        };
        let (a, b) = (range(self), range(other));
        a.start < b.end && b.start < a.end
    }

    fn slice<T: Value>(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: whoever asks has looked at the type; aligned, row-major, and kept by `object`.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.len) }
    }

    fn slice_mut<T: Value>(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: as above; and whoever writes it has made sure that nothing else of the call is there.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast(), self.len) }
    }

    pub fn array(&self) -> Array<'_> {
        fn shaped<'a, V: Value>(x: &'a [V], shape: &'a [usize]) -> Array<'a> {
            x.of_shape(shape).into()
        }
        match self.dtype {
            Type::F32 => shaped::<f32>(self.slice(), &self.shape),
            Type::F16 => shaped::<f16>(self.slice(), &self.shape),
            Type::Bf16 => shaped::<bf16>(self.slice(), &self.shape),
            Type::U8 => shaped::<u8>(self.slice(), &self.shape),
            Type::U32 => shaped::<u32>(self.slice(), &self.shape),
            Type::I32 => shaped::<i32>(self.slice(), &self.shape),
            Type::I64 => shaped::<i64>(self.slice(), &self.shape),
        }
    }

    /// The numbers in a tensor of their type; none of what is no real number.
    pub fn upload(&self, gpu: &Gpu) -> Option<Computed<Tensor>> {
        match self.dtype {
            Type::F32 => Some(gpu.upload::<f32>(self.slice(), &self.shape)),
            Type::F16 => Some(gpu.upload::<f16>(self.slice(), &self.shape)),
            Type::Bf16 => Some(gpu.upload::<bf16>(self.slice(), &self.shape)),
            _ => None,
        }
    }

    /// A mask on a device.
    pub fn upload_mask(&self, gpu: &Gpu) -> Option<Computed<Mask>> {
        (self.dtype == Type::U8).then(|| gpu.upload_mask(self.slice(), &self.shape))
    }

    /// Lengths of rows on a device.
    pub fn upload_lengths(&self, gpu: &Gpu) -> Option<Computed<Lengths>> {
        (self.dtype == Type::U32).then(|| gpu.upload_lengths(self.slice(), &self.shape))
    }

    /// Classes, where it holds some.
    pub fn classes(&self) -> Option<Targets<'_>> {
        match self.dtype {
            Type::I32 => Some(self.slice::<i32>().into()),
            Type::I64 => Some(self.slice::<i64>().into()),
            _ => None,
        }
    }

    /// The numbers as f32; none of what is no real number.
    pub fn wide(&self) -> Option<Vec<f32>> {
        match self.dtype {
            Type::F32 => Some(self.slice::<f32>().to_vec()),
            Type::F16 => Some(self.slice::<f16>().iter().map(|x| x.to_f32()).collect()),
            Type::Bf16 => Some(self.slice::<bf16>().iter().map(|x| x.to_f32()).collect()),
            _ => None,
        }
    }

    /// The numbers as f32, repeated to another shape as NumPy has it.
    pub fn spread(&self, py: Python<'_>, shape: &[usize]) -> PyResult<Vec<f32>> {
        let numpy = py.import("numpy")?;
        let spread = numpy.call_method1("broadcast_to", (&self.object, shape))?;
        let spread = Self::input(&spread, InputKind::Numbers, "a weight", "it")?;
        Ok(spread.wide().unwrap_or_default())
    }

    /// Fills an array of a tensor's shape and type.
    pub fn read(&mut self, tensor: &Tensor) -> Computed<()> {
        match self.dtype {
            Type::F32 => self.slice_mut().copy_from_slice(&tensor.read_as::<f32>()?),
            Type::F16 => self.slice_mut().copy_from_slice(&tensor.read_as::<f16>()?),
            Type::Bf16 => self.slice_mut().copy_from_slice(&tensor.read_as::<bf16>()?),
            Type::U8 | Type::U32 | Type::I32 | Type::I64 => {}
        }
        Ok(())
    }

    /// The array as an output; none of what is no real number.
    pub fn array_mut(&mut self) -> Option<ArrayMut<'_>> {
        match self.dtype {
            Type::F32 => Some(self.slice_mut::<f32>().into()),
            Type::F16 => Some(self.slice_mut::<f16>().into()),
            Type::Bf16 => Some(self.slice_mut::<bf16>().into()),
            _ => None,
        }
    }

    /// The numbers of an array of f32.
    pub fn f32(&self) -> &[f32] {
        if self.is_f32() { self.slice() } else { &[] }
    }

    pub fn f32_mut(&mut self) -> &mut [f32] {
        if self.is_f32() {
            self.slice_mut()
        } else {
            &mut []
        }
    }

    /// The array itself.
    pub fn into_object(self) -> Py<PyAny> {
        self.object
    }

    /// The array as a Python object: of no axes a number, as NumPy's functions give.
    pub fn returned(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let array = self.object.into_ptr();
        // SAFETY: the reference is handed over, and a new one comes back.
        unsafe {
            let returned = PY_ARRAY_API.PyArray_Return(py, array.cast());
            Ok(Bound::from_owned_ptr_or_err(py, returned)?.unbind())
        }
    }
}

/// Where a caller wants the result.
pub struct Out {
    /// The caller's array.
    object: Py<PyAny>,
    /// What is written in its place, where it cannot be itself.
    aside: bool,
}

impl Out {
    /// The array that a call writes for `out`, which has to have this shape.
    pub fn place(
        out: &Bound<'_, PyAny>,
        shape: &[usize],
        inputs: &[Held],
    ) -> PyResult<(Self, Held)> {
        let Ok(array) = out.cast::<PyUntypedArray>() else {
            return Err(PyTypeError::new_err("out is no NumPy array"));
        };
        let dtype = array.dtype();
        let kind = (dtype.kind(), dtype.itemsize());
        if !matches!(kind, (b'f', 2 | 4)) && !is_bfloat16(&dtype) {
            // It may be the first array of bfloat16 that is met.
            let check = out.py().import("wgpu_activations._arrays")?;
            check.call_method1("check_out", (out,))?;
        }
        if array.shape() != shape {
            return Err(PyValueError::new_err(format!(
                "out has the shape {:?}, and the result {shape:?}",
                array.shape()
            )));
        }
        // SAFETY: it is an array.
        let flags = unsafe { (*npyffi::_PyArray_GET_ITEM_DATA(array.as_array_ptr())).flags };
        if flags & npyffi::NPY_ARRAY_WRITEABLE == 0 {
            return Err(PyValueError::new_err("out is read-only"));
        }
        let object = out.clone().unbind();
        let direct = Held::of(out).filter(|out| !inputs.iter().any(|input| input.overlaps(out)));
        if let Some(held) = direct {
            let aside = false;
            return Ok((Self { object, aside }, held));
        }
        let native = dtype.call_method1("newbyteorder", ("=",))?;
        let native = native.cast_into::<PyArrayDescr>()?;
        let held = Held::zeros_of(out.py(), shape, native)?;
        let aside = true;
        Ok((Self { object, aside }, held))
    }

    /// The caller's array, which holds the result from here on.
    pub fn filled(self, py: Python<'_>, result: &Held) -> PyResult<Py<PyAny>> {
        if self.aside {
            let numpy = py.import("numpy")?;
            numpy.call_method1("copyto", (&self.object, &result.object))?;
        }
        Ok(self.object)
    }
}

/// The conversions that are written in Python.
fn convert(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CONVERT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CONVERT.import(py, "wgpu_activations._arrays", "convert")
}
