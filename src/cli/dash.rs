//! Questions that begin with a dash: "-5 degrees", "- what is new?".

use std::ffi::{OsStr, OsString};

/// Verbs that take a question.
const ASKING: [&str; 3] = ["query", "search", "ask"];

/// Global options that take a value.
const WITH_VALUE: [&str; 2] = ["--index", "--pdfium"];

/// `arguments` with a question that begins with a dash moved to their end, after `--`, where it is no
/// option. It is a question when it has a space in it, or a digit after the dash: no option has, but
/// for the value of one (`--path=a b`).
pub fn question_last(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let Some(verb) =
        verb(&arguments).filter(|&at| ASKING.iter().any(|verb| arguments[at] == *verb))
    else {
        return arguments;
    };
    let rest = &arguments[verb + 1..];
    if rest.iter().any(|argument| argument == "--") {
        return arguments;
    }
    if let Some(at) = rest.iter().position(|argument| is_question(argument)) {
        let question = arguments.remove(verb + 1 + at);
        arguments.extend(["--".into(), question]);
    }
    arguments
}

/// The first argument that is no global option.
fn verb(arguments: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while at < arguments.len() {
        let argument = arguments[at].to_string_lossy();
        if !argument.starts_with('-') {
            return Some(at);
        }
        at += 1 + usize::from(WITH_VALUE.contains(&&*argument));
    }
    None
}

fn is_question(argument: &OsStr) -> bool {
    let argument = argument.to_string_lossy();
    let Some(rest) = argument.strip_prefix('-') else { return false };
    let name = |c: char| c.is_ascii_lowercase() || c == '-';
    let value = rest.split_once('=').is_some_and(|(long, _)| {
        long.strip_prefix('-').is_some_and(|long| !long.is_empty() && long.chars().all(name))
    });
    !value && (argument.contains(char::is_whitespace) || rest.starts_with(|c: char| c.is_numeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_may_begin_with_a_dash() {
        for (line, expected) in [
            ("p|query|-5 degrees", "p|query|--|-5 degrees"),
            ("p|query|--model|none|-5 degrees|-k|3", "p|query|--model|none|-k|3|--|-5 degrees"),
            ("p|--index|query|search|- what is new?", "p|--index|query|search|--|- what is new?"),
            ("p|query|-40", "p|query|--|-40"),
            ("p|query|--help me", "p|query|--|--help me"),
            // As they are.
            ("p|query|--path=a b|x", "p|query|--path=a b|x"),
            ("p|query|--|-5 degrees", "p|query|--|-5 degrees"),
            ("p|query|--jsn|x", "p|query|--jsn|x"),
            ("p|query|well - known", "p|query|well - known"),
            ("p|get|-5 degrees", "p|get|-5 degrees"),
            ("p", "p"),
        ] {
            let words = |line: &str| line.split('|').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(question_last(words(line)), words(expected), "{line}");
        }
    }
}
