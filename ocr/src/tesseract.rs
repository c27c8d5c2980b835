//! Optical character recognition with the tesseract program, where it is installed.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::PageImage;

/// Resolution that tesseract's models were trained near.
pub(crate) const DPI: u32 = 200;

/// A page takes about 2 s; one that takes this long is noise.
const TIME: Duration = Duration::from_secs(60);

/// tesseract and what it can read.
#[derive(Debug, Clone)]
pub struct Ocr {
    program: PathBuf,
    languages: String,
    /// Languages asked for that are not installed.
    pub missing: Vec<String>,
}

impl Ocr {
    /// Looks for tesseract, to read `languages` (`eng+deu`); `None` when it is not there or
    /// knows none of them.
    pub fn find(languages: &str) -> Option<Self> {
        let program = PathBuf::from("tesseract");
        let installed = installed_languages(&program)?;
        let (known, missing): (Vec<&str>, Vec<&str>) = languages
            .split('+')
            .filter(|language| !language.is_empty())
            .partition(|language| installed.iter().any(|i| i == language));
        if known.is_empty() {
            return None;
        }
        let missing = missing.into_iter().map(String::from).collect();
        Some(Self { program, languages: known.join("+"), missing })
    }

    /// The languages in use, `+` between them.
    pub fn languages(&self) -> &str {
        &self.languages
    }

    /// Reads a picture of a page drawn at 200 dpi, or gives up when the run is `over`. `Err` is
    /// one line for a person.
    pub(crate) fn read(&self, image: &PageImage, over: &AtomicBool) -> Result<String, String> {
        let mut child = Command::new(&self.program)
            .args(["stdin", "stdout", "-l", &self.languages, "--dpi", &DPI.to_string()])
            // One thread a page: the workers beside it have the other cores.
            .env("OMP_THREAD_LIMIT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("tesseract does not start: {error}"))?;
        let mut input = child.stdin.take().expect("stdin is piped");
        let mut output = child.stdout.take().expect("stdout is piped");
        let reader = thread::spawn(move || {
            let mut text = Vec::new();
            output.read_to_end(&mut text).map(|_| text)
        });
        let picture = {
            let header = format!("P6 {} {} 255\n", image.width_px(), image.height_px());
            [header.as_bytes(), image.rgb()].concat()
        };
        // When tesseract ends early the pipe breaks; its exit status tells.
        let writer = thread::spawn(move || input.write_all(&picture));
        let start = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if start.elapsed() > TIME => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("tesseract took longer than {} s", TIME.as_secs()));
                }
                Ok(None) if over.load(Ordering::Relaxed) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err("the run was stopped".into());
                }
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(format!("tesseract is lost: {error}")),
            }
        };
        let _ = writer.join();
        let text = reader.join().map_err(|_| "the reader of tesseract's output ended")?;
        let text = text.map_err(|error| format!("tesseract's output: {error}"))?;
        match status.success() {
            true => Ok(String::from_utf8_lossy(&text).replace('\x0C', "").trim().to_string()),
            false => Err(format!("tesseract failed ({status})")),
        }
    }
}

/// What `tesseract --list-langs` prints after its first line.
fn installed_languages(program: &PathBuf) -> Option<Vec<String>> {
    let output = Command::new(program).arg("--list-langs").stdin(Stdio::null()).output().ok()?;
    // Older versions print the list to stderr.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    output.status.success().then(|| text.lines().skip(1).map(|l| l.trim().to_string()).collect())
}

/// Whether a page has so few letters and digits that OCR should look.
pub(crate) fn needs_ocr(text: &str) -> bool {
    const FEW: usize = 16;
    text.chars().filter(|c| c.is_alphanumeric()).take(FEW).count() < FEW
}

/// Whether a picture shows nothing: every pixel within a few steps of the first.
pub(crate) fn is_blank(image: &PageImage) -> bool {
    const STEPS: u8 = 8;
    let first = &image.rgb()[..3];
    image
        .rgb()
        .chunks_exact(3)
        .all(|pixel| pixel.iter().zip(first).all(|(value, first)| value.abs_diff(*first) <= STEPS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_without_words_are_known() {
        for (text, expected) in
            [("", true), ("- 12 -", true), ("Chapter one begins here.", false), ("第一章", true)]
        {
            assert_eq!(needs_ocr(text), expected, "{text}");
        }
        let mut pixels = vec![250; 30];
        assert!(is_blank(&PageImage::new(5, 2, pixels.clone()).unwrap()));
        pixels[13] = 20;
        assert!(!is_blank(&PageImage::new(5, 2, pixels).unwrap()));
    }
}
