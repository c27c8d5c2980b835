//! Ranks a corpus folder and prints one JSON object: rate, latency, quality against exact MaxSim.
//!
//! ```text
//! cargo run --release -p pagesight-maxsim --example corpus -- DIR [--code f32|f16|int8|4bit|2bit|1bit|sign|residual4|residual2|residual1]
//!     [--rerank N|bound] [--threads N] [--batch N]
//!     [--instructions portable|avx2|avx512|amx] [--pool F]
//! ```
//!
//! `--pool F` merges the vectors of each page into n / F before they are coded; reranking uses all
//! of them. The code `fde:K:P:R` is one int8 vector a page, MUVERA's fixed-dimensional encoding
//! (Jayaram et al. 2024) with 2^K buckets, P numbers a bucket and R repetitions.
//!
//! DIR holds `header.json` (`pages`, `patches`, `dim`, `docs_data_offset`, `queries_data_offset`,
//! `query_offsets`, `query_target`), `docs.npy` and `queries.npy` (little-endian f32 after those
//! offsets), and `gt_ids.npy` (i32, `[queries, 100]`), the exact ranking. With `--rerank N` the best
//! N pages by code are scored again in f16; with `--rerank bound` (int8 only) as many as the bounds on
//! the code's error ask for, so that the ranking is that of f16 for certain. `quality.in_first`
//! says what share of the exact ten best is among the first 10, 50, 100, 200 and 500 by code.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Instant;

use pagesight_core::{PageVectors, QueryVectors};
use pagesight_maxsim::{
    Bits, Code, ExactQuery, Instructions, Int8Page, Int8Query, Query, ResidualCoder, ResidualPage,
    ScalarCoder, ScalarPage, SignCoder, SignPage, SignQuery, pool,
};
use serde_json::{Value, json};

/// Depth of a ranking.
const K: usize = 10;

/// Pages handed to a thread at a time.
const CHUNK: usize = 32;

/// Pages whose full-precision vectors are read at a time while the best so far may rule out the next ones.
const AT_ONCE: usize = 16;

/// Pages that the mean of the signs is taken of.
const SAMPLE: usize = 256;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The pages in one code.
enum Coded {
    F32(Vec<Vec<f32>>),
    F16,
    Int8(Vec<Int8Page>),
    Scalar(ScalarCoder, Vec<ScalarPage>),
    Residual(ResidualCoder, Vec<ResidualPage>),
    Sign(Vec<SignPage>),
    Fde(Fde, Vec<Int8Page>),
}

struct Corpus {
    pages: Vec<PageVectors>,
    coded: Coded,
    queries: Vec<QueryVectors>,
    targets: Vec<usize>,
    exact: Vec<Vec<usize>>,
}

/// Pages to score again in f16.
#[derive(Debug, Clone, Copy)]
enum Rerank {
    Best(usize),
    Bound,
}

struct Options {
    code: String,
    rerank: Rerank,
    threads: usize,
    /// Queries scored in one pass.
    batch: usize,
    /// Vectors that are merged into one.
    pool: usize,
    instructions: Instructions,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which corpus folder?")?;
    let mut options = Options {
        code: "int8".into(),
        rerank: Rerank::Best(0),
        threads: std::thread::available_parallelism()?.get(),
        batch: 1,
        pool: 1,
        instructions: Instructions::best(),
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--code" => options.code = value,
            "--rerank" if value == "bound" => options.rerank = Rerank::Bound,
            "--rerank" => options.rerank = Rerank::Best(value.parse()?),
            "--threads" => options.threads = value.parse()?,
            "--pool" => options.pool = value.parse::<usize>()?.max(1),
            "--batch" => options.batch = value.parse::<usize>()?.max(1),
            "--instructions" => {
                let named = |i: &Instructions| format!("{i:?}").eq_ignore_ascii_case(&value);
                let missing = || format!("this CPU has no {value}");
                let found = Instructions::available().iter().copied().find(named);
                options.instructions = found.ok_or_else(missing)?;
            }
            _ => return Err(format!("no option {name}").into()),
        }
    }
    if matches!(options.rerank, Rerank::Bound) && options.code != "int8" {
        return Err("--rerank bound needs --code int8".into());
    }
    let (corpus, build_s) = read(Path::new(&folder), &options)?;
    println!("{}", measure(&corpus, &options, build_s));
    Ok(())
}

