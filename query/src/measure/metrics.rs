//! How good a ranking is, against labelled questions.
//!
//! Binary relevance; the definitions are those of the development set's `score.py`, and the
//! sums run in the same order, so the figures agree to the last digit.

use pagesight_core::Quality;
use serde::Deserialize;

/// A labelled question, a line of a queries file. Fields that are not needed are passed over.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LabelledQuery {
    /// Names the query in a run file.
    pub id: String,
    /// The question.
    pub query: String,
    /// The document that answers it: a path, or the end of one.
    pub doc: String,
    /// The pages that answer it, 1-based.
    pub pages: Vec<u32>,
    /// Each page alone answers: finding one is finding all.
    #[serde(default)]
    pub any_page: bool,
}

/// A queries file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is not a labelled query")]
pub struct QueriesError {
    /// 1-based line.
    pub line: usize,
    #[source]
    source: serde_json::Error,
}

/// Reads a queries file: JSON Lines, empty lines passed over.
///
/// # Errors
/// [`QueriesError`] names the first line that does not parse.
///
/// ```
/// let line = r#"{"id": "q1", "query": "net sales?", "doc": "a.pdf", "pages": [3]}"#;
/// assert_eq!(pagesight_query::measure::metrics::parse_queries(line)?[0].pages, [3]);
/// # Ok::<(), pagesight_query::measure::metrics::QueriesError>(())
/// ```
pub fn parse_queries(text: &str) -> Result<Vec<LabelledQuery>, QueriesError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| QueriesError { line: index + 1, source })
        })
        .collect()
}

/// The measures of one ranking, or their mean over many; each 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measures {
    /// Normalised discounted cumulative gain over the first 5.
    pub ndcg5: f64,
    /// Relevant pages in the first 1, over all relevant.
    pub recall1: f64,
    /// In the first 5.
    pub recall5: f64,
    /// In the first 10.
    pub recall10: f64,
    /// 1 over the rank of the first relevant page.
    pub mrr: f64,
}

/// Normalised discounted cumulative gain over the first `depth`, binary relevance (Jarvelin &
/// Kekalainen 2002): that of the best order is 1. `found` is a ranking, best first, and `relevant`
/// are all that answer; 0 when there are none.
///
/// ```
/// use pagesight_query::measure::metrics::gain;
/// assert_eq!(gain(&[7, 3], &[7], 10), 1.0);
/// assert_eq!(gain(&[3, 7], &[7], 10), 1.0 / 3f64.log2());
/// assert_eq!(gain(&[3, 7], &[7], 1), 0.0);
/// ```
pub fn gain<T: PartialEq>(found: &[T], relevant: &[T], depth: usize) -> f64 {
    let places = found.iter().enumerate().filter(|(_, page)| relevant.contains(page));
    gain_at(places.map(|(place, _)| place), relevant.len(), depth)
}

/// As [`gain`], of the 0-based places of what is relevant, and how much of that there is.
fn gain_at(places: impl Iterator<Item = usize>, relevant: usize, depth: usize) -> f64 {
    let discount = |place: usize| 1.0 / ((place + 2) as f64).log2();
    // Not `sum`, which is -0.0 for nothing.
    let total = |places: &mut dyn Iterator<Item = usize>| {
        places.fold(0.0, |sum, place| sum + discount(place))
    };
    let ideal = total(&mut (0..relevant.min(depth)));
    let gained = total(&mut places.filter(|&place| place < depth));
    if ideal > 0.0 { gained / ideal } else { 0.0 }
}

/// The share of `truth` that is among `found`; 1 when there is nothing to find.
///
/// ```
/// use pagesight_query::measure::metrics::overlap;
/// assert_eq!(overlap(&[1, 2, 9], &[1, 2, 3, 4]), 0.5);
/// ```
pub fn overlap<T: PartialEq>(found: &[T], truth: &[T]) -> f64 {
    let shared = truth.iter().filter(|page| found.contains(page)).count();
    if truth.is_empty() { 1.0 } else { shared as f64 / truth.len() as f64 }
}

/// How near approximate rankings are to exact ones, added up question by question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    overlap: f64,
    gain: f64,
    ideal: f64,
    questions: usize,
}

impl Tally {
    /// How deep rankings are compared.
    pub const DEPTH: usize = 10;

    /// Adds a question: what an approximate ranking `found`, the exact ranking `truth`, both best
    /// first and of at most [`DEPTH`](Self::DEPTH), and what answers the question, if that is known.
    pub fn add<T: PartialEq>(&mut self, found: &[T], truth: &[T], answers: &[T]) {
        self.overlap += overlap(found, truth);
        self.gain += gain(found, answers, Self::DEPTH);
        self.ideal += gain(truth, answers, Self::DEPTH);
        self.questions += 1;
    }

    /// What the questions so far say.
    pub fn quality(&self) -> Quality {
        Quality {
            overlap10: self.overlap / self.questions.max(1) as f64,
            ndcg_ratio: if self.ideal > 0.0 { self.gain / self.ideal } else { 1.0 },
            questions: self.questions,
        }
    }
}

