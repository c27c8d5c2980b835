//! Identifiers in a question: part numbers, file names, codes. Who types one means it to the letter,
//! and no meaning, look or likeness of a page outweighs that it stands there.

/// Shorter ones are years, versions and units, which many pages have.
const SHORTEST: usize = 5;

/// The identifiers in `text`: words of letters and digits together, or of several parts without a
/// space, or of many digits.
///
/// `FY2023` and `10-K` are none: they are short, and as common as words.
pub(crate) fn identifiers(text: &str) -> Vec<&str> {
    let trimmed = text
        .split_whitespace()
        .map(|word| word.trim_matches(|letter: char| !letter.is_alphanumeric()));
    trimmed.filter(|word| is_identifier(word)).collect()
}

fn is_identifier(word: &str) -> bool {
    let count = |is: fn(char) -> bool| word.chars().filter(|&letter| is(letter)).count();
    let (digits, letters) = (count(|c| c.is_ascii_digit()), count(char::is_alphabetic));
    let joins = count(|c| matches!(c, '_' | '-' | '/' | '.' | ':' | '#'));
    let long = digits + letters >= SHORTEST;
    let mixed = digits >= 2 && letters >= 1 && digits + letters > SHORTEST + 1;
    let of_parts = word.contains('_') || (joins >= 1 && digits >= 2 && letters >= 1);
    let number = digits > SHORTEST && letters == 0;
    long && (mixed || of_parts || number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_to_the_letter_is_told_from_words() {
        for (text, expected) in [
            ("the invoice INV-2024-00731, please", vec!["INV-2024-00731"]),
            ("where is parse_config_file set?", vec!["parse_config_file"]),
            ("part 4711-0815-A and 7700412", vec!["4711-0815-A", "7700412"]),
            ("error 0x8007000E", vec!["0x8007000E"]),
            ("net sales in FY2023 of the 10-K", vec![]),
            ("what is the well-known state-of-the-art?", vec![]),
            ("1,234 people in 2023", vec![]),
            ("C++ and e.g. this", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(identifiers(text), expected, "{text}");
        }
    }
}
