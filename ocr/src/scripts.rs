//! Scripts that the embedded reader lacks and tesseract reads.

/// Names of scripts as tesseract's detection says them, and the languages that are written in them.
const LACKING: [(&str, &[&str]); 24] = [
    (
        "Cyrillic",
        &[
            "rus", "ukr", "bul", "bel", "mkd", "srp", "kaz", "kir", "mon", "tgk", "tat",
            "uzb_cyrl", "aze_cyrl",
        ],
    ),
    ("Greek", &["ell", "grc"]),
    ("Arabic", &["ara", "fas", "urd", "pus", "snd", "uig"]),
    ("Hebrew", &["heb", "yid"]),
    ("Korean", &["kor", "kor_vert"]),
    ("Hangul", &["kor", "kor_vert"]),
    ("Devanagari", &["hin", "mar", "nep", "san"]),
    ("Bengali", &["ben", "asm"]),
    ("Gujarati", &["guj"]),
    ("Gurmukhi", &["pan"]),
    ("Oriya", &["ori"]),
    ("Tamil", &["tam"]),
    ("Telugu", &["tel"]),
    ("Kannada", &["kan"]),
    ("Malayalam", &["mal"]),
    ("Sinhala", &["sin"]),
    ("Thai", &["tha"]),
    ("Lao", &["lao"]),
    ("Khmer", &["khm"]),
    ("Myanmar", &["mya"]),
    ("Tibetan", &["bod", "dzo"]),
    ("Ethiopic", &["amh", "tir"]),
    ("Georgian", &["kat"]),
    ("Armenian", &["hye"]),
];

/// Whether a language of tesseract's is written in a script that the embedded reader lacks.
pub(crate) fn is_lacking(language: &str) -> bool {
    LACKING.iter().any(|(_, languages)| languages.contains(&language))
}

/// The languages of a script that the embedded reader lacks; `None` for one that it knows.
#[cfg(feature = "embedded")]
pub(crate) fn languages_of(script: &str) -> Option<&'static [&'static str]> {
    LACKING.iter().find(|(name, _)| *name == script).map(|(_, languages)| *languages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_told_apart() {
        for language in ["rus", "ell", "ara", "heb", "kor", "hin", "tha"] {
            assert!(is_lacking(language), "{language}");
        }
        for language in ["eng", "deu", "vie", "tur", "chi_sim", "chi_tra", "jpn", "tlh"] {
            assert!(!is_lacking(language), "{language}");
        }
    }

    #[cfg(feature = "embedded")]
    #[test]
    fn scripts_have_languages() {
        assert!(languages_of("Cyrillic").unwrap().contains(&"ukr"));
        assert_eq!(languages_of("Latin"), None);
    }
}
