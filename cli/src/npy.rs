//! `.npy` arrays in and out: any numeric dtype, byte order and memory order becomes row-major
//! f32, integers also i64 and booleans, and f32, f16 or bf16 is written. A header is checked against the file's size before anything of the
//! size that it claims is allocated.

use crate::file::{NpyError, open_file};
use crate::safetensors;
use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar, TypeRead, WriterBuilder};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use wgpu_activations::half::{bf16, f16, slice::HalfFloatSliceExt};
use wgpu_activations::{DType as Float, Raw, Sink as _, Source};

/// The longest header that is parsed: numpy's own limit for files that it does not trust, far
/// above what a plain array of 64 axes needs.
const MAX_HEADER: usize = 10_000;

/// The deepest nesting of brackets that a header may have; the literal parser backtracks, so
/// its time grows exponentially with this.
const MAX_NESTING: usize = 6;

/// Elements that are read or written at once.
const CHUNK: usize = 1 << 16;

/// An array as it was read: row-major.
#[derive(Debug)]
pub struct Array<T = f32> {
    /// The dimensions, the slowest first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements, the last axis fastest.
    pub data: Vec<T>,
    /// What the results are stored as where nothing else is asked for.
    pub float: Float,
    /// What the user should know of the conversion.
    pub notes: Vec<String>,
}

/// Whether the array in the file at `path` has whole numbers or booleans.
pub fn has_integers(path: &Path) -> Result<bool, NpyError> {
    let (header, ..) = open(path)?;
    let (kind, _) = element_kind(&header.dtype())?;
    Ok(!matches!(
        kind,
        Kind::F16 | Kind::Bf16 | Kind::F32 | Kind::F64
    ))
}

/// The header of the file at `path`, its length and the file's, and the rest of the file.
fn open(path: &Path) -> Result<(NpyHeader, u64, u64, BufReader<File>), NpyError> {
    if let Some((path, name)) = safetensors::split(path) {
        let archive = safetensors::Archive::open(&path)?;
        let tensor = archive.find(name)?;
        let header = described(tensor.code, &tensor.shape)?;
        let reader = archive.into_reader(tensor.start)?;
        return Ok((header, tensor.start, tensor.end, reader));
    }
    let (file, size) = open_file(path)?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let (header, header_size) = read_header(&mut reader, size)?;
    Ok((header, header_size, size, reader))
}

/// The header of an array that no `.npy` file has, by numpy's code of its dtype.
fn described(code: &str, shape: &[usize]) -> Result<NpyHeader, NpyError> {
    let text = npy_header(code, shape)?;
    Ok(read_header(&mut &text[..], text.len() as u64)?.0)
}

/// An array in a file, of which the header was read and held against the file's size.
pub struct Stored<R = BufReader<File>> {
    /// The dimensions, the slowest first; empty for a scalar.
    pub shape: Vec<usize>,
    header: NpyHeader,
    kind: Kind,
    /// Bytes of an element.
    item: usize,
    elements: usize,
    /// Bytes before the elements.
    start: u64,
    /// Bytes behind them.
    extra: u64,
    reader: R,
}

impl Stored {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> Result<Self, NpyError> {
        let (header, start, size, reader) = open(path)?;
        Self::new(header, start, size, reader)
    }
}

impl<R> Stored<R> {
    /// An array whose header was read, of `start` bytes out of `size`.
    fn new(header: NpyHeader, start: u64, size: u64, reader: R) -> Result<Self, NpyError> {
        let (kind, item) = element_kind(&header.dtype())?;
        let there = size - start;
        let elements = header
            .shape()
            .iter()
            .try_fold(1u64, |n, &d| n.checked_mul(d));
        let claimed = elements.and_then(|n| n.checked_mul(item));
        let Some((elements, claimed)) = elements.zip(claimed).filter(|&(_, c)| c <= there) else {
            return Err(NpyError::TooShort {
                shape: header.shape().to_vec(),
                dtype: kind.name().to_owned(),
                claimed: claimed.map_or("2^64 or more".to_owned(), |c| c.to_string()),
                there,
            });
        };
        let too_large = |_| NpyError::Memory(usize::MAX);
        let shape = header.shape().iter().map(|&d| usize::try_from(d));
        Ok(Self {
            shape: shape.collect::<Result<_, _>>().map_err(too_large)?,
            kind,
            item: item as usize,
            elements: usize::try_from(elements).map_err(too_large)?,
            start,
            extra: there - claimed,
            header,
            reader,
        })
    }