fn read(folder: &Path, options: &Options) -> Outcome<(Corpus, f64)> {
    let header: Value = serde_json::from_reader(File::open(folder.join("header.json"))?)?;
    let number = |name: &str| header[name].as_u64().map(|n| n as usize).ok_or(name.to_string());
    let list = |name: &str| -> Outcome<Vec<usize>> {
        let values = header[name].as_array().ok_or_else(|| name.to_string())?;
        Ok(values.iter().filter_map(|v| Some(v.as_u64()? as usize)).collect())
    };
    let (count, patches, dim) = (number("pages")?, number("patches")?, number("dim")?);
    let mut docs = File::open(folder.join("docs.npy"))?;
    docs.seek(SeekFrom::Start(number("docs_data_offset")? as u64))?;
    let mut pages = Vec::with_capacity(count);
    let mut wide = Vec::new();
    for _ in 0..count {
        let values = floats(&mut docs, patches * dim)?;
        pages.push(PageVectors::from_f32(dim, &values)?);
        if options.code == "f32" {
            wide.push(values);
        }
    }
    let start = Instant::now();
    let pooled = match options.pool {
        1 => None,
        factor => Some(encoded(&pages, options.threads, |page| pool(page, factor))),
    };
    let whole = std::mem::take(&mut pages);
    let pages = pooled.as_ref().unwrap_or(&whole);
    let coded = match options.code.as_str() {
        "f32" => Coded::F32(wide),
        "f16" => Coded::F16,
        "int8" => Coded::Int8(encoded(pages, options.threads, Int8Page::encode)),
        "4bit" => scalar(Bits::Four, pages, options.threads)?,
        "2bit" => scalar(Bits::Two, pages, options.threads)?,
        "1bit" => scalar(Bits::One, pages, options.threads)?,
        "residual4" => residual(Bits::Four, pages, options.threads)?,
        "residual2" => residual(Bits::Two, pages, options.threads)?,
        "residual1" => residual(Bits::One, pages, options.threads)?,
        "sign" => {
            let coder = SignCoder::fit(sample(pages))?;
            let encode = |page: &PageVectors| coder.encode(page).expect("one dim in a corpus");
            Coded::Sign(encoded(pages, options.threads, encode))
        }
        name if name.starts_with("fde:") => {
            let fde = Fde::new(name, pages)?;
            let encode = |page: &PageVectors| fde.page(page);
            let coded = encoded(pages, options.threads, encode);
            Coded::Fde(fde, coded)
        }
        other => return Err(format!("no code {other}; see the head of this example").into()),
    };
    let build_s = start.elapsed().as_secs_f64();
    let offsets = list("query_offsets")?;
    let mut file = File::open(folder.join("queries.npy"))?;
    file.seek(SeekFrom::Start(number("queries_data_offset")? as u64))?;
    let queries = offsets.windows(2).map(|pair| {
        let tokens = pair[1] - pair[0];
        let values = floats(&mut file, tokens * dim)?;
        Ok(QueryVectors::of_rows(dim, values)?)
    });
    let queries = queries.collect::<Outcome<Vec<_>>>()?;
    // The header of an .npy file of version 1: 10 bytes and a text of the length in bytes 8 and 9.
    let mut bytes = Vec::new();
    File::open(folder.join("gt_ids.npy"))?.read_to_end(&mut bytes)?;
    let data = &bytes[10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))..];
    let ids: Vec<usize> =
        data.as_chunks().0.iter().map(|four| i32::from_le_bytes(*four) as usize).collect();
    let exact = ids.chunks_exact(ids.len() / queries.len()).map(<[usize]>::to_vec).collect();
    let targets = list("query_target")?;
    Ok((Corpus { pages: whole, coded, queries, targets, exact }, build_s))
}

