//! `cargo xtask licences`: whether everything that is linked may be. `deny.toml` has the list, which
//! cargo-deny reads too (with advisories and sources); this needs no further tool, so it is part of
//! `make check`. It also collects the notices that a given-away program must carry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: String,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

fn metadata(clone: &Path, more: &[&str]) -> Result<Metadata> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--format-version", "1", "--locked"]).args(more).current_dir(clone);
    let output = cargo.output().context("starting cargo metadata")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata ended with {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).context("reading cargo metadata")
}

/// Checks every package of the lock file, whatever the feature or the system.
pub fn check(clone: &Path) -> Result<()> {
    let deny = clone.join("deny.toml");
    let deny = fs::read_to_string(&deny).with_context(|| format!("reading {}", deny.display()))?;
    let allowed = allowed(&deny).context("deny.toml has no list `allow` of licences")?;
    let packages = metadata(clone, &["--all-features"])?.packages;
    let foreign = packages.iter().filter(|package| package.source.is_some());
    let mut refused = Vec::new();
    let mut count = 0;
    for package in foreign {
        count += 1;
        let licence = package.license.as_deref().unwrap_or("none named");
        if !may_be_used(licence, &allowed) {
            refused.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    if !refused.is_empty() {
        bail!("licences that deny.toml does not allow:\n{}", refused.join("\n"));
    }
    println!("{count} packages, each under a licence that deny.toml allows");
    Ok(())
}

/// The names in `allow = [..]` of `[licenses]`.
fn allowed(deny: &str) -> Option<BTreeSet<&str>> {
    let section = deny.split_once("[licenses]")?.1;
    let list = section.split_once("allow = [")?.1;
    let lines = list.lines().take_while(|line| line.trim() != "]");
    let names = lines.filter(|line| !line.trim_start().starts_with('#'));
    Some(names.filter_map(|line| line.split('"').nth(1)).collect())
}

/// Whether an SPDX expression can be met by licences of `allowed`. Old manifests write `/` for OR.
fn may_be_used(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut words = words.iter().copied().peekable();
    let met = any(&mut words, allowed);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::iter::Copied<std::slice::Iter<'a, &'a str>>>;

fn any(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut met = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    match words.next() {
        Some("(") => {
            let met = any(words, allowed);
            words.next() == Some(")") && met
        }
        Some(name) => match words.next_if_eq(&"WITH") {
            Some(_) => {
                let exception = words.next().unwrap_or_default();
                allowed.contains(&*format!("{name} WITH {exception}"))
            }
            None => allowed.contains(name),
        },
        None => false,
    }
}

/// Puts into `folder` the terms of the Python package and the notices of what its module contains.
/// The weights that lie beside the module bring their own.
pub fn write_notices(clone: &Path, platform: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for file in ["LICENSE-MIT", "LICENSE-APACHE", "pdf/fonts/LICENSE-OFL"] {
        let from = clone.join(file);
        let to = folder.join(from.file_name().context("a file has a name")?);
        fs::copy(&from, to).with_context(|| format!("copying {}", from.display()))?;
    }
    let notices = notices(clone, platform, "pagesight-python")?;
    fs::write(folder.join("THIRD-PARTY-LICENCES.txt"), notices)?;
    Ok(())
}

/// The notices of everything that is linked into `package` on this platform: each text once, under
/// the names of the packages that carry it.
pub fn notices(clone: &Path, platform: &str, package: &str) -> Result<String> {
    let metadata = metadata(clone, &["--filter-platform", platform])?;
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (&*package.id, package)).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (&*node.id, node)).collect();
    let root = packages.values().find(|one| one.name == package);
    let mut linked = BTreeSet::new();
    let mut waiting = vec![&*root.with_context(|| format!("no package {package}"))?.id];
    while let Some(id) = waiting.pop() {
        if !linked.insert(id) {
            continue;
        }
        let deps = nodes.get(id).map_or(&[][..], |node| &node.deps);
        let normal = deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        waiting.extend(normal.map(|dep| &*dep.pkg));
    }
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in linked {
        let package = packages[id];
        if package.source.is_none() {
            continue;
        }
        let licence = package.license.as_deref().unwrap_or("none named");
        let name = format!("{} {} ({licence})", package.name, package.version);
        let folder =
            Path::new(&package.manifest_path).parent().context("a manifest lies somewhere")?;
        let mut files: Vec<_> = super::files(folder)?
            .into_iter()
            .filter(|path| {
                let name =
                    path.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
                let starts = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT"];
                path.is_file() && starts.iter().any(|start| name.starts_with(start))
            })
            .collect();
        files.sort();
        if files.is_empty() {
            let none = "(The package has no file with its licence; its manifest names it.)";
            texts.entry(none.into()).or_default().push(name.clone());
        }
        for file in files {
            let text = String::from_utf8_lossy(&fs::read(&file)?).replace('\r', "");
            texts.entry(text.trim_matches('\n').to_string()).or_default().push(name.clone());
        }
    }
    let mut all = String::from(
        "This build of pagesight contains the packages named here. Under each list stands the \
         notice that they carry. What lies beside it has its own: libpdfium, and the weights of the \
         model of meaning and of the reader.\n",
    );
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by(|a, b| a.1.cmp(&b.1));
    for (text, mut names) in texts {
        names.dedup();
        all += &format!("\n{}\n{}\n\n{text}\n", "=".repeat(80), names.join("\n"));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_by_what_is_allowed() {
        let deny = "[licenses]\nversion = 2\nallow = [\n  \"MIT\",\n  # \"GPL-3.0\"\n  \"ISC\",\n  \
                    \"Apache-2.0 WITH LLVM-exception\",\n]\n";
        let allowed = allowed(deny).unwrap();
        assert_eq!(allowed.len(), 3);
        for (expression, met) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("MIT AND GPL-3.0", false),
            ("MIT AND ISC", true),
            ("Apache-2.0/MIT", true),
            ("Apache-2.0 / GPL-3.0", false),
            ("(GPL-3.0 OR ISC) AND MIT", true),
            ("(GPL-3.0 AND ISC) OR Zlib", false),
            ("Apache-2.0 WITH LLVM-exception OR Zlib", true),
            ("Apache-2.0 WITH Other-exception", false),
            ("MIT ISC", false),
            ("(MIT", false),
            ("", false),
            ("none named", false),
        ] {
            assert_eq!(may_be_used(expression, &allowed), met, "{expression}");
        }
    }
}
