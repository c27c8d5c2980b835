//! Writes a checkpoint of the published size with random weights, so that speed and memory are
//! measured on the real architecture without the real weights.
//!
//! bf16, with the variance that keeps every layer's output near its input's size; the same on every
//! machine. Memory: a few MB.
//!
//! ```text
//! cargo run -p pagesight-model --example random_checkpoint -- FOLDER [--family NAME] [--layers N]
//! ```
//!
//! NAME is colpali (3B, the default) or one of those below. `--layers N` cuts towers to N layers,
//! for a quick look.

mod colpali;
mod neomme;
mod qwen;
mod siglip;
mod tiles;
mod written;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Writes a checkpoint of at most so many layers a tower, and returns its bytes.
type Write = fn(&Path, usize) -> io::Result<usize>;

/// All families, and the sizes of each that are published.
const FAMILIES: [(&str, Write); 10] = [
    ("colpali", colpali::write),
    ("paligemma", colpali::write_answerer),
    ("neomme", neomme::write),
    ("colqwen2", qwen::write_2),
    ("colqwen2.5", qwen::write_2_5),
    ("colqwen3.5", qwen::write_3_5_small),
    ("colqwen3.5-4b", qwen::write_3_5_large),
    ("colmodernvbert", tiles::write_modern),
    ("colsmol-256m", tiles::write_smol_256m),
    ("colsmol-500m", tiles::write_smol_500m),
];

fn main() -> io::Result<()> {
    let usage = || {
        let names = FAMILIES.map(|(name, _)| name).join("|");
        let usage = "usage: random_checkpoint FOLDER [--family NAME] [--layers N], NAME one of";
        io::Error::other(format!("{usage} {names}"))
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, options) = arguments.split_first().ok_or_else(usage)?;
    let folder = PathBuf::from(folder);
    let (mut family, mut most) = ("colpali", usize::MAX);
    for option in options.chunks(2) {
        match option {
            [name, value] if name == "--family" => family = value,
            [name, value] if name == "--layers" => {
                most = value.parse().map_err(io::Error::other)?
            }
            _ => return Err(usage()),
        }
    }
    let (_, write) = FAMILIES.iter().find(|(name, _)| *name == family).ok_or_else(usage)?;
    fs::create_dir_all(&folder)?;
    let total = write(&folder, most)?;
    println!("{}: {} parameters, {:.2} GB", folder.display(), total / 2, total as f64 / 1e9);
    Ok(())
}
