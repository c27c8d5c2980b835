//! Measures what the meaning of the text adds to its words, on labelled questions.
//!
//! ```text
//! cargo run --example meaning -- INDEX_FOLDER QUESTIONS.jsonl...
//! ```
//!
//! For all pages as one corpus and for the pages of the labelled document alone, and for each group
//! of labels: nDCG@5, recall@5 and @10 of words alone, of passages alone, and of both, and of both with
//! other weights (`enough 0` is the plain sum of deviations), with the difference of nDCG@5 to words alone and its paired 95% interval (bootstrap over
//! the questions, 10,000 draws, the same on every machine). Also how many questions were asked in
//! the passages at all, and how many of the others have another ranking than by words alone: none
//! may.

use std::collections::BTreeMap;
use std::error::Error;
use std::{env, fs};

use pagesight::Index;
use pagesight::eval::{LabelledQuery, Measures, measure, parse_queries};
use pagesight::index::DocumentId;
use pagesight::model::{EmbedderOptions, find_embedder};
use pagesight::search::{Channel, PassageWeights};

/// Draws of the bootstrap.
const DRAWS: usize = 10_000;

/// What is compared.
struct System {
    name: String,
    channels: Vec<Channel>,
    weights: PassageWeights,
}

/// What a question got from a system.
struct Asked {
    measures: Measures,
    pages: Vec<(String, u32)>,
    meant: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, files @ ..] = arguments.as_slice() else {
        return Err("INDEX_FOLDER QUESTIONS.jsonl...".into());
    };
    let index = Index::open(folder)?;
    let weights = env::var_os("PAGESIGHT_WEIGHTS");
    let places = find_embedder(weights.as_deref().map(AsRef::as_ref), None, None);
    let shipped = places.into_iter().find(|place| place.found).map(|place| place.path);
    index.set_embedding(EmbedderOptions { shipped, ..EmbedderOptions::default() });
    let systems = systems();
    for file in files {
        let text = fs::read_to_string(file)?;
        let queries = parse_queries(&text)?;
        let groups = groups(&text);
        for per_document in [false, true] {
            let asked: Vec<Vec<Asked>> = systems
                .iter()
                .map(|system| {
                    queries.iter().map(|q| ask(&index, q, system, per_document)).collect()
                })
                .collect::<Result<_, _>>()?;
            let setting = if per_document { "per document" } else { "one corpus" };
            println!("\n{file}, {setting}");
            report(&systems, &asked, &groups, &queries);
        }
    }
    Ok(())
}

fn systems() -> Vec<System> {
    let system = |name: &str, channels: &[Channel], weights| System {
        name: name.into(),
        channels: channels.to_vec(),
        weights,
    };
    let usual = PassageWeights::default();
    let both = [Channel::Words, Channel::Passages];
    let mut all = vec![
        system("words", &[Channel::Words], usual),
        system("meaning", &[Channel::Passages], usual),
        system("both", &both, usual),
    ];
    let (tokens, pooled, enough) = (usual.tokens, usual.pooled, usual.enough);
    for (tokens, pooled, enough) in [
        (tokens, pooled, 0.0),
        (tokens, pooled, enough / 2.0),
        (tokens, pooled, enough * 2.0),
        (tokens / 2.0, pooled / 2.0, enough),
        (tokens * 2.0, pooled * 2.0, enough),
    ] {
        let name = format!("{tokens} tokens + {pooled} pooled, enough {enough}");
        all.push(system(&name, &both, PassageWeights { tokens, pooled, enough }));
    }
    all
}

/// The label of each question, and its language where it is not English.
fn groups(text: &str) -> Vec<String> {
    let of = |line: &str| -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let label = value["label"].as_str().unwrap_or("labelled");
        Some(match value["lang"].as_str() {
            None | Some("en") => label.to_string(),
            Some(other) => format!("{label} {other}"),
        })
    };
    text.lines().filter_map(of).collect()
}

fn ask(
    index: &Index,
    query: &LabelledQuery,
    system: &System,
    per_document: bool,
) -> Result<Asked, Box<dyn Error>> {
    let ends = |path: &str| path.ends_with(&query.doc) || query.doc.ends_with(path);
    let mut search = index
        .search(query.query.as_str())
        .k(10)
        .channels(system.channels.iter().copied())
        .all(true)
        .passage_weights(system.weights);
    if per_document {
        let documents = index.documents()?;
        let labelled = documents.iter().filter(|record| ends(&record.path));
        let labelled: Vec<DocumentId> = labelled.filter_map(|record| record.document).collect();
        search = search.documents(labelled);
    }
    let answer = search.run()?;
    let named = |path: &str| if ends(path) { query.doc.clone() } else { path.to_string() };
    let pages: Vec<(String, u32)> =
        answer.hits.iter().map(|hit| (named(hit.page.path()), hit.page.number())).collect();
    let ranking: Vec<(&str, u32)> = pages.iter().map(|(doc, page)| (doc.as_str(), *page)).collect();
    let meant = answer.channels.contains(&Channel::Passages);
    Ok(Asked { measures: measure(query, &ranking), pages, meant })
}

fn report(systems: &[System], asked: &[Vec<Asked>], groups: &[String], queries: &[LabelledQuery]) {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(at);
    }
    if members.len() > 1 {
        members.insert("all", (0..queries.len()).collect());
    }
    for (group, members) in members {
        let shut = members.iter().filter(|&&at| !asked[2][at].meant).count();
        let changed = members
            .iter()
            .filter(|&&at| !asked[2][at].meant && asked[2][at].pages != asked[0][at].pages);
        println!(
            "{group}: {} questions, {shut} not asked in the passages, of these {} changed",
            members.len(),
            changed.count()
        );
        for (system, asked_of) in systems.iter().zip(asked) {
            let mean = |of: fn(&Measures) -> f64| {
                members.iter().map(|&at| of(&asked_of[at].measures)).sum::<f64>()
                    / members.len() as f64
            };
            let gains: Vec<f64> = members
                .iter()
                .map(|&at| asked_of[at].measures.ndcg5 - asked[0][at].measures.ndcg5)
                .collect();
            let (low, high) = interval(&gains);
            println!(
                "  {:34} nDCG@5 {:.3} ({:+.3} [{low:+.3}, {high:+.3}])  R@5 {:.3}  R@10 {:.3}",
                system.name,
                mean(|m| m.ndcg5),
                gains.iter().sum::<f64>() / gains.len() as f64,
                mean(|m| m.recall5),
                mean(|m| m.recall10),
            );
        }
    }
}

/// The middle 95% of the means of draws with replacement.
fn interval(values: &[f64]) -> (f64, f64) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values[(random >> 33) as usize % values.len()]
    };
    let mean = |_| (0..values.len()).map(|_| draw()).sum::<f64>() / values.len() as f64;
    let mut means: Vec<f64> = (0..DRAWS).map(mean).collect();
    means.sort_by(f64::total_cmp);
    (means[DRAWS / 40], means[DRAWS - DRAWS / 40 - 1])
}