    /// What results are stored as where nothing else is asked for: the type of 16 bits, or f32.
    pub fn float(&self) -> Float {
        self.kind.float()
    }

    /// Whether the elements lie with the last axis fastest.
    pub fn is_row_major(&self) -> bool {
        self.header.order() == Order::C || self.shape.iter().filter(|&&d| d != 1).count() < 2
    }

    /// Whether they need no conversion.
    fn is_plain(&self) -> bool {
        self.header.dtype() == little_f32() && self.header.order() == Order::C
    }

    /// What the user should know of the conversion to f32 and of the file.
    fn notes(&self, losses: &Losses, converts: bool) -> Vec<String> {
        let mut notes = Vec::new();
        // Numbers of 16 bits are the same in f32.
        let same = matches!(self.kind, Kind::F32 | Kind::F16 | Kind::Bf16);
        if converts && !same {
            notes.push(losses.describe(self.kind, self.elements));
        }
        if self.extra > 0 {
            let extra = self.extra;
            notes.push(format!("{extra} bytes behind the array are ignored"));
        }
        notes
    }
}

/// A row-major array in a file that is read in parts, as f32.
pub struct Parts {
    stored: Stored,
    losses: Losses,
    bytes: Vec<u8>,
    /// The element before which the reader stands; unknown after an error.
    at: Option<u64>,
}

impl Parts {
    /// The parts of a row-major array.
    pub fn new(stored: Stored) -> Self {
        Self {
            stored,
            losses: Losses::default(),
            bytes: Vec::new(),
            at: Some(0),
        }
    }

    /// What the user should know once all was read.
    pub fn notes(&self) -> Vec<String> {
        self.stored.notes(&self.losses, true)
    }

    /// Reads as many elements as `out` has, from where the reader stands.
    fn read_on(&mut self, out: &mut [f32]) -> io::Result<()> {
        let stored = &mut self.stored;
        if stored.is_plain() {
            stored.reader.read_exact(bytemuck::cast_slice_mut(out))?;
            if cfg!(target_endian = "big") {
                for x in out {
                    *x = f32::from_bits(x.to_bits().swap_bytes());
                }
            }
            return Ok(());
        }
        for out in out.chunks_mut(CHUNK) {
            self.bytes.resize(out.len() * stored.item, 0);
            stored.reader.read_exact(&mut self.bytes)?;
            let dtype = stored.header.dtype();
            let losses = match stored.kind {
                Kind::F16 => convert_part::<f16>(&dtype, &self.bytes, out),
                Kind::Bf16 => {
                    let (pairs, _) = self.bytes.as_chunks();
                    let bits = pairs.iter().map(|&pair| u16::from_le_bytes(pair));
                    let values = out.iter_mut().zip(bits);
                    values.for_each(|(out, bits)| *out = bf16::from_bits(bits).to_f32());
                    Ok(Losses::default())
                }
                Kind::F32 => convert_part::<f32>(&dtype, &self.bytes, out),
                Kind::F64 => convert_part::<f64>(&dtype, &self.bytes, out),
                Kind::I8 => convert_part::<i8>(&dtype, &self.bytes, out),
                Kind::I16 => convert_part::<i16>(&dtype, &self.bytes, out),
                Kind::I32 => convert_part::<i32>(&dtype, &self.bytes, out),
                Kind::I64 => convert_part::<i64>(&dtype, &self.bytes, out),
                Kind::U8 => convert_part::<u8>(&dtype, &self.bytes, out),
                Kind::U16 => convert_part::<u16>(&dtype, &self.bytes, out),
                Kind::U32 => convert_part::<u32>(&dtype, &self.bytes, out),
                Kind::U64 => convert_part::<u64>(&dtype, &self.bytes, out),
                Kind::Bool => convert_part::<bool>(&dtype, &self.bytes, out),
            }?;
            self.losses.rounded += losses.rounded;
            self.losses.overflowed += losses.overflowed;
        }
        Ok(())
    }
}

