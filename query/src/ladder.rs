//! What each code costs and loses, measured on given pages and queries.

use std::time::{Duration, Instant};

use pagesight_core::{PageId, PageVectors, QueryVectors};
use pagesight_maxsim::{
    Bits, DimMismatch, Instructions, Int8Page, Int8Query, PreparedQuery, ResidualCoder,
    ResidualPage, ResidualQuery, ScalarCoder, ScalarPage, ScalarQuery, SignCoder, SignPage,
    SignQuery,
};
use rayon::prelude::*;

use crate::metrics::quantile;

/// How deep rankings are compared.
pub const DEPTH: usize = 10;

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

/// A query and the pages that answer it.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The question's vectors.
    pub query: QueryVectors,
    /// Its answers; may be empty when they are not known.
    pub answers: Vec<PageId>,
}

/// A way to rank: a code that is scanned, and how many pages are scored again from the masters.
#[derive(Debug, Clone, PartialEq)]
pub struct Rung {
    /// One of [`CODES`].
    pub code: &'static str,
    /// Pages scored again.
    pub rerank: usize,
    /// Bytes that a scan reads a page.
    pub bytes_per_page: f64,
    /// Share of the exact ten best that are among its ten best; mean over the queries.
    pub overlap10: f64,
    /// nDCG@10 over that of exact MaxSim; 1 when no answers are known.
    pub ndcg_ratio: f64,
    /// Median time of a query over these pages, scan and rerank, all in memory.
    pub p50: Duration,
}

impl Rung {
    /// What is lost beside exact MaxSim, 0 to 1: the larger of the losses of nDCG and overlap.
    pub fn loss(&self) -> f64 {
        (1.0 - self.ndcg_ratio).max(1.0 - self.overlap10).max(0.0)
    }
}

/// The rung within `max_loss` that reads least a page, the one that reranks least of equals.
pub fn cheapest(rungs: &[Rung], max_loss: f64) -> Option<&Rung> {
    let within = rungs.iter().filter(|rung| rung.loss() <= max_loss);
    within
        .min_by(|a, b| a.bytes_per_page.total_cmp(&b.bytes_per_page).then(a.rerank.cmp(&b.rerank)))
}