fn floats(file: &mut File, count: usize) -> Outcome<Vec<f32>> {
    let mut bytes = vec![0; count * 4];
    file.read_exact(&mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
}

fn sample(pages: &[PageVectors]) -> impl Iterator<Item = &PageVectors> {
    pages.iter().step_by(pages.len().div_ceil(SAMPLE))
}

fn scalar(bits: Bits, pages: &[PageVectors], threads: usize) -> Outcome<Coded> {
    let coder = ScalarCoder::fit(bits, sample(pages))?;
    let encode = |page: &PageVectors| coder.encode(page).expect("one dim in a corpus");
    let coded = encoded(pages, threads, encode);
    Ok(Coded::Scalar(coder, coded))
}

fn residual(bits: Bits, pages: &[PageVectors], threads: usize) -> Outcome<Coded> {
    let sample: Vec<PageVectors> = sample(pages).cloned().collect();
    let coder = ResidualCoder::fit(bits, &sample)?;
    let encode = |page: &PageVectors| coder.encode(page).expect("one dim in a corpus");
    let coded = encoded(pages, threads, encode);
    Ok(Coded::Residual(coder, coded))
}

/// Encodes `pages` on `threads` threads.
fn encoded<T: Send>(
    pages: &[PageVectors],
    threads: usize,
    encode: impl Fn(&PageVectors) -> T + Sync,
) -> Vec<T> {
    let part = pages.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let encode = &encode;
        let work = |pages| scope.spawn(move || Vec::from_iter(<[_]>::iter(pages).map(encode)));
        let parts: Vec<_> = pages.chunks(part).map(work).collect();
        parts.into_iter().flat_map(|part| part.join().expect("encoding does not panic")).collect()
    })
}

/// Scores a page for each query of a batch.
type Scorer<'a> = Box<dyn Fn(usize) -> Vec<f32> + Sync + 'a>;

fn scorer<'a>(corpus: &'a Corpus, with: Instructions, queries: &[&QueryVectors]) -> Scorer<'a> {
    let dims = "one dim in a corpus";
    match &corpus.coded {
        Coded::F32(pages) => {
            let each: Vec<_> = queries.iter().map(|q| ExactQuery::with(with, q)).collect();
            let score =
                move |page: &[f32]| each.iter().map(|q| q.score_f32(page).expect(dims)).collect();
            Box::new(move |page| score(&pages[page]))
        }
        Coded::F16 => of_pages(ExactQuery::batch(with, queries).expect(dims), &corpus.pages),
        Coded::Int8(pages) => of_pages(Int8Query::batch(with, queries).expect(dims), pages),
        Coded::Scalar(coder, pages) => of_pages(coder.query(with, queries).expect(dims), pages),
        Coded::Residual(coder, pages) => of_pages(coder.query(with, queries).expect(dims), pages),
        Coded::Sign(pages) => of_pages(SignQuery::batch(with, queries).expect(dims), pages),
        Coded::Fde(fde, pages) => {
            let each: Vec<_> =
                queries.iter().map(|q| Int8Query::with(with, &fde.query(q))).collect();
            Box::new(move |page| each.iter().map(|q| q.score(&pages[page]).expect(dims)).collect())
        }
    }
}

/// Scores pages of one code.
fn of_pages<'a, C, P>(batch: Query<C>, pages: &'a [P]) -> Scorer<'a>
where
    C: Code + Sync + 'a,
    P: Sync,
    &'a P: Into<C::Page<'a>>,
{
    Box::new(move |page| batch.scores(&pages[page]).expect("one dim in a corpus"))
}

/// Scores of all pages for each query of a batch.
fn scan(corpus: &Corpus, options: &Options, queries: &[&QueryVectors]) -> Vec<Vec<(usize, f32)>> {
    let score = scorer(corpus, options.instructions, queries);
    let all: Vec<usize> = (0..corpus.pages.len()).collect();
    let scored = scores(&all, options.threads, score);
    let of = |n: usize| scored.iter().map(move |(page, scores)| (*page, scores[n])).collect();
    (0..queries.len()).map(of).collect()
}

/// Fixed-dimensional encodings: in each repetition vectors are thrown into buckets by the signs of
/// some random projections; a query sums the vectors of a bucket, a page takes their mean (an
/// empty bucket that of the nearest one); another random projection makes them short.
struct Fde {
    bits: usize,
    short: usize,
    repetitions: usize,
    mean: Vec<f32>,
    /// `[repetitions, bits + short, dim]`
    planes: Vec<f32>,
}