impl Source for Parts {
    fn elements(&self) -> u64 {
        self.stored.elements as u64
    }

    fn read(&mut self, first: u64, out: &mut [f32]) -> io::Result<()> {
        // Taken: an error below leaves it unknown.
        if self.at.take() != Some(first) {
            let place = self.stored.start + first * self.stored.item as u64;
            self.stored.reader.seek(SeekFrom::Start(place))?;
        }
        self.read_on(out)?;
        self.at = Some(first + out.len() as u64);
        Ok(())
    }
}

/// The elements of `bytes` as f32.
fn convert_part<E: Element>(dtype: &DType, bytes: &[u8], out: &mut [f32]) -> io::Result<Losses> {
    let mut losses = Losses::default();
    let reader = E::reader(dtype).map_err(io::Error::other)?;
    let mut bytes = bytes;
    for out in out {
        let loss;
        (*out, loss) = reader.read_one(&mut bytes)?.to_f32();
        losses.count(&loss);
    }
    Ok(losses)
}

/// Reads the array in the file at `path`: as f32, from any numbers; as i64 from
/// integers and booleans; as u8 that are 0 or 1 from those and from the real numbers 0 and 1.
pub fn read<T: Value>(path: &Path) -> Result<Array<T>, NpyError> {
    read_stored(Stored::open(path)?)
}

/// The array in a member of an archive that claims to have `size` bytes, as f32. No more is
/// unpacked than the array has.
pub fn parse(mut reader: impl Read, size: u64) -> Result<Array, NpyError> {
    let (header, start) = read_header(&mut reader, size)?;
    let stored = Stored::new(header, start, size, &mut reader)?;
    let ends = stored.extra == 0;
    let array = read_stored(stored)?;
    // At its end an archive compares the checksum, and whether more follows.
    if ends {
        io::copy(&mut reader.take(1), &mut io::sink()).map_err(NpyError::reading)?;
    }
    Ok(array)
}

/// The tensor of a `.safetensors` file, as f32.
pub fn read_tensor(archive: &safetensors::Archive, name: &str) -> Result<Array, NpyError> {
    let tensor = archive.find(Some(name))?;
    let header = described(tensor.code, &tensor.shape)?;
    let reader = archive.reader(tensor.start)?;
    read_stored(Stored::new(header, tensor.start, tensor.end, reader)?)
}

fn read_stored<T: Value>(mut stored: Stored<impl Read>) -> Result<Array<T>, NpyError> {
    let (kind, elements) = (stored.kind, stored.elements);
    let mut sink = Sink::new(&stored.shape, elements, stored.header.order())?;
    let plain = stored.is_plain();
    let file = NpyFile::with_header(stored.header.clone(), &mut stored.reader);
    let losses = match (kind, T::as_floats(&mut sink.data)) {
        (Kind::F32, Some(data)) if plain => copy(file.into_inner(), elements, data),
        (Kind::F16, _) => convert::<f16, T>(file, &mut sink),
        (Kind::Bf16, _) => convert::<Brain, T>(file, &mut sink),
        (Kind::F32, _) => convert::<f32, T>(file, &mut sink),
        (Kind::F64, _) => convert::<f64, T>(file, &mut sink),
        (Kind::I8, _) => convert::<i8, T>(file, &mut sink),
        (Kind::I16, _) => convert::<i16, T>(file, &mut sink),
        (Kind::I32, _) => convert::<i32, T>(file, &mut sink),
        (Kind::I64, _) => convert::<i64, T>(file, &mut sink),
        (Kind::U8, _) => convert::<u8, T>(file, &mut sink),
        (Kind::U16, _) => convert::<u16, T>(file, &mut sink),
        (Kind::U32, _) => convert::<u32, T>(file, &mut sink),
        (Kind::U64, _) => convert::<u64, T>(file, &mut sink),
        (Kind::Bool, _) => convert::<bool, T>(file, &mut sink),
    }?;

    let notes = stored.notes(&losses, T::CONVERTS);
    Ok(Array {
        shape: stored.shape,
        data: sink.data,
        float: kind.float(),
        notes,
    })
}

