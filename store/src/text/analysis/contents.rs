//! Tables of contents, told by the page: they repeat what other pages are about.

/// Lines that end in a page number, for a page to be a table of contents.
const FEWEST: usize = 5;

/// Whether `text` is a table of contents: most of its lines lead with dots to a whole number, and the
/// numbers go up. An invoice or a statement has such lines too; its amounts do not go up, or have
/// marks. An index of words has them as well, in the order of its words.
pub(crate) fn is_contents(text: &str) -> bool {
    let mut numbers = Vec::new();
    let mut others = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match page_number(line) {
            Some(number) => numbers.push(number),
            None => others += 1,
        }
    }
    let falls = numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
    numbers.len() >= FEWEST && numbers.len() >= others && falls * 10 <= numbers.len()
}

/// The number that dots lead to at the end of `line`.
fn page_number(line: &str) -> Option<u32> {
    let (before, number) = number_at_end(line)?;
    let leader = before.trim_end();
    let dots = leader.chars().rev().take_while(|c| matches!(c, '.' | ' ' | '…' | '·'));
    let dots = dots.filter(|&c| c != ' ').count();
    (dots >= 4 || leader.ends_with('…')).then_some(number)
}

/// What stands before the page number that `line` ends with, and the number.
fn number_at_end(line: &str) -> Option<(&str, u32)> {
    let digits = line.len() - line.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    if digits > 0 {
        let (before, number) = line.split_at(line.len() - digits);
        return Some((before, number.parse().ok()?)).filter(|_| digits <= 4);
    }
    let before = line.trim_end_matches(|c: char| "ivxlcIVXLC".contains(c));
    Some((before, roman(&line[before.len()..])?))
}

/// The number that small or large Roman numerals say, as front matter is counted with.
fn roman(numerals: &str) -> Option<u32> {
    let value = |c: char| match c.to_ascii_lowercase() {
        'i' => 1,
        'v' => 5,
        'x' => 10,
        'l' => 50,
        _ => 100,
    };
    let values: Vec<u32> = numerals.chars().map(value).collect();
    let sum = values.iter().enumerate().fold(0_i64, |sum, (at, &value)| {
        let is_taken_off = values.get(at + 1).is_some_and(|&next| next > value);
        sum + i64::from(value) * if is_taken_off { -1 } else { 1 }
    });
    (1..=12).contains(&values.len()).then(|| u32::try_from(sum).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_contents_from_prices() {
        let contents = "Contents\n1 Introduction ........ 1\n2 Installing . . . . . . 3\n\
            2.1 From a disk ....... 3\n2.2 From a network ..... 7\n3 After that ...... 12\n\
            A Licence ......... 15\n";
        assert!(is_contents(contents));
        let front = "Contents\nForeword ........ ii\nThanks ......... iv\nTables .... ix\n\
            Figures ..... xi\n1 Weasels ..... 14\n2 Stoats ..... 40\n";
        assert!(is_contents(front));
        let invoice = "Invoice\nCasting of bells ........ 14,250\nTransport .......... 1,780\n\
            Tuning fork ....... 96\nTotal ......... 16,126\nTax ...... 12\nDue ....... 3\n";
        assert!(!is_contents(invoice));
        let index = "Index\nAnvil ...... 41\nBarograph ...... 12\nCloud ...... 77\n\
            Dew ...... 3\nEye ..... 60\nFog ...... 9\n";
        assert!(!is_contents(index));
        assert!(!is_contents("1 One ..... 1\n2 Two ..... 2\n"));
    }
}
