//! `cargo xtask dist`: what users install without compiling, from a release build of this clone.
//!
//! An archive in `dist` of the target folder, with its SHA-256 beside it. It is laid out as `bin`,
//! `lib` and `share`, so that it runs where it is unpacked and can be unpacked over `/usr/local` too:
//! the program, libpdfium, the model of meaning, the weights of the reader, licences, completions,
//! man pages. The Python wheel, which brings the program too, is made by maturin (`make wheel`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::pack::{Entry, tar_gz, zip};
use crate::{files, licences, reader, weights};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Packs the program that `cargo build --release` left in `target`.
pub fn dist(clone: &Path, target: &Path) -> Result<()> {
    let program = target.join("release").join(format!("pagesight{}", env::consts::EXE_SUFFIX));
    ensure!(
        program.is_file(),
        "{} is not there: run `cargo build --release` before",
        program.display()
    );
    let platform = host()?;
    let library = library(clone)?;
    let installed = installed(clone, &program, &library, &platform)?;
    let folder = target.join("dist");
    fs::create_dir_all(&folder)?;

    let name = format!("pagesight-{VERSION}-{platform}");
    let inside = installed.iter().map(|entry| Entry {
        path: format!("{name}/{}", entry.path),
        bytes: entry.bytes.clone(),
        runs: entry.runs,
    });
    let inside: Vec<Entry> = inside.collect();
    if cfg!(windows) {
        write(&folder.join(format!("{name}.zip")), &zip(&inside)?)
    } else {
        write(&folder.join(format!("{name}.tar.gz")), &tar_gz(&inside)?)
    }
}

/// The target that this compiler builds for.
pub fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("starting rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_string())
}

/// libpdfium as `cargo xtask setup` fetched it.
fn library(clone: &Path) -> Result<PathBuf> {
    let name = format!("{}pdfium{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let path = clone.join(".tools/pdfium/lib").join(name);
    ensure!(path.is_file(), "{} is not there: run `cargo xtask setup` before", path.display());
    Ok(path)
}

/// The files below the folder that something is installed into.
fn installed(clone: &Path, program: &Path, library: &Path, platform: &str) -> Result<Vec<Entry>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut entries = vec![
        Entry::program(format!("bin/{}", name(program)), read(program)?),
        Entry::new(format!("lib/{}", name(library)), read(library)?),
    ];
    for (shell, path) in [
        ("bash", "share/bash-completion/completions/pagesight"),
        ("zsh", "share/zsh/site-functions/_pagesight"),
        ("fish", "share/fish/vendor_completions.d/pagesight.fish"),
        ("powershell", "share/pagesight/pagesight.ps1"),
    ] {
        entries.push(Entry::new(path, said(program, &["completions", shell])?));
    }
    let manual = program.with_file_name("man");
    fs::create_dir_all(&manual)?;
    said(program, &["manual", &manual.to_string_lossy()])?;
    for page in sorted(&manual)? {
        entries.push(Entry::new(format!("share/man/man1/{}", name(&page)), read(&page)?));
    }
    let documents = "share/doc/pagesight";
    for path in sorted(&weights::shipped(clone)?)? {
        // The terms lie with the others.
        let folder = match &*name(&path) {
            "LICENSE" | "NOTICE" => format!("{documents}/minilm"),
            _ => "lib/pagesight/minilm".into(),
        };
        entries.push(Entry::new(format!("{folder}/{}", name(&path)), read(&path)?));
    }
    for file in ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        entries.push(Entry::new(format!("{documents}/{file}"), read(&clone.join(file))?));
    }
    let notices = licences::notices(clone, platform, "pagesight")?;
    entries.push(Entry::new(format!("{documents}/THIRD-PARTY-LICENCES.txt"), notices));
    add_folder(
        &mut entries,
        &clone.join(".tools/pdfium/licenses"),
        &format!("{documents}/pdfium"),
    )?;
    for (path, is_notice) in reader::shipped(&clone.join(".tools/ocr"))? {
        let folder =
            if is_notice { format!("{documents}/ocr") } else { "share/pagesight/ocr".into() };
        entries.push(Entry::new(format!("{folder}/{}", name(&path)), read(&path)?));
    }
    for file in ["README.md", "LICENSE-APACHE", "LICENSE-OFL"] {
        let notice = read(&clone.join("pdf/fonts").join(file))?;
        entries.push(Entry::new(format!("{documents}/fonts/{file}"), notice));
    }
    Ok(entries)
}

fn add_folder(entries: &mut Vec<Entry>, folder: &Path, inside: &str) -> Result<()> {
    for path in sorted(folder)? {
        let inside = format!("{inside}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            add_folder(entries, &path, &inside)?;
        } else {
            entries.push(Entry::new(inside, fs::read(&path)?));
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = files(folder)?;
    paths.sort();
    Ok(paths)
}

/// What the program prints.
fn said(program: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("starting {}", program.display()))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pagesight {}: {error}", arguments.join(" "));
    Ok(output.stdout)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(path.with_file_name(format!("{name}.sha256")), format!("{hash}  {name}\n"))?;
    println!("{} ({:.1} MB)", path.display(), bytes.len() as f64 / 1e6);
    Ok(())
}
