//! What a document says about itself that pdfium does not pass on, read from its bytes: whether it
//! has layers, and what the glyphs of its fonts are called.
//!
//! The bytes are looked through without the table of objects, which may be damaged, and only when
//! somebody asks. What is overlooked here (objects of encrypted documents, objects that an update
//! replaced) costs a word, never a page.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use memchr::memmem;

use crate::cff::own_names;
use crate::fonts::has_beyond_latin_1;
use crate::glyphs::letters_of_glyph;
use crate::raw::Font;

/// Names of glyphs by the codes of a font.
pub type Glyphs = HashMap<u32, String>;

/// All object streams of a document are unpacked up to this size, bytes.
const MAX_UNPACKED: usize = 64 << 20;

/// The dictionary of an object stream is smaller than this, bytes.
const MAX_STREAM_DICT: usize = 2048;

/// No more objects are looked at.
const MAX_OBJECTS: usize = 500_000;

/// Objects are taken apart up to this size together, bytes.
const MAX_PARSED: usize = 16 << 20;

/// A font program that is larger is not read.
const MAX_PROGRAM: usize = 8 << 20;

/// Arrays and dictionaries are followed this deep.
const MAX_DEPTH: usize = 24;

/// Facts of one document.
pub struct Facts<'l> {
    bytes: &'l [u8],
    said: OnceCell<Said>,
    encodings: OnceCell<Encodings>,
}

/// Which of these words stand among the objects of a document. They are looked for together, since
/// the objects are unpacked for it.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    layers: bool,
    pinned_files: bool,
    tags: bool,
    replacements: bool,
    collection: bool,
}

impl Said {
    const ALL: Self =
        Self { layers: true, pinned_files: true, tags: true, replacements: true, collection: true };

    fn look(&mut self, bytes: &[u8]) {
        for (said, word) in [
            (&mut self.layers, &b"/OCProperties"[..]),
            (&mut self.pinned_files, b"/FileAttachment"),
            (&mut self.tags, b"/StructTreeRoot"),
            (&mut self.replacements, b"/ActualText"),
            (&mut self.collection, b"/Collection"),
        ] {
            *said = *said || memmem::find(bytes, word).is_some();
        }
    }
}

/// The glyphs that fonts name in the document.
#[derive(Debug, Default)]
struct Encodings {
    /// By the names of the fonts.
    named: HashMap<String, Glyphs>,
    /// Of fonts that the document draws itself.
    drawn: Vec<Glyphs>,
    /// The names of fonts that have Western letters alone, and of those that may have others; a name
    /// may be that of several fonts.
    western: HashSet<String>,
    other: HashSet<String>,
}

impl Encodings {
    /// Takes in what a font called `name` says of its letters; `differences` are its own.
    fn add_letters(
        &mut self,
        name: &str,
        font: &HashMap<String, Value>,
        encoding: &Value,
        differences: &Glyphs,
    ) {
        let is = |value: Option<&Value>, names: &[&str]| matches!(value, Some(Value::Name(name)) if names.contains(&name.as_str()));
        const WESTERN: [&str; 2] = ["WinAnsiEncoding", "StandardEncoding"];
        let is_simple = is(font.get("Subtype"), &["Type1", "TrueType", "MMType1"])
            && !font.contains_key("ToUnicode");
        let is_western = match encoding {
            Value::Name(_) => is(Some(encoding), &WESTERN),
            Value::Dict(dict) => match dict.get("BaseEncoding") {
                None => true,
                base => is(base, &WESTERN),
            },
            _ => !font.contains_key("Encoding"),
        };
        let is_western_glyph = |glyph: &String| {
            letters_of_glyph(glyph).is_some_and(|letters| !has_beyond_latin_1(&letters))
        };
        let names = if is_simple && is_western && differences.values().all(is_western_glyph) {
            &mut self.western
        } else {
            &mut self.other
        };
        names.insert(name.into());
    }