impl Fde {
    fn new(name: &str, pages: &[PageVectors]) -> Outcome<Self> {
        let numbers: Vec<usize> =
            name.split(':').skip(1).map(str::parse).collect::<Result<_, _>>()?;
        let [bits, short, repetitions] = numbers[..] else { return Err("fde:K:P:R".into()) };
        let dim = pages[0].dim();
        let (mut mean, mut count) = (vec![0.0f32; dim], 0.0);
        for row in sample(pages).flat_map(|page| page.values().chunks_exact(dim)) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x.to_f32());
            count += 1.0;
        }
        mean.iter_mut().for_each(|mean| *mean /= count);
        let mut random = fastrand::Rng::with_seed(1);
        let mut uniform = || 2.0 * random.f32() - 1.0;
        // Sums of uniform numbers are as good as normal.
        let planes = (0..repetitions * (bits + short) * dim)
            .map(|_| uniform() + uniform() + uniform() + uniform())
            .collect();
        Ok(Self { bits, short, repetitions, mean, planes })
    }

    fn page(&self, page: &PageVectors) -> Int8Page {
        let rows: Vec<f32> = page.values().iter().map(|value| value.to_f32()).collect();
        let values = self.encode(&rows, true);
        Int8Page::encode(&PageVectors::from_f32(values.len(), &values).expect("finite"))
    }

    fn query(&self, query: &QueryVectors) -> QueryVectors {
        let values = self.encode(query.values(), false);
        QueryVectors::of_rows(values.len(), values).expect("finite")
    }

    fn encode(&self, rows: &[f32], means: bool) -> Vec<f32> {
        let dim = self.mean.len();
        let buckets = 1 << self.bits;
        let mut out = Vec::with_capacity(self.repetitions * buckets * self.short);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let centred: Vec<f32> =
            rows.iter().zip(self.mean.iter().cycle()).map(|(x, mean)| x - mean).collect();
        for planes in self.planes.chunks_exact((self.bits + self.short) * dim) {
            let (hash, project) = planes.split_at(self.bits * dim);
            let mut sums = vec![0.0f32; buckets * dim];
            let mut counts = vec![0.0f32; buckets];
            for (row, centred) in rows.chunks_exact(dim).zip(centred.chunks_exact(dim)) {
                let bit = |(n, plane): (usize, &[f32])| usize::from(dot(plane, centred) > 0.0) << n;
                let bucket: usize = hash.chunks_exact(dim).enumerate().map(bit).sum();
                let from = if means { centred } else { row };
                sums[bucket * dim..][..dim].iter_mut().zip(from).for_each(|(sum, x)| *sum += x);
                counts[bucket] += 1.0;
            }
            for bucket in 0..buckets {
                let near = |other: &usize| (other ^ bucket).count_ones();
                let from = if means {
                    (0..buckets).filter(|&b| counts[b] > 0.0).min_by_key(near).unwrap_or(bucket)
                } else {
                    bucket
                };
                let scale = if means { counts[from].max(1.0).recip() } else { 1.0 };
                let sum = &sums[from * dim..][..dim];
                out.extend(project.chunks_exact(dim).map(|plane| dot(plane, sum) * scale));
            }
        }
        out
    }
}

/// The `K` best pages for each query of a batch, and how many were scored again.
fn rank(corpus: &Corpus, options: &Options, queries: &[&QueryVectors]) -> (Vec<Vec<usize>>, usize) {
    let mut again = 0;
    let scanned = scan(corpus, options, queries);
    let rankings = queries.iter().zip(scanned).map(|(query, mut scored)| {
        let exact = ExactQuery::with(options.instructions, query);
        match (options.rerank, &corpus.coded) {
            (Rerank::Bound, Coded::Int8(pages)) => {
                let coded = Int8Query::with(options.instructions, query);
                let certified = Certified { corpus, options, exact, coded, pages };
                let read;
                (scored, read) = certified.rank(scored);
                again += read;
            }
            (Rerank::Bound, _) => unreachable!("checked with the options"),
            (Rerank::Best(0), _) => {}
            (Rerank::Best(n), _) => {
                keep_best(&mut scored, n.max(K));
                again += scored.len();
                scored = exact_scores(corpus, options, &exact, &scored);
            }
        }
        keep_best(&mut scored, K);
        scored.into_iter().map(|(page, _)| page).collect()
    });
    (rankings.collect(), again)
}

