//! What this repository needs beside cargo; `cargo xtask` lists it.
//!
//! `setup` prepares a clone: what the build and the program need and crates.io does not link in.
//! Everything lands in `.tools/`, pinned by `xtask/*.lock.json`; a second run finds it there and
//! does nothing. `cuda` does the same for CUDA, pinned by `xtask/cuda.requirements.txt`. The
//! others check what no compiler checks, and pack what users install.

mod api;
mod clone;
mod cuda;
mod dist;
mod features;
mod licences;
mod pack;
mod reader;
mod setup;
mod weights;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// See `clone`.
const _: Option<&str> = option_env!("PAGESIGHT_CLONE");

const USAGE: &str = "\
usage: cargo xtask COMMAND

setup        put protoc (for the build), libpdfium and the models of meaning and reading into .tools/
cuda         NVIDIA's compiler and libraries, to build feature cuda
features     check that testing one crate compiles no dependency a second time
licences     check that the licence of every dependency is one that deny.toml allows
api          compare the public names of the library with api.txt; --write writes it anew
notices DIR  write what the Python package says of the licences of what it contains
dist         pack the release build: an archive in dist/ of the target folder";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let clone = clone();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["setup"] => setup::run(&clone),
        ["cuda"] => cuda::place(&clone.join(".tools/cuda")),
        ["features"] => features::check(&clone),
        ["licences"] => licences::check(&clone),
        ["api"] => api::run(&clone, false),
        ["api", "--write"] => api::run(&clone, true),
        ["notices", folder] => dist::host()
            .and_then(|platform| licences::write_notices(&clone, &platform, Path::new(folder))),
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