    /// The names in which those of the drawn fonts agree that have all `codes`, or no others where
    /// there is such a one: fonts are made with the glyphs that are used. Codes of ASCII may be named
    /// by the encoding that a font begins with.
    fn agreed(&self, codes: &HashSet<u32>) -> Glyphs {
        let has =
            |glyphs: &Glyphs, code: &u32| glyphs.contains_key(code) || (0x20..0x7F).contains(code);
        let fits = |glyphs: &&Glyphs| codes.iter().all(|code| has(glyphs, code));
        let is_exact = |glyphs: &&Glyphs| {
            glyphs.len() == codes.len() && codes.iter().all(|code| glyphs.contains_key(code))
        };
        let has_exact = self.drawn.iter().any(|glyphs| is_exact(&glyphs));
        let fitting = || {
            let fitting = self.drawn.iter().filter(fits);
            fitting.filter(|glyphs| !has_exact || is_exact(glyphs))
        };
        let name = |code: &u32| {
            let mut names = fitting().filter_map(|glyphs| glyphs.get(code));
            let first = names.next()?;
            names.all(|name| name == first).then(|| (*code, first.clone()))
        };
        codes.iter().filter_map(name).collect()
    }
}

impl<'l> Facts<'l> {
    /// Of the document that consists of `bytes`.
    pub fn of(bytes: &'l [u8]) -> Self {
        Self { bytes, said: OnceCell::new(), encodings: OnceCell::new() }
    }

    /// Whether something in the document may be on a layer.
    pub fn has_layers(&self) -> bool {
        self.said().layers
    }

    /// Whether a page of the document may have a file pinned to it.
    pub fn has_pinned_files(&self) -> bool {
        self.said().pinned_files
    }

    /// Whether something in the document, such as a tag, may have a text that stands for what it
    /// displays. Such texts within the content of pages are not among its objects.
    pub fn has_tags_with_text(&self) -> bool {
        self.said().tags && self.said().replacements
    }

    /// Whether the document is a collection of files with a cover, a portfolio.
    pub fn is_portfolio(&self) -> bool {
        self.said().collection
    }

    /// What stands among the objects of the document. An encrypted document is taken to say all: its
    /// objects cannot be unpacked.
    fn said(&self) -> Said {
        *self.said.get_or_init(|| {
            let mut said = Said::default();
            said.look(self.bytes);
            if memmem::find(self.bytes, b"/ObjStm").is_none() {
                return said;
            }
            if memmem::find(self.bytes, b"/Encrypt").is_some() {
                return Said::ALL;
            }
            self.object_streams().for_each(|stream| said.look(&stream.bytes));
            said
        })
    }

    /// Whether `font`, which the document names, may have letters beyond Latin 1 there. A font that is
    /// not found among its objects may.
    pub fn may_have_other_letters(&self, font: &Font<'_>) -> bool {
        let encodings = self.encodings.get_or_init(|| self.read_encodings());
        let name = font.base_name();
        !encodings.western.contains(&name) || encodings.other.contains(&name)
    }

    /// What the glyphs of `font` are called, where the document or the font itself says so. `codes` are
    /// those of a text in it. A font that the document draws (Type 3) has no name: it is one of those
    /// that have all codes, and a glyph has a name when they agree.
    pub fn glyphs_of(&self, font: &Font<'_>, codes: impl FnOnce() -> HashSet<u32>) -> Glyphs {
        let encodings = self.encodings.get_or_init(|| self.read_encodings());
        let name = font.base_name();
        if name.is_empty() {
            return if encodings.drawn.is_empty() {
                Glyphs::new()
            } else {
                encodings.agreed(&codes())
            };
        }
        let mut glyphs = if font.is_embedded() {
            let program = font.program(MAX_PROGRAM);
            let mut glyphs = type1_encoding(&program);
            glyphs.extend(own_names(&program));
            glyphs
        } else {
            Glyphs::new()
        };
        if let Some(said) = encodings.named.get(&name) {
            glyphs.extend(said.iter().map(|(code, name)| (*code, name.clone())));
        }
        glyphs
    }

