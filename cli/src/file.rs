//! Files that arrays are read from, and why one cannot be.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Why a file could not be read as an array.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// The operating system refused.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// A pipe or a device.
    #[error("not a regular file; give the path of a file")]
    NotAFile,
    /// A directory.
    #[error("a folder; `activations batch` computes the .npy files of one")]
    Folder,
    /// An archive of arrays, or another zip file.
    #[error("a zip archive; `activations batch` computes the arrays of a .npz file")]
    Archive,
    /// `-`, which other programs take for standard input.
    #[error("standard input is not read; give the path of a file, ./- for one that is called so")]
    Stdin,
    /// The magic bytes are missing.
    #[error(
        "not a .npy file (it does not begin with the bytes \\x93NUMPY); write it with numpy.save"
    )]
    NotNpy,
    /// A format version that numpy does not have.
    #[error("the .npy format version {0}.{1} is unknown; 1.0, 2.0 and 3.0 are read")]
    Version(u8, u8),
    /// The header is longer than the file or than any sane one.
    #[error("the header claims to be {claimed} bytes long, {reason}")]
    HeaderLength {
        /// Bytes according to the file.
        claimed: u64,
        /// Why that cannot be.
        reason: String,
    },
    /// The header is not what numpy writes.
    #[error("the header is damaged: {0}; write the file again with numpy.save")]
    Header(String),
    /// Elements that are no real numbers.
    #[error(
        "the dtype {0} is not supported; save it as float32, for example with a.astype('float32')"
    )]
    Dtype(String),
    /// Real numbers where whole ones are needed.
    #[error("its dtype is {0} where integers are needed; save it with a.astype('int64')")]
    NotIntegers(&'static str),
    /// Real numbers where those that take part are to be told from those that do not.
    #[error(
        "it holds {0}, and a mask holds 0 and 1, or booleans; for one that is added to the scores \
         (0 and -inf) use --bias, for one of which all but 0 takes part save it with a.astype('bool')"
    )]
    NotAMask(f64),
    /// A `.safetensors` file that is none.
    #[error("the .safetensors file is damaged: {0}")]
    Safetensors(String),
    /// A tensor that a `.safetensors` file does not have.
    #[error("which tensor? {name}; write FILE.safetensors:TENSOR, where TENSOR is one of: {there}")]
    NoTensor {
        /// What was asked for.
        name: String,
        /// The names that there are.
        there: String,
    },
    /// The shape claims more than the file has.
    #[error(
        "the header claims shape {shape:?} of {dtype}, {claimed} bytes, but the file has {there} bytes of data; it is truncated or mislabelled, save it again"
    )]
    TooShort {
        /// The dimensions according to the header.
        shape: Vec<u64>,
        /// The element type according to the header.
        dtype: String,
        /// Bytes that this takes, as text because it may exceed every integer.
        claimed: String,
        /// Bytes behind the header.
        there: u64,
    },
    /// An element that its dtype does not allow.
    #[error("the data is damaged: {0}")]
    Data(String),
    /// No memory for the array.
    #[error("its {0} elements need more memory than there is; split the file")]
    Memory(usize),
}

impl NpyError {
    /// Why elements could not be read.
    pub fn reading(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Data(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

/// A file that is no folder, pipe or device, and its size.
pub fn open_file(path: &Path) -> Result<(File, u64), NpyError> {
    if path == Path::new("-") {
        return Err(NpyError::Stdin);
    }
    // Before the opening, which would block on a pipe that nobody writes to.
    match fs::metadata(path)? {
        there if there.is_dir() => return Err(NpyError::Folder),
        there if !there.is_file() => return Err(NpyError::NotAFile),
        _ => {}
    }
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}
