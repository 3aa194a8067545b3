//! Where arrays come from and go to: slices, and anything that can be read or written at any
//! place, such as files.

use crate::element::Element;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// An array that is read in parts.
pub trait Source<T: Element = f32>: Send {
    /// The elements of the array.
    fn elements(&self) -> u64;

    /// Fills `out` with the elements from number `first` on.
    ///
    /// # Errors
    /// What the array's place answers; fewer elements than were promised are
    /// [`io::ErrorKind::UnexpectedEof`].
    fn read(&mut self, first: u64, out: &mut [T]) -> io::Result<()>;
}

/// An array that is written in parts, in any order, each element once.
pub trait Sink<T: Element = f32> {
    /// The elements of the array.
    fn elements(&self) -> u64;

    /// Takes the elements from number `first` on.
    ///
    /// # Errors
    /// What the array's place answers.
    fn write(&mut self, first: u64, data: &[T]) -> io::Result<()>;
}

impl<T: Element> Source<T> for &[T] {
    fn elements(&self) -> u64 {
        self.len() as u64
    }

    fn read(&mut self, first: u64, out: &mut [T]) -> io::Result<()> {
        let part = usize::try_from(first)
            .ok()
            .and_then(|first| self.get(first..)?.get(..out.len()));
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<T: Element> Sink<T> for &mut [T] {
    fn elements(&self) -> u64 {
        self.len() as u64
    }

    fn write(&mut self, first: u64, data: &[T]) -> io::Result<()> {
        let part = usize::try_from(first)
            .ok()
            .and_then(|first| self.get_mut(first..)?.get_mut(..data.len()));
        part.ok_or(io::ErrorKind::WriteZero)?.copy_from_slice(data);
        Ok(())
    }
}

/// Little-endian numbers in a file, or in anything else with places.
///
/// ```
/// use std::io::Cursor;
/// use wgpu_activations::{Raw, Source};
/// let mut array = Raw::new(Cursor::new([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]), 0, 2);
/// let mut x = [0.0f32; 2];
/// array.read(0, &mut x)?;
/// assert_eq!(x, [1.0, -2.0]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Raw<S> {
    stream: S,
    start: u64,
    elements: u64,
    /// Where the stream stands; unknown after an error.
    at: Option<u64>,
}

impl<S> Raw<S> {
    /// `elements` numbers from byte `start` of `stream` on.
    pub fn new(stream: S, start: u64, elements: u64) -> Self {
        Self {
            stream,
            start,
            elements,
            at: None,
        }
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Seek> Raw<S> {
    /// Goes to an element and says that `count` bytes will be passed, unless that fails.
    fn go<T: Element>(&mut self, first: u64) -> io::Result<u64> {
        let place = self.start + first * size_of::<T>() as u64;
        // Taken: an error below leaves it unknown.
        if self.at.take() != Some(place) {
            self.stream.seek(SeekFrom::Start(place))?;
        }
        Ok(place)
    }
}

/// Numbers of the other byte order.
#[cfg(target_endian = "big")]
fn swap<T: Element>(data: &mut [T]) {
    for element in bytemuck::cast_slice_mut::<T, u8>(data).chunks_exact_mut(size_of::<T>()) {
        element.reverse();
    }
}

impl<T: Element, S: Read + Seek + Send> Source<T> for Raw<S> {
    fn elements(&self) -> u64 {
        self.elements
    }

    fn read(&mut self, first: u64, out: &mut [T]) -> io::Result<()> {
        let place = self.go::<T>(first)?;
        self.stream.read_exact(bytemuck::cast_slice_mut(out))?;
        self.at = Some(place + size_of_val(out) as u64);
        #[cfg(target_endian = "big")]
        swap(out);
        Ok(())
    }
}

impl<T: Element, S: Write + Seek> Sink<T> for Raw<S> {
    fn elements(&self) -> u64 {
        self.elements
    }

    fn write(&mut self, first: u64, data: &[T]) -> io::Result<()> {
        let place = self.go::<T>(first)?;
        #[cfg(target_endian = "big")]
        let data = &{
            let mut data = data.to_vec();
            swap(&mut data);
            data
        }[..];
        self.stream.write_all(bytemuck::cast_slice(data))?;
        self.at = Some(place + size_of_val(data) as u64);
        Ok(())
    }
}

/// An array that a stream goes through: a source, with a shape where the function runs along an axis.
pub struct StreamInput<'a> {
    pub(super) source: &'a mut dyn Source,
    pub(super) shape: Option<&'a [usize]>,
}

impl fmt::Debug for StreamInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements = self.source.elements();
        write!(f, "StreamInput({elements} elements, {:?})", self.shape)
    }
}

impl<'a, S: Source> From<&'a mut S> for StreamInput<'a> {
    fn from(source: &'a mut S) -> Self {
        Self {
            source,
            shape: None,
        }
    }
}

impl<'a, S: Source> From<(&'a mut S, &'a [usize])> for StreamInput<'a> {
    fn from((source, shape): (&'a mut S, &'a [usize])) -> Self {
        Self {
            source,
            shape: Some(shape),
        }
    }
}

impl<'a, S: Source, const N: usize> From<(&'a mut S, &'a [usize; N])> for StreamInput<'a> {
    fn from((source, shape): (&'a mut S, &'a [usize; N])) -> Self {
        (source, &shape[..]).into()
    }
}

impl<'a> From<(&'a mut dyn Source, &'a [usize])> for StreamInput<'a> {
    fn from((source, shape): (&'a mut dyn Source, &'a [usize])) -> Self {
        Self {
            source,
            shape: Some(shape),
        }
    }
}
