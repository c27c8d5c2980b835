//! `pagesight eval`.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use pagesight::Index;
use pagesight::eval::{LabelledQuery, Measures, mean, measure, parse_queries, quantile};
use pagesight::index::DocumentId;
use pagesight::search::Channel;
use serde_json::json;

use super::args::{ModelChoice, Place};
use super::query::{ChannelChoice, channels, open};
use super::terminal::Terminal;
use super::{Outcome, checkpoint, hinted};

/// How deep a ranking is measured.
const DEPTH: usize = 100;

/// How deep all measures look but MRR, which ends where the first relevant page is.
const FIRST: usize = 10;

/// Measure rankings against labelled questions.
///
/// The queries file has a line of JSON a query: id, query, doc (a path or the end of one), pages
/// (1-based) and, where each page alone answers, any_page.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight eval --queries fixtures/queries.jsonl\n  \
    pagesight eval --queries q.jsonl --per-document --json --run run.jsonl")]
pub struct EvalVerb {
    /// Labelled questions, JSON Lines.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub queries: PathBuf,
    /// Also rank the pages of the labelled document alone.
    #[arg(long)]
    pub per_document: bool,
    /// Measure one channel only [default: each one that can answer, and both fused].
    #[arg(long, value_enum)]
    pub channel: Option<ChannelChoice>,
    /// Write each query's ranking, JSON Lines: {"id", "results": [[doc, page], ...]}; with
    /// several channels or settings their names are put before the ending.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub run: Option<PathBuf>,
    /// Rank pictures by bare MaxSim, without taking off what a page gives to any question.
    #[arg(long)]
    pub no_background: bool,
    #[command(flatten)]
    pub model: ModelChoice,
    /// A line of JSON a channel and setting.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &EvalVerb, terminal: &Terminal) -> Result<Outcome> {
    let reading = || format!("reading {}", verb.queries.display());
    let text = fs::read_to_string(&verb.queries).with_context(reading)?;
    let queries = parse_queries(&text).with_context(reading)?;
    if queries.is_empty() {
        return Err(hinted(format!("{} has no queries", verb.queries.display()), "see --help"));
    }
    let index = open(place, &verb.model)?;
    let labels = Labels::new(&index, &queries)?;
    if !labels.missing.is_empty() {
        eprintln!(
            "{} labelled documents are not in the index and count as misses, the first is {}",
            labels.missing.len(),
            labels.missing[0]
        );
    }
    let words_alone = verb.model.model.as_deref().is_some_and(checkpoint::is_none);
    let mut single = vec![Channel::Words];
    if !words_alone && index.snapshot().model().is_some() {
        single.insert(0, Channel::Patches);
    }
    if index.snapshot().embedder().is_some() {
        single.push(Channel::Passages);
    }
    let asked = match verb.channel {
        Some(choice) => vec![channels(choice, &verb.model)?],
        None => {
            if !words_alone && index.snapshot().model().is_none() {
                eprintln!("no vision model: the channels of text alone are measured");
            }
            let mut asked: Vec<Vec<Channel>> =
                single.iter().map(|channel| vec![*channel]).collect();
            asked.extend((single.len() > 1).then(|| single.clone()));
            asked
        }
    };
    let settings: &[Setting] =
        if verb.per_document { &[Setting::Corpus, Setting::Document] } else { &[Setting::Corpus] };
    let runs = asked.len() * settings.len();
    let mut out = io::stdout().lock();
    if !verb.json {
        writeln!(
            out,
            "channel  setting       queries  nDCG@5  R@1     R@5     R@10    MRR     p50 ms  p95 ms"
        )?;
    }
    for channels in &asked {
        for &setting in settings {
            let bar = terminal.bar(queries.len() as u64, name(channels));
            let mut measured = Run::default();
            for query in &queries {
                // Each certain rank costs reading: as many as people ask for, unless a miss or a
                // file of rankings wants more.
                let depth = if verb.run.is_none() { FIRST } else { DEPTH };
                let how = How { channels, setting, background: !verb.no_background };
                let found = measured.add(&index, &labels, query, how, depth)?;
                if !found && depth < DEPTH {
                    measured.look_deeper(&index, &labels, query, how)?;
                }
                bar.inc(1);
            }
            bar.finish_and_clear();
            if let Some(file) = &verb.run {
                let file = match runs {
                    1 => file.clone(),
                    _ => named(file, name(channels), setting.name()),
                };
                measured.write(&file).with_context(|| format!("writing {}", file.display()))?;
            }
            measured.report(&mut out, name(channels), setting, verb.json)?;
        }
    }
    Ok(Outcome::Done)
}

/// Which pages compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Corpus,
    Document,
}

/// How questions are asked.
#[derive(Clone, Copy)]
struct How<'a> {
    channels: &'a [Channel],
    setting: Setting,
    background: bool,
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Self::Corpus => "corpus",
            Self::Document => "per-document",
        }
    }
}

fn name(channels: &[Channel]) -> &'static str {
    match channels {
        [Channel::Patches] => "visual",
        [Channel::Words] => "text",
        [Channel::Passages] => "meaning",
        _ => "both",
    }
}

/// Labelled documents and where they are in the index.
pub struct Labels {
    pub documents: BTreeMap<String, DocumentId>,
    /// What a hit on a document is called: its label, or its path.
    names: HashMap<DocumentId, String>,
    missing: Vec<String>,
}

