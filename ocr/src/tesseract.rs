//! Optical character recognition with the tesseract program, where it is installed.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::seam::{BoxError, Ocr};
use pagesight_core::{OcrText, PageImage, Turn};

use crate::error::OcrError;
#[cfg(feature = "embedded")]
use crate::table::read_script;
use crate::table::{read_turn, read_words};

/// The resolution near which tesseract's models were trained.
const DPI: u32 = 200;

/// The name of the data that tell which way up a page is.
const ORIENTATION: &str = "osd";

/// A page takes about 2 s; one that takes this long is noise.
const TIME: Duration = Duration::from_secs(60);

/// The tesseract program, and the languages that it reads. It is started once for each page, with
/// one thread, since several pages are read at once.
///
/// ```no_run
/// use std::sync::atomic::AtomicBool;
/// use pagesight_core::PageImage;
/// use pagesight_core::seam::Ocr;
/// use pagesight_ocr::Tesseract;
///
/// let ocr = Tesseract::find("eng+deu")?;
/// println!("reads {}; not installed: {:?}", ocr.languages(), ocr.missing());
/// let page = PageImage::new(1654, 2339, vec![255; 1654 * 2339 * 3])?; // A4 at ocr.dpi()
/// println!("{}", ocr.read(&page, &AtomicBool::new(false))?.text);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tesseract {
    program: PathBuf,
    languages: String,
    missing: Vec<String>,
    /// The data for telling which way up a page is are installed.
    knows_orientation: bool,
}

impl Tesseract {
    /// Looks for the program, to read `languages` (`eng+deu`). Those that are not installed are
    /// left out.
    ///
    /// # Errors
    /// [`OcrError::NotInstalled`], and [`OcrError::NoLanguage`] when none of them is installed.
    pub fn find(languages: &str) -> Result<Self, OcrError> {
        Self::at(PathBuf::from("tesseract"), languages)
    }

    /// Looks for the program and takes all languages that are installed and that `wanted` accepts.
    pub(crate) fn find_all(wanted: impl Fn(&str) -> bool) -> Result<Self, OcrError> {
        let program = PathBuf::from("tesseract");
        let installed = installed_languages(&program).ok_or(OcrError::NotInstalled)?;
        let languages: Vec<String> = installed.into_iter().filter(|name| wanted(name)).collect();
        Self::at(program, &languages.join("+"))
    }

    fn at(program: PathBuf, languages: &str) -> Result<Self, OcrError> {
        let installed = installed_languages(&program).ok_or(OcrError::NotInstalled)?;
        let (known, missing): (Vec<&str>, Vec<&str>) = languages
            .split('+')
            .filter(|language| !language.is_empty())
            .partition(|language| installed.iter().any(|i| i == language));
        if known.is_empty() {
            return Err(OcrError::NoLanguage { languages: languages.into() });
        }
        let missing = missing.into_iter().map(String::from).collect();
        let knows_orientation = installed.iter().any(|language| language == ORIENTATION);
        Ok(Self { program, languages: known.join("+"), missing, knows_orientation })
    }

    /// The same program for other languages, which must be installed.
    #[cfg(feature = "embedded")]
    pub(crate) fn with_languages(&self, languages: String) -> Self {
        Self { languages, missing: Vec::new(), ..self.clone() }
    }

