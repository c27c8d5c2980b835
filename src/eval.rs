//! What shortcuts cost on the user's own pages.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pagesight_core::seam::{BoxError, QueryEncoder, VectorSource};
use pagesight_core::{ModelId, PageId, PageVectors, QueryVectors};
use pagesight_query::ladder::{self, Probe, Rung};
use pagesight_query::{Channel, Channels, Code, Fusion, QueryError, Request, Shortcut};
use pagesight_store::{BlockingWriter, Compact, Tuning};

use crate::{Error, Index, Search};

/// Words of a question that is made from a page.
const QUESTION_WORDS: usize = 8;

/// A question and the pages that answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What a user would type.
    pub text: String,
    /// Its answers; may be empty when they are not known.
    pub answers: Vec<PageId>,
}

/// How the searches of this index compare with exact MaxSim over all vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Receipt {
    /// Questions asked.
    pub questions: usize,
    /// Pages that compete.
    pub pages: usize,
    /// Share of the exact ten best that are among its ten best; mean over the questions.
    pub overlap10: f64,
    /// nDCG@10 over that of exact MaxSim; 1 when no answers are known.
    pub ndcg_ratio: f64,
    /// Median share of the pages whose vectors (with a shortcut: whose codes) were read.
    pub reranked: f64,
    /// Pages that sketches chose, the last time; `None` for exact searches.
    pub compared: Option<usize>,
    /// Median time of the visual channel, with codes.
    pub p50: Duration,
    /// The same over all vectors.
    pub p50_exact: Duration,
}

/// Exact searches that take no longer than this need no shortcut.
pub const ENOUGH: Duration = Duration::from_millis(50);

/// The fewest pages and the most that a setting compares.
const COMPARED: [usize; 2] = [64, 16_384];

/// A way to search this index, and what it costs beside the exact one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Pages that sketches choose for a comparison of codes; `None` for exact searches.
    pub compared: Option<usize>,
    /// Share of the exact ten best that are among its ten best; mean over the questions.
    pub overlap10: f64,
    /// nDCG@10 over that of exact MaxSim; 1 when no answers are known.
    pub ndcg_ratio: f64,
    /// Questions that were asked.
    pub questions: usize,
    /// Median time of the visual channel.
    pub p50: Duration,
}

impl Setting {
    /// What is lost beside exact MaxSim, 0 to 1: the larger of the losses of nDCG and overlap.
    pub fn loss(&self) -> f64 {
        (1.0 - self.ndcg_ratio).max(1.0 - self.overlap10).max(0.0)
    }
}

/// The setting within `max_loss` that compares the fewest pages; the exact one when it takes no
/// more than [`ENOUGH`].
pub fn choose(settings: &[Setting], max_loss: f64) -> Option<&Setting> {
    let exact = settings.iter().find(|setting| setting.compared.is_none());
    if exact.is_some_and(|exact| exact.p50 <= ENOUGH) {
        return exact;
    }
    let within = settings.iter().filter(|setting| setting.loss() <= max_loss);
    within.min_by_key(|setting| setting.compared.unwrap_or(usize::MAX))
}

/// Questions that are encoded already, by their text.
struct Encoded {
    model: ModelId,
    queries: HashMap<String, QueryVectors>,
}

impl QueryEncoder for Encoded {
    fn model_id(&self) -> &ModelId {
        &self.model
    }

    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        Ok(queries.iter().map(|&query| self.queries[query].clone()).collect())
    }
}

impl Index {
    /// Asks `questions` exactly and with shortcuts of all depths, or only of depth `compared`, on
    /// all pages. The exact setting comes first. `tell` hears that a question is done.
    ///
    /// # Errors
    /// [`Error::Query`] with [`QueryError::NoModel`] when the index has no model, and what the
    /// model and the store say.
    pub fn settings(
        &self,
        questions: &[Question],
        compared: Option<usize>,
        tell: &mut dyn FnMut(),
    ) -> Result<Vec<Setting>, Error> {
        let model = self.query_model()?.ok_or(QueryError::NoModel)?;
        let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
        let encoded = model.encode_queries(&texts).map_err(QueryError::Encode)?;
        let queries = questions.iter().map(|question| question.text.clone()).zip(encoded).collect();
        let encoder = Encoded { model: QueryEncoder::model_id(&*model).clone(), queries };
        let view = self.latest()?;
        let channels = Channels {
            vectors: &view.reader,
            codes: view.codes().0,
            encoder: Some(&encoder),
            text: &view.reader,
        };
        let mut settings = vec![Tally::new(None)];
        for question in questions {
            let ask = |shortcut| {
                let (channel, k, documents) = (Channel::Visual, ladder::DEPTH, None);
                let (query, explain) = (question.text.as_str(), false);
                let (depth, fusion) = (k, Fusion::default());
                let request =
                    Request { query, channel, k, depth, documents, explain, shortcut, fusion };
                let start = Instant::now();
                let ranking = pagesight_query::search(&channels, &request)?;
                let seconds = start.elapsed().as_secs_f64();
                let found: Vec<PageId> = ranking.hits.iter().map(|hit| hit.page).collect();
                Ok::<_, Error>((found, ranking.work, seconds))
            };
            let (truth, work, seconds) = ask(Shortcut::Never)?;
            settings[0].add(&truth, &truth, question, seconds);
            let counts = std::iter::successors(Some(COMPARED[0]), |count| Some(count * 2));
            let counts: Vec<usize> = match compared {
                Some(count) => vec![count],
                None => counts.take_while(|&n| n <= COMPARED[1] && n * 2 <= work.seen).collect(),
            };
            for (n, &count) in counts.iter().enumerate() {
                let (found, work, seconds) = ask(Shortcut::Best(count))?;
                if work.code != Code::Sketch {
                    break;
                }
                if settings.len() == n + 1 {
                    settings.push(Tally::new(Some(count)));
                }
                settings[n + 1].add(&found, &truth, question, seconds);
            }
            tell();
        }
        Ok(settings.into_iter().map(Tally::setting).collect())
    }

