//! Whether a page answers: how likely it is, and what to say of it.
//!
//! Ranking puts the best pages first, however bad they are. What their scores are worth is learnt:
//! from questions with known answers, and from the same questions asked where their documents are
//! left out, so that nothing answers. [`Calibration`] is the outcome, fitted by
//! `benches/fit_verdict.py`, and says how the evidence of each channel adds up (Platt 1999,
//! "Probabilistic outputs for support vector machines"): the logit of the probability is a sum over
//! what is known of a page.

use std::collections::HashMap;
use std::fmt;

use pagesight_core::{Channel, Found, Hit, ModelId, PageId, Scale};
use serde::{Deserialize, Serialize};

use crate::passages::PassageMatch;

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
    /// The same, the shorter the question the more.
    share_of_short: f32,
    /// How far it stands out: the logarithm of 1 and its deviations above the mean of all pages.
    apart: f32,
    /// How much is asked: the logarithm of 1 and [`Scale::most`].
    asked: f32,
    /// How short the question is: how much less it asks than `short_below`. Of a few words a page has
    /// all or is not the one, of a sentence no page has all.
    short: f32,
    /// How near it comes to the best page: its deviations as a share of those of the best.
    of_best: f32,
    least_asked: f32,
    short_below: f32,
}

/// How the evidence of the patches of one model adds up, where nothing is known of the words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OfPatches {
    bias: f32,
    /// How far it stands out: [`Scale::z`]. The score itself tells less of other letters and of
    /// questions from which nothing is taken off.
    z: f32,
    /// How near it comes to the best page, as for words.
    of_best: f32,
}

impl OfWords {
    /// What a page with `score` adds up to, where the best page stands out by `best`
    /// deviations.
    fn logit(&self, scale: Scale, score: f32, best: f32) -> f32 {
        let asked = scale.most.ln_1p().max(self.least_asked);
        let short = (self.short_below - asked).max(0.0);
        let share = scale.share(score).unwrap_or_default();
        let of_share = (self.share + self.share_of_short * short) * share;
        let of_question = self.asked * asked + self.short * short;
        let z = scale.z(score);
        let apart = self.apart * z.max(0.0).ln_1p() + self.of_best * of_best(z, best);
        self.bias + of_share + of_question + apart
    }
}

/// From the likelihood of the best page to that of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OfAnswer {
    bias: f32,
    best: f32,
}

impl OfAnswer {
    fn logit(self, best: f32) -> f32 {
        self.bias + self.best * best
    }
}

/// From the scores of channels to likelihoods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    words: OfWords,
    answer_by_words: OfAnswer,
    passages: Vec<OfEmbedder>,
    patches: Vec<OfModel>,
    /// Below, nothing speaks for an answer; from the second on it is more likely than not.
    bounds: [f32; 2],
}

/// What was fitted for the words together with the passages of one model of meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OfEmbedder {
    model: ModelId,
    words: OfWords,
    /// How far the meaning of a page stands out: its deviations above the mean of all pages.
    apart: f32,
    answer: OfAnswer,
    /// How like the question the best passage of all pages is, a cosine. It tells whether the pages
    /// are about what is asked at all; which of them answers, the rest tells better.
    similarity: f32,
    /// Below, nothing speaks for an answer.
    weak: f32,
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
    WordsAndPassages,
    Patches,
}

/// What is known of one question and the pages that were searched for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The scale of the words; `None` where they were not asked.
    pub words: Option<Scale>,
    /// The scale of the patches; `None` where they were not asked or cannot read the question.
    pub patches: Option<Scale>,
    /// The model that made the patches.
    pub model: Option<&'a ModelId>,
    /// What the passages said; `None` where they were not asked.
    pub passages: Option<AskedPassages<'a>>,
}

/// What the passages said of one question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedPassages<'a> {
    /// The model of meaning.
    pub model: &'a ModelId,
    /// What was found, best first.
    pub found: &'a Found,
    /// The best passage of each page that was compared.
    pub matches: &'a HashMap<PageId, PassageMatch>,
}

