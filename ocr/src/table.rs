//! What tesseract prints.

use pagesight_core::{Area, OcrText, OcrWord, Turn};

/// Reads the table of words that tesseract writes as TSV: a line each for pages, blocks,
/// paragraphs, lines and words, with twelve columns: level, page, block, paragraph, line, word,
/// left, top, width, height in pixels, confidence in percent, text. `size` is that of the picture.
///
/// The text has a line for each line, and an empty one between paragraphs.
pub(crate) fn read_words(tsv: &str, (width_px, height_px): (u32, u32)) -> OcrText {
    const WORD: &str = "5";
    let (mut words, mut text) = (Vec::new(), String::new());
    let mut last: Option<[&str; 3]> = None;
    for line in tsv.lines() {
        let columns: Vec<&str> = line.splitn(12, '\t').collect();
        let [WORD, _, block, paragraph, number, _, left, top, width, height, sure, word] =
            columns[..]
        else {
            continue;
        };
        let word = word.trim();
        let sides = [left, top, width, height, sure].map(|number| number.parse::<f32>().ok());
        let ([Some(left), Some(top), Some(width), Some(height), Some(sure)], false) =
            (sides, word.is_empty())
        else {
            continue;
        };
        let here = [block, paragraph, number];
        text.push_str(match last {
            None => "",
            Some(last) if last == here => " ",
            Some(last) if last[..2] == here[..2] => "\n",
            Some(_) => "\n\n",
        });
        last = Some(here);
        text.push_str(word);
        let share = |px: f32, side: u32| (px / side as f32).clamp(0.0, 1.0);
        let area = Area {
            x0: share(left, width_px),
            y0: share(top, height_px),
            x1: share(left + width, width_px),
            y1: share(top + height, height_px),
        };
        // A word without a place of its own is in the text alone.
        if area.x0 < area.x1 && area.y0 < area.y1 {
            words.push(OcrWord::new(word, area, (sure / 100.0).clamp(0.0, 1.0)));
        }
    }
    let mut found = OcrText::new(text);
    found.words = words;
    found
}

/// Reads what tesseract says about the orientation of a page. `None` when it is not sure.
pub(crate) fn read_turn(said: &str) -> Option<Turn> {
    /// Below it the direction is as often wrong as right.
    const SURE: f32 = 1.0;
    let (rotate, sure) = (value(said, "Rotate")?, value(said, "Orientation confidence")?);
    let (rotate, sure): (f32, f32) = (rotate.parse().ok()?, sure.parse().ok()?);
    Turn::of_degrees(rotate as i32).filter(|_| sure >= SURE)
}

/// Reads what tesseract says about the script of a page, e.g. `Cyrillic`.
#[cfg(feature = "embedded")]
pub(crate) fn read_script(said: &str) -> Option<&str> {
    value(said, "Script")
}

fn value<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    let line = said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_places_and_lines_are_lines() {
        let tsv = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n\
            1\t1\t0\t0\t0\t0\t0\t0\t200\t100\t-1\t\n\
            5\t1\t1\t1\t1\t1\t20\t10\t40\t10\t96.5\tFennel\n\
            5\t1\t1\t1\t1\t2\t70\t10\t40\t10\t91\tsoup\n\
            5\t1\t1\t1\t2\t1\t20\t30\t40\t10\t40\tof\n\
            5\t1\t2\t1\t1\t1\t20\t60\t400\t10\t95\tthe\tabbey\n\
            5\t1\t2\t1\t1\t2\t20\t60\t0\t0\t95\t \n\
            5\t1\t2\tbroken\n";
        let found = read_words(tsv, (200, 100));
        assert_eq!(found.text, "Fennel soup\nof\n\nthe\tabbey");
        assert_eq!(found.words.len(), 4);
        let first = &found.words[0];
        assert_eq!((first.text.as_str(), first.confidence), ("Fennel", 0.965));
        assert_eq!(first.area, Area { x0: 0.1, y0: 0.1, x1: 0.3, y1: 0.2 });
        assert_eq!(found.words[3].area.x1, 1.0);
        assert_eq!(read_words("", (1, 1)), OcrText::default());
    }

    #[test]
    fn orientation_is_taken_when_it_is_sure() {
        let said = |rotate: &str, sure: &str| {
            format!(
                "Page number: 0\nOrientation in degrees: 180\nRotate: {rotate}\n\
                 Orientation confidence: {sure}\nScript: Latin\nScript confidence: 2.00\n"
            )
        };
        assert_eq!(read_turn(&said("180", "11.98")), Some(Turn::Around));
        assert_eq!(read_turn(&said("90", "3.1")), Some(Turn::Right));
        assert_eq!(read_turn(&said("270", "3.1")), Some(Turn::Left));
        assert_eq!(read_turn(&said("0", "3.1")), Some(Turn::None));
        assert_eq!(read_turn(&said("180", "0.2")), None);
        assert_eq!(read_turn("Too few characters. Skipping this page"), None);
        #[cfg(feature = "embedded")]
        assert_eq!(read_script(&said("0", "3.1")), Some("Latin"));
    }
}
