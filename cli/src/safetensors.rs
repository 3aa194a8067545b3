//! Tensors of `.safetensors` files, which are named `FILE.safetensors:TENSOR`, or by the file alone
//! where it has one.

use crate::npy::NpyError;
use crate::terminal;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use wgpu_activations::DType;

/// The longest header that is read: what the format's own library allows.
const MAX_HEADER: u64 = 100_000_000;
/// The name of what is written where none is given.
const NAME: &str = "output";

/// The file and the tensor that a path names; none where it is no `.safetensors` file's.
pub fn split(path: &Path) -> Option<(PathBuf, Option<&str>)> {
    const END: &str = ".safetensors";
    let text = path.to_str()?;
    let lower = text.to_ascii_lowercase();
    if lower.ends_with(END) {
        return Some((path.to_owned(), None));
    }
    let at = lower.find(&format!("{END}:"))? + END.len();
    let name = Some(&text[at + 1..]).filter(|name| !name.is_empty());
    Some((PathBuf::from(&text[..at]), name))
}

/// A tensor in a file.
pub struct Tensor {
    /// The dtype by numpy's code.
    pub code: &'static str,
    /// The dimensions.
    pub shape: Vec<usize>,
    /// The place of its first byte.
    pub start: u64,
    /// That behind its last one.
    pub end: u64,
}

/// Finds a tensor in the file behind `reader`, whose header it reads.
pub fn find(
    reader: &mut BufReader<File>,
    size: u64,
    name: Option<&str>,
) -> Result<Tensor, NpyError> {
    let damaged = |what: String| NpyError::Safetensors(what);
    let mut length = [0; 8];
    let short = |_| damaged("it is shorter than a header".to_owned());
    reader.read_exact(&mut length).map_err(short)?;
    let length = u64::from_le_bytes(length);
    let start = 8 + length.min(MAX_HEADER);
    if length > MAX_HEADER || start > size {
        return Err(damaged(format!(
            "its header claims to be {length} bytes long"
        )));
    }
    let mut header = vec![0; length as usize];
    reader.read_exact(&mut header)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| damaged(error.to_string()))?;
    let mut names = metadata.offset_keys();
    names.sort();
    let name = match (name, &names[..]) {
        (Some(name), _) if names.iter().any(|n| n == name) => name,
        (None, [only]) => only,
        (name, _) => {
            return Err(NpyError::NoTensor {
                name: name.map_or("no name is given".to_owned(), |name| {
                    format!("it has no '{}'", terminal::shown(name))
                }),
                there: candidates(&names, name),
            });
        }
    };
    let Some(info) = metadata.info(name) else {
        return Err(damaged(format!("'{name}' is not described")));
    };
    let (code, item) = code(info.dtype)?;
    let (from, to) = info.data_offsets;
    let elements = info
        .shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d as u64));
    let bytes = elements.and_then(|n| n.checked_mul(item));
    let claimed = (to as u64).checked_sub(from as u64);
    let end = start.checked_add(to as u64).filter(|&end| end <= size);
    match (end, bytes == claimed) {
        (Some(end), true) => Ok(Tensor {
            code,
            shape: info.shape.clone(),
            start: start + from as u64,
            end,
        }),
        _ => Err(damaged(format!(
            "'{name}' of shape {:?} does not lie where the header says; it is truncated or mislabelled",
            info.shape
        ))),
    }
}

/// Some of the names that there are: those that a name is a part of, where there are such.
fn candidates(names: &[String], name: Option<&str>) -> String {
    const SHOWN: usize = 8;
    let wanted = name.unwrap_or("").to_lowercase();
    let like = |name: &&&str| name.to_lowercase().contains(&wanted);
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let like: Vec<&str> = all.iter().filter(like).copied().collect();
    terminal::some_of(if like.is_empty() { &all } else { &like }, SHOWN)
}

/// A dtype by numpy's code, and the bytes of an element.
pub fn code(dtype: Dtype) -> Result<(&'static str, u64), NpyError> {
    Ok(match dtype {
        Dtype::F16 => ("<f2", 2),
        Dtype::BF16 => ("|V2", 2),
        Dtype::F32 => ("<f4", 4),
        Dtype::F64 => ("<f8", 8),
        Dtype::I8 => ("|i1", 1),
        Dtype::I16 => ("<i2", 2),
        Dtype::I32 => ("<i4", 4),
        Dtype::I64 => ("<i8", 8),
        Dtype::U8 => ("|u1", 1),
        Dtype::U16 => ("<u2", 2),
        Dtype::U32 => ("<u4", 4),
        Dtype::U64 => ("<u8", 8),
        Dtype::BOOL => ("|b1", 1),
        other => return Err(NpyError::Dtype(other.to_string())),
    })
}

/// A dtype of results.
pub fn dtype(of: DType) -> Dtype {
    match of {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
    }
}

/// What precedes the elements of a file of one tensor.
pub fn header(name: Option<&str>, shape: &[usize], dtype: DType) -> Vec<u8> {
    let elements: usize = shape.iter().product();
    let kind = self::dtype(dtype).to_string();
    let described = serde_json::json!({ name.unwrap_or(NAME): {
        "dtype": kind, "shape": shape, "data_offsets": [0, elements * dtype.bytes()],
    }});
    let mut text = described.to_string();
    // The data begin at a multiple of 8.
    text.extend(std::iter::repeat_n(
        ' ',
        text.len().next_multiple_of(8) - text.len(),
    ));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_tensors() {
        let of = |path: &'static str| split(Path::new(path));
        assert_eq!(of("a.npy"), None);
        assert_eq!(of("a.safetensors"), Some(("a.safetensors".into(), None)));
        assert_eq!(
            of("d/a.safetensors:layer.0:w"),
            Some(("d/a.safetensors".into(), Some("layer.0:w")))
        );
        assert_eq!(
            of("A.SafeTensors:B"),
            Some(("A.SafeTensors".into(), Some("B")))
        );
        assert_eq!(of("a.safetensors:"), Some(("a.safetensors".into(), None)));
    }

    /// The format's own library reads what is written.
    #[test]
    fn headers_are_understood() {
        for (name, dtype, kind) in [
            (None, DType::F16, Dtype::F16),
            (Some("a \"b\""), DType::Bf16, Dtype::BF16),
            (Some("x"), DType::F32, Dtype::F32),
        ] {
            let mut bytes = header(name, &[3, 1], dtype);
            assert_eq!(bytes.len() % 8, 0);
            bytes.extend(vec![7; 3 * dtype.bytes()]);
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let tensor = file.tensor(name.unwrap_or(NAME)).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (kind, &[3, 1][..]));
        }
    }
}
