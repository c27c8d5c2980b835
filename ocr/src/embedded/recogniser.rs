//! What stands in a line, letter by letter.

use std::sync::{Arc, Mutex, PoisonError};

use pagesight_core::PageImage;
use pagesight_simd::network::Rounding;

use super::backbone::{Backbone, Scratch};
use super::head::{Guess, Head};
use super::pixels::{Frame, Picture, cut};
use super::tensors::{Tensors, failed};
use crate::error::OcrError;

const NAME: &str = "the recogniser";

/// The height that lines are brought to, px.
const HEIGHT: usize = 48;

/// The network says something for every so many pixels.
const STEP: usize = 8;

/// Longer lines are cut between words, px.
const LONGEST: usize = 1_920;

/// Han and Kana are wide: they are read as well when their lines are made narrower by this share, in
/// less time. Latin letters are not.
const NARROW: f32 = 0.7;

/// What is known of the print of a page while it is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Print {
    wide: usize,
    others: usize,
}

impl Print {
    /// Counts the letters of a line.
    pub fn count(&mut self, reading: &Reading) {
        let is_wide = |letter: &&Letter| letter.text.chars().any(is_without_spaces);
        let wide = reading.letters.iter().filter(is_wide).count();
        self.wide += wide;
        self.others += reading.alphanumeric().saturating_sub(wide);
    }

    /// How wide lines are made, a share of what they are.
    fn width(self) -> f32 {
        if self.wide > 20 && self.wide > 2 * self.others { NARROW } else { 1.0 }
    }
}

/// A letter that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Letter {
    pub text: Arc<str>,
    /// Where its middle is, a share of the line's length.
    pub at: f32,
    /// How sure the network is, 0 to 1.
    pub confidence: f32,
}

/// A word of a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub text: String,
    /// Where it begins and ends, shares of the line's length.
    pub from: f32,
    pub to: f32,
    /// The mean of its letters.
    pub confidence: f32,
    /// Whether white room is before it.
    pub is_apart: bool,
}

/// What was read in a line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reading {
    pub letters: Vec<Letter>,
}

impl Reading {
    /// The mean of the letters, without white room; 0 when there are none.
    pub fn confidence(&self) -> f32 {
        let letters = self.letters.iter().filter(|letter| !is_white(letter));
        let (count, sum) = letters.fold((0, 0.0), |(n, sum), l| (n + 1, sum + l.confidence));
        if count == 0 { 0.0 } else { sum / count as f32 }
    }

    /// How many letters and digits there are.
    pub fn alphanumeric(&self) -> usize {
        let is = |letter: &&Letter| letter.text.chars().any(char::is_alphanumeric);
        self.letters.iter().filter(is).count()
    }

    /// The words. A character of a script that is written without white room is a word of its own,
    /// so that each has a place.
    pub fn words(&self) -> Vec<Word> {
        let room = self.advance() / 2.0;
        let mut words: Vec<Word> = Vec::new();
        let mut sums: Vec<(f32, usize)> = Vec::new();
        let mut open = false;
        let mut is_apart = false;
        let mut before: Option<f32> = None;
        for letter in &self.letters {
            if is_white(letter) {
                (open, is_apart) = (false, true);
                continue;
            }
            let alone = letter.text.chars().any(is_without_spaces);
            let halfway = before.map_or(0.0, |before| f32::midpoint(before, letter.at));
            match words.last_mut() {
                Some(word) if open && !alone => {
                    word.text.push_str(&letter.text);
                    word.to = (letter.at + room).min(1.0);
                }
                last => {
                    if let Some(last) = last {
                        last.to = last.to.min(halfway);
                    }
                    words.push(Word {
                        text: letter.text.to_string(),
                        from: (letter.at - room).max(halfway),
                        to: (letter.at + room).min(1.0),
                        confidence: 0.0,
                        is_apart,
                    });
                    sums.push((0.0, 0));
                }
            }
            let sum = sums.last_mut().expect("there is a word");
            *sum = (sum.0 + letter.confidence, sum.1 + 1);
            (open, is_apart) = (!alone, false);
            before = Some(letter.at);
        }
        for (word, (sum, count)) in words.iter_mut().zip(sums) {
            word.confidence = (sum / count as f32).clamp(0.0, 1.0);
        }
        words
    }

    /// The usual way from one letter to the next.
    fn advance(&self) -> f32 {
        let mut ways: Vec<f32> =
            self.letters.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        ways.sort_by(f32::total_cmp);
        ways.get(ways.len() / 2).copied().unwrap_or(1.0)
    }
}

fn is_white(letter: &Letter) -> bool {
    letter.text.chars().all(char::is_whitespace)
}

/// Han, Kana and what is written with them.
fn is_without_spaces(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{2FDF}' | '\u{3001}'..='\u{30FF}' | '\u{31F0}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{FF01}'..='\u{FF60}' | '\u{20000}'..='\u{3FFFF}')
}

