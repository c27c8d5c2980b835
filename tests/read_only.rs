//! An index that may only be read: by its rights, as a share of somebody else's has it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{PROGRAM, Place, Ran, hits, pdfium};

/// Takes from everybody the right to write `path` and what is below it.
fn take_rights(path: &Path) {
    let is_folder = path.is_dir();
    if is_folder {
        fs::read_dir(path).unwrap().for_each(|entry| take_rights(&entry.unwrap().path()));
    }
    fs::set_permissions(path, Permissions::from_mode(if is_folder { 0o555 } else { 0o444 }))
        .unwrap();
}

/// Gives them back, so that the folder can be removed.
fn give_rights(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            give_rights(&entry);
        }
    }
}

/// The program as a user for whom rights hold. Root may write everywhere, so tests that run as root
/// start it as another, from a place that this user can read.
struct Reader {
    folder: tempfile::TempDir,
    is_root: bool,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        if is_root {
            fs::copy(PROGRAM, folder.path().join("pagesight")).unwrap();
            let library = pdfium();
            fs::copy(&library, folder.path().join(library.file_name().unwrap())).unwrap();
        }
        Self { folder, is_root }
    }

    fn run(&self, place: &Place, arguments: &[&str]) -> Ran {
        let mut command = if self.is_root {
            let library = pdfium();
            let library: PathBuf = self.folder.path().join(library.file_name().unwrap());
            let mut command = Command::new(self.folder.path().join("pagesight"));
            command.uid(65534).gid(65534).env("PAGESIGHT_PDFIUM", library);
            command.env("HOME", "/nonexistent").current_dir(place.path());
            command
        } else {
            place.command(&[])
        };
        Ran::from(command.args(arguments).env("NO_COLOR", "1").output().unwrap())
    }
}

#[test]
fn an_index_that_may_only_be_read_answers_as_before() {
    let place = Place::with(&["form.pdf", "papers/chart.pdf"]);
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    place.json(0, &["index", "--json", "--model", "nano", "form.pdf"]);
    place.json(0, &["index", "--json", "--model", "nano", "chart.pdf"]);
    let ask = ["query", "--json", "travel expense"];
    let before = hits(&place.json(0, &ask));
    assert_eq!(before[0], ("form.pdf".to_string(), 1));
    let words = place.run(&["get", "form.pdf#1"]);
    assert!(words.out.contains("Travel"), "{}", words.out);

    take_rights(&place.path().join(".pagesight"));
    let reader = Reader::new();
    let ran = reader.run(&place, &ask);
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((ran.code, hits(&lines)), (0, before), "{}", ran.err);
    assert_eq!(ran.err, "");
    let ran = reader.run(&place, &["get", "form.pdf#1"]);
    assert_eq!((ran.code, ran.out), (0, words.out), "{}", ran.err);
    for verb in ["status", "verify"] {
        let ran = reader.run(&place, &[verb]);
        assert_eq!(ran.code, 0, "{verb}: {}{}", ran.out, ran.err);
        assert!(!ran.out.contains("damaged"), "{verb}: {}", ran.out);
    }
    // To write is refused with the path, and what is there stays.
    let ran = reader.run(&place, &["index", "."]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(".pagesight"), "{}", ran.err);

    give_rights(&place.path().join(".pagesight"));
    assert_eq!(place.run(&["verify"]).code, 0);
}