    /// The dictionaries and arrays among the objects of the document whose bytes are wanted, by their
    /// numbers. Where an object is there twice, as after an update, the later one counts.
    pub fn objects(&self, is_wanted: impl Fn(&[u8]) -> bool) -> HashMap<u32, Value> {
        // A dictionary with an encoding of 256 names, or of a page with its annotations, is smaller.
        const MOST: usize = 32 << 10;
        let mut objects: HashMap<u32, (usize, Value)> = HashMap::new();
        let mut room = MAX_PARSED;
        let mut add = |number, place, bytes: &[u8]| {
            let is_last = objects.get(&number).is_none_or(|(before, _)| *before <= place);
            if is_last && bytes.len() <= room && is_wanted(bytes) {
                room -= bytes.len();
                objects.insert(number, (place, Parser { bytes, at: 0 }.value(0)));
            }
        };
        for (number, at) in object_starts(self.bytes).take(MAX_OBJECTS) {
            let object = &self.bytes[at..self.bytes.len().min(at + MOST)];
            add(number, at, &object[..memmem::find(object, b"endobj").unwrap_or(object.len())]);
        }
        for stream in self.object_streams() {
            let places = stream.objects();
            let ends = places.iter().skip(1).map(|(_, at)| *at).chain([stream.bytes.len()]);
            for ((number, at), end) in places.iter().zip(ends) {
                let end = end.clamp(*at, stream.bytes.len()).min(at + MOST);
                add(*number, stream.place, &stream.bytes[*at..end]);
            }
        }
        objects.into_iter().map(|(number, (_, object))| (number, object)).collect()
    }

    /// The number of the catalog, by the last trailer.
    pub fn root(&self) -> Option<u32> {
        let at = memmem::rfind(self.bytes, b"/Root")? + 5;
        match (Parser { bytes: &self.bytes[..self.bytes.len().min(at + 40)], at }).value(0) {
            Value::Reference(number) => Some(number),
            _ => None,
        }
    }

    fn read_encodings(&self) -> Encodings {
        let objects = self.objects(|object| {
            ["/BaseFont", "/Type3", "/Differences"]
                .iter()
                .any(|word| memmem::find(object, word.as_bytes()).is_some())
        });
        let resolved = |value: &Value| match value {
            Value::Reference(number) => objects.get(number).cloned().unwrap_or(Value::Other),
            value => value.clone(),
        };
        let mut encodings = Encodings::default();
        for object in objects.values() {
            let Value::Dict(font) = object else { continue };
            let is_drawn =
                matches!(font.get("Subtype"), Some(Value::Name(kind)) if kind == "Type3");
            let name = match font.get("BaseFont") {
                Some(Value::Name(name)) => Some(name.clone()),
                _ => None,
            };
            if !is_drawn && name.is_none() {
                continue;
            }
            let encoding = font.get("Encoding").map_or(Value::Other, resolved);
            let differences = match &encoding {
                Value::Dict(dict) => dict.get("Differences").map_or(Value::Other, resolved),
                _ => Value::Other,
            };
            let differences = match differences {
                Value::Array(differences) => differences,
                _ => Vec::new(),
            };
            let mut glyphs = Glyphs::new();
            let mut code = 0;
            for value in differences {
                match value {
                    Value::Number(first) => code = first,
                    Value::Name(name) => {
                        glyphs.insert(code, name);
                        code = code.saturating_add(1);
                    }
                    _ => {}
                }
            }
            if let Some(name) = &name {
                encodings.add_letters(name, font, &encoding, &glyphs);
            }
            if glyphs.is_empty() {
                continue;
            }
            match name.filter(|_| !is_drawn) {
                Some(name) => encodings.named.entry(name).or_default().extend(glyphs),
                None => encodings.drawn.push(glyphs),
            }
        }
        encodings
    }

    /// The object streams of the document that can be unpacked.
    fn object_streams(&self) -> impl Iterator<Item = ObjectStream> {
        let mut room = MAX_UNPACKED;
        memmem::find_iter(self.bytes, b"/ObjStm").filter_map(move |at| {
            let from = at.saturating_sub(MAX_STREAM_DICT);
            let start = from + memmem::rfind(&self.bytes[from..at], b"obj")? + 3;
            let around = &self.bytes[start..self.bytes.len().min(start + 2 * MAX_STREAM_DICT)];
            let Value::Dict(dict) = (Parser { bytes: around, at: 0 }).value(0) else { return None };
            let number = |key| match dict.get(key) {
                Some(Value::Number(number)) => Some(*number as usize),
                _ => None,
            };
            let (count, first) = (number("N")?, number("First")?);
            let stream = start + memmem::find(around, b"stream")? + 6;
            let line = self.bytes[stream..].iter().take(2).take_while(|b| b"\r\n".contains(b));
            let data = &self.bytes[stream + line.count()..];
            let data = &data[..memmem::find(data, b"endstream").unwrap_or(data.len())];
            let bytes = match dict.get("Filter") {
                None => data[..data.len().min(room)].to_vec(),
                Some(_) => unpack(data, room)?,
            };
            room -= bytes.len();
            Some(ObjectStream { bytes, count, first, place: at })
        })
    }
}