impl AskedPassages<'_> {
    /// How far a page stands out. One that was not compared is like the last that was.
    fn z(&self, hit: &Hit) -> f32 {
        let last = || self.found.pages.last().map_or(0.0, |last| self.found.scale.z(last.1));
        hit.channel(Channel::Passages).map_or_else(last, |said| said.z)
    }

    /// The cosine of the best passage.
    fn similarity(&self) -> f32 {
        self.matches.values().map(|found| found.similarity).fold(0.0, f32::max)
    }
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
        let best = |channel| {
            let said = hits.iter().filter_map(|hit| hit.channel(channel));
            said.map(|said| said.z).fold(0.0, f32::max)
        };
        let best = Best { words: best(Channel::Words), patches: best(Channel::Patches) };
        let logits: Vec<Option<(f32, By)>> =
            hits.iter().map(|hit| self.logit(asked, best, hit, is_wordless(hit))).collect();
        let known = logits.iter().flatten().copied();
        let best = known.max_by(|a, b| a.0.total_cmp(&b.0));
        let answer = match best {
            Some((logit, by)) => {
                let of = self.answer(asked, by);
                of.map(|of| self.likelihood(asked, of.logit(logit), by))
            }
            // No page has a word of it, and no other channel was asked.
            None if hits.is_empty() && asked.patches.is_none() => {
                Some(self.likelihood(asked, f32::NEG_INFINITY, By::Words))
            }
            None => None,
        };
        // That nothing speaks for the others says nothing of a page that cannot be judged.
        let is_open = logits.iter().any(Option::is_none);
        let answer = answer.filter(|answer| !is_open || answer.verdict != Verdict::None);
        // What has a good part of the words is shown, however unlikely it is made by how few pages
        // are searched or how many have them: a reader who sees a word on a page wants it found.
        let at_least_weak = |of: Likelihood, has_words: bool| {
            let least = if has_words { Verdict::Weak } else { Verdict::None };
            Likelihood { verdict: of.verdict.max(least), ..of }
        };
        let has_words: Vec<bool> = hits.iter().map(|hit| has_words(asked, hit)).collect();
        let any_has = has_words.contains(&true);
        let answer = answer.map(|answer| at_least_weak(answer, any_has));
        // If anything answers, the likeliest page does.
        let is_shown = answer.is_some_and(|answer| answer.verdict >= Verdict::Weak);
        let is_best = |found: Option<(f32, By)>| is_shown && found.is_some() && found == best;
        let has_words = logits.iter().zip(has_words).map(|(found, has)| has || is_best(*found));
        let has_words: Vec<bool> = has_words.collect();
        let pages = logits.into_iter().zip(has_words);
        let likelihood = |(logit, by)| self.likelihood(asked, logit, by);
        let pages = pages.map(|(found, has)| Some(at_least_weak(likelihood(found?), has)));
        (pages.collect(), answer)
    }

    fn logit(
        &self,
        asked: &Asked<'_>,
        best: Best,
        hit: &Hit,
        is_wordless: bool,
    ) -> Option<(f32, By)> {
        let by_patches = || {
            let of = self.of_model(asked.model)?.page;
            let (scale, said) = (asked.patches?, hit.channel(Channel::Patches)?);
            let z = scale.z(said.score);
            Some((of.bias + of.z * z + of.of_best * of_best(z, best.patches), By::Patches))
        };
        let by_words = || {
            let scale = asked.words?;
            let score = hit.channel(Channel::Words).map_or(0.0, |said| said.score);
            if let Some((of, said)) = self.of_passages(asked) {
                let logit = of.words.logit(scale, score, best.words) + of.apart * said.z(hit);
                return Some((logit, By::WordsAndPassages));
            }
            if score > 0.0 {
                return Some((self.words.logit(scale, score, best.words), By::Words));
            }
            // Not a word of what is asked; what else found the page was not fitted.
            let is_meant = hit.channel(Channel::Passages).is_some();
            (!is_meant).then_some((f32::NEG_INFINITY, By::Words))
        };
        if is_wordless { by_patches() } else { by_words().or_else(by_patches) }
    }

    fn answer(&self, asked: &Asked<'_>, by: By) -> Option<OfAnswer> {
        match by {
            By::Words => Some(self.answer_by_words),
            By::WordsAndPassages => {
                let (of, said) = self.of_passages(asked)?;
                let bias = of.answer.bias + of.similarity * said.similarity();
                Some(OfAnswer { bias, ..of.answer })
            }
            By::Patches => Some(self.of_model(asked.model)?.answer),
        }
    }

    fn of_model(&self, model: Option<&ModelId>) -> Option<&OfModel> {
        self.patches.iter().find(|fitted| Some(&fitted.model) == model)
    }

    /// What was fitted for the passages that were asked, and what they said.
    fn of_passages<'a>(&self, asked: &Asked<'a>) -> Option<(&OfEmbedder, AskedPassages<'a>)> {
        let said = asked.passages?;
        Some((self.passages.iter().find(|fitted| fitted.model == *said.model)?, said))
    }

    fn likelihood(&self, asked: &Asked<'_>, logit: f32, by: By) -> Likelihood {
        let probability = 1.0 / (1.0 + (-logit).exp());
        let [mut weak, good] = self.bounds;
        if let (By::WordsAndPassages, Some((of, _))) = (by, self.of_passages(asked)) {
            weak = of.weak;
        }
        let verdict = match probability {
            p if p >= good => Verdict::Good,
            p if p >= weak => Verdict::Weak,
            _ => Verdict::None,
        };
        Likelihood { probability, verdict }
    }
}

