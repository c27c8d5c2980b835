//! The reader that is part of the program: PP-OCRv6 small, two networks of 31 MB together. Our
//! own arithmetic runs them: their weights and what is between their layers are bytes where they are
//! multiplied ([`pagesight_simd::network`]). One finds the lines of a picture, the other reads them.

mod backbone;
mod detector;
mod field;
mod head;
#[cfg(test)]
mod oracle;
mod order;
mod pixels;
mod recogniser;
mod regions;
mod squeeze;
mod tensors;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pagesight_core::seam::{BoxError, Ocr};
use pagesight_core::{Area, OcrText, OcrWord, PageImage, Turn};

use crate::error::OcrError;
use crate::places::{DETECTOR, RECOGNISER};
use detector::{Detector, MULTIPLE};
use order::{Bounds, blocks};
use pixels::{Frame, resized};
use recogniser::{Print, Reading, Recogniser, Word};
use regions::{Region, regions};

/// Print of six points has lower-case letters nine pixels high.
const DPI: u32 = 200;

/// Lines are looked for in a picture of so many pixels: an A4 page at 72 dots per inch.
const DETECTED_PIXELS: f32 = 500_000.0;

/// Less sure lines are made up. Measured in `benches/results/ocr.txt`.
const LEAST_CONFIDENCE: f32 = 0.6;

/// A page full of print takes some seconds; one that takes this long is noise.
const TIME: Duration = Duration::from_secs(180);

/// Reads Latin letters, Chinese and Japanese, without any other program. The networks are loaded
/// when a page is first read, and shared among the threads that read.
///
/// ```no_run
/// use std::sync::atomic::AtomicBool;
/// use pagesight_core::PageImage;
/// use pagesight_core::seam::Ocr;
/// use pagesight_ocr::{Embedded, WeightSearch};
///
/// let ocr = Embedded::open(&WeightSearch::default().found()?)?;
/// let page = PageImage::new(1654, 2339, vec![255; 1654 * 2339 * 3])?; // A4 at ocr.dpi()
/// println!("{}", ocr.read(&page, &AtomicBool::new(false))?.text);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct Embedded {
    /// Given away when the networks are loaded.
    files: Mutex<Option<[Vec<u8>; 2]>>,
    networks: OnceLock<Result<Networks, String>>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

struct Networks {
    detector: Detector,
    recogniser: Recogniser,
}

/// A line that was read.
struct Line {
    frame: Frame,
    words: Vec<Word>,
}

impl Embedded {
    /// Takes the weights in `folder`, when they are the published ones.
    ///
    /// # Errors
    /// [`OcrError::ReadWeights`] and [`OcrError::WrongWeights`], which name the file.
    pub fn open(folder: &Path) -> Result<Self, OcrError> {
        let files = [DETECTOR.read(folder)?, RECOGNISER.read(folder)?];
        Ok(Self { files: Mutex::new(Some(files)), networks: OnceLock::new() })
    }

    /// What is read of a page, and how much of it is not.
    pub(crate) fn read_with_doubt(
        &self,
        page: &PageImage,
        stop: &AtomicBool,
    ) -> Result<(OcrText, Doubt), OcrError> {
        self.networks()?.read(page, stop)
    }

    fn networks(&self) -> Result<&Networks, OcrError> {
        let networks = self.networks.get_or_init(|| {
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).take();
            let [detector, recogniser] = files.expect("they are loaded once");
            let load = || -> Result<Networks, OcrError> {
                Ok(Networks {
                    detector: Detector::load(&detector)?,
                    recogniser: Recogniser::load(&recogniser)?,
                })
            };
            load().map_err(|error| error.to_string())
        });
        networks.as_ref().map_err(|reason| tensors::failed("the networks", reason))
    }
}

/// How much of a page was found and not read, since its letters are none that the reader knows. In
/// their place it reads white room and marks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Doubt {
    /// Lines that were found, by their length, px.
    found: f32,
    /// Those of them with far fewer letters than have room in them.
    unread: f32,
    lines: usize,
}

impl Doubt {
    fn add(&mut self, frame: &Frame, letters: usize) {
        self.found += frame.length();
        self.lines += 1;
        if is_unread(frame, letters) {
            self.unread += frame.length();
        }
    }

    /// Whether the page is likely to be in another script.
    pub fn is_large(&self) -> bool {
        self.lines >= 2 && self.unread * 2.0 > self.found
    }
}

/// Whether a line has far fewer letters than have room in it: a letter is rarely wider than a line
/// is high, with the room around it.
fn is_unread(frame: &Frame, letters: usize) -> bool {
    let (length, height) = (frame.length(), frame.height());
    length > 3.0 * height && letters as f32 * 1.6 * height < length
}

