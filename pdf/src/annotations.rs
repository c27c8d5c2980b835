//! What annotations show: typewritten text, stamps, signatures, comments, and what is filled into
//! forms. pdfium draws them and leaves them out of the text of a page.
//!
//! What an annotation looks like is a drawing of its own (its appearance). pdfium reads text of
//! pages alone, so in a second copy of the document the annotations are made part of their page,
//! and the text of that part is read.

use std::collections::HashSet;

use pagesight_core::PageText;

use crate::document::Opened;
use crate::facts::Facts;
use crate::raw::{Annotation, Box4, Kind, Page};
use crate::survey::Survey;
use crate::text::{Placed, words};

/// A page of more annotations is read so far and no further.
const MAX_ANNOTATIONS: usize = 5_000;

/// Entries of a list of choices that are looked at.
const MAX_CHOICES: usize = 2_000;

/// `FPDF_ANNOT_*` of `fpdf_annot.h`.
mod subtype {
    pub const LINK: i32 = 2;
    pub const POPUP: i32 = 16;
    pub const SOUND: i32 = 18;
    pub const WIDGET: i32 = 20;
    pub const WATERMARK: i32 = 24;
    pub const REDACT: i32 = 28;
}

/// `FPDF_FORMFIELD_*` of `fpdf_formfill.h`.
mod field {
    pub const CHECKBOX: i32 = 2;
    pub const RADIO: i32 = 3;
    pub const COMBO: i32 = 4;
    pub const LIST: i32 = 5;
    pub const TEXT: i32 = 6;
}

/// Not displayed, whatever it says: `Hidden` and `NoView`.
const NOT_SHOWN: i32 = 1 << 1 | 1 << 5;

/// Of a text field: what is typed is not displayed.
const PASSWORD: i32 = 1 << 13;

/// Appends to `page.text` what the annotations of page `number` show, as far as it finds room
/// within `limit` bytes.
pub fn append(
    opened: &Opened<'_>,
    page: &Page<'_>,
    number: u32,
    limit: usize,
    into: &mut PageText,
) {
    let annotations = page.annotations(MAX_ANNOTATIONS);
    let shown = annotations.iter().filter(|annotation| annotation.flags() & NOT_SHOWN == 0);
    let (mut values, mut comments, mut drawn) = (Vec::new(), Vec::new(), HashSet::new());
    for annotation in shown {
        let kind = annotation.subtype();
        if kind == subtype::LINK || kind == subtype::POPUP {
            continue;
        }
        if kind == subtype::WIDGET {
            match filled_in(annotation) {
                Filled::Nothing => continue,
                Filled::Value(value) => {
                    values.push(value);
                    continue;
                }
                Filled::Unknown => {}
            }
        } else if kind <= subtype::SOUND || kind == subtype::WATERMARK || kind == subtype::REDACT {
            let plain = annotation.string("Contents");
            let is_rich = plain.trim().is_empty() && annotation.has("RC");
            comments.push(if is_rich { without_tags(&annotation.string("RC")) } else { plain });
        }
        if annotation.has("AP") {
            drawn.insert(annotation.index());
        }
    }
    let appearances = if drawn.is_empty() {
        String::new()
    } else {
        appearances(opened, number, &drawn, limit).unwrap_or_default()
    };
    // What is drawn comes first; a comment that says the same is not repeated.
    let mut found = letters_of(&appearances);
    let mut append = |text: &str| {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let has_room = into.text.len() + text.len() < limit;
        if has_room {
            into.text.push('\n');
            into.text.push_str(text);
        }
        into.cut |= !has_room;
    };
    values.iter().for_each(|value| append(value));
    append(&appearances);
    for comment in &comments {
        let letters = letters_of(comment);
        if !found.contains(&letters) {
            append(comment);
            found.push_str(&letters);
        }
    }
}

/// What is filled into the field of a form.
enum Filled {
    /// Nothing that is read: a mark in a box, or what is typed in secret.
    Nothing,
    Value(String),
    /// It has no value that is known; its appearance may say more.
    Unknown,
}