/// How far the best of some hits stand out in each channel.
#[derive(Debug, Clone, Copy)]
struct Best {
    words: f32,
    patches: f32,
}

/// `z` as a share of the best.
fn of_best(z: f32, best: f32) -> f32 {
    if best > 0.0 { z / best } else { 0.0 }
}

/// The share of all that is asked from which on a page is never said to have nothing.
const GOOD_PART: f32 = 0.1;

fn has_words(asked: &Asked<'_>, hit: &Hit) -> bool {
    let share = || asked.words?.share(hit.channel(Channel::Words)?.score);
    share().is_some_and(|share| share >= GOOD_PART)
}

#[cfg(test)]
mod tests {
    use pagesight_core::{ChannelScore, DocumentId, PageId};

    use super::*;

    fn hit(number: u32, words: Option<f32>, patches: Option<f32>) -> Hit {
        let mut hit = Hit::new(PageId { document: DocumentId([0; 32]), number });
        let said = |channel, score| {
            let mut said = ChannelScore::new(channel, score, number);
            said.z = WORDS.z(score);
            said
        };
        hit.channels.extend(patches.map(|score| said(Channel::Patches, score)));
        hit.channels.extend(words.map(|score| said(Channel::Words, score)));
        hit
    }

    /// Of 500 pages three have words that are asked for: all but nothing of 60, half of it, and hardly
    /// any.
    const WORDS: Scale = Scale { pages: 500, mean: 0.2, deviation: 2.0, most: 60.0 };

    fn judged(asked: Asked<'_>, hits: &[Hit]) -> (Vec<Option<Verdict>>, Option<Verdict>) {
        let (pages, answer) = Calibration::default().judge(&asked, hits, |_| false);
        let verdict = |of: Likelihood| of.verdict;
        (pages.into_iter().map(|page| page.map(verdict)).collect(), answer.map(verdict))
    }

    #[test]
    fn what_was_fitted_is_read() {
        let fitted = Calibration::default();
        assert!(fitted.words.share > 0.0 && fitted.answer_by_words.best > 0.0);
        assert!(fitted.passages[0].similarity > 0.0);
        let [weak, good] = fitted.bounds;
        assert!(0.0 < weak && weak < good && good < 1.0);
    }

    #[test]
    fn the_more_a_page_has_of_what_is_asked_the_likelier_it_answers() {
        let asked = Asked { words: Some(WORDS), patches: None, model: None, passages: None };
        let hits = [48.0, 30.0, 2.0].map(|score| hit(1, Some(score), None));
        let (pages, answer) = Calibration::default().judge(&asked, &hits, |_| false);
        let chances: Vec<f32> = pages.iter().map(|page| page.unwrap().probability).collect();
        assert!(chances.is_sorted_by(|a, b| a > b), "{chances:?}");
        assert_eq!(pages[0].unwrap().verdict, Verdict::Good);
        assert_eq!(answer.unwrap().verdict, Verdict::Good);
        assert_eq!(judged(asked, &hits[2..]).1, Some(Verdict::None));
    }

