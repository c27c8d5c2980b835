//! How an index is best searched, measured on its own pages: what comparing fewer pages costs, and
//! how the searches of an index compare with exact ones.

use std::time::{Duration, Instant};

use pagesight_core::{Channel, PageId, Quality};

use super::Probe;
use super::metrics::{Tally, quantile};
use crate::effort::Effort;
use crate::error::QueryError;
use crate::question::Question;
use crate::request::{Request, Sources};
use crate::search::search;
use crate::visual::{Code, Work};

/// Exact searches that take no longer than this need no approximation.
pub const FAST_ENOUGH: Duration = Duration::from_millis(50);

/// The fewest pages and the most that a setting compares.
const COMPARED: [usize; 2] = [64, 16_384];

/// Words of a question that is made from a page.
const QUESTION_WORDS: usize = 8;

/// A way to search an index, and what it costs and loses beside the exact one.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Setting {
    /// Pages that sketches choose and whose codes are compared; `None` for exact searches.
    pub compared: Option<usize>,
    /// What it keeps of the exact ranking.
    pub quality: Quality,
    /// Median time of the patches channel, from query vectors to ranking.
    pub p50: Duration,
}

impl Setting {
    /// The effort of searches with this setting.
    pub fn effort(&self) -> Effort {
        self.compared.map_or(Effort::Certified, Effort::Best)
    }
}

/// The setting that loses at most `max_loss` ([`Quality::loss`]) and compares the fewest pages; the
/// exact one where it takes no longer than [`FAST_ENOUGH`].
pub fn choose(settings: &[Setting], max_loss: f64) -> Option<&Setting> {
    let exact = settings.iter().find(|setting| setting.compared.is_none());
    if exact.is_some_and(|exact| exact.p50 <= FAST_ENOUGH) {
        return exact;
    }
    let within = settings.iter().filter(|setting| setting.quality.loss() <= max_loss);
    within.min_by_key(|setting| setting.compared.unwrap_or(usize::MAX))
}

/// Asks `probes` exactly and by comparing fewer pages: 64, twice as many and so on up to half of
/// all pages, or only `compared`. The exact setting comes first. `done` is called after each
/// question.
///
/// # Errors
/// As [`search`].
pub fn measure_settings(
    sources: &Sources<'_>,
    probes: &[Probe],
    compared: Option<usize>,
    done: &mut dyn FnMut(),
) -> Result<Vec<Setting>, QueryError> {
    let mut measured = vec![Measured::new(None)];
    for probe in probes {
        let (truth, work, seconds) = ask(sources, probe, Effort::Certified)?;
        measured[0].add(&truth, &truth, probe, seconds);
        for (n, count) in counts(compared, work.seen).into_iter().enumerate() {
            let (found, work, seconds) = ask(sources, probe, Effort::Best(count))?;
            if work.code != Code::Sketch {
                break;
            }
            if measured.len() == n + 1 {
                measured.push(Measured::new(Some(count)));
            }
            measured[n + 1].add(&found, &truth, probe, seconds);
        }
        done();
    }
    Ok(measured.into_iter().map(Measured::setting).collect())
}

/// The numbers of pages to compare that are tried where there are `pages`.
fn counts(only: Option<usize>, pages: usize) -> Vec<usize> {
    match only {
        Some(count) => vec![count],
        None => std::iter::successors(Some(COMPARED[0]), |count| Some(count * 2))
            .take_while(|&count| count <= COMPARED[1] && count * 2 <= pages)
            .collect(),
    }
}

/// How the searches of an index compare with exact MaxSim over all full-precision vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Receipt {
    /// What they keep of the exact ranking.
    pub quality: Quality,
    /// Pages that compete.
    pub pages: usize,
    /// Median share of the pages that were scored again after the scan.
    pub reranked: f64,
    /// Pages that sketches chose, the last time; `None` for exact searches.
    pub compared: Option<usize>,
    /// Median time of the patches channel, from query vectors to ranking.
    pub p50: Duration,
    /// The same for the exact ranking.
    pub p50_exact: Duration,
}

/// Asks each of `probes` with `effort` and exactly, and compares. `done` is called after each
/// question.
///
/// # Errors
/// As [`search`].
pub fn measure_receipt(
    sources: &Sources<'_>,
    probes: &[Probe],
    effort: Effort,
    done: &mut dyn FnMut(),
) -> Result<Receipt, QueryError> {
    let mut tally = Tally::default();
    let (mut times, mut exact_times, mut reranked) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pages, mut compared) = (0, None);
    for probe in probes {
        let (found, work, seconds) = ask(sources, probe, effort)?;
        // Of very many pages the full-precision vectors would take hours; the certified ranking is
        // the same. A compact index has none.
        let exact = match work.code {
            Code::Sketch | Code::Residual => Effort::Certified,
            _ => Effort::Exact,
        };
        let (truth, _, exact_seconds) = ask(sources, probe, exact)?;
        pages = work.seen;
        compared = (work.code == Code::Sketch).then_some(work.reranked);
        tally.add(&found, &truth, &probe.answers);
        times.push(seconds);
        exact_times.push(exact_seconds);
        reranked.push(work.reranked as f64 / work.seen.max(1) as f64);
        done();
    }
    Ok(Receipt {
        quality: tally.quality(),
        pages,
        reranked: quantile(&mut reranked, 0.5),
        compared,
        p50: Duration::from_secs_f64(quantile(&mut times, 0.5)),
        p50_exact: Duration::from_secs_f64(quantile(&mut exact_times, 0.5)),
    })
}