    /// The script of a page as the program names it; `None` when it cannot tell.
    #[cfg(feature = "embedded")]
    pub(crate) fn script(
        &self,
        page: &PageImage,
        stop: &AtomicBool,
    ) -> Result<Option<String>, OcrError> {
        if !self.knows_orientation {
            return Ok(None);
        }
        match self.run(&["-l", ORIENTATION, "--psm", "0"], page, stop) {
            Ok(said) => Ok(read_script(&said).map(String::from)),
            // It ends so where there is too little to go by.
            Err(OcrError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The languages that it reads, `+` between them.
    pub fn languages(&self) -> &str {
        &self.languages
    }

    /// The languages that were asked for and are not installed.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Runs the program with `arguments` on a picture: what it prints.
    fn run(
        &self,
        arguments: &[&str],
        image: &PageImage,
        stop: &AtomicBool,
    ) -> Result<String, OcrError> {
        if stop.load(Ordering::Relaxed) {
            return Err(OcrError::Stopped);
        }
        let mut child = Command::new(&self.program)
            .args(["stdin", "stdout", "--dpi", &DPI.to_string()])
            .args(arguments)
            // One thread a page: the readers of other pages have the other cores.
            .env("OMP_THREAD_LIMIT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(OcrError::Run)?;
        let mut input = child.stdin.take().expect("standard input is piped");
        let mut output = child.stdout.take().expect("standard output is piped");
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut text = Vec::new();
                output.read_to_end(&mut text).map(|_| text)
            });
            scope.spawn(move || {
                let header = format!("P6 {} {} 255\n", image.width_px(), image.height_px());
                // When tesseract ends early the pipe breaks; its exit status says why.
                let _ =
                    input.write_all(header.as_bytes()).and_then(|()| input.write_all(image.rgb()));
            });
            let status = wait(&mut child, stop)?;
            let text = reader.join().expect("reading does not panic").map_err(OcrError::Run)?;
            if !status.success() {
                return Err(OcrError::Failed { status });
            }
            Ok(String::from_utf8_lossy(&text).into_owned())
        })
    }
}

/// Waits for the program to end, and ends it when its time is over or it is stopped.
fn wait(child: &mut Child, stop: &AtomicBool) -> Result<ExitStatus, OcrError> {
    let start = Instant::now();
    loop {
        let given_up = match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if start.elapsed() > TIME => OcrError::Timeout { seconds: TIME.as_secs() },
            Ok(None) if stop.load(Ordering::Relaxed) => OcrError::Stopped,
            Ok(None) => {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            Err(error) => OcrError::Run(error),
        };
        let ended: io::Result<ExitStatus> = child.kill().and_then(|()| child.wait());
        drop(ended);
        return Err(given_up);
    }
}

impl Ocr for Tesseract {
    fn dpi(&self) -> u32 {
        DPI
    }

    fn read(&self, page: &PageImage, stop: &AtomicBool) -> Result<OcrText, BoxError> {
        // A table of words, of which each says where it is and how sure the program is of it.
        let arguments = ["-l", &self.languages, "-c", "tessedit_create_tsv=1"];
        let table = self.run(&arguments, page, stop)?;
        Ok(read_words(&table, (page.width_px(), page.height_px())))
    }

