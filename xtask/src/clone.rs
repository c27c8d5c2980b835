//! What keeps two clones apart that share one build folder.
//!
//! Cargo names what it compiles of a workspace by the path of each crate relative to the
//! workspace, and takes a file for fresh when it is newer than its sources. Two clones that share
//! a build folder therefore overwrite each other's files, and the second can be given the code of
//! the first. A wrapper around rustc ends that: cargo hashes the wrapper's path into the file names
//! of workspace members, and into those alone, so dependencies are still compiled once. The wrapper
//! is a shell script, so Windows goes without it; there, and before the first `make setup`,
//! `PAGESIGHT_CLONE` in `.cargo/config.toml` makes cargo compile our crates again when the clone
//! changes. `tests/clones.rs` holds both to it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const SETTINGS: &str = "\
# Written by `cargo xtask setup`: names what this clone compiles, see xtask/src/clone.rs.
[build]
rustc-workspace-wrapper = \".cargo/rustc\"
";

/// Writes `.cargo/clone.toml`, which `.cargo/config.toml` includes, where a shell script can run.
pub fn name(clone: &Path) -> Result<()> {
    let path = clone.join(".cargo").join("clone.toml");
    if !cfg!(unix) || fs::read_to_string(&path).is_ok_and(|text| text == SETTINGS) {
        return Ok(());
    }
    fs::write(&path, SETTINGS).with_context(|| format!("writing {}", path.display()))
}