    /// Lets searches of this index, in all processes, take `setting` from now on; `None` leaves it
    /// to them again: exact, unless there are very many pages.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when another process writes.
    pub fn apply(&mut self, setting: Option<&Setting>) -> Result<(), Error> {
        let snapshot = self.latest()?.reader.snapshot().number;
        let tuning = setting.map(|setting| Tuning {
            compared: setting.compared,
            overlap10: setting.overlap10,
            ndcg_ratio: setting.ndcg_ratio,
            questions: setting.questions,
            snapshot,
        });
        BlockingWriter::open(self.folder(), self.handle())?.set_tuning(tuning)?;
        self.refresh()
    }

    /// Keeps the vectors in residual codes alone from now on, a quarter of the bytes: whole vectors are
    /// removed, and what is added later is kept the same way. `cost` is the rung [`ladder::COMPACT`]
    /// that [`climb`](Self::climb) measured with `questions`; answers name it. Returns false, and
    /// changes nothing, when the index is compact already or has no vectors.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when another process writes; the index is as it was.
    pub fn compact(&mut self, cost: &Rung, questions: usize) -> Result<bool, Error> {
        let snapshot = self.latest()?.reader.snapshot().number;
        let Rung { overlap10, ndcg_ratio, .. } = *cost;
        let cost = Compact { overlap10, ndcg_ratio, questions, snapshot };
        let done = BlockingWriter::open(self.folder(), self.handle())?.compact(cost)?;
        self.refresh()?;
        if done {
            // This process held the whole vectors until now.
            BlockingWriter::open(self.folder(), self.handle())?.sweep()?;
        }
        Ok(done)
    }

    /// At most `count` questions made from the words of pages, evenly spread: eight words from the
    /// middle of each. Pages with fewer words give none.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Query`].
    pub fn questions_from_pages(&self, count: usize) -> Result<Vec<Question>, Error> {
        let view = self.latest()?;
        let mut ids = Vec::new();
        let collect = &mut |batch: &[(PageId, PageVectors)]| {
            ids.extend(batch.iter().map(|(id, _)| *id));
        };
        match view.codes().0 {
            Some(codes) => ids.extend(codes.living().iter().map(|slot| slot.id)),
            None => view.reader.scan(None, collect).map_err(QueryError::Vectors)?,
        }
        ids.sort_unstable();
        let step = ids.len().div_ceil(count.max(1)).max(1);
        let ids: Vec<PageId> = ids.into_iter().step_by(step).collect();
        let pages = view.reader.pages(&ids)?;
        let question = |page: &pagesight_core::PageRecord| {
            let words: Vec<&str> = page.text.split_whitespace().collect();
            let start = words.len().checked_sub(QUESTION_WORDS)? / 2;
            let text = words[start..start + QUESTION_WORDS].join(" ");
            Some(Question { text, answers: vec![page.id] })
        };
        Ok(pages.iter().filter_map(question).collect())
    }

