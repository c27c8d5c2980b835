//! Identifiers in a question: part numbers, file names, codes. Who types one means it to the letter,
//! and no meaning, look or likeness of a page outweighs that it stands there.

use std::collections::HashSet;

use pagesight_core::{Channel, Hit, PageId};

use crate::error::QueryError;
use crate::request::{Request, Sources};

/// An identifier that more pages have does not tell them apart.
const FEW: usize = 20;

/// Shorter ones are years, versions and units, which many pages have.
const SHORTEST: usize = 5;

/// The identifiers in `text`: words of letters and digits together, or of several parts without a
/// space, or of many digits.
///
/// `FY2023` and `10-K` are none: they are short, and as common as words.
fn identifiers(text: &str) -> Vec<&str> {
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

/// Pages with an identifier of the question go first, in the order that words give them, where few
/// have it: what another channel makes of the rest of the question does not outweigh it.
pub(crate) fn put_identified_first(
    sources: &Sources<'_>,
    request: &Request<'_>,
    hits: &mut Vec<Hit>,
) -> Result<(), QueryError> {
    let mut identified: HashSet<PageId> = HashSet::new();
    for identifier in identifiers(request.question.words().unwrap_or_default()) {
        let quoted = format!("\"{identifier}\"");
        let found = sources.text.search_text(&quoted, FEW + 1, request.documents);
        let found = found.map_err(QueryError::Text)?.pages;
        if found.len() <= FEW {
            identified.extend(found.into_iter().map(|(page, _)| page));
        }
    }
    let by_words = |hit: &Hit| hit.channel(Channel::Words).map(|said| said.rank);
    let (mut first, mut rest): (Vec<Hit>, Vec<Hit>) =
        hits.drain(..).partition(|hit| identified.contains(&hit.page) && by_words(hit).is_some());
    first.sort_by_key(by_words);
    // Scores rank: those in front are raised above the rest.
    let mut least = rest.first().map_or(f32::NEG_INFINITY, |best| best.score);
    for hit in first.iter_mut().rev() {
        hit.score = hit.score.max(least.next_up());
        least = hit.score;
    }
    hits.append(&mut first);
    hits.append(&mut rest);
    Ok(())
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