/// Writes f32, rounded to their type, to places of a file.
pub struct Writer<'a> {
    raw: Raw<&'a File>,
    elements: u64,
    float: Float,
}

impl<'a> Writer<'a> {
    /// Numbers of a type from byte `start` on.
    pub fn new(file: &'a File, start: u64, elements: u64, float: Float) -> Self {
        Self {
            raw: Raw::new(file, start, elements),
            elements,
            float,
        }
    }
}

impl wgpu_activations::Sink for Writer<'_> {
    fn elements(&self) -> u64 {
        self.elements
    }

    fn write(&mut self, first: u64, data: &[f32]) -> io::Result<()> {
        if self.float == Float::F32 {
            return self.raw.write(first, data);
        }
        for (i, data) in data.chunks(CHUNK).enumerate() {
            let first = first + (i * CHUNK) as u64;
            if self.float == Float::F16 {
                let mut rounded = [f16::ZERO; CHUNK];
                let rounded = &mut rounded[..data.len()];
                rounded.convert_from_f32_slice(data);
                self.raw.write(first, rounded)?;
            } else {
                let mut rounded = [bf16::ZERO; CHUNK];
                let rounded = &mut rounded[..data.len()];
                rounded.convert_from_f32_slice(data);
                self.raw.write(first, rounded)?;
            }
        }
        Ok(())
    }
}

/// Writes an array, little endian and row-major, behind its header.
pub fn write(mut file: &File, header: &[u8], data: &[f32], float: Float) -> io::Result<()> {
    file.write_all(header)?;
    Writer::new(file, header.len() as u64, data.len() as u64, float).write(0, data)
}

/// What precedes the elements of an array, little endian and row-major.
pub fn header(shape: &[usize], float: Float) -> io::Result<Vec<u8>> {
    match float {
        Float::F32 => npy_header("<f4", shape),
        Float::F16 => npy_header("<f2", shape),
        Float::Bf16 => {
            let mut bytes = npy_header("|V2", shape)?;
            // What NumPy writes of ml_dtypes' bfloat16.
            if let Some(at) = bytes.windows(3).position(|code| code == b"|V2") {
                bytes[at] = b'<';
            }
            Ok(bytes)
        }
    }
}

fn npy_header(code: &str, shape: &[usize]) -> io::Result<Vec<u8>> {
    let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
    // Invariant: the codes of this crate are valid.
    let code = code.parse().map_err(io::Error::other)?;
    npyz::WriteOptions::new_header_only()
        .dtype(DType::new_scalar(code))
        .shape(&shape)
        .writer(Vec::new())
        .write_header_only()
}

/// The element type of what is written, and of most of what is read.
fn little_f32() -> DType {
    // Invariant: the literal is a valid type string.
    DType::new_scalar("<f4".parse().expect("<f4 is a dtype"))
}