fn filled_in(widget: &Annotation<'_>) -> Filled {
    let kind = widget.field_type();
    let labels = match kind {
        field::CHECKBOX | field::RADIO => return Filled::Nothing,
        field::TEXT if widget.field_flags() & PASSWORD != 0 => return Filled::Nothing,
        field::TEXT => Vec::new(),
        // A choice has a value for programs, and shows its label.
        field::COMBO | field::LIST => widget.chosen_labels(MAX_CHOICES),
        _ => return Filled::Unknown,
    };
    let value = match labels.join("\n") {
        labels if labels.trim().is_empty() => widget.field_value(),
        labels => labels,
    };
    if value.trim().is_empty() { Filled::Unknown } else { Filled::Value(value) }
}

/// The words that are filled into the fields of a page's forms, each with its part of the field: as
/// high as a line, as wide as its share of the letters of the longest one.
pub fn placed(page: &Page<'_>) -> Vec<Placed> {
    let mut words = Vec::new();
    for annotation in page.annotations(MAX_ANNOTATIONS) {
        if annotation.subtype() != subtype::WIDGET || annotation.flags() & NOT_SHOWN != 0 {
            continue;
        }
        let Some(Box4 { left, top, right, bottom }) = annotation.bounds() else { continue };
        let Filled::Value(value) = filled_in(&annotation) else { continue };
        let lines: Vec<&str> = value.lines().collect();
        let letters = |text: &str| text.chars().count() as f32;
        let longest = lines.iter().map(|line| letters(line)).fold(1.0, f32::max);
        let (width, height) = ((right - left) / longest, (top - bottom) / lines.len() as f32);
        for (line, number) in lines.iter().zip(0_u8..) {
            let top = top - f32::from(number) * height;
            for word in line.split_whitespace() {
                let before = word.as_ptr().addr() - line.as_ptr().addr();
                let left = left + letters(&line[..before]) * width;
                let right = left + letters(word) * width;
                let bounds = Box4 { left, top, right, bottom: top - height };
                words.push(Placed { text: word.into(), bounds });
            }
        }
    }
    words
}

/// What two texts have in common when lines are broken and words spaced in other ways.
fn letters_of(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The text of rich text, which is XHTML.
fn without_tags(rich: &str) -> String {
    let mut text = String::new();
    for part in rich.split('<') {
        // What is before the first tag has none.
        let words = part.split_once('>').map_or(part, |(_, words)| words);
        text.push_str(words);
        if !words.is_empty() {
            text.push(' ');
        }
    }
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    named.iter().fold(text, |text, (name, mark)| text.replace(name, mark))
}

/// The text of the appearances of annotations, by their indices on page `number`.
fn appearances(
    opened: &Opened<'_>,
    number: u32,
    annotations: &HashSet<i32>,
    limit: usize,
) -> Option<String> {
    let copy = opened.copy()?;
    if opened.is_first_flattening(number) {
        let page = copy.page(number - 1)?;
        let all = page.annotations(usize::MAX);
        let mut others: Vec<i32> =
            all.iter().map(Annotation::index).filter(|i| !annotations.contains(i)).collect();
        drop(all);
        others.sort_unstable();
        others.into_iter().rev().for_each(|index| page.remove_annotation(index));
        if !page.flatten() {
            return None;
        }
    }
    let page = copy.page(number - 1)?;
    let mut objects = page.objects();
    let flattened = objects.pop().filter(|object| object.kind() == Kind::Form)?;
    // The rest of the page was read before.
    objects.iter().for_each(|object| object.set_active(false));
    // A page whose CropBox lies elsewhere is shown whole.
    let bounds = page.bounds().filter(|bounds| bounds.area() > 0.0);
    let nothing = Facts::of(&[]);
    let survey = Survey::of(&page, &[flattened], bounds, &nothing);
    words(&page, &survey, &nothing, &HashSet::new(), limit).map(|words| words.text)
}

#[cfg(test)]
mod tests {
    use super::without_tags;

    #[test]
    fn rich_text_is_read_without_its_tags() {
        let rich = "<?xml version=\"1.0\"?><body><p>Rich <b>okapis</b> &amp; kudus</p></body>";
        assert_eq!(without_tags(rich), "Rich  okapis  & kudus ");
        assert_eq!(without_tags("no tags"), "no tags ");
        assert_eq!(without_tags("<p"), "p ");
        assert_eq!(without_tags(""), "");
    }
}
