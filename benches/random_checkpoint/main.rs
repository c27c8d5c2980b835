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
//! NAME is colpali (3B, the default) or neomme (260M). `--layers N` cuts towers to N layers, for a
//! quick look.

mod colpali;
mod neomme;
mod written;

use std::fs;
use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let usage = || io::Error::other("usage: random_checkpoint FOLDER [--family NAME] [--layers N]");
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
    fs::create_dir_all(&folder)?;
    let total = match family {
        "colpali" => colpali::write(&folder, most)?,
        "neomme" => neomme::write(&folder, most)?,
        _ => return Err(usage()),
    };
    println!("{}: {} parameters, {:.2} GB", folder.display(), total / 2, total as f64 / 1e9);
    Ok(())
}