/// The parsed header and the number of bytes before the data.
fn read_header(reader: &mut impl Read, size: u64) -> Result<(NpyHeader, u64), NpyError> {
    let mut bytes = vec![0; 10];
    let too_short = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => NpyError::NotNpy,
        _ => NpyError::Io(e),
    };
    reader.read_exact(&mut bytes).map_err(too_short)?;
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(NpyError::Archive);
    }
    if &bytes[..6] != b"\x93NUMPY" {
        return Err(NpyError::NotNpy);
    }
    let length = match (bytes[6], bytes[7]) {
        (1, 0) => u64::from(u16::from_le_bytes([bytes[8], bytes[9]])),
        (2 | 3, 0) => {
            let mut rest = [0; 2];
            reader.read_exact(&mut rest).map_err(too_short)?;
            bytes.extend(rest);
            u64::from(u32::from_le_bytes([bytes[8], bytes[9], rest[0], rest[1]]))
        }
        (major, minor) => return Err(NpyError::Version(major, minor)),
    };
    let start = bytes.len();
    let end = start as u64 + length;
    let absurd = |reason: String| NpyError::HeaderLength {
        claimed: length,
        reason,
    };
    if end > size {
        let reason = format!("but the file ends after {size}; it is truncated, save it again");
        return Err(absurd(reason));
    }
    let length = usize::try_from(length)
        .ok()
        .filter(|&l| l <= MAX_HEADER)
        .ok_or_else(|| absurd(format!("more than the {MAX_HEADER} that are read")))?;
    bytes.resize(start + length, 0);
    reader.read_exact(&mut bytes[start..])?;
    check_header_text(&mut bytes[start..])?;
    if let Some(place) = descr(&bytes[start..]) {
        let place = start + place.start..start + place.end;
        let text = String::from_utf8_lossy(&bytes[place.clone()]);
        let code = type_code(&text)
            .ok_or_else(|| NpyError::Dtype(format!("'{}'", crate::terminal::shown(&text))))?;
        bytes.splice(place, code.bytes());
        // Which may have made it longer or shorter; version 1 counts in 16 bits, and there is room.
        let length = bytes.len() - start;
        if bytes[6] == 1 {
            bytes[8..10].copy_from_slice(&(length as u16).to_le_bytes());
        } else {
            bytes[8..12].copy_from_slice(&(length as u32).to_le_bytes());
        }
    }
    let header = NpyHeader::from_reader(&bytes[..]).map_err(|e| {
        let text = e.to_string();
        // The parser draws what it stumbled on, in several lines.
        let drawing = text.contains('\n');
        NpyError::Header(if drawing {
            "no Python dictionary".to_owned()
        } else {
            text
        })
    })?;
    Ok((header, end))
}

/// Where a header has the text of its dtype, where that is one text without escapes.
fn descr(header: &[u8]) -> Option<std::ops::Range<usize>> {
    const KEY: &[u8] = b"descr";
    let quote = |at: usize| header.get(at).copied().filter(|b| b"'\"".contains(b));
    let at = header.windows(KEY.len()).position(|word| word == KEY)?;
    let mut at = at + KEY.len();
    quote(at)?;
    at += 1;
    while header.get(at).is_some_and(|b| b" \t:".contains(b)) {
        at += 1;
    }
    let end = quote(at)?;
    let length = header[at + 1..].iter().position(|&b| b == end)?;
    let place = at + 1..at + 1 + length;
    (!header[place.clone()].contains(&b'\\')).then_some(place)
}

/// The type of a header's text in the one spelling that the parser reads, of those that numpy
/// does; none where it is no type of real numbers that is known here.
fn type_code(text: &str) -> Option<String> {
    let native = if cfg!(target_endian = "big") {
        '>'
    } else {
        '<'
    };
    let (order, code) = match text.chars().next()? {
        order @ ('<' | '>') => (order, &text[1..]),
        '=' | '|' => (native, &text[1..]),
        _ => (native, text),
    };
    let code = match code {
        "f2" | "float16" => "f2",
        "f4" | "float32" => "f4",
        "f8" | "float64" => "f8",
        "i1" | "int8" => "i1",
        "i2" | "int16" => "i2",
        "i4" | "int32" => "i4",
        "i8" | "int64" => "i8",
        "u1" | "uint8" => "u1",
        "u2" | "uint16" => "u2",
        "u4" | "uint32" => "u4",
        "u8" | "uint64" => "u8",
        "b1" | "?" | "bool" => "b1",
        // ml_dtypes' bfloat16, to which numpy gives a byte order that raw data do not have.
        "V2" if order == '<' || native == '>' => return Some("|V2".to_owned()),
        _ => return None,
    };
    let order = if code.ends_with('1') { '|' } else { order };
    Some(format!("{order}{code}"))
}