    #[test]
    fn a_word_that_is_nowhere_has_no_answer_whatever_pictures_look_like() {
        let words = Scale { pages: 500, most: 14.0, ..Scale::default() };
        let asked = Asked { words: Some(words), patches: None, model: None, passages: None };
        assert_eq!(judged(asked, &[]), (vec![], Some(Verdict::None)));
        let asked = Asked { words: Some(words), patches: Some(WORDS), model: None, passages: None };
        let found = [hit(1, None, Some(2.9)), hit(2, None, Some(2.8))];
        assert_eq!(judged(asked, &found), (vec![Some(Verdict::None); 2], Some(Verdict::None)));
    }

    #[test]
    fn a_page_that_has_the_words_is_shown_however_few_pages_are_searched() {
        // One page alone: nothing stands out.
        let words = Scale { pages: 1, mean: 8.7, deviation: 0.0, most: 21.3 };
        let asked = Asked { words: Some(words), patches: None, model: None, passages: None };
        let (pages, answer) = judged(asked, &[hit(1, Some(8.7), None)]);
        assert!(pages[0] >= Some(Verdict::Weak) && answer >= Some(Verdict::Weak));
    }

    #[test]
    fn one_word_that_is_there_is_an_answer() {
        // In an index of two pages, on both of them.
        let words = Scale { pages: 2, mean: 0.1, deviation: 0.0, most: 0.4 };
        let asked = Asked { words: Some(words), patches: None, model: None, passages: None };
        let (_, answer) = judged(asked, &[hit(1, Some(0.2), None)]);
        assert!(answer >= Some(Verdict::Weak), "{answer:?}");
    }

    /// The verdicts on pages that the passages found, given with their deviations and cosines, none of
    /// which has a word of the question.
    fn meant(model: &ModelId, pages: &[(f32, f32)]) -> (Vec<Option<Verdict>>, Option<Verdict>) {
        let scale = Scale { pages: 500, mean: 0.0, deviation: 1.0, most: 0.0 };
        let mut hits = Vec::new();
        let mut matches = HashMap::new();
        for (&(z, similarity), number) in pages.iter().zip(1..) {
            let mut hit = hit(number, None, None);
            let mut said = ChannelScore::new(Channel::Passages, z, number);
            said.z = z;
            hit.channels.push(said);
            matches.insert(hit.page, PassageMatch { passage: 0, similarity });
            hits.push(hit);
        }
        let of = |hit: &Hit| (hit.page, hit.channels[0].score);
        let found = Found { pages: hits.iter().map(of).collect(), scale };
        let passages = Some(AskedPassages { model, found: &found, matches: &matches });
        let words = Some(Scale { pages: 500, most: 40.0, ..Scale::default() });
        judged(Asked { words, patches: None, model: None, passages }, &hits)
    }

    #[test]
    fn a_page_that_means_the_answer_is_shown_without_a_word_of_the_question() {
        let fitted = Calibration::default().passages[0].model.clone();
        let (pages, answer) = meant(&fitted, &[(8.0, 0.65), (3.0, 0.4)]);
        assert!(pages[0] >= Some(Verdict::Weak) && answer >= Some(Verdict::Weak), "{pages:?}");
        // Some page is always the nearest; one that is not near says nothing.
        let (pages, answer) = meant(&fitted, &[(2.5, 0.08), (2.0, 0.07)]);
        assert_eq!((pages, answer), (vec![Some(Verdict::None); 2], Some(Verdict::None)));
        // The cosines of another model are worth something else.
        let other = ModelId("another".into());
        assert_eq!(meant(&other, &[(8.0, 0.65)]), (vec![None], None));
    }

    #[test]
    fn where_nothing_was_fitted_nothing_is_said() {
        let other = ModelId("another".into());
        let patches = Some(WORDS);
        let asked = Asked { words: None, patches, model: Some(&other), passages: None };
        assert_eq!(judged(asked, &[hit(1, None, Some(2.0))]), (vec![None], None));
        // Nor of a page whose words nobody knows.
        let asked = Asked { words: Some(WORDS), patches, model: Some(&other), passages: None };
        let (pages, answer) =
            Calibration::default().judge(&asked, &[hit(1, None, Some(2.0))], |_| true);
        assert_eq!((pages, answer), (vec![None], None));
        let hits = [hit(1, None, Some(2.0)), hit(2, None, Some(1.0))];
        let (pages, answer) =
            Calibration::default().judge(&asked, &hits, |hit| hit.page.number == 1);
        assert_eq!(answer, None);
        assert_eq!(pages[1].unwrap().verdict, Verdict::None);
    }
}
