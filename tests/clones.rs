//! Two clones that share one build folder run their own code.
//!
//! The clones are small, and made of this clone's own settings: `.cargo/` as it is, and the line
//! with `PAGESIGHT_CLONE` from the crate that all of ours stand on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// What names a clone in its crates.
fn guard() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/src/lib.rs");
    let source = fs::read_to_string(source).unwrap();
    let line = source.lines().find(|line| line.contains("option_env!(\"PAGESIGHT_CLONE\")"));
    line.expect("core/src/lib.rs names the clone").into()
}

/// Two clones of one workspace, whose library says `first` or `second`, as old as a checkout.
struct Clones {
    folder: tempfile::TempDir,
}

const CLONES: [&str; 2] = ["first", "second"];

impl Clones {
    /// `named`: with what `make setup` writes, and `guarded`: with the line in the library.
    fn new(named: bool, guarded: bool) -> Self {
        let clones = Self { folder: tempfile::tempdir().unwrap() };
        for word in CLONES {
            clones.make(word, named, if guarded { guard() } else { String::new() });
        }
        clones
    }

    fn path(&self, word: &str) -> PathBuf {
        self.folder.path().join(word)
    }

    fn make(&self, word: &str, named: bool, guard: String) {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo");
        let manifest = |name: &str, rest: &str| {
            format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n{rest}")
        };
        let mut files = vec![
            (
                "Cargo.toml",
                manifest(
                    "program",
                    "[dependencies]\nlibrary = { path = \"library\" }\n[workspace]\n",
                ),
            ),
            ("library/Cargo.toml", manifest("library", "")),
            ("library/src/lib.rs", format!("pub const WORD: &str = \"{word}\";\n{guard}\n")),
            ("src/main.rs", "fn main() { println!(\"{}\", library::WORD); }\n".into()),
            (
                "tests/word.rs",
                format!("#[test]\nfn word() {{ assert_eq!(library::WORD, \"{word}\"); }}\n"),
            ),
            (".cargo/config.toml", fs::read_to_string(ours.join("config.toml")).unwrap()),
        ];
        if named {
            let settings = "[build]\nrustc-workspace-wrapper = \".cargo/rustc\"\n";
            files.push((".cargo/clone.toml", settings.into()));
        }
        for (name, text) in files {
            let path = self.path(word).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let old = SystemTime::now() - Duration::from_secs(3600);
            fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        }
        fs::copy(ours.join("rustc"), self.path(word).join(".cargo/rustc")).unwrap();
    }

    /// Cargo in one clone, with the build folder of both; what it printed on stdout.
    fn cargo(&self, word: &str, arguments: &[&str]) -> String {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments).args(["--quiet", "--offline"]).current_dir(self.path(word));
        for variable in ["PAGESIGHT_CLONE", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_BUILD_DIR"] {
            cargo.env_remove(variable);
        }
        let output = cargo.env("CARGO_TARGET_DIR", self.folder.path().join("target")).output();
        let output = output.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_string();
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    }

    fn artifacts_of_the_library(&self) -> usize {
        let deps = fs::read_dir(self.folder.path().join("target/debug/deps")).unwrap();
        let names = deps.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("liblibrary-") && name.ends_with(".rlib")).count()
    }
}

#[test]
fn a_clone_runs_its_own_code_out_of_a_shared_folder() {
    for named in [false, true] {
        let clones = Clones::new(named, true);
        for word in [CLONES[0], CLONES[1], CLONES[0], CLONES[1]] {
            assert_eq!(clones.cargo(word, &["run"]), word, "named: {named}");
            clones.cargo(word, &["test"]);
        }
    }
}

#[test]
#[cfg(unix)]
fn named_clones_do_not_overwrite_each_other() {
    let clones = Clones::new(true, false);
    for word in CLONES {
        assert_eq!(clones.cargo(word, &["run"]), word);
    }
    assert_eq!(clones.artifacts_of_the_library(), 2);
}

/// Without either the second clone is given the code of the first. Where this fails cargo has
/// mended it, and the rest here can go.
#[test]
fn cargo_alone_mixes_clones_up() {
    let clones = Clones::new(false, false);
    assert_eq!(clones.cargo(CLONES[0], &["run"]), CLONES[0]);
    assert_eq!(clones.cargo(CLONES[1], &["run"]), CLONES[0]);
}