/// A question that a page answers: eight words from the middle of its text. `None` when it has
/// fewer.
///
/// ```
/// use pagesight_query::measure::tune::question_of;
/// let text = "one two three four five six seven eight nine ten";
/// assert_eq!(question_of(text).unwrap(), "two three four five six seven eight nine");
/// assert_eq!(question_of("too few words"), None);
/// ```
pub fn question_of(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let start = words.len().checked_sub(QUESTION_WORDS)? / 2;
    Some(words[start..start + QUESTION_WORDS].join(" "))
}

/// The best pages of the patches for a probe, what was done for them, and the seconds it took.
fn ask(
    sources: &Sources<'_>,
    probe: &Probe,
    effort: Effort,
) -> Result<(Vec<PageId>, Work, f64), QueryError> {
    let question = Question::from(probe.query.clone());
    let (k, channels) = (Tally::DEPTH, vec![Channel::Patches]);
    let request = Request { k, depth: k, channels, effort, ..Request::new(&question) };
    let start = Instant::now();
    let ranking = search(sources, &request)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((ranking.hits.iter().map(|hit| hit.page).collect(), ranking.work, seconds))
}

/// What the questions said of a setting so far.
struct Measured {
    compared: Option<usize>,
    tally: Tally,
    seconds: Vec<f64>,
}

impl Measured {
    fn new(compared: Option<usize>) -> Self {
        Self { compared, tally: Tally::default(), seconds: Vec::new() }
    }

    fn add(&mut self, found: &[PageId], truth: &[PageId], probe: &Probe, seconds: f64) {
        self.tally.add(found, truth, &probe.answers);
        self.seconds.push(seconds);
    }

    fn setting(mut self) -> Setting {
        Setting {
            compared: self.compared,
            quality: self.tally.quality(),
            p50: Duration::from_secs_f64(quantile(&mut self.seconds, 0.5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{indexed, noise, query};

    fn setting(compared: Option<usize>, overlap10: f64, ms: u64) -> Setting {
        let quality = Quality { overlap10, ndcg_ratio: 1.0, questions: 9 };
        Setting { compared, quality, p50: Duration::from_millis(ms) }
    }

    #[test]
    fn the_setting_that_compares_fewest_pages_within_the_loss_is_chosen() {
        let slow = setting(None, 1.0, 51);
        let all = [slow, setting(Some(64), 0.8, 1), setting(Some(128), 0.97, 2)];
        let cases = [(0.0, None), (0.03, Some(128)), (0.1, Some(128)), (0.2, Some(64))];
        for (max_loss, compared) in cases {
            assert_eq!(choose(&all, max_loss + 1e-9).unwrap().compared, compared, "{max_loss}");
        }
        // Where the exact search is fast enough, nothing is given up.
        let fast = [setting(None, 1.0, 50), setting(Some(64), 1.0, 1)];
        assert_eq!(choose(&fast, 0.5), Some(&fast[0]));
        assert_eq!(choose(&[setting(Some(64), 0.5, 1)], 0.1), None);
        assert_eq!(fast[0].effort(), Effort::Certified);
        assert_eq!(fast[1].effort(), Effort::Best(64));
    }

    #[test]
    fn pages_to_compare_are_doubled_up_to_half_of_all() {
        assert_eq!(counts(None, 127), Vec::<usize>::new());
        assert_eq!(counts(None, 128), [64]);
        assert_eq!(counts(None, 600), [64, 128, 256]);
        assert_eq!(counts(None, usize::MAX).last(), Some(&16_384));
        assert_eq!(counts(Some(7), 3), [7]);
    }

    #[test]
    fn settings_and_receipt_say_what_searches_lose() {
        let mut random = fastrand::Rng::with_seed(5);
        let pages: Vec<Vec<f32>> = (0..300).map(|_| noise(&mut random, 4)).collect();
        let (store, codes) = indexed(&pages);
        let ids: Vec<PageId> = codes.ids().collect();
        let probes: Vec<Probe> = (0..6)
            .map(|n| Probe { query: query(pages[n * 40].clone()), answers: vec![ids[n * 40]] })
            .collect();
        let sources = Sources { codes: Some(&codes), ..Sources::new(&store, &store) };
        let mut done = 0;
        let settings = measure_settings(&sources, &probes, None, &mut || done += 1).unwrap();
        assert_eq!(done, probes.len());
        let compared: Vec<Option<usize>> = settings.iter().map(|s| s.compared).collect();
        assert_eq!(compared, [None, Some(64), Some(128)]);
        let whole = Quality { overlap10: 1.0, ndcg_ratio: 1.0, questions: 6 };
        assert_eq!(settings[0].quality, whole);
        assert!(settings[1].quality.overlap10 <= settings[2].quality.overlap10);
        // The ten best by sketch: each page is the best for its own vectors, others are missed.
        let only = measure_settings(&sources, &probes, Some(10), &mut || ()).unwrap();
        assert_eq!((only.len(), only[1].compared), (2, Some(10)));
        let Quality { overlap10, ndcg_ratio, .. } = only[1].quality;
        assert!(overlap10 > 0.3 && overlap10 < 1.0 && ndcg_ratio == 1.0, "{overlap10}");

        let receipt = measure_receipt(&sources, &probes, Effort::Auto, &mut || done += 1).unwrap();
        assert_eq!((receipt.quality, receipt.pages, receipt.compared), (whole, 300, None));
        assert!(receipt.reranked > 0.0 && receipt.reranked < 1.0, "{}", receipt.reranked);
        let receipt = measure_receipt(&sources, &probes, Effort::Best(10), &mut || ()).unwrap();
        assert_eq!((receipt.quality, receipt.compared), (only[1].quality, Some(10)));
    }
}