/// Unpacks zlib data up to `most` bytes; what comes before damage counts, and no checksum is made.
fn unpack(data: &[u8], most: usize) -> Option<Vec<u8>> {
    use miniz_oxide::inflate::decompress_to_vec_with_limit;
    let [method, flags, rest @ ..] = data else { return None };
    let is_zlib = method & 0x0F == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0;
    match decompress_to_vec_with_limit(if is_zlib { rest } else { data }, most) {
        Ok(bytes) => Some(bytes),
        Err(error) => Some(error.output).filter(|bytes| !bytes.is_empty()),
    }
}

/// Objects that are packed together.
struct ObjectStream {
    bytes: Vec<u8>,
    count: usize,
    /// Where the first object begins.
    first: usize,
    /// Where it is in the document.
    place: usize,
}

impl ObjectStream {
    /// Number and place of each object.
    fn objects(&self) -> Vec<(u32, usize)> {
        let mut parser = Parser { bytes: &self.bytes, at: 0 };
        let mut objects = Vec::new();
        for _ in 0..self.count.min(MAX_OBJECTS) {
            let (Value::Number(number), Value::Number(at)) =
                (parser.simple_value(), parser.simple_value())
            else {
                break;
            };
            let at = self.first.saturating_add(at as usize);
            if at < self.bytes.len() {
                objects.push((number, at));
            }
        }
        objects
    }
}

/// Number and place of each object that begins with `N G obj` and is a dictionary or an array.
fn object_starts(bytes: &[u8]) -> impl Iterator<Item = (u32, usize)> {
    memmem::find_iter(bytes, b" obj").filter_map(move |at| {
        let before = &bytes[at.saturating_sub(20)..at];
        let mut words = before.rsplit(|b| !b.is_ascii_digit()).filter(|word| !word.is_empty());
        let (_generation, number) = (words.next()?, words.next()?);
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        let after = at + 4;
        let blank = bytes[after..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        let object = &bytes[after + blank..];
        (object.starts_with(b"<<") || object.starts_with(b"[")).then_some((number, after + blank))
    })
}

/// A PDF object, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Name(String),
    Number(u32),
    Reference(u32),
    Array(Vec<Value>),
    Dict(HashMap<String, Value>),
    Other,
}