/// Channels of the first, of the second and after the last convolution of the stem.
const STEM: [usize; 3] = [48, 24, 96];

/// Rows and columns from a place to the next, by block: lines are made flat and not short.
const STRIDES: [[usize; 2]; 13] = {
    let mut strides = [[1, 1]; 13];
    strides[3] = [2, 1];
    strides[10] = [2, 1];
    strides
};

/// Channels at the end of the backbone.
const CHANNELS: usize = 384;

/// Reads lines.
pub(super) struct Recogniser {
    backbone: Backbone,
    head: Head,
    /// By class; the first class is no letter.
    characters: Vec<Arc<str>>,
    /// Memory that nobody uses.
    free: Mutex<Vec<Scratch>>,
}

impl Recogniser {
    pub fn load(onnx: &[u8]) -> Result<Self, OcrError> {
        let mut tensors = Tensors::read(NAME, onnx)?;
        let characters = tensors.metadata("character");
        let characters =
            characters.ok_or_else(|| failed(NAME, &"it does not say which characters it reads"))?;
        let blank = std::iter::once(Arc::from(""));
        // White room comes last, and is not in the list.
        let characters: Vec<Arc<str>> = blank
            .chain(characters.lines().map(Arc::from))
            .chain(std::iter::once(Arc::from(" ")))
            .collect();
        let backbone = Backbone::take(&mut tensors, STEM, Rounding::Once, &STRIDES)?;
        let head = Head::take(&mut tensors, CHANNELS, characters.len())?;
        tensors.end()?;
        Ok(Self { backbone, head, characters, free: Mutex::default() })
    }

    /// Reads what stands in `frame`.
    pub fn read(
        &self,
        image: &PageImage,
        frame: &Frame,
        print: Print,
    ) -> Result<Reading, OcrError> {
        let width = print.width() * frame.length() * HEIGHT as f32 / frame.height().max(1.0);
        let width = (width.ceil() as usize).clamp(STEP, 16 * LONGEST);
        let line = cut(image, frame, width, HEIGHT);
        let mut letters = Vec::new();
        for (from, to) in pieces(&line) {
            let piece = part(&line, from, to);
            for mut letter in self.letters(&piece) {
                letter.at = (from as f32 + letter.at) / width as f32;
                letters.push(letter);
            }
        }
        Ok(Reading { letters })
    }

    /// The letters of a piece; their places in px.
    fn letters(&self, piece: &Picture) -> Vec<Letter> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = free.unwrap_or_default();
        let guesses = self.head.apply(self.backbone.apply(piece, &mut scratch, |_| ()));
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        let mut letters: Vec<Letter> = Vec::new();
        let mut last = 0;
        for (step, guess) in guesses.iter().enumerate() {
            let Guess { class, confidence } = *guess;
            let at = (step as f32 + 0.5) * STEP as f32;
            if class != 0 && class == last {
                // One letter over several steps: as sure as at its best, and in their middle.
                let letter = letters.last_mut().expect("the step before had it");
                letter.confidence = letter.confidence.max(confidence);
                letter.at += STEP as f32 / 2.0;
            } else if class != 0 {
                letters.push(Letter { text: Arc::clone(&self.characters[class]), at, confidence });
            }
            last = class;
        }
        letters
    }
}

/// Where a line is cut so that no piece is too long: in the widest white room near the end of each.
fn pieces(line: &Picture) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while line.width - from > LONGEST {
        let contrast = |x: usize| {
            let green = |y: usize| line.bytes[(y * line.width + x) * Picture::CHANNELS + 1];
            let (low, high) = (0..line.height)
                .map(green)
                .fold((u8::MAX, u8::MIN), |(low, high), v| (low.min(v), high.max(v)));
            high - low
        };
        let (mut best, mut run) = ((0usize, from + LONGEST), 0);
        for x in from + LONGEST / 2..from + LONGEST {
            run = if contrast(x) < 38 { run + 1 } else { 0 };
            if run > best.0 {
                best = (run, x + 1 - run / 2);
            }
        }
        pieces.push((from, best.1));
        from = best.1;
    }
    pieces.push((from, line.width));
    pieces
}