impl Labels {
    pub fn new(index: &Index, queries: &[LabelledQuery]) -> Result<Self> {
        let mut this =
            Self { documents: BTreeMap::new(), names: HashMap::new(), missing: Vec::new() };
        let records = index.documents()?;
        for record in &records {
            if let Some(document) = record.document {
                this.names.entry(document).or_insert_with(|| record.path.clone());
            }
        }
        let mut labels: Vec<&str> = queries.iter().map(|query| query.doc.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        for label in labels {
            // One is the end of the other, at a folder's border: labels and index may start at
            // different folders.
            let ends = |long: &str, short: &str| {
                long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
            };
            let mut found: Vec<DocumentId> = records
                .iter()
                .filter(|record| ends(&record.path, label) || ends(label, &record.path))
                .filter_map(|record| record.document)
                .collect();
            found.sort_unstable();
            found.dedup();
            match found[..] {
                [] => this.missing.push(label.to_string()),
                [document] => {
                    this.documents.insert(label.to_string(), document);
                    this.names.insert(document, label.to_string());
                }
                _ => {
                    return Err(hinted(
                        format!("the label {label} fits {} documents of the index", found.len()),
                        "write more of its path in the queries file",
                    ));
                }
            }
        }
        Ok(this)
    }
}

#[derive(Default)]
struct Run {
    measures: Vec<Measures>,
    ms: Vec<f64>,
    rankings: Vec<(String, Vec<(String, u32)>)>,
}

impl Run {
    /// Measures the first `depth` pages for `query`, and the time that they take; whether one of
    /// them is relevant.
    fn add(
        &mut self,
        index: &Index,
        labels: &Labels,
        query: &LabelledQuery,
        how: How<'_>,
        depth: usize,
    ) -> Result<bool> {
        let start = Instant::now();
        let ranking = ranked(index, labels, query, how, depth)?;
        self.ms.push(start.elapsed().as_secs_f64() * 1e3);
        let measures = measured(query, &ranking);
        self.measures.push(measures);
        self.rankings.push((query.id.clone(), ranking));
        Ok(measures.mrr > 0.0)
    }

    /// Measures the last query again, as deep as MRR looks. Only the first search is timed: it is
    /// the one that people wait for.
    fn look_deeper(
        &mut self,
        index: &Index,
        labels: &Labels,
        query: &LabelledQuery,
        how: How<'_>,
    ) -> Result<()> {
        let ranking = ranked(index, labels, query, how, DEPTH)?;
        let last = self.measures.last_mut().expect("a query was added");
        last.mrr = measured(query, &ranking).mrr;
        Ok(())
    }

    /// As the development set's score.py reads it.
    fn write(&self, file: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(file)?);
        for (id, results) in &self.rankings {
            writeln!(out, "{}", json!({"id": id, "results": results}))?;
        }
        out.flush()
    }

    fn report(
        mut self,
        out: &mut impl Write,
        channel: &str,
        setting: Setting,
        as_json: bool,
    ) -> io::Result<()> {
        let m = mean(&self.measures);
        let [p50, p95] = [0.5, 0.95].map(|q| (quantile(&mut self.ms, q) * 1e3).round() / 1e3);
        let (setting, queries) = (setting.name(), self.measures.len());
        if as_json {
            writeln!(
                out,
                "{}",
                json!({
                    "v": 1, "type": "summary", "channel": channel, "setting": setting,
                    "queries": queries, "ndcg@5": m.ndcg5, "recall@1": m.recall1,
                    "recall@5": m.recall5, "recall@10": m.recall10, "mrr": m.mrr,
                    "p50_ms": p50, "p95_ms": p95,
                })
            )
        } else {
            writeln!(
                out,
                "{channel:8} {setting:13} {queries:>7}  {:.4}  {:.4}  {:.4}  {:.4}  {:.4}  {p50:>6.1}  {p95:>6.1}",
                m.ndcg5, m.recall1, m.recall5, m.recall10, m.mrr
            )
        }
    }
}

/// The first `depth` pages for `query`: the label of the document, and the page.
fn ranked(
    index: &Index,
    labels: &Labels,
    query: &LabelledQuery,
    how: How<'_>,
    depth: usize,
) -> Result<Vec<(String, u32)>> {
    let channels = how.channels.iter().copied();
    let mut search = index.search(query.query.as_str()).k(depth).channels(channels);
    search = search.background(how.background);
    if how.setting == Setting::Document {
        search = search.documents(labels.documents.get(&query.doc).copied());
    }
    let ranking = search.ranking().with_context(|| format!("asking {}", query.id))?;
    let name = |document: &DocumentId| labels.names.get(document).cloned().unwrap_or_default();
    Ok(ranking.iter().map(|page| (name(&page.document), page.number)).collect())
}

fn measured(query: &LabelledQuery, ranking: &[(String, u32)]) -> Measures {
    let ranking: Vec<(&str, u32)> =
        ranking.iter().map(|(document, page)| (document.as_str(), *page)).collect();
    measure(query, &ranking)
}

/// `run.jsonl` for a channel and a setting: `run.text.corpus.jsonl`.
fn named(file: &Path, channel: &str, setting: &str) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let ending = file.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    file.with_file_name(format!("{stem}.{channel}.{setting}{ending}"))
}
