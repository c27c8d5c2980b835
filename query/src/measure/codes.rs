//! What each code costs and loses, measured on given pages and questions.

use std::time::{Duration, Instant};

use pagesight_core::{PageId, PageVectors, Quality, QueryVectors};
use pagesight_maxsim::{
    Bits, Code, DimMismatch, ExactQuery, Instructions, Int8Page, Int8Query, Query, ResidualCoder,
    ResidualPage, ScalarCoder, ScalarPage, SignCoder, SignPage, SignQuery,
};
use rayon::prelude::*;

use super::Probe;
use super::metrics::{Tally, quantile};

/// Pages scored again after a scan that is not exact.
pub const RERANKS: [usize; 4] = [0, 100, 200, 500];

/// All codes, exact MaxSim over f16 first: `int8`; 4, 2 and 1 bit around the mean of all pages and
/// beside the nearest of 256 centres (int8 queries); `sign`, 1 bit on both sides.
pub const CODES: [&str; 9] =
    ["f16", "int8", "4bit", "2bit", "1bit", "residual4", "residual2", "residual1", "sign"];

/// The code of a compact index.
pub const COMPACT: &str = "residual4";

/// Pages that a code's mean is taken of.
const SAMPLE: usize = 256;

/// A way to rank pages, and what it costs and loses: a code that is scanned, and how many pages are
/// then scored again by full-precision vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CodeCost {
    /// One of [`CODES`].
    pub code: &'static str,
    /// Pages scored again.
    pub rerank: usize,
    /// Bytes that a scan reads a page.
    pub bytes_per_page: f64,
    /// What it keeps of the exact ranking.
    pub quality: Quality,
    /// Median time of a query over these pages, scan and rerank, all in memory.
    pub p50: Duration,
}

/// The cheapest of `costs` that loses at most `max_loss` ([`Quality::loss`]): the one that reads the
/// fewest bytes a page, of equals the one that scores the fewest pages again.
pub fn cheapest(costs: &[CodeCost], max_loss: f64) -> Option<&CodeCost> {
    let within = costs.iter().filter(|cost| cost.quality.loss() <= max_loss);
    within
        .min_by(|a, b| a.bytes_per_page.total_cmp(&b.bytes_per_page).then(a.rerank.cmp(&b.rerank)))
}

/// Measures `codes`, a selection of [`CODES`]; exact MaxSim comes first in any case. `starting` is
/// called with the name of each code before it is measured. Memory: one code of all `pages` beside
/// them.
///
/// # Errors
/// [`DimMismatch`] when pages or queries differ in dim.
pub fn measure_codes(
    pages: &[(PageId, PageVectors)],
    probes: &[Probe],
    codes: &[&str],
    starting: &mut dyn FnMut(&'static str),
) -> Result<Vec<CodeCost>, DimMismatch> {
    if pages.is_empty() || probes.is_empty() {
        return Ok(Vec::new());
    }
    let with = Instructions::best();
    let vectors: Vec<&PageVectors> = pages.iter().map(|(_, page)| page).collect();
    let sample = || vectors.iter().copied().step_by(vectors.len().div_ceil(SAMPLE));
    starting("f16");
    let exact = Scanned::new(probes, |query| {
        let query = ExactQuery::with(with, query);
        scores(&vectors, |page| query.score(*page))
    })?;
    let mut measured = Measured { pages, probes, truth: &exact, costs: Vec::new() };
    let bytes: usize = vectors.iter().map(|page| page.values().len() * 2).sum();
    measured.add("f16", bytes as f64 / pages.len() as f64, &exact, &[0])?;

    for &name in CODES.iter().filter(|name| codes.contains(name)) {
        if name != "f16" {
            starting(name);
        }
        match name {
            "int8" => {
                let encode = |page: &PageVectors| Ok(Int8Page::encode(page));
                let query = |query: &QueryVectors| Ok(Int8Query::with(with, query));
                measured.measure(name, &vectors, encode, Int8Page::bytes, query)?;
            }
            "sign" => {
                let coder = SignCoder::fit(sample())?;
                let query = |query: &QueryVectors| Ok(SignQuery::with(with, query));
                measured.measure(
                    name,
                    &vectors,
                    |page| coder.encode(page),
                    SignPage::bytes,
                    query,
                )?;
            }
            "4bit" | "2bit" | "1bit" => {
                let coder = ScalarCoder::fit(bits(name), sample())?;
                let query = |query: &QueryVectors| coder.query(with, &[query]);
                let encode = |page: &PageVectors| coder.encode(page);
                measured.measure(name, &vectors, encode, ScalarPage::bytes, query)?;
            }
            "residual4" | "residual2" | "residual1" => {
                let sample: Vec<PageVectors> = sample().cloned().collect();
                let coder = ResidualCoder::fit(bits(name), &sample)?;
                let query = |query: &QueryVectors| coder.query(with, &[query]);
                let encode = |page: &PageVectors| coder.encode(page);
                measured.measure(name, &vectors, encode, ResidualPage::bytes, query)?;
            }
            _ => {}
        }
    }
    Ok(measured.costs)
}

fn bits(code: &str) -> Bits {
    match code {
        "4bit" | "residual4" => Bits::Four,
        "2bit" | "residual2" => Bits::Two,
        _ => Bits::One,
    }
}

fn scores<T: Sync>(
    pages: &[T],
    score: impl Fn(&T) -> Result<f32, DimMismatch> + Send + Sync,
) -> Result<Vec<f32>, DimMismatch> {
    pages.par_iter().map(score).collect()
}

/// The scores of all pages by one code, a query at a time, and what that took.
struct Scanned {
    scores: Vec<Vec<f32>>,
    times: Vec<Duration>,
}

impl Scanned {
    fn new(
        probes: &[Probe],
        scan: impl Fn(&QueryVectors) -> Result<Vec<f32>, DimMismatch>,
    ) -> Result<Self, DimMismatch> {
        // Once to warm up.
        scan(&probes[0].query)?;
        let mut this = Self { scores: Vec::new(), times: Vec::new() };
        for probe in probes {
            let start = Instant::now();
            this.scores.push(scan(&probe.query)?);
            this.times.push(start.elapsed());
        }
        Ok(this)
    }
}

/// What has been measured so far.
struct Measured<'a> {
    pages: &'a [(PageId, PageVectors)],
    probes: &'a [Probe],
    truth: &'a Scanned,
    costs: Vec<CodeCost>,
}