fn exact_scores(
    corpus: &Corpus,
    options: &Options,
    exact: &ExactQuery,
    of: &[(usize, f32)],
) -> Vec<(usize, f32)> {
    let pages: Vec<usize> = of.iter().map(|&(page, _)| page).collect();
    scores(&pages, options.threads, |page| {
        exact.score(&corpus.pages[page]).expect("one dim in a corpus")
    })
}

/// What pagesight's certified search does, see `visual/certified.rs` of its query room.
struct Certified<'a> {
    corpus: &'a Corpus,
    options: &'a Options,
    exact: ExactQuery,
    coded: Int8Query,
    pages: &'a [Int8Page],
}

impl Certified<'_> {
    /// The exact `K` best, and how many full-precision vectors of pages were read for them.
    fn rank(&self, mut scored: Vec<(usize, f32)>) -> (Vec<(usize, f32)>, usize) {
        let bound = |page: usize| self.coded.bound(&self.pages[page]);
        let mut least: Vec<f32> = scored.iter().map(|&(page, score)| score - bound(page)).collect();
        let last = K.min(least.len()) - 1;
        let certain = *least.select_nth_unstable_by(last, |a, b| b.total_cmp(a)).1;
        scored.retain(|&(page, score)| score + bound(page) >= certain);
        let all = scored.len();
        keep_best(&mut scored, all);
        let rest = scored.split_off(K.min(all));
        let (mut best, mut read) = (self.exact_ranking(&scored), scored.len());
        let lowest = |best: &[(usize, f32)]| best.last().map_or(f32::NEG_INFINITY, |last| last.1);
        let enough = lowest(&best);
        let doubtful: Vec<usize> = rest
            .into_iter()
            .filter(|&(page, score)| score + bound(page) >= enough)
            .map(|(page, _)| page)
            .collect();
        let mut most = scores(&doubtful, self.options.threads, |page| {
            let view = (&self.pages[page]).into();
            self.exact.score_code(&view).expect("one dim") + self.exact.bound_code(&view)
        });
        most.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut most = &most[..];
        loop {
            let few = &most[..most.len().min(AT_ONCE)];
            let few = &few[..few.partition_point(|page| page.1 >= lowest(&best))];
            if few.is_empty() {
                return (best, read);
            }
            best.extend(self.exact_ranking(few));
            keep_best(&mut best, K);
            read += few.len();
            most = &most[few.len()..];
        }
    }

    /// The exact ranking of `pages`.
    fn exact_ranking(&self, pages: &[(usize, f32)]) -> Vec<(usize, f32)> {
        let mut best = exact_scores(self.corpus, self.options, &self.exact, pages);
        keep_best(&mut best, K);
        best
    }
}

/// Scores `pages` on `threads` threads.
fn scores<T: Default + Send>(
    pages: &[usize],
    threads: usize,
    score: impl Fn(usize) -> T + Sync,
) -> Vec<(usize, T)> {
    let mut scored: Vec<(usize, T)> = pages.iter().map(|&page| (page, T::default())).collect();
    let work = std::sync::Mutex::new(scored.chunks_mut(CHUNK));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = work.lock().expect("no panic under the lock").next();
                    let Some(chunk) = next else { break };
                    for (page, value) in chunk {
                        *value = score(*page);
                    }
                }
            });
        }
    });
    scored
}

fn keep_best(scored: &mut Vec<(usize, f32)>, k: usize) {
    let order = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if k < scored.len() {
        scored.select_nth_unstable_by(k, order);
        scored.truncate(k);
    }
    scored.sort_by(order);
}

