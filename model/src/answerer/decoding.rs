//! How a text is written, and the text.

use crate::answerer::objects::Objects;
use crate::answerer::sampling::Sampling;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Choice {
    /// The likeliest.
    #[default]
    Greedy,
    /// One that is drawn.
    Sampling(Sampling),
    /// The likeliest text of so many that are tried side by side. Nothing of it is known before its
    /// end, so it is not given piece by piece.
    Beams(usize),
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Decoding {
    /// How the next token is chosen.
    pub choice: Choice,
    /// Tokens at most; by default what the task has.
    pub most_tokens: Option<usize>,
}

impl Decoding {
    /// The likeliest token each time.
    pub const GREEDY: Self = Self { choice: Choice::Greedy, most_tokens: None };

    /// The same with another choice.
    #[must_use]
    pub const fn with_choice(self, choice: Choice) -> Self {
        Self { choice, ..self }
    }

    /// The same with so many tokens at most.
    #[must_use]
    pub const fn with_most_tokens(self, most_tokens: usize) -> Self {
        Self { most_tokens: Some(most_tokens), ..self }
    }
}

/// Why a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The model ended it.
    End,
    /// It has as many tokens as it may have.
    Length,
    /// Whoever reads it wants no more.
    Reader,
}

/// A text that was written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Generated {
    /// The text, with locations and codes of masks, without control tokens.
    pub text: String,
    /// Its tokens, with the one that ended it.
    pub ids: Vec<u32>,
    /// The probability of each token among all, whatever choice was made.
    pub probabilities: Vec<f32>,
    /// Why it ends.
    pub stop: Stop,
}

impl Generated {
    /// The boxes and masks in it.
    pub fn objects(&self) -> Objects {
        Objects::read(&self.text)
    }

    /// The geometric mean of the probabilities of its tokens, 0 for a text without any: how sure the
    /// model was.
    pub fn mean_probability(&self) -> f32 {
        if self.probabilities.is_empty() {
            return 0.0;
        }
        let logarithms = self.probabilities.iter().map(|&p| f64::from(p).ln());
        (logarithms.sum::<f64>() / self.probabilities.len() as f64).exp() as f32
    }

    /// The probability of its least likely token, 0 for a text without any.
    pub fn least_probability(&self) -> f32 {
        self.probabilities.iter().copied().reduce(f32::min).unwrap_or(0.0)
    }
}
