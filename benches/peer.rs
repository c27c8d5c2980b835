//! A reference in Python, in a process of its own, that answers line by line.

use std::io::{BufRead, BufReader, Error, Result, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The reference, in a process of its own.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `script`, a file beside this one, with `arguments` and the number of threads, and
    /// waits until it says that it is ready.
    pub fn start(python: &str, script: &str, arguments: &[&str]) -> Result<Self> {
        let script = format!("{}/../benches/{script}", env!("CARGO_MANIFEST_DIR"));
        let threads = std::thread::available_parallelism()?.to_string();
        let mut child = Command::new(python)
            .arg(script)
            .args(arguments)
            .arg(threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut ready = String::new();
        while ready.trim() != "ready" {
            ready.clear();
            if output.read_line(&mut ready)? == 0 {
                return Err(Error::other("the peer did not start"));
            }
        }
        Ok(Self { child, input, output })
    }

    /// What it answers to a line.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.input, "{line}")?;
        let mut answer = String::new();
        if self.output.read_line(&mut answer)? == 0 {
            return Err(Error::other("the peer has ended"));
        }
        Ok(answer.trim().into())
    }

    /// Prints how near the peer's last vectors are to ours.
    pub fn compare(&mut self, ours: impl Iterator<Item = f32>, dim: usize) -> Result<()> {
        let path = std::env::temp_dir().join(format!("encoding-{}.bin", std::process::id()));
        self.ask(&format!("save {}", path.display()))?;
        let bytes = std::fs::read(&path)?;
        std::fs::remove_file(&path)?;
        let theirs: Vec<f32> =
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let ours: Vec<f32> = ours.collect();
        if ours.len() != theirs.len() {
            let apart = format!("{} numbers, the peer has {}", ours.len(), theirs.len());
            return Err(Error::other(apart));
        }
        let cosines: Vec<f64> = ours
            .chunks(dim)
            .zip(theirs.chunks(dim))
            .map(|(a, b)| {
                let dot = |a: &[f32], b: &[f32]| -> f64 {
                    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                };
                dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
            })
            .collect();
        let least = cosines.iter().copied().fold(f64::INFINITY, f64::min);
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
        println!(
            "  cosine to the peer: least {least:.6}, mean {mean:.6}; largest difference {worst:.1e}"
        );
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