fn measure(corpus: &Corpus, options: &Options, build_s: f64) -> Value {
    let queries: Vec<&QueryVectors> = corpus.queries.iter().collect();
    rank(corpus, options, &queries[..queries.len().min(3)]);
    let (mut ms, mut rates, mut gflops, mut found) = (vec![], vec![], vec![], vec![]);
    let mut again = 0;
    let (count, dim) = (corpus.pages.len() as f64, corpus.pages[0].dim() as f64);
    let vectors: usize = corpus.pages.iter().map(PageVectors::len).sum();
    let cpu = cpu_seconds();
    for batch in queries.chunks(options.batch) {
        let start = Instant::now();
        let (rankings, reranked) = rank(corpus, options, batch);
        let seconds = start.elapsed().as_secs_f64();
        let tokens: usize = batch.iter().map(|query| query.len()).sum();
        found.extend(rankings);
        again += reranked;
        ms.push(seconds * 1e3);
        rates.push(count * batch.len() as f64 / seconds);
        gflops.push(2.0 * tokens as f64 * dim * vectors as f64 / seconds / 1e9);
    }
    let cpu = cpu_seconds() - cpu;
    let bytes = match &corpus.coded {
        Coded::F32(_) => vectors * dim as usize * 4,
        Coded::F16 => vectors * dim as usize * 2,
        Coded::Int8(pages) | Coded::Fde(_, pages) => pages.iter().map(Int8Page::bytes).sum(),
        Coded::Scalar(_, pages) => pages.iter().map(ScalarPage::bytes).sum(),
        Coded::Residual(_, pages) => pages.iter().map(ResidualPage::bytes).sum(),
        Coded::Sign(pages) => pages.iter().map(SignPage::bytes).sum(),
    };
    let queries = corpus.queries.len() as f64;
    let mean = |values: &dyn Fn(usize) -> f64| {
        (0..corpus.queries.len()).map(values).sum::<f64>() / queries
    };
    let gain = |ranking: &[usize], target| {
        let at = ranking.iter().take(K).position(|&page| page == target);
        at.map_or(0.0, |at| 1.0 / (at as f64 + 2.0).log2())
    };
    let overlap = mean(&|n| {
        let shared = corpus.exact[n][..K].iter().filter(|page| found[n].contains(page)).count();
        shared as f64 / K as f64
    });
    let in_first = in_first(corpus, options);
    let ndcg = mean(&|n| gain(&found[n], corpus.targets[n]));
    let ndcg_exact = mean(&|n| gain(&corpus.exact[n], corpus.targets[n]));
    json!({
        "engine": "pagesight",
        "code": options.code,
        "reranked": again as f64 / queries,
        "threads": options.threads,
        "batch": options.batch,
        "pool": options.pool,
        "instructions": format!("{:?}", options.instructions),
        "pages": corpus.pages.len(),
        "build_s": build_s,
        "bytes_per_page": bytes as f64 / count,
        "pages_per_s": quantile(&mut rates, 0.5),
        "pages_per_s_min": quantile(&mut rates, 0.0),
        "pages_per_s_max": quantile(&mut rates, 1.0),
        "pages_per_cpu_s": count * queries / cpu,
        "gflops": quantile(&mut gflops, 0.5),
        "tokens_mean": corpus.queries.iter().map(|q| q.len() as f64).sum::<f64>() / queries,
        "latency_ms_p50": quantile(&mut ms, 0.5),
        "p50_ms": quantile(&mut ms, 0.5),
        "p95_ms": quantile(&mut ms, 0.95),
        "quality": {
            "overlap_at_10": overlap,
            "ndcg_ratio_to_exact": ndcg / ndcg_exact.max(1e-9),
            "ndcg10": ndcg,
            "ndcg10_exact": ndcg_exact,
            "in_first": in_first,
            "same_top1": mean(&|n| f64::from(u8::from(found[n][0] == corpus.exact[n][0]))),
            "n_queries": corpus.queries.len(),
        },
    })
}

/// The share of the exact `K` best among the first pages by code, for each depth.
fn in_first(corpus: &Corpus, options: &Options) -> Value {
    const DEPTHS: [usize; 5] = [10, 50, 100, 200, 500];
    let mut found = [0; DEPTHS.len()];
    for (n, query) in corpus.queries.iter().enumerate() {
        let mut scored = scan(corpus, options, &[query]).remove(0);
        keep_best(&mut scored, DEPTHS[DEPTHS.len() - 1]);
        for (found, depth) in found.iter_mut().zip(DEPTHS) {
            let first = &scored[..depth.min(scored.len())];
            let is_among = |page: &&usize| first.iter().any(|(other, _)| other == *page);
            *found += corpus.exact[n][..K].iter().filter(is_among).count();
        }
    }
    let all = (corpus.queries.len() * K) as f64;
    DEPTHS.iter().zip(found).map(|(d, n)| (d.to_string(), json!(n as f64 / all))).collect()
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}

/// User and system time of this process, s; Linux only, elsewhere not a number.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / 100.0 } else { f64::NAN }
}