/// Refuses header texts that are legal Python but that no array has and that the parser would
/// take ages for, or multiply without looking: deep nesting, sums, absurd dimensions.
/// Blanks out the `L` of Python 2's long integers, as numpy does.
fn check_header_text(text: &mut [u8]) -> Result<(), NpyError> {
    let bad = |what: String| Err(NpyError::Header(what));
    let mut quote = None;
    let mut escaped = false;
    let mut depth = 0usize;
    let mut number: Option<u64> = None;
    let mut product = 1u64;
    for place in text {
        let byte = *place;
        if let Some(q) = quote {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == q {
                quote = None;
            }
            continue;
        }
        if byte.is_ascii_digit() {
            let digit = u64::from(byte - b'0');
            let grown = number.unwrap_or(0).checked_mul(10);
            let Some(grown) = grown.and_then(|n| n.checked_add(digit)) else {
                return bad("a dimension does not fit 64 bits".to_owned());
            };
            number = Some(grown);
            continue;
        }
        if let Some(dimension) = number.take() {
            // Zeros aside, as numpy does: the product of the others must be addressable too.
            let Some(grown) = product.checked_mul(dimension.max(1)) else {
                return bad("the dimensions multiply to 2^64 or more".to_owned());
            };
            product = grown;
            if byte == b'L' {
                *place = b' ';
                continue;
            }
        }
        match byte {
            b'\'' | b'"' => quote = Some(byte),
            b'{' | b'[' | b'(' => {
                depth += 1;
                if depth > MAX_NESTING {
                    return bad(format!("brackets nest more than {MAX_NESTING} deep"));
                }
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            b',' | b':' | b' ' | b'\t' | b'\n' => {}
            _ if b"TrueFals".contains(&byte) => {}
            _ => {
                let byte = byte.escape_ascii();
                return bad(format!("'{byte}' has no place in it"));
            }
        }
    }
    Ok(())
}

/// The element types that become f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl Kind {
    /// What results are stored as.
    fn float(self) -> Float {
        match self {
            Self::F16 => Float::F16,
            Self::Bf16 => Float::Bf16,
            _ => Float::F32,
        }
    }

    /// numpy's name.
    fn name(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::Bool => "bool",
        }
    }
}

/// The element type and its size in bytes.
fn element_kind(dtype: &DType) -> Result<(Kind, u64), NpyError> {
    let unsupported = || NpyError::Dtype(dtype.descr());
    let DType::Plain(plain) = dtype else {
        return Err(unsupported());
    };
    let size = plain.size_field();
    let kind = match (plain.type_char(), size) {
        (TypeChar::Float, 2) => Kind::F16,
        // What NumPy writes of ml_dtypes' bfloat16; of two bytes there is nothing else.
        (TypeChar::RawData, 2) => Kind::Bf16,
        (TypeChar::Float, 4) => Kind::F32,
        (TypeChar::Float, 8) => Kind::F64,
        (TypeChar::Int, 1) => Kind::I8,
        (TypeChar::Int, 2) => Kind::I16,
        (TypeChar::Int, 4) => Kind::I32,
        (TypeChar::Int, 8) => Kind::I64,
        (TypeChar::Uint, 1) => Kind::U8,
        (TypeChar::Uint, 2) => Kind::U16,
        (TypeChar::Uint, 4) => Kind::U32,
        (TypeChar::Uint, 8) => Kind::U64,
        (TypeChar::Bool, 1) => Kind::Bool,
        _ => return Err(unsupported()),
    };
    Ok((kind, size))
}

/// How much an element lost on its way to f32.
#[derive(PartialEq, Eq)]
pub enum Loss {
    /// It is exact.
    Nothing,
    /// It is the nearest f32.
    Rounded,
    /// It is an infinity.
    Overflowed,
}

/// How many elements lost something.
#[derive(Debug, Default)]
struct Losses {
    rounded: usize,
    overflowed: usize,
}

impl Losses {
    fn count(&mut self, loss: &Loss) {
        match loss {
            Loss::Nothing => {}
            Loss::Rounded => self.rounded += 1,
            Loss::Overflowed => self.overflowed += 1,
        }
    }

    fn describe(&self, kind: Kind, elements: usize) -> String {
        let name = kind.name();
        let mut note = format!("{name} converted to float32; ");
        if self.rounded == 0 && self.overflowed == 0 {
            note.push_str("every value is exact");
        } else {
            note += &format!("{} of {elements} values rounded", self.rounded);
            if self.overflowed > 0 {
                note += &format!(", {} overflowed to an infinity", self.overflowed);
            }
        }
        note
    }
}

