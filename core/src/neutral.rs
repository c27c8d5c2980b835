//! Questions that have nothing to do with any page.

use serde::{Deserialize, Serialize};

/// Questions that have nothing to do with any page, and how much of what a page gives to them is
/// taken off what it gives to others.
///
/// Late interaction takes the best of all vectors of a page, so a page with many vectors has more
/// chances for a look-alike. What it gives to neutral questions says how much of its score that is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeutralQuestions {
    /// What is taken off, as a share of the background, a query token; 0 for nothing.
    pub weight: f32,
    /// The questions. A model that was trained on other texts than questions wants others.
    pub questions: Vec<String>,
}

/// Everyday questions about nothing that an office has on paper. Twenty: with twelve the background
/// is a little too much about what they ask, and forty change no more (benches/results/scale.txt).
const QUESTIONS: [&str; 20] = [
    "What is the capital of the country?",
    "How long does the journey take by train?",
    "Who wrote the letter to the editor?",
    "Where was the bridge built and why?",
    "Which animals live in the forest at night?",
    "How many people came to the concert?",
    "When did the war between the two kings end?",
    "What colour is the door of the old house?",
    "Why do birds fly south in winter?",
    "How is bread baked in a stone oven?",
    "Which medicine helps against a cold?",
    "What are the rules of the game?",
    "Who won the race last summer?",
    "How deep is the lake behind the village?",
    "What happens when water freezes?",
    "Where can visitors park their cars?",
    "Which river flows through the city?",
    "How do plants turn light into sugar?",
    "What did the witness see on the street?",
    "When is the museum open on Sundays?",
];

/// Chosen by cross-validation over the documents of the development set.
const WEIGHT: f32 = 0.9;

impl Default for NeutralQuestions {
    fn default() -> Self {
        Self { weight: WEIGHT, questions: QUESTIONS.map(String::from).to_vec() }
    }
}

impl NeutralQuestions {
    /// Whether it is what models have by default; such records say nothing of it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// No questions: scores stay as they are.
    pub fn none() -> Self {
        Self { weight: 0.0, questions: Vec::new() }
    }
}
