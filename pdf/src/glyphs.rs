//! Names of glyphs, and the letters that they stand for.
//!
//! pdfium knows the names of the Adobe Glyph List, in which `ffi` is one name. Fonts of the last
//! twenty years call that glyph `f_f_i`: the names of its letters with underscores between them. Of
//! fonts that a document draws itself (Type 3) pdfium takes no name.

use unicode_normalization::UnicodeNormalization;

/// The letters of the glyph called `name`; `None` where it cannot be told.
pub fn letters_of_glyph(name: &str) -> Option<String> {
    // What follows a full stop says how it looks: `a.sc`, `f_i.liga`.
    let base = name.split('.').next().filter(|base| !base.is_empty())?;
    let mut letters = String::new();
    for component in base.split('_') {
        letters.push_str(&letters_of_component(component)?);
    }
    Some(letters)
}

fn letters_of_component(name: &str) -> Option<String> {
    let hex = |digits: &str| {
        let is_hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    };
    if name.len() == 1 {
        return name.chars().next().filter(char::is_ascii_graphic).map(String::from);
    }
    // `uni00660069` is two letters of four digits, `u1F600` is one of up to six.
    if let Some(digits) = name.strip_prefix("uni")
        && digits.len() >= 4
        && digits.len() % 4 == 0
        && digits.is_ascii()
    {
        let units = digits.as_bytes().chunks_exact(4);
        return units
            .map(|four| hex(std::str::from_utf8(four).ok()?).and_then(char::from_u32))
            .collect();
    }
    if let Some(digits) = name.strip_prefix('u')
        && (4..=6).contains(&digits.len())
        && let Some(c) = hex(digits).and_then(char::from_u32)
    {
        return Some(c.into());
    }
    let known = match name {
        "ff" | "fi" | "fl" | "ffi" | "ffl" | "st" | "ct" | "Th" | "fj" | "ft" | "tt" | "ti"
        | "tf" | "fb" | "fh" | "fk" | "ffj" | "ffb" | "ffh" | "ffk" => name,
        "longs" => "s",
        "IJ" | "ij" | "AE" | "OE" => name,
        _ => return plain(name).or_else(|| accented(name)).or_else(|| cyrillic(name)),
    };
    Some(known.into())
}

/// Letters and marks with names of their own in the Adobe Glyph List, but for those of
/// [`accented`] and [`cyrillic`].
#[rustfmt::skip]
const PLAIN: &[(&str, char)] = &[
    ("zero", '0'), ("one", '1'), ("two", '2'), ("three", '3'), ("four", '4'), ("five", '5'),
    ("six", '6'), ("seven", '7'), ("eight", '8'), ("nine", '9'),
    ("space", ' '), ("nbspace", ' '), ("hyphen", '-'), ("sfthyphen", '-'), ("minus", '−'),
    ("period", '.'), ("comma", ','), ("colon", ':'), ("semicolon", ';'), ("exclam", '!'),
    ("question", '?'), ("quotesingle", '\''), ("quotedbl", '"'), ("quoteleft", '‘'),
    ("quoteright", '’'), ("quotedblleft", '“'), ("quotedblright", '”'), ("quotesinglbase", '‚'),
    ("quotedblbase", '„'), ("guillemotleft", '«'), ("guillemotright", '»'), ("guilsinglleft", '‹'),
    ("guilsinglright", '›'), ("endash", '–'), ("emdash", '—'), ("ellipsis", '…'), ("bullet", '•'),
    ("periodcentered", '·'), ("parenleft", '('), ("parenright", ')'), ("bracketleft", '['),
    ("bracketright", ']'), ("braceleft", '{'), ("braceright", '}'), ("slash", '/'),
    ("backslash", '\\'), ("bar", '|'), ("underscore", '_'), ("ampersand", '&'), ("at", '@'),
    ("numbersign", '#'), ("percent", '%'), ("perthousand", '‰'), ("dollar", '$'), ("Euro", '€'),
    ("sterling", '£'), ("yen", '¥'), ("cent", '¢'), ("section", '§'), ("paragraph", '¶'),
    ("degree", '°'), ("plus", '+'), ("equal", '='), ("less", '<'), ("greater", '>'),
    ("multiply", '×'), ("divide", '÷'), ("plusminus", '±'), ("asterisk", '*'), ("asciitilde", '~'),
    ("asciicircum", '^'), ("grave", '`'), ("copyright", '©'), ("registered", '®'),
    ("trademark", '™'), ("onehalf", '½'), ("onequarter", '¼'), ("threequarters", '¾'),
    ("mu", 'µ'), ("germandbls", 'ß'), ("ae", 'æ'), ("oe", 'œ'), ("oslash", 'ø'), ("Oslash", 'Ø'),
    ("lslash", 'ł'), ("Lslash", 'Ł'), ("dcroat", 'đ'), ("Dcroat", 'Đ'), ("eth", 'ð'), ("Eth", 'Ð'),
    ("thorn", 'þ'), ("Thorn", 'Þ'), ("dotlessi", 'ı'), ("dotlessj", 'ȷ'), ("hbar", 'ħ'),
    ("Gamma", 'Γ'), ("Delta", 'Δ'), ("Theta", 'Θ'), ("Lambda", 'Λ'), ("Xi", 'Ξ'), ("Pi", 'Π'),
    ("Sigma", 'Σ'), ("Phi", 'Φ'), ("Psi", 'Ψ'), ("Omega", 'Ω'), ("alpha", 'α'), ("beta", 'β'),
    ("gamma", 'γ'), ("delta", 'δ'), ("epsilon", 'ε'), ("eta", 'η'), ("theta", 'θ'),
    ("lambda", 'λ'), ("pi", 'π'), ("rho", 'ρ'), ("sigma", 'σ'), ("sigma1", 'ς'), ("tau", 'τ'),
    ("phi", 'φ'), ("omega", 'ω'),
];

