//! The real program and the façade on real PDFs; one binary, so that it links once.

#[cfg(feature = "ask")]
mod ask;
mod bombs;
mod circles;
mod cli;
mod clones;
mod codes;
mod compact;
mod damage;
mod documents;
mod eval;
mod examples;
mod families;
mod fleet;
mod heat;
mod hostile;
mod layering;
mod library;
#[cfg(feature = "s3")]
mod lying_store;
mod meaning;
mod model;
mod nano;
#[cfg(target_os = "linux")]
mod observed;
mod ocr;
#[cfg(target_os = "linux")]
mod pages;
#[cfg(target_os = "linux")]
mod promises;
mod random;
#[cfg(target_os = "linux")]
mod read_only;
#[cfg(target_os = "linux")]
mod robustness;
#[cfg(feature = "serve")]
mod serve;
mod sync;
mod torture;
#[cfg(unix)]
mod watch;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pagesight");

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The libpdfium that `cargo xtask setup` fetched.
fn pdfium() -> PathBuf {
    let given = std::env::var_os("PAGESIGHT_PDFIUM").map(PathBuf::from);
    let given = given.expect(".cargo/config.toml sets PAGESIGHT_PDFIUM; run the tests with cargo");
    let (start, end) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    if given.is_dir() { given.join(format!("{start}pdfium{end}")) } else { given }
}

/// A folder with PDFs and an index, for one test.
struct Place {
    folder: tempfile::TempDir,
}

/// What a run of the program gave.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn with(files: &[&str]) -> Self {
        let place = Self::new();
        for file in files {
            let name = Path::new(file).file_name().unwrap();
            place.add(file, name.to_str().unwrap());
        }
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Copies a fixture.
    fn add(&self, fixture: &str, name: &str) {
        let to = self.path().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fixtures().join("pdf").join(fixture), to).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.path());
        command.env_remove("PAGESIGHT_INDEX").env_remove("PAGESIGHT_MODEL");
        command.env_remove("PAGESIGHT_ENDPOINT").env_remove("PAGESIGHT_ANSWER_MODEL");
        command.env("PAGESIGHT_PDFIUM", pdfium()).env("NO_COLOR", "1");
        // nano sees few pages a second: tests that are about it or another model name theirs.
        if arguments.contains(&"index") && !arguments.contains(&"--model") {
            command.env("PAGESIGHT_MODEL", "none");
        }
        // As for the model of meaning.
        if arguments.contains(&"index") && !arguments.contains(&"--meaning") {
            command.env("PAGESIGHT_MEANING", "off");
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    /// Runs a verb that must end with `code`, and reads its JSON Lines.
    fn json(&self, code: i32, arguments: &[&str]) -> Vec<Value> {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.err);
        ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Paths and pages of the hits.
fn hits(lines: &[Value]) -> Vec<(String, u64)> {
    let hits = lines.iter().filter(|line| line["type"] == "hit");
    hits.map(|hit| (hit["path"].as_str().unwrap().into(), hit["page"].as_u64().unwrap())).collect()
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}
