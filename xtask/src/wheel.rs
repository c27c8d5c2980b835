//! Packages of the Python index, from which files are taken that crates.io has not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{files, python};

/// Fetches a wheel by its name through pip, which compares it with `hash`, and unpacks it into
/// `work`, which is emptied before: the folder with its files.
pub fn unpacked(package: &str, version: &str, hash: &str, work: &Path) -> Result<PathBuf> {
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    fs::create_dir_all(work)?;
    let requirement = work.join("requirements.txt");
    fs::write(&requirement, format!("{package}=={version} --hash=sha256:{hash}\n"))?;
    python(
        &["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"],
        &["--only-binary", ":all:", "--require-hashes", "--dest"],
        &[work, Path::new("-r"), &requirement],
    )
    .with_context(|| format!("pip could not fetch {package}; is the package index reachable?"))?;
    let archive = files(work)?
        .into_iter()
        .find(|path| path.extension().is_some_and(|ending| ending == "whl"))
        .context("pip left no wheel behind")?;
    let unpacked = work.join("wheel");
    python(&["-m", "zipfile", "-e"], &[], &[&archive, &unpacked])?;
    Ok(unpacked)
}
