//! What shortcuts cost on the user's own pages.

use std::time::{Duration, Instant};

use pagesight_core::seam::{QueryEncoder, VectorSource};
use pagesight_core::{PageId, PageVectors};
use pagesight_query::ladder::{self, Probe, Rung};
use pagesight_query::{Channel, QueryError};

use crate::{Error, Index};

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
    /// Median share of the pages whose vectors were read.
    pub reranked: f64,
    /// Median time of the visual channel, with codes.
    pub p50: Duration,
    /// The same over all vectors.
    pub p50_exact: Duration,
}

impl Index {
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

    /// Measures every code on at most `max_pages` pages, evenly spread, and `questions`. `tell`
    /// hears the name of each code before it is measured. Memory: the vectors of those pages twice.
    ///
    /// # Errors
    /// [`Error::Query`] with [`QueryError::NoModel`] when the index has no model, and what the
    /// model and the store say.
    pub fn climb(
        &self,
        questions: &[Question],
        max_pages: usize,
        tell: &mut dyn FnMut(&'static str),
    ) -> Result<Vec<Rung>, Error> {
        let model = self.query_model()?.ok_or(QueryError::NoModel)?;
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
        Ok(ladder::climb(&pages, &probes, tell).map_err(QueryError::Dim)?)
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
        let mut pages = 0;
        for question in questions {
            let ask = |exact| {
                let search = self.search(&question.text).k(ladder::DEPTH).channel(Channel::Visual);
                let start = Instant::now();
                let (found, work) = search.exact(exact).ranking_with_work()?;
                Ok::<_, Error>((found, work, start.elapsed().as_secs_f64()))
            };
            let (found, work, seconds) = ask(false)?;
            let (truth, _, exact_seconds) = ask(true)?;
            pages = work.seen;
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
            p50: Duration::from_secs_f64(median(&mut times)),
            p50_exact: Duration::from_secs_f64(median(&mut exact_times)),
        })
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
