//! Ranks a corpus folder and prints one JSON object: rate, latency, quality against exact MaxSim.
//!
//! ```text
//! cargo run --release -p pagesight-maxsim --example corpus -- DIR [--code f32|f16|int8|sign]
//!     [--rerank N|bound] [--threads N] [--instructions portable|avx2|avx512]
//! ```
//!
//! DIR holds `header.json` (`pages`, `patches`, `dim`, `docs_data_offset`, `queries_data_offset`,
//! `query_offsets`, `query_target`), `docs.npy` and `queries.npy` (little-endian f32 after those
//! offsets), and `gt_ids.npy` (i32, `[queries, 100]`), the exact ranking. With `--rerank N` the best
//! N pages by code are scored again in f16; with `--rerank bound` (int8 only) all that the bound on
//! the code's error leaves, so that the ranking is that of f16 for certain.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Instant;

use pagesight_core::{PageVectors, QueryVectors};
use pagesight_maxsim::{
    Instructions, Int8Page, Int8Query, PreparedQuery, SignCoder, SignPage, SignQuery,
};
use serde_json::{Value, json};

/// Depth of a ranking.
const K: usize = 10;

/// Pages handed to a thread at a time.
const CHUNK: usize = 32;

/// Pages that the mean of the signs is taken of.
const SAMPLE: usize = 256;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The pages in one code.
enum Coded {
    F32(Vec<Vec<f32>>),
    F16,
    Int8(Vec<Int8Page>),
    Sign(Vec<SignPage>),
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
    instructions: Instructions,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which corpus folder?")?;
    let mut options = Options {
        code: "int8".into(),
        rerank: Rerank::Best(0),
        threads: std::thread::available_parallelism()?.get(),
        instructions: Instructions::best(),
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--code" => options.code = value,
            "--rerank" if value == "bound" => options.rerank = Rerank::Bound,
            "--rerank" => options.rerank = Rerank::Best(value.parse()?),
            "--threads" => options.threads = value.parse()?,
            "--instructions" => {
                let named = |i: &Instructions| format!("{i:?}").eq_ignore_ascii_case(&value);
                let missing = || format!("this processor has no {value}");
                let found = Instructions::available().into_iter().find(named);
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
    let coded = match options.code.as_str() {
        "f32" => Coded::F32(wide),
        "f16" => Coded::F16,
        "int8" => Coded::Int8(pages.iter().map(Int8Page::encode).collect()),
        "sign" => {
            let coder = SignCoder::fit(pages.iter().step_by(count.div_ceil(SAMPLE)))?;
            Coded::Sign(pages.iter().map(|page| coder.encode(page)).collect::<Result<_, _>>()?)
        }
        other => return Err(format!("no code {other}: f32, f16, int8 or sign").into()),
    };
    let build_s = start.elapsed().as_secs_f64();
    let offsets = list("query_offsets")?;
    let mut file = File::open(folder.join("queries.npy"))?;
    file.seek(SeekFrom::Start(number("queries_data_offset")? as u64))?;
    let queries = offsets.windows(2).map(|pair| {
        let tokens = pair[1] - pair[0];
        let values = floats(&mut file, tokens * dim)?;
        Ok(QueryVectors::new(dim, values, vec![String::new(); tokens])?)
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
    Ok((Corpus { pages, coded, queries, targets, exact }, build_s))
}

fn floats(file: &mut File, count: usize) -> Outcome<Vec<f32>> {
    let mut bytes = vec![0; count * 4];
    file.read_exact(&mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
}

/// The `K` best pages for `query`, and how many were scored again.
fn rank(corpus: &Corpus, options: &Options, query: &QueryVectors) -> (Vec<usize>, usize) {
    let exact = PreparedQuery::with(options.instructions, query);
    let dims = "one dim in a corpus";
    let all: Vec<usize> = (0..corpus.pages.len()).collect();
    let score_f16 = |page: usize| exact.score(&corpus.pages[page]).expect(dims);
    let mut scored = match &corpus.coded {
        Coded::F32(pages) => {
            scores(&all, options.threads, |page| exact.score_f32(&pages[page]).expect(dims))
        }
        Coded::F16 => scores(&all, options.threads, score_f16),
        Coded::Int8(pages) => {
            let query = Int8Query::with(options.instructions, query);
            let scored =
                scores(&all, options.threads, |page| query.score(&pages[page]).expect(dims));
            match options.rerank {
                Rerank::Bound => within_bounds(scored, |page| query.bound(&pages[page])),
                Rerank::Best(_) => scored,
            }
        }
        Coded::Sign(pages) => {
            let query = SignQuery::with(options.instructions, query);
            scores(&all, options.threads, |page| query.score(&pages[page]).expect(dims))
        }
    };
    let again = match options.rerank {
        Rerank::Bound => scored.len(),
        Rerank::Best(n) => n.min(scored.len()),
    };
    keep_best(&mut scored, again.max(K));
    if again > 0 {
        let candidates: Vec<usize> = scored.iter().map(|&(page, _)| page).collect();
        scored = scores(&candidates, options.threads, score_f16);
        keep_best(&mut scored, K);
    }
    (scored.into_iter().map(|(page, _)| page).collect(), again)
}

/// The pages that may be among the `K` best: at best not below what `K` pages have at worst.
fn within_bounds(scored: Vec<(usize, f32)>, bound: impl Fn(usize) -> f32) -> Vec<(usize, f32)> {
    let mut worst: Vec<f32> = scored.iter().map(|&(page, score)| score - bound(page)).collect();
    let last = K.min(worst.len()) - 1;
    let (_, &mut at_worst, _) = worst.select_nth_unstable_by(last, |a, b| b.total_cmp(a));
    scored.into_iter().filter(|&(page, score)| score + bound(page) >= at_worst).collect()
}

/// Scores `pages` on `threads` threads.
fn scores(
    pages: &[usize],
    threads: usize,
    score: impl Fn(usize) -> f32 + Sync,
) -> Vec<(usize, f32)> {
    let mut scored: Vec<(usize, f32)> = pages.iter().map(|&page| (page, 0.0)).collect();
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
    for query in corpus.queries.iter().take(3) {
        rank(corpus, options, query);
    }
    let (mut ms, mut rates, mut gflops, mut found) = (vec![], vec![], vec![], vec![]);
    let mut again = 0;
    let (count, dim) = (corpus.pages.len() as f64, corpus.pages[0].dim() as f64);
    let vectors: usize = corpus.pages.iter().map(PageVectors::len).sum();
    let cpu = cpu_seconds();
    for query in &corpus.queries {
        let start = Instant::now();
        let (ranking, reranked) = rank(corpus, options, query);
        let seconds = start.elapsed().as_secs_f64();
        found.push(ranking);
        again += reranked;
        ms.push(seconds * 1e3);
        rates.push(count / seconds);
        gflops.push(2.0 * query.len() as f64 * dim * vectors as f64 / seconds / 1e9);
    }
    let cpu = cpu_seconds() - cpu;
    let bytes = match &corpus.coded {
        Coded::F32(_) => vectors * dim as usize * 4,
        Coded::F16 => vectors * dim as usize * 2,
        Coded::Int8(pages) => pages.iter().map(Int8Page::bytes).sum(),
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
    let ndcg = mean(&|n| gain(&found[n], corpus.targets[n]));
    let ndcg_exact = mean(&|n| gain(&corpus.exact[n], corpus.targets[n]));
    json!({
        "engine": "pagesight",
        "code": options.code,
        "reranked": again as f64 / queries,
        "threads": options.threads,
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
            "same_top1": mean(&|n| f64::from(u8::from(found[n][0] == corpus.exact[n][0]))),
            "n_queries": corpus.queries.len(),
        },
    })
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