/// Reads objects, and takes what it does not understand for [`Value::Other`]. It always moves on.
struct Parser<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_blank(&mut self) {
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'%' => {
                    let line = self.bytes[self.at..].iter().take_while(|b| !b"\r\n".contains(b));
                    self.at += line.count();
                }
                b' ' | b'\t' | b'\r' | b'\n' | 0x0C | 0 => self.at += 1,
                _ => return,
            }
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        self.skip_blank();
        if depth >= MAX_DEPTH {
            self.at = self.bytes.len();
            return Value::Other;
        }
        match (self.peek(0), self.peek(1)) {
            (b'<', b'<') => {
                self.at += 2;
                let mut dict = HashMap::new();
                loop {
                    self.skip_blank();
                    match (self.peek(0), self.peek(1)) {
                        (b'/', _) => {
                            let key = self.name();
                            dict.insert(key, self.value(depth + 1));
                        }
                        (b'>', b'>') => {
                            self.at += 2;
                            return Value::Dict(dict);
                        }
                        _ => return Value::Dict(dict),
                    }
                }
            }
            (b'[', _) => {
                self.at += 1;
                let mut array = Vec::new();
                loop {
                    self.skip_blank();
                    if self.at >= self.bytes.len() || self.peek(0) == b']' {
                        self.at += 1;
                        return Value::Array(array);
                    }
                    array.push(self.value(depth + 1));
                }
            }
            (b'<', _) => {
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                let end = memchr::memchr(b'>', rest).map_or(rest.len(), |end| end + 1);
                self.at += end;
                Value::Other
            }
            (b'(', _) => {
                self.skip_string();
                Value::Other
            }
            (b'0'..=b'9', _) => self.number_or_reference(),
            _ => self.simple_value(),
        }
    }

    /// A name, a number, or another word; no reference.
    fn simple_value(&mut self) -> Value {
        self.skip_blank();
        match self.peek(0) {
            b'/' => Value::Name(self.name()),
            _ => match self.word() {
                // Something that is no word, such as a stray bracket.
                "" => {
                    self.at += 1;
                    Value::Other
                }
                word => word.parse().map_or(Value::Other, Value::Number),
            },
        }
    }

    fn number_or_reference(&mut self) -> Value {
        let value = self.simple_value();
        let Value::Number(number) = value else { return value };
        let after = self.at;
        if matches!(self.simple_value(), Value::Number(_)) {
            self.skip_blank();
            if self.word() == "R" {
                return Value::Reference(number);
            }
        }
        self.at = after;
        value
    }

    fn word(&mut self) -> &str {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_part = |b: &&u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
        let length = rest.iter().take_while(is_part).count();
        self.at += length;
        std::str::from_utf8(&rest[..length]).unwrap_or_default()
    }

    fn name(&mut self) -> String {
        self.at += 1;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let ends = |b: &u8| b.is_ascii_whitespace() || b"/[]<>(){}%\0".contains(b);
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        let mut bytes = Vec::with_capacity(length);
        let mut left = &rest[..length];
        while let Some((&byte, after)) = left.split_first() {
            let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(coded) if byte == b'#' => {
                    bytes.push(coded);
                    left = &after[2..];
                }
                _ => {
                    bytes.push(byte);
                    left = after;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn skip_string(&mut self) {
        let mut depth = 0;
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'\\' => self.at += 1,
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

/// The names in the encoding of a Type 1 font program: `dup 12 /f_i put`. Nothing for fonts of
/// other formats.
fn type1_encoding(program: &[u8]) -> Glyphs {
    let mut glyphs = Glyphs::new();
    if !program.starts_with(b"%!") {
        return glyphs;
    }
    // What follows is encrypted.
    let clear = &program[..memmem::find(program, b"eexec").unwrap_or(program.len())];
    for at in memmem::find_iter(clear, b"dup ").take(4096) {
        let mut parser = Parser { bytes: clear, at: at + 4 };
        if let (Value::Number(code), Value::Name(name)) =
            (parser.simple_value(), parser.simple_value())
        {
            glyphs.insert(code, name);
        }
    }
    glyphs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encodings(bytes: &[u8]) -> HashMap<String, Glyphs> {
        Facts::of(bytes).read_encodings().named
    }

    #[test]
    fn fonts_that_may_have_other_letters_are_known() {
        let pdf = b"1 0 obj<</Subtype/Type1/BaseFont/A/Encoding/WinAnsiEncoding>>endobj
            2 0 obj<</Subtype/TrueType/BaseFont/B>>endobj
            3 0 obj<</Subtype/Type1/BaseFont/C/Encoding<</Differences[1/eacute/bullet]>>>>endobj
            4 0 obj<</Subtype/Type1/BaseFont/D/Encoding<</Differences[1/a/aogonek]>>>>endobj
            5 0 obj<</Subtype/Type1/BaseFont/E/Encoding<</Differences[1/a/strange]>>>>endobj
            6 0 obj<</Subtype/Type0/BaseFont/F/Encoding/Identity-H>>endobj
            7 0 obj<</Subtype/Type1/BaseFont/G/Encoding/MacRomanEncoding>>endobj
            8 0 obj<</Subtype/Type1/BaseFont/H/ToUnicode 9 0 R/Encoding/WinAnsiEncoding>>endobj";
        let Encodings { western, other, .. } = Facts::of(pdf).read_encodings();
        let sorted = |names: HashSet<String>| {
            let mut names: Vec<String> = names.into_iter().collect();
            names.sort();
            names.concat()
        };
        assert_eq!((sorted(western), sorted(other)), ("ABC".into(), "DEFGH".into()));
    }

    #[test]
    fn drawn_fonts_are_told_apart_by_their_codes() {
        let pdf = b"1 0 obj<</Type/Font/Subtype/Type3/Encoding<</Differences[1/g/a/t/e]>>>>endobj
            2 0 obj<</Subtype/Type3/Encoding 3 0 R>>endobj 3 0 obj<</Differences[1/d/a/m/s/l]>>endobj
            4 0 obj<</BaseFont/N/Encoding<</Differences[1/x]>>>>endobj";
        let encodings = Facts::of(pdf).read_encodings();
        assert_eq!(encodings.drawn.len(), 2);
        let agreed = |codes: &[u32]| {
            let agreed = encodings.agreed(&codes.iter().copied().collect());
            let mut agreed: Vec<(u32, String)> = agreed.into_iter().collect();
            agreed.sort();
            agreed
        };
        // Both have 2; the second alone has 5, and so it is the one that 1 is of, too. The first has
        // no others than these four.
        assert_eq!(agreed(&[1, 2]), [(2, "a".into())]);
        assert_eq!(agreed(&[1, 4, 2, 3]).len(), 4);
        assert_eq!(agreed(&[1, 5]), [(1, "d".into()), (5, "l".into())]);
        assert_eq!(agreed(&[1, 9]), []);
    }

    #[test]
    fn differences_are_found_in_place_and_by_reference() {
        let pdf = b"%PDF-1.4\n1 0 obj\n<</Type/Font/BaseFont/A+One/Encoding<</Differences[1/f_i/f#5Ff
            65/uni0041]>>>>\nendobj 2 0 obj <</BaseFont /Two /Encoding 3 0 R /W [1 [2 3] 4]>> endobj
            3 0 obj << /Differences 4 0 R /X (a\\)(b)>>) >> endobj 4 0 obj <</Differences []>> endobj";
        let found = encodings(pdf);
        let one = [(1, "f_i"), (2, "f_f"), (65, "uni0041")];
        let one: Glyphs = one.iter().map(|(code, name)| (*code, name.to_string())).collect();
        assert_eq!(found.get("A+One"), Some(&one));
        assert_eq!(found.get("Two"), None);
    }

    #[test]
    fn objects_that_are_packed_are_found_too() {
        let objects =
            b"7 0 8 32 <</BaseFont/P/Encoding 8 0 R>>  <</Differences[9/T_h]>>/OCProperties";
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(objects, 6);
        let mut pdf = b"5 0 obj <</Type/ObjStm/N 2/First 9/Filter/FlateDecode>>stream\r\n".to_vec();
        pdf.extend(packed);
        pdf.extend(b"\nendstream endobj");
        assert_eq!(encodings(&pdf)["P"], Glyphs::from([(9, "T_h".to_string())]));
        assert!(Facts::of(&pdf).has_layers());
        assert!(!Facts::of(&pdf).is_portfolio());
        assert!(!Facts::of(b"%PDF-1.4 1 0 obj <</Type/Catalog>>").has_layers());
    }

    #[test]
    fn type_1_fonts_name_their_glyphs() {
        let program = b"%!PS-AdobeFont-1.0\n/Encoding 256 array\ndup 2 /f_i put\ndup 12/T_h put
            readonly def currentfile eexec dup 3 /no put";
        let expected = [(2, "f_i".to_string()), (12, "T_h".to_string())];
        assert_eq!(type1_encoding(program), Glyphs::from(expected));
        assert!(type1_encoding(b"OTTO dup 2 /f_i put").is_empty());
    }

    /// Whatever the bytes, it comes to an end.
    #[test]
    fn noise_is_no_trouble() {
        let pdf =
            b"1 0 obj <</BaseFont/A/Encoding<</Differences[1/a (b) <c> 2 0 R [<<]>>>>/ObjStm \
            /N 9/First 2>>stream x endstream 3 0 obj <<<<<<[[[[((((%\n";
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        for _ in 0..20_000 {
            let mut bytes = pdf.to_vec();
            for _ in 0..4 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = random as usize % bytes.len();
                bytes[at] = b"<>[]()/% 0R#\\x\0"[(random >> 32) as usize % 15];
            }
            let facts = Facts::of(&bytes);
            facts.read_encodings();
            facts.has_layers();
        }
        let deep = [b"1 0 obj <</BaseFont/A/B".to_vec(), b"[".repeat(1 << 20)].concat();
        assert!(encodings(&deep).is_empty());
    }
}
