//! Whether a page answers: how likely it is, and what to say of it.
//!
//! Ranking puts the best pages first, however bad they are. What their scores are worth is learnt:
//! from questions with known answers, and from the same questions asked where their documents are
//! left out, so that nothing answers. [`Calibration`] is the outcome, fitted by
//! `benches/fit_verdict.py`, and says how the evidence of each channel adds up (Platt 1999,
//! "Probabilistic outputs for support vector machines"): the logit of the probability is a sum over
//! what is known of a page.

use std::fmt;

use pagesight_core::{Channel, Hit, ModelId, Scale};
use serde::{Deserialize, Serialize};

/// What to say of an answer, or of a page of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing speaks for an answer.
    None,
    /// It may answer.
    Weak,
    /// It answers more likely than not.
    Good,
}

impl Verdict {
    /// The word used in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Weak => "weak",
            Self::Good => "good",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How likely it is that a page answers, and what to say of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Likelihood {
    /// 0 to 1.
    pub probability: f32,
    /// What to say.
    pub verdict: Verdict,
}

/// How the evidence of the words adds up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OfWords {
    bias: f32,
    /// How much of what is asked the page has: [`Scale::share`].
    share: f32,
    /// How far it stands out: the logarithm of 1 and its deviations above the mean of all pages.
    apart: f32,
}

/// How the evidence of the patches of one model adds up, where nothing is known of the words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OfPatches {
    bias: f32,
    /// The score a query token, less the background.
    per_token: f32,
    /// How far it stands out, as for words.
    apart: f32,
}

/// From the likelihood of the best page to that of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OfAnswer {
    bias: f32,
    best: f32,
}

/// From the scores of channels to likelihoods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    words: OfWords,
    answer_by_words: OfAnswer,
    patches: Vec<OfModel>,
    /// Below, nothing speaks for an answer; from the second on it is more likely than not.
    bounds: [f32; 2],
}

/// What was fitted for the patches of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OfModel {
    model: ModelId,
    page: OfPatches,
    answer: OfAnswer,
}

/// What `benches/fit_verdict.py` wrote.
const FITTED: &str = include_str!("verdict.json");

impl Default for Calibration {
    fn default() -> Self {
        serde_json::from_str(FITTED).expect("the file beside this one, which a test reads")
    }
}

/// Whose evidence a likelihood stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Words,
    Patches,
}

/// What is known of one question and the pages that were searched for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The scale of the words; `None` where they were not asked.
    pub words: Option<Scale>,
    /// The scale of the patches and the tokens of the query; `None` where they were not asked or
    /// cannot read the question.
    pub patches: Option<(Scale, usize)>,
    /// The model that made the patches.
    pub model: Option<&'a ModelId>,
}

impl Calibration {
    /// The likelihood that each of `hits` answers, and that any of them does. `None` where nothing
    /// was fitted for the channels that found it. `is_wordless` says of a page that nothing is known
    /// of its words.
    pub(crate) fn judge(
        &self,
        asked: &Asked<'_>,
        hits: &[Hit],
        is_wordless: impl Fn(&Hit) -> bool,
    ) -> (Vec<Option<Likelihood>>, Option<Likelihood>) {
        let logits: Vec<Option<(f32, By)>> =
            hits.iter().map(|hit| self.logit(asked, hit, is_wordless(hit))).collect();
        let known = logits.iter().flatten().copied();
        let best = known.max_by(|a, b| a.0.total_cmp(&b.0));
        let answer = match best {
            Some((logit, by)) => self.answer(asked, by).map(|of| of.bias + of.best * logit),
            // No page has a word of it, and no other channel was asked.
            None if hits.is_empty() && asked.patches.is_none() => Some(f32::NEG_INFINITY),
            None => None,
        };
        let likelihood = |logit| self.likelihood(logit);
        let pages = logits.into_iter().map(|found| found.map(|(logit, _)| likelihood(logit)));
        (pages.collect(), answer.map(likelihood))
    }

    fn logit(&self, asked: &Asked<'_>, hit: &Hit, is_wordless: bool) -> Option<(f32, By)> {
        let by_patches = || {
            let of = self.of_model(asked.model)?.page;
            let ((scale, tokens), said) = (asked.patches?, hit.channel(Channel::Patches)?);
            let per_token = said.score / tokens.max(1) as f32;
            let logit = of.bias + of.per_token * per_token + of.apart * apart(&scale, said.score);
            Some((logit, By::Patches))
        };
        let by_words = || {
            let scale = asked.words?;
            let score = hit.channel(Channel::Words).map_or(0.0, |said| said.score);
            let share = scale.share(score).unwrap_or(0.0);
            let of = self.words;
            Some((of.bias + of.share * share + of.apart * apart(&scale, score), By::Words))
        };
        if is_wordless { by_patches() } else { by_words().or_else(by_patches) }
    }

    fn answer(&self, asked: &Asked<'_>, by: By) -> Option<OfAnswer> {
        match by {
            By::Words => Some(self.answer_by_words),
            By::Patches => Some(self.of_model(asked.model)?.answer),
        }
    }

    fn of_model(&self, model: Option<&ModelId>) -> Option<&OfModel> {
        self.patches.iter().find(|fitted| Some(&fitted.model) == model)
    }

    fn likelihood(&self, logit: f32) -> Likelihood {
        let probability = 1.0 / (1.0 + (-logit).exp());
        let [weak, good] = self.bounds;
        let verdict = match probability {
            p if p >= good => Verdict::Good,
            p if p >= weak => Verdict::Weak,
            _ => Verdict::None,
        };
        Likelihood { probability, verdict }
    }
}

/// How far a score stands out.
fn apart(scale: &Scale, score: f32) -> f32 {
    scale.z(score).max(0.0).ln_1p()
}
