//! One safetensors file: its header is checked against its length before a tensor in it
//! is trusted.

use std::collections::BTreeMap;

use safetensors::tensor::{Metadata, TensorInfo};

use crate::checkpoint::bytes::FileBytes;
use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::stored::Stored;
use crate::error::ModelError;

/// Bytes before the header: its length, little endian.
const LENGTH: usize = 8;

/// No published checkpoint comes near; safetensors itself refuses more.
const LONGEST_HEADER: u64 = 100_000_000;

/// A file with tensors.
#[derive(Debug, Clone)]
pub struct Shard {
    file: CheckpointFile,
    map: FileBytes,
    /// Where the numbers begin.
    start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Shard {
    /// Opens `file`. Only its header is read.
    ///
    /// # Errors
    /// [`ModelError::Io`]; [`ModelError::Weights`] for a header that is no header or whose offsets
    /// leave holes, overlap or do not fit their shapes; [`ModelError::Truncated`] when the file is
    /// shorter or longer than its header says.
    pub fn open(file: CheckpointFile) -> Result<Self, ModelError> {
        let map = FileBytes::open(&file)?;
        let got = map.len() as u64;
        let truncated = |expected| ModelError::Truncated { path: file.shown(), expected, got };
        if got < LENGTH as u64 {
            return Err(truncated(LENGTH as u64));
        }
        let header = u64::from_le_bytes(map[..LENGTH].try_into().expect("eight bytes"));
        if header > LONGEST_HEADER {
            let reason = format!("its header would be {header} bytes long");
            return Err(ModelError::Weights { path: file.shown(), source: reason.into() });
        }
        let start = LENGTH + header as usize;
        let text = map.get(LENGTH..start).ok_or_else(|| truncated(start as u64))?;
        // Parsing checks that the tensors lie one behind the other and are as long as their shapes.
        let metadata: Metadata = serde_json::from_slice(text).map_err(|source| {
            ModelError::Weights { path: file.shown(), source: Box::new(source) }
        })?;
        let expected = start as u64 + metadata.data_len() as u64;
        if expected != got {
            return Err(truncated(expected));
        }
        let tensors = metadata.tensors().into_iter().map(|(key, info)| (key, info.clone()));
        let tensors = tensors.collect();
        Ok(Self { file, map, start, tensors })
    }

    /// The file.
    pub fn file(&self) -> &CheckpointFile {
        &self.file
    }

    /// Names of its tensors, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.tensors.keys().map(String::as_str)
    }

    /// Tensor `key` where it lies.
    pub fn get(&self, key: &str) -> Option<Stored> {
        let info = self.tensors.get(key)?;
        let (from, to) = info.data_offsets;
        let range = self.start + from..self.start + to;
        Some(Stored::of_file(key, info.dtype, &info.shape, self.map.clone(), range))
    }
}
