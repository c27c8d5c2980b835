//! `cargo xtask features`: whether testing one crate uses what a build of the workspace has compiled.
//!
//! Cargo gives a dependency the features that the packages of one call ask for, and compiles it
//! again when they differ. `xtask/features/Cargo.toml` asks for the union on behalf of the crates
//! that name it; this lists what it misses.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::files;

/// The crate without code.
const UNION: &str = "pagesight-features";

pub fn check(clone: &Path) -> Result<()> {
    let whole = dependencies(clone, &["--workspace"])?;
    let mut missing = Vec::new();
    for folder in files(clone)? {
        let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) else { continue };
        let named = manifest.lines().find_map(|line| line.strip_prefix("name = \""));
        let Some(name) = named.and_then(|rest| rest.strip_suffix('"')) else { continue };
        if !manifest.contains(&format!("{UNION}.workspace = true")) {
            continue;
        }
        let alone = dependencies(clone, &["--package", name])?;
        missing.extend(alone.difference(&whole).map(|line| format!("{name}: {line}")));
    }
    if !missing.is_empty() {
        bail!(
            "these would be compiled a second time, with other features than the workspace asks \
             for:\n{}\nxtask/features/Cargo.toml must ask for the rest",
            missing.join("\n")
        );
    }
    println!("one set of features for every dependency");
    Ok(())
}

/// Foreign packages with their features, one a line, as `cargo test` of these packages uses them.
fn dependencies(clone: &Path, which: &[&str]) -> Result<BTreeSet<String>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--prefix", "none", "--edges", "normal,build,dev", "--locked"]);
    cargo.args(["--format", "{p} [{f}]"]).args(which).current_dir(clone);
    let output = cargo.output().context("starting cargo tree")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo tree ended with {}: {said}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)"));
    // Ours say their folder.
    let foreign = lines.filter(|line| !line.contains(" (/") && !line.contains(":\\"));
    Ok(foreign.map(|line| line.replace(" (proc-macro)", "")).collect())
}