impl Measured<'_> {
    /// Measures a code: how a page is coded, what it takes then, and how a query is laid out for it.
    fn measure<P: Send + Sync, C: Code + Sync>(
        &mut self,
        name: &'static str,
        vectors: &[&PageVectors],
        encode: impl Fn(&PageVectors) -> Result<P, DimMismatch> + Send + Sync,
        bytes: impl Fn(&P) -> usize,
        query: impl Fn(&QueryVectors) -> Result<Query<C>, DimMismatch>,
    ) -> Result<(), DimMismatch>
    where
        for<'p> &'p P: Into<C::Page<'p>>,
    {
        let codes: Vec<P> =
            vectors.par_iter().map(|page| encode(page)).collect::<Result<_, _>>()?;
        let scanned = Scanned::new(self.probes, |probe| {
            let query = query(probe)?;
            scores(&codes, |page| query.score(page))
        })?;
        let bytes = codes.iter().map(bytes).sum::<usize>() as f64 / vectors.len() as f64;
        self.add(name, bytes, &scanned, &RERANKS)
    }

    fn add(
        &mut self,
        code: &'static str,
        bytes_per_page: f64,
        scanned: &Scanned,
        reranks: &[usize],
    ) -> Result<(), DimMismatch> {
        for &rerank in reranks {
            // Reranking everything is the exact scan.
            if rerank > 0 && rerank >= self.pages.len() {
                continue;
            }
            let mut tally = Tally::default();
            let mut seconds = Vec::with_capacity(self.probes.len());
            for (n, probe) in self.probes.iter().enumerate() {
                let start = Instant::now();
                let mut found = self.best(&scanned.scores[n], rerank.max(Tally::DEPTH));
                if rerank > 0 {
                    let query = ExactQuery::new(&probe.query);
                    let score = |&page: &usize| query.score(&self.pages[page].1);
                    let scores: Result<Vec<f32>, _> = found.par_iter().map(score).collect();
                    let mut again: Vec<_> = found.into_iter().zip(scores?).collect();
                    again.sort_by(|a, b| b.1.total_cmp(&a.1).then(self.by_id(a.0, b.0)));
                    found = again.into_iter().map(|(page, _)| page).collect();
                }
                found.truncate(Tally::DEPTH);
                seconds.push((scanned.times[n] + start.elapsed()).as_secs_f64());
                let truth = self.best(&self.truth.scores[n], Tally::DEPTH);
                tally.add(&self.ids(&found), &self.ids(&truth), &probe.answers);
            }
            self.costs.push(CodeCost {
                code,
                rerank,
                bytes_per_page,
                quality: tally.quality(),
                p50: Duration::from_secs_f64(quantile(&mut seconds, 0.5)),
            });
        }
        Ok(())
    }

    fn ids(&self, pages: &[usize]) -> Vec<PageId> {
        pages.iter().map(|&page| self.pages[page].0).collect()
    }

    fn by_id(&self, a: usize, b: usize) -> std::cmp::Ordering {
        self.pages[a].0.cmp(&self.pages[b].0)
    }

    /// Indices of the `count` best, ties by [`PageId`].
    fn best(&self, scores: &[f32], count: usize) -> Vec<usize> {
        let order = |&a: &usize, &b: &usize| scores[b].total_cmp(&scores[a]).then(self.by_id(a, b));
        let mut pages: Vec<usize> = (0..scores.len()).collect();
        if count < pages.len() {
            pages.select_nth_unstable_by(count, order);
            pages.truncate(count);
        }
        pages.sort_by(order);
        pages
    }
}