/// The columns from `from` to `to`, and as many empty ones as make whole steps.
fn part(line: &Picture, from: usize, to: usize) -> Picture {
    const CHANNELS: usize = Picture::CHANNELS;
    let width = (to - from).next_multiple_of(STEP);
    let mut bytes = Vec::with_capacity(width * line.height * CHANNELS);
    for row in line.bytes.chunks_exact(line.width * CHANNELS) {
        bytes.extend_from_slice(&row[from * CHANNELS..to * CHANNELS]);
        // The edge goes on, so that no border is seen.
        for _ in to - from..width {
            bytes.extend_from_slice(&row[(to - 1) * CHANNELS..to * CHANNELS]);
        }
    }
    Picture { width, height: line.height, bytes }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::Oracle;
    use super::*;
    use crate::places::RECOGNISER;
    use crate::testing::fixture;

    fn reading(text: &str) -> Reading {
        let count = text.chars().count() as f32;
        let letter = |(i, c): (usize, char)| Letter {
            text: Arc::from(c.to_string()),
            at: (i as f32 + 0.5) / count,
            confidence: if c == '?' { 0.2 } else { 0.9 },
        };
        Reading { letters: text.chars().enumerate().map(letter).collect() }
    }

    #[test]
    fn words_have_their_places() {
        let words = reading("ab 1?").words();
        assert_eq!(words.len(), 2);
        assert_eq!((words[0].text.as_str(), words[1].text.as_str()), ("ab", "1?"));
        assert!((words[0].from - 0.0).abs() < 1e-6 && (words[0].to - 0.4).abs() < 1e-6);
        assert!((words[1].from - 0.6).abs() < 1e-6 && (words[1].to - 1.0).abs() < 1e-6);
        assert!((words[1].confidence - 0.55).abs() < 1e-6);
        assert!(!words[0].is_apart && words[1].is_apart);
        assert!((reading("ab 1?").confidence() - 0.725).abs() < 1e-6);
        assert_eq!(Reading::default().confidence(), 0.0);
        assert_eq!(reading("   ").words(), []);
    }

    #[test]
    fn characters_without_spaces_between_them_are_words() {
        let words = reading("日本語 PDF版").words();
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["日", "本", "語", "PDF", "版"]);
        assert!(words.windows(2).all(|pair| pair[0].to <= pair[1].from + 1e-6), "{words:?}");
        let apart: Vec<bool> = words.iter().map(|word| word.is_apart).collect();
        assert_eq!(apart, [false, false, false, true, false]);
    }

    /// The bytes say what the published network says in f32, run by rten.
    #[test]
    fn lines_are_read_as_the_published_network_reads_them() {
        let folder = std::env::var_os("PAGESIGHT_OCR").expect("run the tests with cargo");
        let onnx = RECOGNISER.read(std::path::Path::new(&folder)).expect("cargo xtask setup");
        let ours = Recogniser::load(&onnx).unwrap();
        let oracle = Oracle::load(onnx);
        let (mut steps, mut same, mut off) = (0, 0, 0f32);
        for (name, lines) in [("english", 7), ("japanese", 4), ("chinese", 4)] {
            let image = fixture(name);
            let (width, height) = (image.width_px() as f32, image.height_px() as f32);
            // Any strips will do: some have a line, some have parts of two.
            for strip in 0..lines {
                let step = height / lines as f32;
                let frame = Frame {
                    corner: [0.0, strip as f32 * step],
                    along: [width, 0.0],
                    down: [0.0, step.min(60.0)],
                };
                let wide = (width as usize).min(1_200).next_multiple_of(STEP);
                let line = cut(&image, &frame, wide, HEIGHT);
                let (shape, expected) = oracle.run(&line);
                let mut scratch = Scratch::default();
                let got = ours.head.apply(ours.backbone.apply(&line, &mut scratch, |_| ()));
                assert_eq!(shape, [1, got.len(), ours.characters.len()]);
                for (scores, guess) in expected.chunks_exact(shape[2]).zip(&got) {
                    let most = scores.iter().fold(0f32, |most, score| most.max(*score));
                    steps += 1;
                    if scores[guess.class] == most {
                        same += 1;
                        off += (guess.confidence - most).abs();
                    }
                }
            }
        }
        let (share, off) = (same as f32 / steps as f32, off / same as f32);
        println!("{steps} columns, {share} the same, confidence off by {off}");
        assert!(steps > 1_500 && share > 0.97 && off < 0.03, "{steps} {share} {off}");
    }

    #[test]
    fn long_lines_are_cut_where_they_are_white() {
        let width = 2 * LONGEST + 500;
        let white = |x: usize| (1_500..1_560).contains(&x) || (3_000..3_100).contains(&x);
        let ink = |at: usize| {
            if white(at % width) || (at / width).is_multiple_of(2) { [255; 4] } else { [0; 4] }
        };
        let bytes = (0..HEIGHT * width).flat_map(ink).collect();
        let line = Picture { width, height: HEIGHT, bytes };
        let pieces = pieces(&line);
        assert_eq!(pieces.len(), 3, "{pieces:?}");
        assert!(white(pieces[0].1) && white(pieces[1].1), "{pieces:?}");
        assert_eq!((pieces[0].0, pieces[2].1), (0, width));
        assert!(pieces.windows(2).all(|pair| pair[0].1 == pair[1].0));
        let piece = part(&line, 10, 21);
        assert_eq!((piece.width, piece.bytes.len()), (16, 4 * HEIGHT * 16));
    }
}
