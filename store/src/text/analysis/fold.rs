//! Letters as people type them who have no key for them.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// `form`, which is in lower case, without what a keyboard of another country lacks: accents of
/// Latin and Greek letters, and of the Russian ё; ss for ß, ae for æ, o for ø, l for ł. Where the
/// word has letters that are also written with two (ue for ü, aa for å), that spelling is second.
pub(super) fn folded(form: &str) -> (String, Option<String>) {
    if form.is_ascii() {
        return (form.to_string(), None);
    }
    let mut plain = String::with_capacity(form.len());
    let mut digraphs = String::new();
    for (at, c) in form.char_indices() {
        let two = match c {
            'ä' => "ae",
            'ö' | 'ø' => "oe",
            'ü' => "ue",
            'å' => "aa",
            _ => "",
        };
        if !two.is_empty() && digraphs.is_empty() {
            digraphs.push_str(&plain);
        }
        let before = plain.len();
        match c {
            'ß' => plain.push_str("ss"),
            'æ' | 'ǽ' | 'ǣ' => plain.push_str("ae"),
            'œ' => plain.push_str("oe"),
            'þ' => plain.push_str("th"),
            'ø' | 'ǿ' => plain.push('o'),
            'ł' => plain.push('l'),
            'đ' | 'ð' | 'ɖ' => plain.push('d'),
            'ı' => plain.push('i'),
            'ħ' => plain.push('h'),
            'ŧ' => plain.push('t'),
            'ŋ' => plain.push('n'),
            'ə' => plain.push('e'),
            'ё' => plain.push('е'),
            'ґ' => plain.push('г'),
            // Stress marks, and what no composed letter has.
            '\u{300}'..='\u{36F}' => {}
            'À'..='ɏ' | 'Ḁ'..='ỿ' | 'Ͱ'..='Ͽ' | 'ἀ'..='\u{1FFF}' => {
                plain.extend(std::iter::once(c).nfd().filter(|&c| !is_combining_mark(c)));
            }
            c => plain.push(c),
        }
        if !digraphs.is_empty() || (!two.is_empty() && at == 0) {
            match two {
                "" => digraphs.push_str(&plain[before..]),
                two => digraphs.push_str(two),
            }
        }
    }
    (plain, (!digraphs.is_empty()).then_some(digraphs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_fold_as_they_are_typed() {
        for (form, plain, digraphs) in [
            ("cafe", "cafe", None),
            ("résumé", "resume", None),
            ("straße", "strasse", None),
            ("müller", "muller", Some("mueller")),
            ("übergröße", "ubergrosse", Some("uebergroesse")),
            ("ærial", "aerial", None),
            ("søren", "soren", Some("soeren")),
            ("århus", "arhus", Some("aarhus")),
            ("œuvre", "oeuvre", None),
            ("łódź", "lodz", None),
            ("đà", "da", None),
            ("nẵng", "nang", None),
            ("þórshöfn", "thorshofn", Some("thorshoefn")),
            ("ışık", "isik", None),
            ("i\u{307}stanbul", "istanbul", None),
            ("αθήνα", "αθηνα", None),
            ("ёлка", "елка", None),
            ("за\u{301}мок", "замок", None),
            ("йод", "йод", None),
            ("が", "が", None),
        ] {
            assert_eq!(folded(form), (plain.into(), digraphs.map(Into::into)), "{form}");
        }
    }
}
