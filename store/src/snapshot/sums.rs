//! Checksums of large files, block by block: what is read of such a file is checked when it is read, and
//! opening an index reads none of it.
//!
//! The words of a million pages take a gigabyte, of which a search reads some hundred kilobytes. The file
//! `sums/<BLAKE3 of the file>` has the CRC32C of each [`BLOCK`] of it, four bytes little-endian. It is
//! small, has a hash of its own in the pointer, and is compared with that when the index is opened.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::error::StoreError;
use crate::snapshot::contents::FileMark;
use crate::snapshot::names::{SUMS, is_text};
use crate::snapshot::publish::replace;

/// Bytes that have a checksum of their own. A search reads lists of some ten kilobytes.
pub(crate) const BLOCK: usize = 64 << 10;

/// Smaller files are compared with their hash when the index is opened: in a millisecond.
const LARGE: u64 = 1 << 20;

/// The checksums of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Of each block, the last of which may be short.
    sums: Vec<u32>,
    /// Bytes of the file.
    bytes: u64,
}

/// Whether the file has checksums by block.
pub(crate) fn has_sums(name: &str, mark: &FileMark) -> bool {
    is_text(name) && mark.bytes >= LARGE
}

/// The name of the file with the checksums of the file that `mark` is of, below the index.
pub(crate) fn sums_name(mark: &FileMark) -> String {
    format!("{SUMS}/{}", mark.blake3)
}

/// Writes the checksums of the file `name` of the index at `index`, where they are not there yet.
///
/// # Errors
/// When the file cannot be read, or its checksums not be written.
pub(crate) fn keep(index: &Path, name: &str, mark: &FileMark) -> Result<(), StoreError> {
    let target = index.join(sums_name(mark));
    if target.exists() {
        return Ok(());
    }
    let path = index.join(name);
    let sums = Sums::of(File::open(&path).map_err(StoreError::io("reading", &path))?);
    let sums = sums.map_err(StoreError::io("reading", &path))?;
    let folder = index.join(SUMS);
    fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
    replace(&target, &sums.to_bytes())
}

/// Reads the checksums of the file that `mark` is of.
///
/// # Errors
/// When they cannot be read, and [`StoreError::DamagedFile`] when they are of another file.
pub(crate) fn read(index: &Path, mark: &FileMark) -> Result<Sums, StoreError> {
    let path = index.join(sums_name(mark));
    let bytes = fs::read(&path).map_err(StoreError::io("reading", &path))?;
    let (sums, rest) = bytes.as_chunks();
    let sums: Vec<u32> = sums.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
    if !rest.is_empty() || sums.len() as u64 != mark.bytes.div_ceil(BLOCK as u64) {
        let what = format!("it has {} bytes, for a file of {}", bytes.len(), mark.bytes);
        return Err(StoreError::DamagedFile { path, what });
    }
    Ok(Sums { sums, bytes: mark.bytes })
}

impl Sums {
    /// Those of what `file` has.
    fn of(mut file: impl Read) -> std::io::Result<Self> {
        let (mut sums, mut bytes) = (Vec::new(), 0);
        let mut block = Vec::with_capacity(BLOCK);
        loop {
            block.clear();
            let read = file.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
            if read == 0 {
                return Ok(Self { sums, bytes });
            }
            sums.push(crc32c::crc32c(&block));
            bytes += read as u64;
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
    }

    /// How many blocks the file has.
    pub fn blocks(&self) -> usize {
        self.sums.len()
    }

    /// Which bytes block `number` is.
    pub fn range(&self, number: usize) -> Range<usize> {
        number * BLOCK..((number + 1) * BLOCK).min(self.bytes as usize)
    }

    /// Whether `block` is what was written as block `number`.
    pub fn fits(&self, number: usize, block: &[u8]) -> bool {
        self.sums.get(number) == Some(&crc32c::crc32c(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_in_one_block() {
        let bytes: Vec<u8> = (0..2 * BLOCK + 10).map(|at| (at % 251) as u8).collect();
        let sums = Sums::of(&bytes[..]).unwrap();
        assert_eq!((sums.blocks(), sums.range(2)), (3, 2 * BLOCK..2 * BLOCK + 10));
        for at in [0, BLOCK - 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 9] {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            for block in 0..3 {
                let fits = sums.fits(block, &bad[sums.range(block)]);
                assert_eq!(fits, block != at / BLOCK, "{at}, block {block}");
            }
        }
        assert_eq!(Sums::of(&[][..]).unwrap().blocks(), 0);
    }

    #[test]
    fn what_is_kept_is_read_for_the_same_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (index, name) = (folder.path(), "words");
        let bytes = vec![7; BLOCK + 1];
        fs::write(index.join(name), &bytes).unwrap();
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        let mark = FileMark { bytes: bytes.len() as u64, blake3 };
        keep(index, name, &mark).unwrap();
        assert_eq!(read(index, &mark).unwrap(), Sums::of(&bytes[..]).unwrap());
        let longer = FileMark { bytes: mark.bytes + BLOCK as u64, ..mark };
        assert!(matches!(read(index, &longer), Err(StoreError::DamagedFile { .. })));
    }
}
