//! Boxes and masks in what the model wrote: `<loc..>` four times, perhaps 16 `<seg...>`, a name;
//! objects are parted by ` ; ` before the next location.

use crate::answerer::task::Location;

/// Codes of a mask.
pub const CODES: usize = 16;

/// A thing that the model found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Object {
    /// Where it is. Bottom is below top, and right is right of left.
    pub location: Location,
    /// What it is.
    pub name: String,
    /// The codes of its mask, 0 to 127, which a [`MaskDecoder`](crate::MaskDecoder) turns into one.
    pub codes: Option<[u8; CODES]>,
}

impl Object {
    /// A thing at a place, perhaps with the codes of its mask.
    pub fn new(location: Location, name: String, codes: Option<[u8; CODES]>) -> Self {
        Self { location, name, codes }
    }
}

/// What a text says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Objects {
    /// The things in it, in order.
    pub objects: Vec<Object>,
    /// What is no object: words, and locations that are no rectangle.
    pub rest: String,
}

impl Objects {
    /// Reads what the model wrote. A part that is not an object stays a text.
    ///
    /// ```
    /// use pagesight_model::{Location, Objects};
    ///
    /// let found = Objects::read("<loc0010><loc0020><loc0300><loc0400> bar chart ; a note");
    /// assert_eq!(found.objects[0].name, "bar chart ; a note", "no location begins after it");
    /// assert_eq!(found.objects[0].location, Location([10, 20, 300, 400]));
    /// assert_eq!(Objects::read("no").rest, "no");
    /// ```
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut found = Self::default();
        let mut rest: Vec<&str> = Vec::new();
        for part in parts(text) {
            match object(part) {
                Some(object) => found.objects.push(object),
                None => rest.push(part),
            }
        }
        found.rest = rest.join(" ; ");
        found
    }
}

/// The text between separators that stand before a location.
fn parts(text: &str) -> Vec<&str> {
    const SEPARATOR: &str = " ; ";
    let mut parts = Vec::new();
    let (mut start, mut from) = (0, 0);
    while let Some(at) = text[from..].find(SEPARATOR).map(|at| from + at) {
        from = at + SEPARATOR.len();
        if number(&text[from..], "<loc", 4).is_some() {
            parts.push(&text[start..at]);
            start = from;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn object(part: &str) -> Option<Object> {
    let mut left = part.trim_start();
    let mut numbers = [0; 4];
    for edge in &mut numbers {
        (*edge, left) = number(left, "<loc", 4)?;
        if *edge > Location::MOST {
            return None;
        }
    }
    let [top, left_edge, bottom, right] = numbers;
    if bottom <= top || right <= left_edge {
        return None;
    }
    let mut codes = Vec::new();
    while let Some((code, after)) = number(left, "<seg", 3) {
        codes.push(u8::try_from(code).ok().filter(|&code| code < 128));
        left = after;
    }
    // Another number of codes, or one that there is none of, is no mask; the box stands.
    let codes: Option<Vec<u8>> = codes.into_iter().collect();
    let codes = codes.and_then(|codes| <[u8; CODES]>::try_from(codes).ok());
    Some(Object { location: Location(numbers), name: left.trim().into(), codes })
}

/// The number of the token that `text` begins with, `digits` long, and what follows it.
fn number<'a>(text: &'a str, name: &str, digits: usize) -> Option<(u16, &'a str)> {
    let rest = text.strip_prefix(name)?;
    let (number, rest) = rest.split_at_checked(digits)?;
    let rest = rest.strip_prefix('>')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_rectangle_stays_a_text() {
        for text in [
            "<loc0300><loc0020><loc0010><loc0400> upside down",
            "<loc0010><loc0400><loc0300><loc0020> mirrored",
            "<loc0010><loc0020><loc0010><loc0400> flat",
            "<loc0010><loc0020><loc0300> three",
            "<loc0010><loc0020><loc0300><loc1024> outside",
            "<loc0010><loc0020><loc0300><loc99999> long",
            "<loc0010><loc0020><loc0300><loc-001> signed",
            "<loc0010><loc0020><loc0300><loc04é0> letters",
            "<loc",
            "",
        ] {
            assert_eq!(Objects::read(text), Objects { objects: vec![], rest: text.into() });
        }
    }

    #[test]
    fn good_objects_stand_beside_bad_ones() {
        let text = "so: ; <loc0001><loc0002><loc0003><loc0004> a ; <loc0009><loc0001><loc0002>\
                    <loc0003> b ; <loc0000><loc0000><loc1023><loc1023>";
        let found = Objects::read(text);
        let names: Vec<&str> = found.objects.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, ["a", ""]);
        assert_eq!(found.rest, "so: ; <loc0009><loc0001><loc0002><loc0003> b");
    }

    #[test]
    fn a_mask_has_sixteen_codes() {
        for (count, code, is_mask) in [(15, "007", false), (16, "007", true), (17, "007", false)] {
            let codes = format!("<seg{code}>").repeat(count);
            let found = Objects::read(&format!("<loc0001><loc0001><loc0002><loc0002>{codes} x"));
            assert_eq!(found.objects[0].codes.is_some(), is_mask);
            assert_eq!(found.objects[0].name, "x");
        }
        let text = format!("<loc0001><loc0001><loc0002><loc0002>{} x", "<seg128>".repeat(16));
        assert_eq!(Objects::read(&text).objects[0].codes, None);
    }
}