fn plain(name: &str) -> Option<String> {
    PLAIN.iter().find(|(plain, _)| *plain == name).map(|(_, letter)| (*letter).into())
}

/// A letter with an accent: `eacute`.
fn accented(name: &str) -> Option<String> {
    const ACCENTS: [(&str, char); 13] = [
        ("acute", '\u{301}'),
        ("grave", '\u{300}'),
        ("circumflex", '\u{302}'),
        ("dieresis", '\u{308}'),
        ("tilde", '\u{303}'),
        ("ring", '\u{30A}'),
        ("caron", '\u{30C}'),
        ("cedilla", '\u{327}'),
        ("ogonek", '\u{328}'),
        ("macron", '\u{304}'),
        ("breve", '\u{306}'),
        ("dotaccent", '\u{307}'),
        ("hungarumlaut", '\u{30B}'),
    ];
    let mut letters = name.chars();
    let letter = letters.next().filter(char::is_ascii_alphabetic)?;
    if letters.as_str() == "commaaccent" {
        // Latvian letters are composed with a cedilla, Romanian ones with a comma.
        let accent = if "sStT".contains(letter) { '\u{326}' } else { '\u{327}' };
        return Some([letter, accent].into_iter().nfc().collect());
    }
    let accent = ACCENTS.iter().find(|(accent, _)| *accent == letters.as_str())?.1;
    Some([letter, accent].into_iter().nfc().collect())
}

/// The Russian and Ukrainian letters, which are numbered.
fn cyrillic(name: &str) -> Option<String> {
    let number: u32 = name.strip_prefix("afii")?.parse().ok()?;
    let code = match number {
        10023 => 0x401,
        10017..=10022 => 0x410 + number - 10017,
        10024..=10049 => 0x416 + number - 10024,
        10071 => 0x451,
        10065..=10070 => 0x430 + number - 10065,
        10072..=10097 => 0x436 + number - 10072,
        10050 => 0x490,
        10053 => 0x404,
        10055 => 0x406,
        10056 => 0x407,
        10098 => 0x491,
        10101 => 0x454,
        10103 => 0x456,
        10104 => 0x457,
        61352 => 0x2116,
        _ => return None,
    };
    char::from_u32(code).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_their_letters() {
        for (name, expected) in [
            ("f_i", Some("fi")),
            ("f_f_i", Some("ffi")),
            ("T_h.liga", Some("Th")),
            ("uni0041", Some("A")),
            ("uni00660069", Some("fi")),
            ("uni0066_uni0069", Some("fi")),
            ("u1D400", Some("𝐀")),
            ("ffi", Some("ffi")),
            ("one_seven", Some("17")),
            ("a.sc", Some("a")),
            ("eacute", Some("é")),
            ("Zcaron", Some("Ž")),
            ("uhungarumlaut", Some("ű")),
            ("gcommaaccent", Some("ģ")),
            ("scommaaccent", Some("ș")),
            ("afii10017", Some("А")),
            ("afii10049", Some("Я")),
            ("afii10072", Some("ж")),
            ("afii10097", Some("я")),
            ("quoteright", Some("’")),
            ("Lslash", Some("Ł")),
            ("acute", None),
            ("uniD800", None),
            ("glyph17", None),
            ("g17", None),
            (".notdef", None),
            ("_", None),
            ("", None),
        ] {
            assert_eq!(letters_of_glyph(name).as_deref(), expected, "{name}");
        }
    }
}
