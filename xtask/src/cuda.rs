//! `cargo xtask cuda`: NVIDIA's compiler and libraries in `.tools/cuda`, laid out as `CUDA_HOME`.
//! It takes no GPU to compile and link feature `cuda`; it takes one to run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{copy_folder, files, python};

const REQUIREMENTS: &str = include_str!("../cuda.requirements.txt");

/// Fetches the wheels that `cuda.requirements.txt` pins, through pip, which checks their hashes.
pub fn place(folder: &Path) -> Result<()> {
    let pinned = folder.join("requirements.txt");
    if fs::read_to_string(&pinned).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(());
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("CUDA is pinned for Linux on x86-64 only: set CUDA_HOME to an installation of 13.0");
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let work = folder.join("fetch");
    fs::create_dir_all(&work)?;
    let requirements = work.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)?;
    eprintln!("fetching CUDA 13.0 with pip: 680 MB, 1.2 GB unpacked");
    python(
        &["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"],
        &["--only-binary", ":all:", "--require-hashes", "--dest"],
        &[&work, Path::new("-r"), &requirements],
    )
    .context("pip could not fetch CUDA; is the package index reachable?")?;
    let unpacked = work.join("wheels");
    for wheel in files(&work)?.iter().filter(|p| p.extension().is_some_and(|e| e == "whl")) {
        python(&["-m", "zipfile", "-e"], &[], &[wheel, &unpacked])?;
        fs::remove_file(wheel)?;
    }
    for part in files(&unpacked.join("nvidia/cu13"))? {
        fs::rename(&part, folder.join(part.file_name().context("an entry without a name")?))?;
    }
    for entry in files(&unpacked)? {
        let licences = entry.join("licenses");
        if let (true, Some(name)) = (licences.is_dir(), entry.file_stem()) {
            copy_folder(&licences, &folder.join("licenses").join(name))?;
        }
    }
    // Wheels lose the permission to run, and linkers look for names without a version.
    for programs in ["bin", "nvvm/bin"] {
        for program in files(&folder.join(programs))?.iter().filter(|path| path.is_file()) {
            #[cfg(unix)]
            fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
    }
    let libraries = folder.join("lib");
    for library in files(&libraries)? {
        let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some((plain, _)) = name.split_once(".so.") {
            link(&name, &libraries.join(format!("{plain}.so")))?;
        }
    }
    link("lib", &folder.join("lib64"))?;
    place_driver(folder)?;
    fs::remove_dir_all(&work)?;
    fs::write(&pinned, REQUIREMENTS)?;
    eprintln!("CUDA ready in {}", folder.display());
    Ok(())
}

/// A library with the names of the driver's functions, to link against: the driver itself comes
/// with the GPU. Called, each says "unknown error" (999).
fn place_driver(folder: &Path) -> Result<()> {
    let header = fs::read_to_string(folder.join("include/cuda.h")).context("reading cuda.h")?;
    let words = header.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_function = |word: &&str| {
        let rest = word.strip_prefix("cu");
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    let functions: BTreeSet<&str> = words.filter(is_function).collect();
    ensure!(functions.contains("cuInit"), "cuda.h names no cuInit");
    let source: String =
        functions.iter().map(|name| format!("int {name}(void) {{ return 999; }}\n")).collect();
    let stubs = folder.join("lib/stubs");
    fs::create_dir_all(&stubs)?;
    let file = folder.join("fetch/driver.c");
    fs::write(&file, source)?;
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o"])
        .args([&stubs.join("libcuda.so.1"), &file])
        .status()
        .context("starting cc")?;
    ensure!(done.success(), "cc ended with {done}");
    link("libcuda.so.1", &stubs.join("libcuda.so"))
}

fn link(target: &str, name: &Path) -> Result<()> {
    #[cfg(unix)]
    std::os::unix::fs::symlink(target, name)
        .with_context(|| format!("linking {}", name.display()))?;
    let _ = (target, name);
    Ok(())
}
