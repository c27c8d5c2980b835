//! `cargo xtask setup`: what the build and the program need and crates.io does not link in, put into
//! `.tools/` and pinned by `xtask/*.lock.json`. A second run finds it there and does nothing.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{clone, copy_folder, files, reader, sha256, weights, wheel};

const LOCK: &str = include_str!("../pdfium.lock.json");

/// Prepares a clone.
pub fn run(clone: &Path) -> Result<()> {
    clone::name(clone)?;
    let tools = clone.join(".tools");
    place_protoc(&tools.join("protoc"))?;
    place_pdfium(&tools.join("pdfium"))?;
    weights::place(clone, &tools.join("weights"))?;
    reader::place(&tools.join("ocr"))
}

/// Copies the vendored protoc to where `.cargo/config.toml` tells the build scripts to look.
fn place_protoc(folder: &Path) -> Result<()> {
    let source = protoc_bin_vendored::protoc_bin_path()
        .map_err(|e| anyhow::anyhow!("no vendored protoc for this platform: {e}"))?;
    let target = folder.join("bin").join(format!("protoc{}", env::consts::EXE_SUFFIX));
    if target.exists() {
        return Ok(());
    }
    let include = protoc_bin_vendored::include_path()
        .map_err(|e| anyhow::anyhow!("no vendored protobuf includes: {e}"))?;
    copy_folder(&include, &folder.join("include"))?;
    fs::create_dir_all(folder.join("bin"))?;
    fs::copy(&source, &target)
        .with_context(|| format!("copying protoc to {}", target.display()))?;
    eprintln!("protoc ready in {}", folder.display());
    Ok(())
}

#[derive(Deserialize)]
struct Lock {
    package: String,
    version: String,
    wheels: Vec<Wheel>,
}

#[derive(Deserialize)]
struct Wheel {
    /// `env::consts::OS` and `ARCH`.
    os: String,
    arch: String,
    wheel_sha256: String,
    /// Path of the library inside the wheel.
    library: String,
    library_sha256: String,
}

/// Fetches the wheel that carries libpdfium by name through pip, which checks the wheel's hash;
/// then checks the library's own and keeps the licence files beside it.
fn place_pdfium(folder: &Path) -> Result<()> {
    let lock: Lock = serde_json::from_str(LOCK).context("reading xtask/pdfium.lock.json")?;
    let (os, arch) = (env::consts::OS, env::consts::ARCH);
    let pinned = lock.wheels.iter().find(|w| w.os == os && w.arch == arch).with_context(|| {
        format!(
            "no libpdfium is pinned for {os} {arch}: build or fetch one (builds 7869 to 8149) and \
             set PAGESIGHT_PDFIUM to it"
        )
    })?;
    let name = Path::new(&pinned.library).file_name().context("library has no name")?;
    let library = folder.join("lib").join(name);
    if library.exists() && sha256(&library)? == pinned.library_sha256 {
        return Ok(());
    }
    let work = folder.join("fetch");
    eprintln!("fetching libpdfium ({} {}) with pip", lock.package, lock.version);
    let unpacked = wheel::unpacked(&lock.package, &lock.version, &pinned.wheel_sha256, &work)?;
    let found = unpacked.join(&pinned.library);
    let hash = sha256(&found)?;
    ensure!(
        hash == pinned.library_sha256,
        "{} has sha256 {hash}, expected {}",
        pinned.library,
        pinned.library_sha256
    );
    for entry in files(&unpacked)? {
        let licences = entry.join("licenses");
        if licences.is_dir() {
            copy_folder(&licences, &folder.join("licenses"))?;
        }
    }
    fs::create_dir_all(folder.join("lib"))?;
    fs::rename(&found, &library)?;
    fs::remove_dir_all(&work)?;
    eprintln!("libpdfium ready in {}", library.display());
    Ok(())
}
