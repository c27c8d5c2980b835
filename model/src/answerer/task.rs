//! What a PaliGemma is asked to do with a picture, in the words that it was trained on.

use std::fmt;
use std::str::FromStr;

/// A rectangle of a picture in 1,023rds of its edges: top, left, bottom, right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location(pub [u16; 4]);

impl Location {
    /// The largest number of an edge.
    pub const MOST: u16 = 1023;

    /// The rectangle `[left, top, right, bottom]`, in parts of the picture from 0 to 1.
    ///
    /// ```
    /// use pagesight_model::Location;
    /// assert_eq!(Location::of([0.25, 0.0, 1.0, 0.5]), Location([0, 256, 512, 1023]));
    /// ```
    pub fn of([left, top, right, bottom]: [f64; 4]) -> Self {
        let number = |part: f64| (part.clamp(0.0, 1.0) * f64::from(Self::MOST)).round() as u16;
        Self([top, left, bottom, right].map(number))
    }

    /// The inverse of [`of`](Self::of): `[left, top, right, bottom]` from 0 to 1.
    pub fn parts(self) -> [f64; 4] {
        let [top, left, bottom, right] = self.0.map(|n| f64::from(n) / f64::from(Self::MOST));
        [left, top, right, bottom]
    }
}

/// A task. `language` is a code such as `en`; the mix checkpoints know 34.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Answers a question in a few words, or says `unanswerable`.
    Answer {
        /// The language of question and answer.
        language: String,
        /// The question.
        question: String,
    },
    /// Says in one sentence what is on the picture.
    Caption {
        /// The language of the sentence.
        language: String,
    },
    /// Says at length what is on the picture.
    Describe {
        /// The language of the text.
        language: String,
    },
    /// Reads the text of the picture, top to bottom.
    Ocr,
    /// Finds things: gives a box and a name each.
    Detect {
        /// What is looked for.
        names: Vec<String>,
    },
    /// Finds a thing: gives its box and its mask.
    Segment {
        /// What is looked for.
        name: String,
    },
    /// Says what is in a box. Checkpoints called pt were trained on it.
    CaptionBox {
        /// The box.
        location: Location,
    },
    /// Makes a question that has this answer. Checkpoints called pt were trained on it.
    Question {
        /// The language of both.
        language: String,
        /// The answer.
        answer: String,
    },
    /// Words of the caller's own. The mix checkpoints were also trained to be asked freely.
    Free(String),
}

/// The language that a task has by default.
const ENGLISH: &str = "en";

impl Task {
    /// A question in English.
    pub fn answer(question: impl Into<String>) -> Self {
        Self::Answer { language: ENGLISH.into(), question: question.into() }
    }

    /// Tokens that it is given at most when nobody says how many.
    pub const fn most_tokens(&self) -> usize {
        match self {
            Self::Answer { .. }
            | Self::Caption { .. }
            | Self::CaptionBox { .. }
            | Self::Question { .. } => 64,
            Self::Describe { .. } | Self::Free(_) => 256,
            Self::Detect { .. } | Self::Segment { .. } => 256,
            Self::Ocr => 512,
        }
    }

    /// The words of the prompt, without the line end behind them. A caller's words lose their own
    /// line ends, which would end the prompt early.
    pub(crate) fn words(&self) -> String {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        match self {
            Self::Answer { language, question } => {
                format!("answer {} {}", line(language), question.trim_end())
            }
            Self::Caption { language } => format!("caption {}", line(language)),
            Self::Describe { language } => format!("describe {}", line(language)),
            Self::Ocr => "ocr".into(),
            Self::Detect { names } => {
                let names: Vec<String> = names.iter().map(|name| line(name)).collect();
                format!("detect {}", names.join(" ; "))
            }
            Self::Segment { name } => format!("segment {}", line(name)),
            Self::CaptionBox { .. } => "caption".into(),
            Self::Question { language, answer } => {
                format!("question {} {}", line(language), answer.trim_end())
            }
            Self::Free(words) => words.trim_end().into(),
        }
    }
}

/// A line that is no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a task: expected caption, describe, ocr, detect NAME ; NAME, segment NAME, \
     answer LANGUAGE QUESTION or question LANGUAGE ANSWER"
)]
pub struct UnknownTask(String);

/// A task as a person writes it, e.g. `caption`, `describe de` or `detect table ; chart`.
///
/// ```
/// use pagesight_model::Task;
/// let task: Task = "detect table ; bar chart".parse()?;
/// assert_eq!(task, Task::Detect { names: vec!["table".into(), "bar chart".into()] });
/// assert_eq!("caption".parse::<Task>()?.to_string(), "caption en");
/// assert!("dance".parse::<Task>().is_err());
/// # Ok::<(), pagesight_model::UnknownTask>(())
/// ```
impl FromStr for Task {
    type Err = UnknownTask;

    fn from_str(line: &str) -> Result<Self, UnknownTask> {
        let unknown = || UnknownTask(line.into());
        let (verb, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        let language = || if rest.is_empty() { ENGLISH.into() } else { rest.to_string() };
        let one_word = !rest.contains(char::is_whitespace);
        let spoken = || rest.split_once(char::is_whitespace).ok_or_else(unknown);
        Ok(match verb {
            "caption" if one_word => Self::Caption { language: language() },
            "describe" if one_word => Self::Describe { language: language() },
            "ocr" if rest.is_empty() => Self::Ocr,
            "detect" if !rest.is_empty() => {
                let names = rest.split(';').map(|name| name.trim().to_string());
                let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
                if names.is_empty() {
                    return Err(unknown());
                }
                Self::Detect { names }
            }
            "segment" if !rest.is_empty() => Self::Segment { name: rest.into() },
            "answer" => {
                let (language, question) = spoken()?;
                Self::Answer { language: language.into(), question: question.trim().into() }
            }
            "question" => {
                let (language, answer) = spoken()?;
                Self::Question { language: language.into(), answer: answer.trim().into() }
            }
            _ => return Err(unknown()),
        })
    }
}

/// The words of its prompt.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_goes_there_and_back() {
        for n in [0, 1, 511, 512, 1022, 1023] {
            let location = Location([n, 0, 1023, n]);
            assert_eq!(Location::of(location.parts()), location);
        }
        assert_eq!(Location::of([-1.0, f64::NAN, 2.0, 0.5]).0[3], 1023);
    }

    #[test]
    fn what_is_no_task_is_said() {
        for line in ["", "detect", "detect ; ;", "segment ", "ocr now", "answer en", "caption a b"]
        {
            assert!(line.parse::<Task>().is_err(), "{line}");
        }
        let task: Task = "answer de Was kostet es?".parse().unwrap();
        assert_eq!(task.to_string(), "answer de Was kostet es?");
    }
}