    /// Measures `codes` (see [`ladder::CODES`]) on at most `max_pages` pages, evenly spread, and
    /// `questions`. `tell` hears the name of each code before it is measured. Memory: the vectors of
    /// those pages twice. Of a compact index nothing: there is nothing to measure codes against.
    ///
    /// # Errors
    /// [`Error::Query`] with [`QueryError::NoModel`] when the index has no model, and what the
    /// model and the store say.
    pub fn climb(
        &self,
        questions: &[Question],
        max_pages: usize,
        codes: &[&str],
        tell: &mut dyn FnMut(&'static str),
    ) -> Result<Vec<Rung>, Error> {
        let model = self.query_model()?.ok_or(QueryError::NoModel)?;
        if self.snapshot().compact.is_some() {
            return Ok(Vec::new());
        }
        let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
        let encoded = model.encode_queries(&texts).map_err(QueryError::Encode)?;
        let probes = encoded.into_iter().zip(questions);
        let probes: Vec<Probe> = probes
            .map(|(query, question)| Probe { query, answers: question.answers.clone() })
            .collect();
        let step = (self.snapshot().pages as usize).div_ceil(max_pages.max(1)).max(1);
        let (mut pages, mut seen) = (Vec::new(), 0usize);
        let answers = |id: &PageId| questions.iter().any(|question| question.answers.contains(id));
        self.latest()?
            .reader
            .scan(None, &mut |batch| {
                for page in batch {
                    if seen.is_multiple_of(step) || answers(&page.0) {
                        pages.push(page.clone());
                    }
                    seen += 1;
                }
            })
            .map_err(QueryError::Vectors)?;
        Ok(ladder::climb(&pages, &probes, codes, tell).map_err(QueryError::Dim)?)
    }

    /// Asks each of `questions` as searches do and over all vectors, and compares. `tell` hears
    /// that one is done.
    ///
    /// # Errors
    /// As searches.
    pub fn receipt(
        &self,
        questions: &[Question],
        tell: &mut dyn FnMut(),
    ) -> Result<Receipt, Error> {
        let (mut overlap, mut gain, mut ideal) = (0.0, 0.0, 0.0);
        let (mut times, mut exact_times, mut reranked) = (Vec::new(), Vec::new(), Vec::new());
        let (mut pages, mut compared) = (0, None);
        for question in questions {
            let search = || self.search(&question.text).k(ladder::DEPTH).channel(Channel::Visual);
            let ask = |search: Search<'_>| {
                let start = Instant::now();
                let (found, work) = search.ranking_with_work()?;
                Ok::<_, Error>((found, work, start.elapsed().as_secs_f64()))
            };
            let (found, work, seconds) = ask(search())?;
            // Of very many pages the vectors would take hours; the certified ranking is the same. A
            // compact index has none.
            let (truth, _, exact_seconds) = match work.code {
                Code::Sketch | Code::Residual => ask(search().shortcut(Shortcut::Never))?,
                _ => ask(search().exact(true))?,
            };
            pages = work.seen;
            compared = (work.code == Code::Sketch).then_some(work.reranked);
            let shared = truth.iter().filter(|page| found.contains(page)).count();
            overlap += if truth.is_empty() { 1.0 } else { shared as f64 / truth.len() as f64 };
            gain += gained(&found, &question.answers);
            ideal += gained(&truth, &question.answers);
            times.push(seconds);
            exact_times.push(exact_seconds);
            reranked.push(work.reranked as f64 / work.seen.max(1) as f64);
            tell();
        }
        let median = |values: &mut [f64]| pagesight_query::metrics::quantile(values, 0.5);
        Ok(Receipt {
            questions: questions.len(),
            pages,
            overlap10: overlap / questions.len().max(1) as f64,
            ndcg_ratio: if ideal > 0.0 { gain / ideal } else { 1.0 },
            reranked: median(&mut reranked),
            compared,
            p50: Duration::from_secs_f64(median(&mut times)),
            p50_exact: Duration::from_secs_f64(median(&mut exact_times)),
        })
    }
}

/// What the questions said of a setting so far.
struct Tally {
    compared: Option<usize>,
    overlap: f64,
    gain: f64,
    ideal: f64,
    seconds: Vec<f64>,
}

impl Tally {
    fn new(compared: Option<usize>) -> Self {
        Self { compared, overlap: 0.0, gain: 0.0, ideal: 0.0, seconds: Vec::new() }
    }

    fn add(&mut self, found: &[PageId], truth: &[PageId], question: &Question, seconds: f64) {
        let shared = truth.iter().filter(|page| found.contains(page)).count();
        self.overlap += if truth.is_empty() { 1.0 } else { shared as f64 / truth.len() as f64 };
        self.gain += gained(found, &question.answers);
        self.ideal += gained(truth, &question.answers);
        self.seconds.push(seconds);
    }

    fn setting(mut self) -> Setting {
        let questions = self.seconds.len();
        let p50 = match questions {
            0 => 0.0,
            _ => pagesight_query::metrics::quantile(&mut self.seconds, 0.5),
        };
        Setting {
            compared: self.compared,
            overlap10: self.overlap / questions.max(1) as f64,
            ndcg_ratio: if self.ideal > 0.0 { self.gain / self.ideal } else { 1.0 },
            questions,
            p50: Duration::from_secs_f64(p50),
        }
    }
}

/// Discounted cumulative gain over the best possible, binary relevance.
fn gained(found: &[PageId], answers: &[PageId]) -> f64 {
    let discount = |index: usize| 1.0 / ((index + 2) as f64).log2();
    let ideal: f64 = (0..answers.len().min(ladder::DEPTH)).map(discount).sum();
    let hits = found.iter().enumerate().filter(|(_, page)| answers.contains(page));
    let gain = hits.fold(0.0, |sum, (index, _)| sum + discount(index));
    if ideal > 0.0 { gain / ideal } else { 0.0 }
}
