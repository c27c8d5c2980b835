//! What the documentation says to type is what the program takes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};

use super::Arguments;

/// README and manuals, and what starts the program elsewhere.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all =
        vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("SECURITY.md")];
    for folder in ["docs", "launch"] {
        all.extend(fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let is_read = |path: &PathBuf| {
        path.extension().is_none_or(|end| ["md", "py", "sh", "yaml"].iter().any(|e| end == *e))
    };
    all.retain(is_read);
    all
}

/// Each call of the program in `text`: in lines of blocks of code, after variables or a prompt, and
/// between backticks. What follows a pipe, a redirection or a comment is not a part of it.
fn calls(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let line = |line: &str| {
        let line = line.trim().trim_start_matches("$ ");
        let is_variable = |word: &str| {
            let name = word.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        };
        let words: Vec<&str> = line.split(' ').skip_while(|word| is_variable(word)).collect();
        (words.first() == Some(&"pagesight")).then(|| words.join(" "))
    };
    let (prose, code): (Vec<_>, Vec<_>) =
        text.split("```").enumerate().partition(|(number, _)| number % 2 == 0);
    let prose = prose.iter().flat_map(|(_, part)| part.split('`').skip(1).step_by(2));
    let quoted = prose.filter(|code| code.starts_with("pagesight "));
    let quoted = quoted.map(|code| code.replace('\n', " "));
    let lines = code.iter().flat_map(|(_, part)| part.lines());
    lines.filter_map(line).chain(quoted).collect()
}

/// The words of a call that the program would get, without quotation marks.
fn words(call: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for letter in call.chars() {
        let word = words.last_mut().expect("one at least");
        match (letter, quote) {
            (_, Some(mark)) if letter == mark => quote = None,
            (_, Some(_)) => word.push(letter),
            ('"' | '\'', None) => quote = Some(letter),
            ('|' | '>' | '#' | ';' | '&', None) if word.is_empty() => break,
            (' ', None) if word.is_empty() => {}
            (' ', None) => words.push(String::new()),
            (_, None) => word.push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What the program does not know of a call.
fn unknown(program: &Command, call: &str) -> Option<String> {
    let mut command = program;
    let mut words = words(call).into_iter().skip(1).peekable();
    let mut is_verb_wanted = true;
    while let Some(word) = words.next() {
        let (name, has_value) = match word.split_once('=') {
            Some((name, _)) => (name.to_string(), true),
            None => (word.clone(), false),
        };
        let is_flag = |arg: &&clap::Arg| {
            let short = arg.get_short().map(|short| format!("-{short}"));
            arg.get_long().map(|long| format!("--{long}")).as_deref() == Some(&*name)
                || short.as_deref() == Some(&*name)
        };
        if name.starts_with('-') && name.len() > 1 {
            let known = command.get_arguments().find(is_flag);
            let is_help = ["--help", "-h", "--version", "-V"].contains(&&*name);
            match known {
                None if !is_help => return Some(name),
                Some(arg) if !has_value && arg.get_action().takes_values() => drop(words.next()),
                _ => {}
            }
        } else if is_verb_wanted {
            match command.find_subcommand(&name) {
                Some(verb) => command = verb,
                None if command.has_subcommands() && name.chars().all(char::is_lowercase) => {
                    return Some(name);
                }
                None => is_verb_wanted = false,
            }
        }
    }
    None
}

#[test]
fn every_flag_of_the_documentation_is_one_of_the_program() {
    let mut program = Arguments::command();
    program.build();
    let mut count = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        // A script is code from end to end.
        let is_prose = path.extension().is_some_and(|end| end == "md");
        let text = if is_prose { text } else { format!("```\n{text}") };
        for call in calls(&text) {
            count += 1;
            let unknown = unknown(&program, &call);
            assert_eq!(unknown, None, "{}: {call}", path.display());
        }
    }
    assert!(count > 50, "{count} calls found");
}

#[test]
fn what_is_not_known_is_seen() {
    let mut program = Arguments::command();
    program.build();
    let text = "pagesight is `pagesight index --jsn x`:\n```\n$ PAGESIGHT_MODEL=none pagesight query -k 2 \\\n  \
                \"a | b --nothing\" --nought | sed --quiet\npagesight --index s3://a/b gets\n```\n";
    let found: Vec<Option<String>> =
        calls(text).iter().map(|call| unknown(&program, call)).collect();
    let expected = ["--nought", "gets", "--jsn"].map(|name| Some(name.to_string()));
    assert_eq!(found, expected);
}
