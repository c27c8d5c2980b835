//! Files of one crate depend on each other in one direction: a reader can start at the bottom.
//!
//! A file depends on another when it names something of it: by `use`, or by a path that begins
//! with `crate::`, `self::` or `super::`. Names that a parent module only re-exports count for the
//! file that defines them. A module and the files below it belong together: what they name of each
//! other is no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path below its crate, e.g. `["kernel", "avx2"]`; the crate itself is empty.
type Module = Vec<String>;

/// The files of one crate, by module.
struct Crate {
    text: BTreeMap<Module, String>,
}

impl Crate {
    fn read(src: &Path) -> Self {
        let mut text = BTreeMap::new();
        let mut folders = vec![(src.to_path_buf(), Module::new())];
        while let Some((folder, module)) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap().to_string();
                let child = || [&module[..], &[name.clone()]].concat();
                if path.is_dir() {
                    folders.push((path, child()));
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    // The program's root is another crate over the library.
                    if module.is_empty() && name == "main" {
                        continue;
                    }
                    let of = match name.as_str() {
                        "lib" | "mod" => module.clone(),
                        _ => child(),
                    };
                    text.insert(of, without_tests(&fs::read_to_string(&path).unwrap()));
                }
            }
        }
        Self { text }
    }

    /// The file that defines what `path`, named in `from`, leads to.
    fn file_of(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let mut at = match path.first()?.as_str() {
            "crate" => Module::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            first => {
                let child = [&from[..], &[first.to_string()]].concat();
                if !self.text.contains_key(&child) {
                    return None;
                }
                child
            }
        };
        for (n, name) in path.iter().enumerate().skip(1) {
            if name == "super" {
                at.pop()?;
                continue;
            }
            let child = [&at[..], &[name.clone()]].concat();
            if self.text.contains_key(&child) {
                at = child;
                continue;
            }
            // Not a file: an item of this one, or of the file that it re-exports it from.
            let uses = uses(self.text.get(&at)?);
            let from_there = uses
                .iter()
                .find(|used| used.last() == Some(name) && used.len() > 1 && used[..] != path[..=n]);
            return match from_there.filter(|_| depth < 8) {
                Some(used) => self.file_of(&at, used, depth + 1).or(Some(at)),
                None => Some(at),
            };
        }
        Some(at)
    }

    /// Which files each file depends on.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let mut edges = BTreeMap::new();
        for (from, text) in &self.text {
            let mut to = BTreeSet::new();
            for path in uses(text).iter().chain(&paths(text)) {
                if let Some(file) = self.file_of(from, path, 0) {
                    let together = file.starts_with(from) || from.starts_with(&file);
                    if !together && self.text.contains_key(&file) {
                        to.insert(file);
                    }
                }
            }
            edges.insert(from, to);
        }
        edges
    }

    /// Sets of files that depend on each other, each more than one.
    fn circles(&self) -> Vec<BTreeSet<Module>> {
        let edges = self.edges();
        let reach = |start: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(file) = next.pop() {
                for to in edges.get(&file).into_iter().flatten() {
                    if seen.insert(to.clone()) {
                        next.push(to.clone());
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&Module, BTreeSet<Module>> =
            edges.keys().map(|file| (*file, reach(file))).collect();
        let mut circles: BTreeSet<BTreeSet<Module>> = BTreeSet::new();
        for (file, seen) in &reached {
            if seen.contains(*file) {
                let back =
                    |other: &&Module| seen.contains(*other) && reached[*other].contains(*file);
                circles.insert(reached.keys().copied().filter(back).cloned().collect());
            }
        }
        circles.into_iter().filter(|circle| circle.len() > 1).collect()
    }
}

/// Tests may name what they like.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The paths of all `use` items, with their braces opened.
fn uses(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let begins = text[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == ')');
        if let Some(end) = text[at..].find(';').filter(|_| begins) {
            let tree: String =
                text[at + 4..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
            open(&[], &tree, &mut found);
        }
    }
    found
}

fn open(before: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let (path, list) = match tree.split_once('{') {
        Some((path, list)) => (path, Some(list.trim_end().trim_end_matches('}'))),
        None => (tree, None),
    };
    let path = path.split(" as ").next().unwrap_or_default();
    let names = path.split("::").map(str::trim).filter(|name| !name.is_empty() && *name != "self");
    let mut whole = before.to_vec();
    // `self` names the module itself at the start of a path, and the one before it in a list.
    if before.is_empty() && path.trim_start().starts_with("self::") {
        whole.push("self".into());
    }
    whole.extend(names.map(String::from));
    match list {
        None => found.push(whole),
        Some(list) => {
            let (mut depth, mut start) = (0, 0);
            for (at, c) in list.char_indices().chain([(list.len(), ',')]) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 || at == list.len() => {
                        if !list[start..at].trim().is_empty() {
                            open(&whole, &list[start..at], found);
                        }
                        start = at + 1;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Paths in code that begin at the crate or at a parent.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(start) {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            if text[..at].chars().next_back().is_some_and(|c| is_name(c) || c == '$' || c == ':') {
                continue;
            }
            let end = text[at..].find(|c| !is_name(c) && c != ':').unwrap_or(text.len() - at);
            let names = text[at..at + end].split("::").filter(|name| !name.is_empty());
            found.push(names.map(String::from).collect());
        }
    }
    found
}

fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = folders
        .filter(|path| path.join("Cargo.toml").is_file())
        .map(|path| path.join("src"))
        .collect();
    found.push(root.join("src"));
    found.retain(|src| src.join("lib.rs").is_file());
    found.sort();
    found
}

fn written(module: &Module) -> String {
    if module.is_empty() { "lib".into() } else { module.join("/") }
}

#[test]
fn no_files_depend_on_each_other_in_a_circle() {
    let mut lines = Vec::new();
    for src in crates() {
        for circle in Crate::read(&src).circles() {
            let files: Vec<String> = circle.iter().map(written).collect();
            lines.push(format!("{}: {}", src.display(), files.join(", ")));
        }
    }
    assert!(lines.is_empty(), "circles of files:\n{}", lines.join("\n"));
}

#[test]
fn circles_are_seen() {
    let of = |files: &[(&str, &str)]| {
        let text = files.iter().map(|(name, text)| {
            let parts = name.split('/').filter(|part| *part != "lib");
            (parts.map(String::from).collect(), without_tests(text))
        });
        let circles = Crate { text: text.collect() }.circles();
        circles
            .iter()
            .map(|c| c.iter().map(written).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    let one_way = [("a", "use crate::b::B;"), ("b", "pub struct B;")];
    assert!(of(&one_way).is_empty());
    let direct = [("a", "use crate::b::B;"), ("b", "fn f() { crate::a::g() }")];
    assert_eq!(of(&direct), ["a b"]);
    let through_lib = [
        ("lib", "mod a;\nmod b;\npub use a::A;\npub use b::{self, B};"),
        ("a", "use crate::{Other, B};"),
        ("b", "use crate::A;"),
    ];
    assert_eq!(of(&through_lib), ["a b"]);
    let siblings =
        [("x/a", "use super::b::{C, D};"), ("x/b", "use super::a;"), ("x", "mod a; mod b;")];
    assert_eq!(of(&siblings), ["x/a x/b"]);
    // A module and what is below it belong together; tests and comments name what they like.
    let family = [("k", "mod wide;\nfn f() { wide::g() }"), ("k/wide", "use super::f;")];
    assert!(of(&family).is_empty());
    let tests = [
        ("a", "use crate::b;\n"),
        ("b", "// crate::a\n#[cfg(test)]\nmod tests {\nuse crate::a;\n}"),
    ];
    assert!(of(&tests).is_empty());
}
