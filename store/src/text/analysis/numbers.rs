//! Numbers in one form, whatever their marks: 1,234.5 and 1.234,5 and 1 234,5 are 1234.5.

/// What digits with marks between them say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marked {
    /// One number. Where a mark before three digits may group or begin a fraction, `other` is the
    /// reading that is less common in English.
    Number { number: String, other: Option<String> },
    /// A date, a version, an address: dots between parts that are no number together.
    Dotted(String),
    /// Several numbers that stand together.
    List,
}

/// Reads groups of digits with `marks` (of `,`, `.` and `'`) between them.
pub(super) fn marked(groups: &[&str], marks: &[char]) -> Marked {
    debug_assert_eq!(groups.len(), marks.len() + 1);
    let number = |number: String| Marked::Number { number, other: None };
    let (Some(&mark), Some((fraction, whole))) = (marks.last(), groups.split_last()) else {
        return number(groups.concat());
    };
    let same = marks.iter().all(|&other| other == mark);
    match (marks.len(), mark) {
        (1, '\'') if is_grouped(groups) => number(groups.concat()),
        (1, ',' | '.') => {
            let (grouped, decimal) = (groups.concat(), groups.join("."));
            match (is_grouped(groups), mark) {
                (false, _) => number(decimal),
                (true, ',') => Marked::Number { number: grouped, other: Some(decimal) },
                (true, _) => Marked::Number { number: decimal, other: Some(grouped) },
            }
        }
        (2.., _) if same && (is_grouped(groups) || (mark == ',' && is_indian(groups))) => {
            number(groups.concat())
        }
        (2.., '.') if same => Marked::Dotted(groups.join(".")),
        (2.., ',' | '.') if !same => {
            let grouping = &marks[..marks.len() - 1];
            let one = grouping.iter().all(|&other| other == grouping[0]);
            let grouped = is_grouped(whole) || (grouping[0] == ',' && is_indian(whole));
            if one && grouping[0] != mark && grouped {
                number(format!("{}.{fraction}", whole.concat()))
            } else {
                Marked::List
            }
        }
        _ => Marked::List,
    }
}

/// 1 234 567: threes after one to three digits, which do not begin with 0.
fn is_grouped(groups: &[&str]) -> bool {
    let (first, rest) = (groups[0], &groups[1..]);
    first.len() <= 3 && !first.starts_with('0') && rest.iter().all(|group| group.len() == 3)
}

/// 12,34,567: as India writes it.
fn is_indian(groups: &[&str]) -> bool {
    let Some((last, pairs)) = groups.split_last() else { return false };
    last.len() == 3
        && !groups[0].starts_with('0')
        && pairs.iter().enumerate().all(|(i, pair)| pair.len() == 2 || (i == 0 && pair.len() == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_group_or_begin_a_fraction() {
        let read = |text: &str| {
            let groups: Vec<&str> = text.split([',', '.', '\'']).collect();
            let marks: Vec<char> = text.chars().filter(|c| !c.is_ascii_digit()).collect();
            marked(&groups, &marks)
        };
        let number = |number: &str, other: Option<&str>| Marked::Number {
            number: number.into(),
            other: other.map(Into::into),
        };
        for (text, expected) in [
            ("1,234.5", number("1234.5", None)),
            ("1.234,56", number("1234.56", None)),
            ("1'234'567.8", number("1234567.8", None)),
            ("1,234,567", number("1234567", None)),
            ("12,34,567.50", number("1234567.50", None)),
            ("12,5", number("12.5", None)),
            ("1234,56", number("1234.56", None)),
            ("0,125", number("0.125", None)),
            ("1,234", number("1234", Some("1.234"))),
            ("1.234", number("1.234", Some("1234"))),
            ("3.14", number("3.14", None)),
            ("31.12.2024", Marked::Dotted("31.12.2024".into())),
            ("1,2,3", Marked::List),
            ("1,2.3,4", Marked::List),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
