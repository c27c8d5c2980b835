//! `cargo xtask dist`: what users install without compiling, from a release build of this clone.
//!
//! Two files in `dist` of the target folder, each with its SHA-256 beside it:
//!
//! * an archive laid out as `bin`, `lib` and `share`, so that it runs where it is unpacked and can
//!   be unpacked over `/usr/local` too: the program, libpdfium, the model of meaning, the weights of
//!   the reader, licences, completions, man pages;
//! * a Python wheel that brings the same files into an environment, so `pip install` is enough. It
//!   is a zip with a table of contents, so no build tool of Python's is needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::pack::{Entry, tar_gz, zip};
use crate::{files, licences, reader, weights};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const SUMMARY: &str =
    "Search PDFs by how their pages look: ColPali-style late interaction, in Rust";

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
        write(&folder.join(format!("{name}.zip")), &zip(&inside)?)?;
    } else {
        write(&folder.join(format!("{name}.tar.gz")), &tar_gz(&inside)?)?;
    }
    let tag = format!("py3-none-{}", wheel_platform(&[&program, &library])?);
    let wheel = zip(&wheel(installed, &tag)?)?;
    write(&folder.join(format!("pagesight-{VERSION}-{tag}.whl")), &wheel)
}

/// The target that this compiler builds for.
fn host() -> Result<String> {
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
    let notices = licences::notices(clone, platform)?;
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

/// The files of a wheel: those that are installed, and what pip wants to know of them.
fn wheel(installed: Vec<Entry>, tag: &str) -> Result<Vec<Entry>> {
    let data = format!("pagesight-{VERSION}.data");
    let info = format!("pagesight-{VERSION}.dist-info");
    let mut entries = Vec::new();
    for mut entry in installed {
        entry.path = match entry.path.split_once('/').context("a file below a folder")? {
            // pip puts these where the environment's programs are, and lets them run.
            ("bin", name) => format!("{data}/scripts/{name}"),
            _ => match entry.path.strip_prefix("share/doc/pagesight/") {
                Some(name) if name != "README.md" => format!("{info}/licenses/{name}"),
                // Documents of an environment have no place; the description has the README.
                Some(_) => continue,
                None => format!("{data}/data/{}", entry.path),
            },
        };
        entries.push(entry);
    }
    let readme = include_str!("../../README.md");
    entries.push(Entry::new(
        format!("{info}/METADATA"),
        format!(
            "Metadata-Version: 2.4\nName: pagesight\nVersion: {VERSION}\nSummary: {SUMMARY}\n\
             License-Expression: MIT OR Apache-2.0\nRequires-Python: >=3.8\n\
             Description-Content-Type: text/markdown\n\n{readme}"
        ),
    ));
    entries.push(Entry::new(
        format!("{info}/WHEEL"),
        format!(
            "Wheel-Version: 1.0\nGenerator: xtask {VERSION}\nRoot-Is-Purelib: false\nTag: {tag}\n"
        ),
    ));
    let rows = entries.iter().map(|entry| {
        let hash = base64(&Sha256::digest(&entry.bytes));
        format!("{},sha256={hash},{}\n", entry.path, entry.bytes.len())
    });
    let record = rows.collect::<String>() + &format!("{info}/RECORD,,\n");
    entries.push(Entry::new(format!("{info}/RECORD"), record));
    Ok(entries)
}

/// The platform in a wheel's name: on Linux with the glibc that the files ask for.
fn wheel_platform(binaries: &[&Path]) -> Result<String> {
    let architecture = env::consts::ARCH;
    Ok(match env::consts::OS {
        "linux" => {
            let mut newest = 17; // the oldest that the scheme names
            for binary in binaries {
                newest = newest.max(glibc(&fs::read(binary)?));
            }
            format!("manylinux_2_{newest}_{architecture}")
        }
        "macos" if architecture == "aarch64" => "macosx_11_0_arm64".into(),
        "macos" => "macosx_10_15_x86_64".into(),
        "windows" => "win_amd64".into(),
        other => bail!("no name is known for wheels of {other}"),
    })
}

/// The newest minor version of glibc 2 among the versions of symbols that an ELF file names.
fn glibc(elf: &[u8]) -> u32 {
    const PREFIX: &[u8] = b"GLIBC_2.";
    let named = elf.windows(PREFIX.len()).enumerate().filter(|(_, bytes)| *bytes == PREFIX);
    let minor = |(at, _): (usize, _)| {
        let digits = elf[at + PREFIX.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    named.map(minor).max().unwrap_or(0)
}

/// The alphabet for file names and addresses, without padding, as wheels want it.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte));
        let bits = bits << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(path.with_file_name(format!("{name}.sha256")), format!("{hash}  {name}\n"))?;
    println!("{} ({:.1} MB)", path.display(), bytes.len() as f64 / 1e6);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_file_names() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xfb, 0xff, 0xfe], "-__-"),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }

    #[test]
    fn the_newest_glibc_counts() {
        assert_eq!(glibc(b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.17\0GLIBC_PRIVATE\0"), 34);
        assert_eq!(glibc(b"nothing"), 0);
    }

    /// pip itself installs what is written, and the program is where programs are.
    #[test]
    fn pip_takes_the_wheel() {
        let folder = tempfile::tempdir().unwrap();
        let installed = vec![
            Entry::program("bin/pagesight", "#!/bin/sh\necho it runs\n"),
            Entry::new("lib/libpdfium.so", "a library"),
            Entry::new("share/doc/pagesight/LICENSE-MIT", "terms"),
            Entry::new("share/doc/pagesight/pdfium/LICENSE", "terms"),
        ];
        let name = format!("pagesight-{VERSION}-py3-none-any.whl");
        let wheel = zip(&wheel(installed, "py3-none-any").unwrap()).unwrap();
        fs::write(folder.path().join(&name), wheel).unwrap();
        let install = |arguments: &[&str]| {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet"]).args(arguments);
            pip.args(["--no-index", "--no-deps", "--disable-pip-version-check"]);
            let output = pip.arg(&name).current_dir(&folder).output().expect("python3 with pip");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        install(&["--prefix", "there", "--ignore-installed"]);
        let there = folder.path().join("there");
        assert_eq!(fs::read(there.join("lib/libpdfium.so")).unwrap(), b"a library");
        if cfg!(unix) {
            assert_eq!(said(&there.join("bin/pagesight"), &[]).unwrap(), b"it runs\n");
        }
    }
}