/// An element type with its way to f32.
pub trait Element: npyz::Deserialize + Copy {
    /// Its value, rounded where need be.
    fn to_f32(self) -> (f32, Loss);
    /// Its value where it is an integer that i64 holds.
    fn to_i64(self) -> Result<i64, NpyError>;
    /// Whether it lets an element take part, as an element of a mask.
    fn takes_part(self) -> Result<bool, NpyError>;
}

/// What elements are read as.
pub trait Value: Copy + Default {
    /// Whether something can get lost.
    const CONVERTS: bool;
    /// The value of an element.
    fn of<E: Element>(element: E) -> Result<(Self, Loss), NpyError>;
    /// The values as f32 where they are.
    fn as_floats(values: &mut Vec<Self>) -> Option<&mut Vec<f32>>;
}

impl Value for f32 {
    const CONVERTS: bool = true;
    fn of<E: Element>(element: E) -> Result<(Self, Loss), NpyError> {
        Ok(element.to_f32())
    }
    fn as_floats(values: &mut Vec<Self>) -> Option<&mut Vec<f32>> {
        Some(values)
    }
}

impl Value for i64 {
    const CONVERTS: bool = false;
    fn of<E: Element>(element: E) -> Result<(Self, Loss), NpyError> {
        Ok((element.to_i64()?, Loss::Nothing))
    }
    fn as_floats(_: &mut Vec<Self>) -> Option<&mut Vec<f32>> {
        None
    }
}

impl Value for u8 {
    const CONVERTS: bool = false;
    fn of<E: Element>(element: E) -> Result<(Self, Loss), NpyError> {
        Ok((u8::from(element.takes_part()?), Loss::Nothing))
    }
    fn as_floats(_: &mut Vec<Self>) -> Option<&mut Vec<f32>> {
        None
    }
}

fn rounded_if(inexact: bool) -> Loss {
    if inexact {
        Loss::Rounded
    } else {
        Loss::Nothing
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Element for $integer {
            fn to_f32(self) -> (f32, Loss) {
                let y = self as f32;
                // i128 holds every integer here and every f32 that one rounds to.
                (y, rounded_if(y as i128 != self as i128))
            }
            fn to_i64(self) -> Result<i64, NpyError> {
                i64::try_from(self).map_err(|_| {
                    NpyError::Data(format!("the integer {self} does not fit int64"))
                })
            }
            fn takes_part(self) -> Result<bool, NpyError> {
                Ok(self != 0)
            }
        }
    )*};
}

integers! { i8 i16 i32 i64 u8 u16 u32 u64 }

impl Element for bool {
    fn to_f32(self) -> (f32, Loss) {
        (f32::from(u8::from(self)), Loss::Nothing)
    }
    fn to_i64(self) -> Result<i64, NpyError> {
        Ok(self.into())
    }
    fn takes_part(self) -> Result<bool, NpyError> {
        Ok(self)
    }
}

/// Whether a real number lets an element take part: 1 or 0, and nothing whose meaning is a guess.
fn mask_of(x: f64) -> Result<bool, NpyError> {
    match x {
        0.0 => Ok(false),
        1.0 => Ok(true),
        _ => Err(NpyError::NotAMask(x)),
    }
}

/// A bfloat16, as two raw bytes.
#[derive(Clone, Copy)]
struct Brain(bf16);

/// How one is read.
struct BrainReader;

impl TypeRead for BrainReader {
    type Value = Brain;
    fn read_one<R: Read>(&self, mut bytes: R) -> io::Result<Brain> {
        let mut pair = [0; 2];
        bytes.read_exact(&mut pair)?;
        Ok(Brain(bf16::from_le_bytes(pair)))
    }
}

impl npyz::Deserialize for Brain {
    type TypeReader = BrainReader;
    fn reader(_: &DType) -> Result<BrainReader, npyz::DTypeError> {
        Ok(BrainReader)
    }
}

impl Element for Brain {
    fn to_f32(self) -> (f32, Loss) {
        (self.0.into(), Loss::Nothing)
    }
    fn to_i64(self) -> Result<i64, NpyError> {
        Err(NpyError::NotIntegers(Kind::Bf16.name()))
    }
    fn takes_part(self) -> Result<bool, NpyError> {
        mask_of(self.0.to_f64())
    }
}

