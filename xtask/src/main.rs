//! What this repository needs beside cargo; `cargo xtask` lists it.
//!
//! `setup` prepares a clone: what the build and the program need and crates.io does not link in.
//! Everything lands in `.tools/`, pinned by `xtask/pdfium.lock.json`; a second run finds it there
//! and does nothing. `cuda` does the same for CUDA, pinned by `xtask/cuda.requirements.txt`. The
//! others check what no compiler checks, and pack what users install.

mod api;
mod clone;
mod cuda;
mod dist;
mod licences;
mod pack;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// See `clone`.
const _: Option<&str> = option_env!("PAGESIGHT_CLONE");

const USAGE: &str = "\
usage: cargo xtask COMMAND

setup        put protoc (for the build) and libpdfium (for the program) into .tools/
cuda         NVIDIA's compiler and libraries, to build feature cuda
licences     check that the licence of every dependency is one that deny.toml allows
api          compare the public names of the library with api.txt; --write writes it anew
dist         pack the release build: an archive and a Python wheel in dist/ of the target folder";

const LOCK: &str = include_str!("../pdfium.lock.json");

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let clone = clone();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["setup"] => setup(&clone),
        ["cuda"] => cuda::place(&clone.join(".tools/cuda")),
        ["licences"] => licences::check(&clone),
        ["api"] => api::run(&clone, false),
        ["api", "--write"] => api::run(&clone, true),
        ["dist"] => dist::dist(&clone, &target(&clone)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The clone that cargo was asked in.
fn clone() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR");
    let here = here.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().expect("xtask lies in the clone").to_path_buf()
}

/// Where cargo puts programs.
fn target(clone: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| clone.join("target"), |path| clone.join(path))
}

fn setup(clone: &Path) -> Result<()> {
    clone::name(clone)?;
    let tools = clone.join(".tools");
    place_protoc(&tools.join("protoc"))?;
    place_pdfium(&tools.join("pdfium"))
}

/// Copies the vendored protoc to where `.cargo/config.toml` tells the build scripts to look.
fn place_protoc(folder: &Path) -> Result<()> {
    let source = protoc_bin_vendored::protoc_bin_path()
        .map_err(|e| anyhow::anyhow!("no vendored protoc for this platform: {e}"))?;
    let target = folder.join("bin").join("protoc");
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
    let wheel = lock.wheels.iter().find(|w| w.os == os && w.arch == arch).with_context(|| {
        format!(
            "no libpdfium is pinned for {os} {arch}: build or fetch one (builds 7869 to 8149) and \
             set PAGESIGHT_PDFIUM to it"
        )
    })?;
    let name = Path::new(&wheel.library).file_name().context("library has no name")?;
    let library = folder.join("lib").join(name);
    if library.exists() && sha256(&library)? == wheel.library_sha256 {
        return Ok(());
    }
    let work = folder.join("fetch");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let requirement = work.join("requirements.txt");
    fs::write(
        &requirement,
        format!("{}=={} --hash=sha256:{}\n", lock.package, lock.version, wheel.wheel_sha256),
    )?;
    eprintln!("fetching libpdfium ({} {}) with pip", lock.package, lock.version);
    python(
        &["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"],
        &["--only-binary", ":all:", "--require-hashes", "--dest"],
        &[&work, Path::new("-r"), &requirement],
    )
    .context("pip could not fetch libpdfium; is the package index reachable?")?;
    let archive = files(&work)?
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "whl"))
        .context("pip left no wheel behind")?;
    let unpacked = work.join("wheel");
    python(&["-m", "zipfile", "-e"], &[], &[&archive, &unpacked])?;
    let found = unpacked.join(&wheel.library);
    let hash = sha256(&found)?;
    ensure!(
        hash == wheel.library_sha256,
        "{} has sha256 {hash}, expected {}",
        wheel.library,
        wheel.library_sha256
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

fn python(before: &[&str], middle: &[&str], paths: &[&Path]) -> Result<()> {
    for program in ["python3", "python"] {
        match Command::new(program).args(before).args(middle).args(paths).status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => bail!("{program} {} ended with {status}", before.join(" ")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format!("starting {program}")),
        }
    }
    bail!("Python 3 with pip is needed to fetch it, and neither python3 nor python is there")
}

fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for path in files(from)? {
        let target = to.join(path.file_name().context("an entry without a name")?);
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target)
                .with_context(|| format!("copying {} to {}", path.display(), target.display()))?;
        }
    }
    Ok(())
}
