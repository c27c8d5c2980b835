//! What stands in a line, letter by letter.

use std::sync::Arc;

use pagesight_core::PageImage;

use super::network::{Network, failed};
use super::pixels::{Frame, Planes, cut};
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

/// Reads lines.
pub(super) struct Recogniser {
    network: Network,
    /// By class; the first class is no letter.
    characters: Vec<Arc<str>>,
}

impl Recogniser {
    pub fn load(onnx: Vec<u8>) -> Result<Self, OcrError> {
        let network = Network::load(NAME, onnx)?;
        let characters = network.metadata("character");
        let characters =
            characters.ok_or_else(|| failed(NAME, &"it does not say which characters it reads"))?;
        let blank = std::iter::once(Arc::from(""));
        // White room comes last, and is not in the list.
        let characters = blank
            .chain(characters.lines().map(Arc::from))
            .chain(std::iter::once(Arc::from(" ")))
            .collect();
        Ok(Self { network, characters })
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
            for mut letter in self.letters(piece)? {
                letter.at = (from as f32 + letter.at) / width as f32;
                letters.push(letter);
            }
        }
        Ok(Reading { letters })
    }

    /// The letters of a piece; their places in px.
    fn letters(&self, piece: Planes) -> Result<Vec<Letter>, OcrError> {
        let (shape, values) = self.network.run(piece)?;
        let classes = self.characters.len();
        if shape.len() != 2 || shape[1] != classes {
            let reason = format!("{classes} classes expected, got a tensor of {shape:?}");
            return Err(failed(NAME, &reason));
        }
        let mut letters: Vec<Letter> = Vec::new();
        let mut last = 0;
        for (step, scores) in values.chunks_exact(classes).enumerate() {
            let (class, confidence) = best(scores);
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
        Ok(letters)
    }
}

/// The best class, and its probability.
fn best(scores: &[f32]) -> (usize, f32) {
    // Eight at a time, so that the compiler does them at once.
    const LANES: usize = 8;
    let mut most = [f32::MIN; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, score) in most.iter_mut().zip(chunk) {
            *most = most.max(*score);
        }
    }
    let most = most.iter().chain(rest).fold(f32::MIN, |most, score| most.max(*score));
    let class = scores.iter().position(|score| *score == most).unwrap_or(0);
    (class, most)
}

/// Where a line is cut so that no piece is too long: in the widest white room near the end of each.
fn pieces(line: &Planes) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while line.width - from > LONGEST {
        let middle = &line.values[line.width * line.height..2 * line.width * line.height];
        let contrast = |x: usize| {
            let column = (0..line.height).map(|y| middle[y * line.width + x]);
            let (low, high) =
                column.fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(v), high.max(v)));
            high - low
        };
        let (mut best, mut run) = ((0usize, from + LONGEST), 0);
        for x in from + LONGEST / 2..from + LONGEST {
            run = if contrast(x) < 0.3 { run + 1 } else { 0 };
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
fn part(line: &Planes, from: usize, to: usize) -> Planes {
    let width = (to - from).next_multiple_of(STEP);
    let mut values = vec![0f32; 3 * line.height * width];
    for (row, out) in line.values.chunks_exact(line.width).zip(values.chunks_exact_mut(width)) {
        out[..to - from].copy_from_slice(&row[from..to]);
        // The edge goes on, so that no border is seen.
        out[to - from..].fill(row[to - 1]);
    }
    Planes { width, height: line.height, values }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn long_lines_are_cut_where_they_are_white() {
        let width = 2 * LONGEST + 500;
        let white = |x: usize| (1_500..1_560).contains(&x) || (3_000..3_100).contains(&x);
        let ink = |at: usize| {
            if white(at % width) || (at / width).is_multiple_of(2) { 1.0 } else { -1.0 }
        };
        let values = (0..3 * HEIGHT * width).map(ink).collect();
        let line = Planes { width, height: HEIGHT, values };
        let pieces = pieces(&line);
        assert_eq!(pieces.len(), 3, "{pieces:?}");
        assert!(white(pieces[0].1) && white(pieces[1].1), "{pieces:?}");
        assert_eq!((pieces[0].0, pieces[2].1), (0, width));
        assert!(pieces.windows(2).all(|pair| pair[0].1 == pair[1].0));
        let piece = part(&line, 10, 21);
        assert_eq!((piece.width, piece.values.len()), (16, 3 * HEIGHT * 16));
    }
}