#[cfg(test)]
mod tests {
    use pagesight_core::DocumentId;

    use super::*;

    #[test]
    fn exact_loses_nothing_and_each_code_says_what_it_loses() {
        const DIM: usize = 64;
        let mut random = fastrand::Rng::with_seed(3);
        let mut rows =
            |count: usize| (0..count * DIM).map(|_| 2.0 * random.f32() - 1.0).collect::<Vec<_>>();
        let pages: Vec<(PageId, PageVectors)> = (0..300)
            .map(|n| {
                let id = PageId { document: DocumentId([1; 32]), number: n };
                (id, PageVectors::from_f32(DIM, &rows(6)).unwrap())
            })
            .collect();
        let probes: Vec<Probe> = (0..20)
            .map(|n| {
                // Half of the page's vectors: it is the answer to them.
                let page = &pages[n * 15];
                let values: Vec<f32> =
                    page.1.values()[..3 * DIM].iter().map(|v| v.to_f32()).collect();
                let query = QueryVectors::of_rows(DIM, values).unwrap();
                Probe { query, answers: vec![page.0] }
            })
            .collect();
        let mut started = Vec::new();
        let costs = measure_codes(&pages, &probes, &CODES, &mut |name| started.push(name)).unwrap();
        assert_eq!(started, CODES);
        let few = measure_codes(&pages, &probes, &[COMPACT], &mut |_| {}).unwrap();
        let same = |cost: &CodeCost| cost.code == COMPACT && cost.rerank == 0;
        let overlap =
            |costs: &[CodeCost]| costs.iter().find(|cost| same(cost)).unwrap().quality.overlap10;
        assert_eq!((few[0].code, overlap(&few)), ("f16", overlap(&costs)));
        let cost =
            |code, rerank| costs.iter().find(|r| r.code == code && r.rerank == rerank).unwrap();
        assert_eq!(
            (cost("f16", 0).quality.overlap10, cost("f16", 0).quality.ndcg_ratio),
            (1.0, 1.0)
        );
        assert!(cost("int8", 0).quality.overlap10 > 0.95);
        assert!(cost("sign", 0).quality.overlap10 < cost("4bit", 0).quality.overlap10);
        assert!(cost("sign", 200).quality.overlap10 > cost("sign", 0).quality.overlap10);
        // 500 of 300 would be all: that is the exact scan.
        assert!(!costs.iter().any(|cost| cost.rerank == 500));
        let bytes: Vec<f64> =
            ["f16", "int8", "4bit", "2bit", "1bit"].map(|code| cost(code, 0).bytes_per_page).into();
        assert!(bytes.is_sorted_by(|a, b| a > b), "{bytes:?}");
        assert_eq!(cheapest(&costs, 0.0).map(|r| r.quality.loss()), Some(0.0));
        let best = cheapest(&costs, 1.0).unwrap();
        assert!(costs.iter().all(|cost| cost.bytes_per_page >= best.bytes_per_page));
    }

    #[test]
    fn nothing_is_measured_on_nothing() {
        assert!(measure_codes(&[], &[], &CODES, &mut |_| {}).unwrap().is_empty());
        assert_eq!(cheapest(&[], 1.0), None);
    }
}
