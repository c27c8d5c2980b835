//! Names of glyphs, and the letters that they stand for.
//!
//! pdfium knows the names of the Adobe Glyph List, in which `ffi` is one name. Fonts of the last
//! twenty years call that glyph `f_f_i`: the names of its letters with underscores between them.

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
        "zero" => "0",
        "one" => "1",
        "two" => "2",
        "three" => "3",
        "four" => "4",
        "five" => "5",
        "six" => "6",
        "seven" => "7",
        "eight" => "8",
        "nine" => "9",
        "space" | "nbspace" => " ",
        "hyphen" | "sfthyphen" => "-",
        "period" => ".",
        "comma" => ",",
        "longs" => "s",
        "dotlessi" => "ı",
        "dotlessj" => "ȷ",
        "germandbls" => "ß",
        "ae" => "æ",
        "oe" => "œ",
        "oslash" => "ø",
        "lslash" => "ł",
        _ => return None,
    };
    Some(known.into())
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