/// When reading must end.
struct Patience<'a> {
    stop: &'a AtomicBool,
    start: Instant,
}

impl<'a> Patience<'a> {
    fn new(stop: &'a AtomicBool) -> Self {
        Self { stop, start: Instant::now() }
    }

    fn check(&self) -> Result<(), OcrError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(OcrError::Stopped);
        }
        if self.start.elapsed() > TIME {
            return Err(OcrError::Timeout { seconds: TIME.as_secs() });
        }
        Ok(())
    }
}

impl Networks {
    /// The lines of a picture.
    fn detect(&self, image: &PageImage, patience: &Patience) -> Result<Vec<Region>, OcrError> {
        patience.check()?;
        let (width, height) = (image.width_px() as f32, image.height_px() as f32);
        // Letters cannot be smaller than this.
        if width.min(height) < 8.0 {
            return Ok(Vec::new());
        }
        let scale = (DETECTED_PIXELS / (width * height)).sqrt().min(1.0);
        let side = |px: f32| {
            let multiples = (px * scale / MULTIPLE as f32).round() as usize;
            multiples.max(1) * MULTIPLE
        };
        let (wide, high) = (side(width), side(height));
        let picture = resized(image, wide, high);
        let Some([left, top, right, bottom]) = picture.inked() else { return Ok(Vec::new()) };
        let (from_x, wide_ink) = around(left..right, wide);
        let (from_y, high_ink) = around(top..bottom, high);
        let map = self.detector.map(&picture.part([from_x, from_y], [wide_ink, high_ink]));
        let place = [width / wide as f32, height / high as f32];
        let mut found = regions(&map, wide_ink, place);
        for Region { frame: Frame { corner, .. }, .. } in &mut found {
            corner[0] += from_x as f32 * place[0];
            corner[1] += from_y as f32 * place[1];
        }
        Ok(found)
    }

    /// What stands in a line. One that stands on end is read both ways, and upright when it is
    /// short.
    fn recognise(
        &self,
        image: &PageImage,
        frame: Frame,
        print: Print,
        patience: &Patience,
    ) -> Result<(Frame, Reading), OcrError> {
        let frames = if is_on_end(&frame) {
            let upright = frame.around().to_right();
            let is_short = frame.length() < 2.5 * frame.height();
            let upright = is_short.then_some(upright);
            upright.into_iter().chain([frame, frame.around()]).collect()
        } else {
            vec![frame]
        };
        let mut best: Option<(Frame, Reading)> = None;
        for frame in frames {
            patience.check()?;
            let reading = self.recogniser.read(image, &frame, print)?;
            let sure = reading.confidence();
            if best.as_ref().is_none_or(|(_, best)| sure > best.confidence()) {
                best = Some((frame, reading));
            }
            if sure > 0.95 {
                break;
            }
        }
        Ok(best.expect("there is a frame"))
    }

    fn read(&self, image: &PageImage, stop: &AtomicBool) -> Result<(OcrText, Doubt), OcrError> {
        let patience = Patience::new(stop);
        let (mut lines, mut doubt, mut page) = (Vec::new(), Doubt::default(), Print::default());
        for region in self.detect(image, &patience)? {
            let (frame, reading) = self.recognise(image, region.frame, page, &patience)?;
            let letters = reading.alphanumeric();
            doubt.add(&frame, letters);
            page.count(&reading);
            // Marks alone are what is read of ornaments, and of letters that it does not know.
            if letters == 0 || (letters == 1 && is_unread(&frame, letters)) {
                continue;
            }
            if reading.confidence() >= LEAST_CONFIDENCE {
                let words = reading.words();
                lines.push(Line { frame, words });
            }
        }
        Ok((text_of(&lines, (image.width_px() as f32, image.height_px() as f32)), doubt))
    }