    fn turn(&self, page: &PageImage, stop: &AtomicBool) -> Result<Option<Turn>, BoxError> {
        if !self.knows_orientation {
            return Ok(None);
        }
        match self.run(&["-l", ORIENTATION, "--psm", "0"], page, stop) {
            Ok(said) => Ok(read_turn(&said)),
            // It ends so where there is too little to go by.
            Err(OcrError::Failed { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What `tesseract --list-langs` prints after its first line.
fn installed_languages(program: &Path) -> Option<Vec<String>> {
    let output = Command::new(program).arg("--list-langs").stdin(Stdio::null()).output().ok()?;
    // Older versions print the list to standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    output.status.success().then(|| text.lines().skip(1).map(|l| l.trim().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters of five by five fields, each ten pixels wide: large enough for any OCR.
    fn picture(word: &str) -> PageImage {
        let shape = |letter| match letter {
            'H' => ["X   X", "X   X", "XXXXX", "X   X", "X   X"],
            'E' => ["XXXXX", "X    ", "XXXX ", "X    ", "XXXXX"],
            'L' => ["X    ", "X    ", "X    ", "X    ", "XXXXX"],
            'T' => ["XXXXX", "  X  ", "  X  ", "  X  ", "  X  "],
            _ => panic!("no shape of {letter}"),
        };
        let (cell, margin) = (10, 60);
        let width = word.len() * 7 * cell + 2 * margin;
        let height = 5 * cell + 2 * margin;
        let mut rgb = vec![255; width * height * 3];
        for (at, letter) in word.chars().enumerate() {
            for y in 0..5 * cell {
                for x in 0..5 * cell {
                    if shape(letter)[y / cell].as_bytes()[x / cell] == b'X' {
                        let pixel = (y + margin) * width + x + margin + at * 7 * cell;
                        rgb[pixel * 3..pixel * 3 + 3].fill(0);
                    }
                }
            }
        }
        PageImage::new(width as u32, height as u32, rgb).unwrap()
    }

    #[test]
    #[ignore = "needs tesseract with English"]
    fn tesseract_keeps_the_contract() {
        let tesseract = Tesseract::find("eng").unwrap();
        pagesight_core::testing::ocr_contract(&tesseract, &picture("THE"), "THE");
    }

    /// A program in the place of tesseract, so that what is done around it is tested without it.
    #[cfg(unix)]
    fn pretended(folder: &tempfile::TempDir, then: &str) -> Tesseract {
        use std::os::unix::fs::PermissionsExt;
        let program = folder.path().join("tesseract");
        let languages = "printf 'List of languages (2):\\neng\\ndeu\\n'";
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = --list-langs ]; then {languages}; exit; fi\n{then}\n"
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Tesseract::at(program, "eng+fra").unwrap()
    }

    /// One after the other: a script that another thread still writes cannot be started.
    #[cfg(unix)]
    #[test]
    fn its_output_is_the_text_of_the_page_or_an_error() {
        output_is_the_text();
        what_goes_wrong_is_an_error();
    }

    #[cfg(unix)]
    fn output_is_the_text() {
        let folder = tempfile::tempdir().unwrap();
        // What comes in is the picture, whole: its size, and as many bytes as that says.
        let row = |line: u32, word: &str| {
            format!("5\\t1\\t1\\t1\\t{line}\\t1\\t10\\t10\\t20\\t20\\t96\\t{word}\\n")
        };
        let table = [row(1, "found"), row(2, "words")].concat();
        let words = format!("test $(wc -c) = $((15 + 470 * 170 * 3)) && printf '{table}'");
        let tesseract = pretended(&folder, &words);
        assert_eq!((tesseract.languages(), tesseract.missing()), ("eng", &["fra".to_string()][..]));
        let never = AtomicBool::new(false);
        let page = picture("HELLT");
        assert_eq!((page.width_px(), page.height_px()), (470, 170));
        let found = tesseract.read(&page, &never).unwrap();
        assert_eq!((found.text.as_str(), found.words.len()), ("found\nwords", 2));
        // Without its data nothing is asked about the orientation.
        assert_eq!(tesseract.turn(&page, &never).unwrap(), None);
    }

    #[cfg(unix)]
    fn what_goes_wrong_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let never = AtomicBool::new(false);
        let page = picture("THE");
        let failed = pretended(&folder, "printf half; exit 3").run(&[], &page, &never);
        assert!(matches!(failed, Err(OcrError::Failed { .. })), "{failed:?}");
        let (start, stop) = (Instant::now(), AtomicBool::new(false));
        let tesseract = pretended(&folder, "exec sleep 30");
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(100));
                stop.store(true, Ordering::Relaxed);
            });
            let stopped = tesseract.run(&[], &page, &stop);
            assert!(matches!(stopped, Err(OcrError::Stopped)), "{stopped:?}");
        });
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let nowhere = Tesseract::at(folder.path().join("nowhere"), "eng");
        assert!(matches!(nowhere, Err(OcrError::NotInstalled)), "{nowhere:?}");
        let unknown = Tesseract::at(folder.path().join("tesseract"), "tlh");
        assert!(matches!(unknown, Err(OcrError::NoLanguage { .. })), "{unknown:?}");
    }
}