/// Measures `ranking`, best first, for `query`. A page that is not in the ranking is a miss.
///
/// ```
/// use pagesight_query::measure::metrics::{measure, parse_queries};
/// let line = r#"{"id": "q1", "query": "?", "doc": "a.pdf", "pages": [3, 4]}"#;
/// let query = &parse_queries(line)?[0];
/// let measures = measure(query, &[("b.pdf", 1), ("a.pdf", 4)]);
/// assert_eq!((measures.recall1, measures.recall5, measures.mrr), (0.0, 0.5, 0.5));
/// # Ok::<(), pagesight_query::measure::metrics::QueriesError>(())
/// ```
pub fn measure(query: &LabelledQuery, ranking: &[(&str, u32)]) -> Measures {
    let mut wanted = query.pages.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let relevant = |&(doc, page): &(&str, u32)| doc == query.doc && wanted.contains(&page);
    let first = ranking.iter().position(relevant);
    // Where each page alone answers, finding the first is all there is to gain.
    let places = ranking.iter().enumerate().filter(|(_, hit)| relevant(hit)).map(|(at, _)| at);
    let ndcg5 = if query.any_page {
        gain_at(first.into_iter(), 1, 5)
    } else {
        gain_at(places, wanted.len(), 5)
    };
    let recall = |k: usize| {
        let found = ranking.iter().take(k).filter(|hit| relevant(hit)).count();
        if query.any_page {
            f64::from(u8::from(found > 0))
        } else {
            found as f64 / wanted.len() as f64
        }
    };
    Measures {
        ndcg5,
        recall1: recall(1),
        recall5: recall(5),
        recall10: recall(10),
        mrr: first.map_or(0.0, |index| 1.0 / (index + 1) as f64),
    }
}

/// The mean of `measures`, each rounded to 4 decimals; zeros for none.
pub fn mean(measures: &[Measures]) -> Measures {
    let mean = |field: fn(&Measures) -> f64| match measures.len() {
        0 => 0.0,
        n => round4(measures.iter().map(field).sum::<f64>() / n as f64),
    };
    Measures {
        ndcg5: mean(|m| m.ndcg5),
        recall1: mean(|m| m.recall1),
        recall5: mean(|m| m.recall5),
        recall10: mean(|m| m.recall10),
        mrr: mean(|m| m.mrr),
    }
}

/// Rounds as Python's `round(x, 4)`: by the exact decimal value, which printing does.
fn round4(x: f64) -> f64 {
    format!("{x:.4}").parse().expect("a printed number parses")
}

/// The `quantile` (0 to 1) of `samples` by the nearest rank; 0 for none. Sorts `samples`.
///
/// ```
/// assert_eq!(pagesight_query::measure::metrics::quantile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
/// ```
pub fn quantile(samples: &mut [f64], quantile: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let rank = (quantile * samples.len() as f64).ceil() as usize;
    samples.get(rank.max(1) - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pages: &[u32], any_page: bool) -> LabelledQuery {
        let (id, query, doc) = ("q".into(), "?".into(), "a".into());
        LabelledQuery { id, query, doc, pages: pages.to_vec(), any_page }
    }

    #[test]
    fn figures_by_hand() {
        let all = measure(&query(&[1, 2], false), &[("a", 2), ("b", 1), ("a", 1)]);
        let ideal = 1.0 + 1.0 / 3f64.log2();
        assert_eq!(all.ndcg5, (1.0 + 0.5) / ideal);
        assert_eq!((all.recall1, all.recall5, all.mrr), (0.5, 1.0, 1.0));
        let any = measure(&query(&[1, 2], true), &[("b", 1), ("a", 2)]);
        assert_eq!((any.recall1, any.recall5), (0.0, 1.0));
        assert_eq!(any.ndcg5, 1.0 / 3f64.log2());
        assert_eq!(measure(&query(&[9], false), &[("a", 1)]), Measures::default());
    }

    #[test]
    fn a_tally_is_the_mean_of_its_questions() {
        assert_eq!(
            Tally::default().quality(),
            Quality { overlap10: 0.0, ndcg_ratio: 1.0, questions: 0 }
        );
        let mut tally = Tally::default();
        tally.add(&[1, 2], &[1, 2], &[2]);
        tally.add(&[5, 3], &[3, 4], &[3]);
        let second = 1.0 / 3f64.log2();
        let quality = tally.quality();
        assert_eq!((quality.overlap10, quality.questions), (0.75, 2));
        assert_eq!(quality.ndcg_ratio, (second + second) / (second + 1.0));
        // Answers that nobody knows say nothing.
        let mut tally = Tally::default();
        tally.add(&[1], &[2], &[]);
        assert_eq!(tally.quality(), Quality { overlap10: 0.0, ndcg_ratio: 1.0, questions: 1 });
    }

    #[test]
    fn the_mean_is_rounded_to_four_decimals() {
        let ones = [1.0, 1.0, 0.0].map(|mrr| Measures { mrr, ..Measures::default() });
        assert_eq!(mean(&ones).mrr, 0.6667);
        assert_eq!(mean(&[]), Measures::default());
    }

    #[test]
    fn a_broken_line_is_named() {
        assert_eq!(parse_queries("\n{}\n").unwrap_err().line, 2);
    }
}