/// Measures the rungs of `codes`, exact MaxSim first in any case. `tell` hears the name of each code
/// before it is measured. Memory: one code of all `pages` beside them.
///
/// # Errors
/// [`DimMismatch`] when pages or queries differ in dim.
pub fn climb(
    pages: &[(PageId, PageVectors)],
    probes: &[Probe],
    codes: &[&str],
    tell: &mut dyn FnMut(&'static str),
) -> Result<Vec<Rung>, DimMismatch> {
    if pages.is_empty() || probes.is_empty() {
        return Ok(Vec::new());
    }
    let with = Instructions::best();
    let masters: Vec<&PageVectors> = pages.iter().map(|(_, page)| page).collect();
    let sample = || masters.iter().copied().step_by(masters.len().div_ceil(SAMPLE));
    tell("f16");
    let exact = Scanned::new(probes, |query| {
        let query = PreparedQuery::with(with, query);
        scores(&masters, |page| query.score(page))
    })?;
    let mut ladder = Ladder { pages, probes, truth: &exact, rungs: Vec::new() };
    let bytes = |code: usize| code as f64 / pages.len() as f64;
    let size: usize = masters.iter().map(|page| page.values().len() * 2).sum();
    ladder.add("f16", bytes(size), &exact, &[0])?;

    for &name in CODES.iter().filter(|name| codes.contains(name)) {
        if name != "f16" {
            tell(name);
        }
        match name {
            "int8" => {
                let encode = |page: &PageVectors| Ok(Int8Page::encode(page));
                let query = |query: &QueryVectors| Ok(Int8Query::with(with, query));
                let parts = (encode, Int8Page::bytes, query);
                ladder.measure(name, &masters, parts, Int8Query::score)?;
            }
            "sign" => {
                let coder = SignCoder::fit(sample())?;
                let query = |query: &QueryVectors| Ok(SignQuery::with(with, query));
                let parts = (|page: &PageVectors| coder.encode(page), SignPage::bytes, query);
                ladder.measure(name, &masters, parts, SignQuery::score)?;
            }
            "4bit" | "2bit" | "1bit" => {
                let coder = ScalarCoder::fit(bits(name), sample())?;
                let query = |query: &QueryVectors| coder.query(with, &[query]);
                let parts = (|page: &PageVectors| coder.encode(page), ScalarPage::bytes, query);
                ladder.measure(name, &masters, parts, ScalarQuery::score)?;
            }
            "residual4" | "residual2" | "residual1" => {
                let sample: Vec<PageVectors> = sample().cloned().collect();
                let coder = ResidualCoder::fit(bits(name), &sample)?;
                let query = |query: &QueryVectors| coder.query(with, &[query]);
                let parts = (|page: &PageVectors| coder.encode(page), ResidualPage::bytes, query);
                ladder.measure(name, &masters, parts, ResidualQuery::score)?;
            }
            _ => {}
        }
    }
    Ok(ladder.rungs)
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

struct Ladder<'a> {
    pages: &'a [(PageId, PageVectors)],
    probes: &'a [Probe],
    truth: &'a Scanned,
    rungs: Vec<Rung>,
}

impl Ladder<'_> {
    /// Adds the rungs of a code: how a page is coded, what it takes then, and how a query is laid out
    /// for `score`.
    fn measure<P: Send + Sync, Q: Sync>(
        &mut self,
        name: &'static str,
        masters: &[&PageVectors],
        (encode, bytes, query): (
            impl Fn(&PageVectors) -> Result<P, DimMismatch> + Send + Sync,
            impl Fn(&P) -> usize,
            impl Fn(&QueryVectors) -> Result<Q, DimMismatch>,
        ),
        score: impl Fn(&Q, &P) -> Result<f32, DimMismatch> + Send + Sync,
    ) -> Result<(), DimMismatch> {
        let codes: Vec<P> =
            masters.par_iter().map(|page| encode(page)).collect::<Result<_, _>>()?;
        let scanned = Scanned::new(self.probes, |probe| {
            let query = query(probe)?;
            scores(&codes, |page| score(&query, page))
        })?;
        let bytes = codes.iter().map(bytes).sum::<usize>() as f64 / masters.len() as f64;
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
            let (mut overlap, mut gain, mut ideal) = (0.0, 0.0, 0.0);
            let mut ms = Vec::with_capacity(self.probes.len());
            for (n, probe) in self.probes.iter().enumerate() {
                let start = Instant::now();
                let mut found = self.best(&scanned.scores[n], rerank.max(DEPTH));
                if rerank > 0 {
                    let query = PreparedQuery::new(&probe.query);
                    let score = |&page: &usize| query.score(&self.pages[page].1);
                    let scores: Result<Vec<f32>, _> = found.par_iter().map(score).collect();
                    let mut again: Vec<_> = found.into_iter().zip(scores?).collect();
                    again.sort_by(|a, b| b.1.total_cmp(&a.1).then(self.by_id(a.0, b.0)));
                    found = again.into_iter().map(|(page, _)| page).collect();
                }
                found.truncate(DEPTH);
                ms.push((scanned.times[n] + start.elapsed()).as_secs_f64() * 1e3);
                let truth = self.best(&self.truth.scores[n], DEPTH);
                let shared = truth.iter().filter(|page| found.contains(page)).count();
                overlap += shared as f64 / truth.len() as f64;
                gain += self.gain(&found, &probe.answers);
                ideal += self.gain(&truth, &probe.answers);
            }
            self.rungs.push(Rung {
                code,
                rerank,
                bytes_per_page,
                overlap10: overlap / self.probes.len() as f64,
                ndcg_ratio: if ideal > 0.0 { gain / ideal } else { 1.0 },
                p50: Duration::from_secs_f64(quantile(&mut ms, 0.5) / 1e3),
            });
        }
        Ok(())
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

    /// Discounted cumulative gain, over the best possible: binary relevance.
    fn gain(&self, found: &[usize], answers: &[PageId]) -> f64 {
        let discount = |index: usize| 1.0 / ((index + 2) as f64).log2();
        let ideal: f64 = (0..answers.len().min(DEPTH)).map(discount).sum();
        let relevant = |page: usize| answers.contains(&self.pages[page].0);
        let hits = found.iter().enumerate().filter(|&(_, &page)| relevant(page));
        let gain = hits.fold(0.0, |sum, (index, _)| sum + discount(index));
        if ideal > 0.0 { gain / ideal } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use pagesight_core::DocumentId;

    use super::*;

    fn noise(state: &mut u64) -> f32 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    #[test]
    fn exact_loses_nothing_and_each_rung_says_what_it_loses() {
        const DIM: usize = 64;
        let mut state = 3;
        let mut rows =
            |count: usize| (0..count * DIM).map(|_| noise(&mut state)).collect::<Vec<_>>();
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
                let query = QueryVectors::new(DIM, values, vec![String::new(); 3]).unwrap();
                Probe { query, answers: vec![page.0] }
            })
            .collect();
        let mut told = Vec::new();
        let rungs = climb(&pages, &probes, &CODES, &mut |name| told.push(name)).unwrap();
        assert_eq!(told, CODES);
        let few = climb(&pages, &probes, &[COMPACT], &mut |_| {}).unwrap();
        let same = |rung: &Rung| rung.code == COMPACT && rung.rerank == 0;
        let overlap = |rungs: &[Rung]| rungs.iter().find(|rung| same(rung)).unwrap().overlap10;
        assert_eq!((few[0].code, overlap(&few)), ("f16", overlap(&rungs)));
        let rung =
            |code, rerank| rungs.iter().find(|r| r.code == code && r.rerank == rerank).unwrap();
        assert_eq!((rung("f16", 0).overlap10, rung("f16", 0).ndcg_ratio), (1.0, 1.0));
        assert!(rung("int8", 0).overlap10 > 0.95);
        assert!(rung("sign", 0).overlap10 < rung("4bit", 0).overlap10);
        assert!(rung("sign", 200).overlap10 > rung("sign", 0).overlap10);
        // 500 of 300 would be all: that is the exact scan, no rung.
        assert!(!rungs.iter().any(|rung| rung.rerank == 500));
        let bytes: Vec<f64> =
            ["f16", "int8", "4bit", "2bit", "1bit"].map(|code| rung(code, 0).bytes_per_page).into();
        assert!(bytes.is_sorted_by(|a, b| a > b), "{bytes:?}");
        assert_eq!(cheapest(&rungs, 0.0).map(|r| r.loss()), Some(0.0));
        let best = cheapest(&rungs, 1.0).unwrap();
        assert!(rungs.iter().all(|rung| rung.bytes_per_page >= best.bytes_per_page));
    }

    #[test]
    fn nothing_is_measured_on_nothing() {
        assert!(climb(&[], &[], &CODES, &mut |_| {}).unwrap().is_empty());
        assert_eq!(cheapest(&[], 1.0), None);
    }
}