    /// How a picture must be turned, judged by its longest lines, each read in all ways that its
    /// direction leaves open.
    fn turn(&self, image: &PageImage, stop: &AtomicBool) -> Result<Option<Turn>, OcrError> {
        /// So many lines tell.
        const LINES: usize = 6;
        /// Fewer letters do not.
        const FEW: f32 = 8.0;
        let patience = Patience::new(stop);
        let mut found = self.detect(image, &patience)?;
        let length = |on_end: bool, found: &[Region]| -> f32 {
            let lines = found.iter().filter(|region| is_on_end(&region.frame) == on_end);
            lines.map(|region| region.frame.length()).sum()
        };
        let is_sideways = length(true, &found) > length(false, &found);
        found.retain(|region| is_on_end(&region.frame) == is_sideways);
        found.sort_by(|a, b| b.frame.length().total_cmp(&a.frame.length()));
        let (mut first, mut second) = (0.0, 0.0);
        for region in found.iter().take(LINES) {
            for (sum, frame) in [(&mut first, region.frame), (&mut second, region.frame.around())] {
                patience.check()?;
                let reading = self.recogniser.read(image, &frame, Print::default())?;
                // What is upside down is read with doubt.
                let sure = (reading.confidence() - 0.5).max(0.0) * 2.0;
                *sum += sure * reading.alphanumeric() as f32;
            }
        }
        let turn = match (is_sideways, first > second) {
            (false, true) => Turn::None,
            (false, false) => Turn::Around,
            // Lines that are read downwards stand upright after a turn to the left.
            (true, true) => Turn::Left,
            (true, false) => Turn::Right,
        };
        let (most, least) = (first.max(second), first.min(second));
        Ok((most >= FEW && most > 1.3 * least).then_some(turn))
    }
}

/// The least run of whole multiples that has `ink` and some room on both sides, of `side` places:
/// where it begins, and how long it is. Both are at most `side`, which is a multiple.
fn around(ink: std::ops::Range<usize>, side: usize) -> (usize, usize) {
    /// Of half a line of print.
    const ROOM: usize = 16;
    let (from, to) = (ink.start.saturating_sub(ROOM), (ink.end + ROOM).min(side));
    let length = (to - from).next_multiple_of(MULTIPLE).min(side);
    (from.min(side - length), length)
}

fn is_on_end(frame: &Frame) -> bool {
    frame.along[1].abs() > frame.along[0].abs()
}

/// Puts lines together in reading order. `size` is that of the picture, px.
fn text_of(lines: &[Line], size: (f32, f32)) -> OcrText {
    let straight = straight(lines);
    let (mut text, mut words) = (String::new(), Vec::new());
    for block in blocks(&straight) {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        for (at, row) in block.iter().enumerate() {
            if at > 0 {
                text.push('\n');
            }
            for (at, &line) in row.iter().enumerate() {
                for (inside, word) in lines[line].words.iter().enumerate() {
                    if (at > 0 && inside == 0) || (word.is_apart && inside > 0) {
                        text.push(' ');
                    }
                    text.push_str(&word.text);
                    if let Some(area) = area(&lines[line].frame.part(word.from, word.to), size) {
                        words.push(OcrWord::new(word.text.as_str(), area, word.confidence));
                    }
                }
            }
        }
    }
    let mut found = OcrText::new(text);
    found.words = words;
    found
}

/// What lines cover when the page is set straight.
fn straight(lines: &[Line]) -> Vec<Bounds> {
    let level = lines.iter().filter(|line| !is_on_end(&line.frame));
    let mut tilts: Vec<(f32, f32)> = level
        .map(|line| (line.frame.along[1] / line.frame.along[0], line.frame.length()))
        .collect();
    tilts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = tilts.iter().map(|tilt| tilt.1).sum::<f32>() / 2.0;
    let mut passed = 0.0;
    let tilt = tilts.iter().find(|tilt| {
        passed += tilt.1;
        passed >= half
    });
    let (sin, cos) = tilt.map_or(0.0, |tilt| tilt.0).atan().sin_cos();
    let turned = |[x, y]: [f32; 2]| [x * cos + y * sin, y * cos - x * sin];
    lines
        .iter()
        .map(|Line { frame, .. }| {
            let Frame { corner, along, down } = *frame;
            let frame = Frame { corner: turned(corner), along: turned(along), down: turned(down) };
            frame.bounds()
        })
        .collect()
}

/// The part of the page that a word covers; `None` when nothing of it is on the page.
fn area(frame: &Frame, (width, height): (f32, f32)) -> Option<Area> {
    let [x0, y0, x1, y1] = frame.bounds();
    let share = |px: f32, side: f32| (px / side).clamp(0.0, 1.0);
    let area = Area {
        x0: share(x0, width),
        y0: share(y0, height),
        x1: share(x1, width),
        y1: share(y1, height),
    };
    (area.x0 < area.x1 && area.y0 < area.y1).then_some(area)
}

impl Ocr for Embedded {
    fn dpi(&self) -> u32 {
        DPI
    }

    fn read(&self, page: &PageImage, stop: &AtomicBool) -> Result<OcrText, BoxError> {
        Ok(self.read_with_doubt(page, stop)?.0)
    }

    fn turn(&self, page: &PageImage, stop: &AtomicBool) -> Result<Option<Turn>, BoxError> {
        Ok(self.networks()?.turn(page, stop)?)
    }
}