impl Element for f16 {
    fn to_f32(self) -> (f32, Loss) {
        (self.into(), Loss::Nothing)
    }
    fn to_i64(self) -> Result<i64, NpyError> {
        Err(NpyError::NotIntegers(Kind::F16.name()))
    }
    fn takes_part(self) -> Result<bool, NpyError> {
        mask_of(self.to_f64())
    }
}

impl Element for f32 {
    fn to_f32(self) -> (f32, Loss) {
        (self, Loss::Nothing)
    }
    fn to_i64(self) -> Result<i64, NpyError> {
        Err(NpyError::NotIntegers(Kind::F32.name()))
    }
    fn takes_part(self) -> Result<bool, NpyError> {
        mask_of(self.into())
    }
}

impl Element for f64 {
    fn to_f32(self) -> (f32, Loss) {
        let y = self as f32;
        let loss = if y.is_infinite() && self.is_finite() {
            Loss::Overflowed
        } else {
            rounded_if(f64::from(y) != self && !self.is_nan())
        };
        (y, loss)
    }
    fn to_i64(self) -> Result<i64, NpyError> {
        Err(NpyError::NotIntegers(Kind::F64.name()))
    }
    fn takes_part(self) -> Result<bool, NpyError> {
        mask_of(self)
    }
}

/// Reads every element of `file` into `sink`.
fn convert<E: Element, T: Value>(
    file: NpyFile<impl Read>,
    sink: &mut Sink<T>,
) -> Result<Losses, NpyError> {
    let mut losses = Losses::default();
    let elements = file
        .data::<E>()
        .map_err(|e| NpyError::Header(e.to_string()))?;
    for element in elements {
        let element = element.map_err(NpyError::reading)?;
        let (value, loss) = T::of(element)?;
        losses.count(&loss);
        sink.put(value);
    }
    Ok(losses)
}

/// Reads what needs no conversion, many times faster than element by element.
fn copy(mut reader: impl Read, elements: usize, data: &mut Vec<f32>) -> Result<Losses, NpyError> {
    let mut bytes = vec![0; elements.min(CHUNK) * size_of::<f32>()];
    let mut left = elements;
    while left > 0 {
        let count = left.min(CHUNK);
        let bytes = &mut bytes[..count * size_of::<f32>()];
        reader.read_exact(bytes)?;
        let (words, _) = bytes.as_chunks();
        data.extend(words.iter().map(|&word| f32::from_le_bytes(word)));
        left -= count;
    }
    Ok(Losses::default())
}

/// Where elements in the file's order go in a row-major array.
struct Sink<T> {
    data: Vec<T>,
    /// Set where the two orders differ.
    scatter: Option<Scatter>,
}

/// A position that steps through an array with the first axis fastest.
struct Scatter {
    shape: Vec<usize>,
    strides: Vec<usize>,
    index: Vec<usize>,
    offset: usize,
}

impl<T: Value> Sink<T> {
    fn new(shape: &[usize], elements: usize, order: Order) -> Result<Self, NpyError> {
        let mut data = Vec::new();
        data.try_reserve_exact(elements)
            .map_err(|_| NpyError::Memory(elements))?;
        let long_axes = shape.iter().filter(|&&d| d != 1).count();
        let scatter = (order == Order::Fortran && long_axes > 1 && elements > 0).then(|| {
            data.resize(elements, T::default());
            let mut strides = vec![1; shape.len()];
            for axis in (1..shape.len()).rev() {
                strides[axis - 1] = strides[axis] * shape[axis];
            }
            Scatter {
                shape: shape.to_vec(),
                strides,
                index: vec![0; shape.len()],
                offset: 0,
            }
        });
        Ok(Self { data, scatter })
    }

    fn put(&mut self, value: T) {
        match &mut self.scatter {
            None => self.data.push(value),
            Some(scatter) => {
                self.data[scatter.offset] = value;
                scatter.advance();
            }
        }
    }
}

impl Scatter {
    fn advance(&mut self) {
        for axis in 0..self.shape.len() {
            self.index[axis] += 1;
            self.offset += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                return;
            }
            self.offset -= self.strides[axis] * self.shape[axis];
            self.index[axis] = 0;
        }
    }
}
