//! Archives: `.tar.gz` for Unix, `.zip` for Windows. Both are written here, a
//! hundred lines, so that the same files give the same bytes: no clock, no user, no order of a
//! folder gets in, and nobody needs a tar of one kind.

use std::io::{Read, Write};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::read::DeflateEncoder;
use flate2::write::GzEncoder;

/// A file of an archive.
pub struct Entry {
    /// Its path inside, with `/` between folders.
    pub path: String,
    pub bytes: Vec<u8>,
    /// Whether it can be run.
    pub runs: bool,
}

impl Entry {
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: bytes.into(), runs: false }
    }

    pub fn program(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { runs: true, ..Self::new(path, bytes) }
    }

    fn mode(&self) -> u32 {
        if self.runs { 0o755 } else { 0o644 }
    }
}

/// A gzipped tar in the ustar format.
///
/// # Errors
///
/// A path that does not fit into a ustar header: 100 bytes, and 155 for the folders before them.
pub fn tar_gz(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut tar = GzEncoder::new(Vec::new(), Compression::new(9));
    for entry in entries {
        let mut header = [0u8; 512];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        let (folders, name) = ustar_path(&entry.path)
            .with_context(|| format!("{} is too long for tar", entry.path))?;
        put(0, name);
        put(345, folders);
        put(100, &format!("{:07o}", entry.mode()));
        put(108, "0000000"); // owner and group: root
        put(116, "0000000");
        put(124, &format!("{:011o}", entry.bytes.len()));
        put(136, "00000000000"); // time
        put(148, "        "); // the checksum counts as blanks
        put(156, "0"); // a file
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.write_all(&header)?;
        tar.write_all(&entry.bytes)?;
        tar.write_all(&vec![0; entry.bytes.len().next_multiple_of(512) - entry.bytes.len()])?;
    }
    tar.write_all(&[0; 1024])?;
    Ok(tar.finish()?)
}

/// Cuts a path at a `/` so that both parts fit into their fields.
fn ustar_path(path: &str) -> Option<(&str, &str)> {
    if path.len() <= 100 {
        return Some(("", path));
    }
    let mut cuts = path.match_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..]));
    cuts.find(|(folders, name)| folders.len() <= 155 && !name.is_empty() && name.len() <= 100)
}

/// A zip with deflated entries.
///
/// # Errors
///
/// An archive of 4 GB or more, or of 65,536 files: those would need zip64.
pub fn zip(entries: &[Entry]) -> Result<Vec<u8>> {
    /// 1980-01-01, the first day that the format knows.
    const DAY: u16 = 0x21;
    /// Names are UTF-8.
    const FLAGS: u16 = 1 << 11;
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut packed = Vec::new();
        DeflateEncoder::new(&entry.bytes[..], Compression::new(9)).read_to_end(&mut packed)?;
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).context("an entry of 4 GB or more");
        let mut common = Vec::new();
        common.extend(20u16.to_le_bytes()); // version 2.0 unpacks it
        common.extend(FLAGS.to_le_bytes());
        common.extend(8u16.to_le_bytes()); // deflated
        common.extend(0u16.to_le_bytes()); // time
        common.extend(DAY.to_le_bytes());
        common.extend(crc32fast::hash(&entry.bytes).to_le_bytes());
        common.extend(size(&packed)?.to_le_bytes());
        common.extend(size(&entry.bytes)?.to_le_bytes());
        common.extend(u16::try_from(entry.path.len())?.to_le_bytes());
        common.extend(0u16.to_le_bytes()); // no extra field
        let at = size(&zip)?;
        zip.extend(b"PK\x03\x04");
        zip.extend(&common);
        zip.extend(entry.path.as_bytes());
        zip.extend(packed);
        directory.extend(b"PK\x01\x02");
        directory.extend((3u16 << 8 | 20).to_le_bytes()); // made on Unix: it has permissions
        directory.extend(&common);
        directory.extend([0; 6]); // no comment, first disk, no text
        directory.extend(((0o100_000 | entry.mode()) << 16).to_le_bytes());
        directory.extend(at.to_le_bytes());
        directory.extend(entry.path.as_bytes());
    }
    let (at, size) = (u32::try_from(zip.len())?, u32::try_from(directory.len())?);
    let files = u16::try_from(entries.len())?.to_le_bytes();
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend(files);
    zip.extend(files);
    zip.extend(size.to_le_bytes());
    zip.extend(at.to_le_bytes());
    zip.extend(0u16.to_le_bytes());
    Ok(zip)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn entries() -> Vec<Entry> {
        vec![
            Entry::program("pagesight/bin/pagesight", vec![7; 100_000]),
            Entry::new("pagesight/README.md", "words"),
            Entry::new("pagesight/empty", ""),
            // Longer than the field of a tar for names, as the licences of libpdfium are.
            Entry::new(LONG, "terms"),
        ]
    }

    const LONG: &str = "pagesight-0.1.0-x86_64-unknown-linux-gnu/share/doc/pagesight/pdfium/\
                        BUILD_LICENSES/SHARED/Apache-2.0.txt";

    /// Both are read by Python, which checks their checksums, and give the files back.
    #[test]
    fn another_program_reads_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.tar.gz"), tar_gz(&entries()).unwrap()).unwrap();
        fs::write(folder.path().join("a.zip"), zip(&entries()).unwrap()).unwrap();
        let script = format!("long = '{LONG}'\n{}", "\
import tarfile, zipfile
tar, packed = tarfile.open('a.tar.gz'), zipfile.ZipFile('a.zip')
assert packed.testzip() is None
names = ['pagesight/bin/pagesight', 'pagesight/README.md', 'pagesight/empty', long]
assert tar.getnames() == names == packed.namelist(), (tar.getnames(), packed.namelist())
for name, bytes, mode in zip(names, [b'\\x07' * 100000, b'words', b'', b'terms'], [0o755] + 3 * [0o644]):
    assert tar.extractfile(name).read() == bytes == packed.read(name), name
    given = packed.getinfo(name).external_attr >> 16
    assert tar.getmember(name).mode == mode == given & 0o777, name
");
        let ran = Command::new("python3").arg("-c").arg(script).current_dir(&folder).output();
        let ran = ran.expect("python3, which `make setup` needs too");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    #[test]
    fn paths_that_fit_nowhere_are_refused() {
        assert!(tar_gz(&[Entry::new("a".repeat(101), "")]).is_err());
        assert!(tar_gz(&[Entry::new(format!("{}/b", "a".repeat(156)), "")]).is_err());
        assert!(tar_gz(&[Entry::new(format!("{}/b", "a".repeat(155)), "")]).is_ok());
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        assert_eq!(tar_gz(&entries()).unwrap(), tar_gz(&entries()).unwrap());
        assert_eq!(zip(&entries()).unwrap(), zip(&entries()).unwrap());
    }
}
