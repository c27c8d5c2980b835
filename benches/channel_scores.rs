//! What each channel of an index gives to each page for each of many questions: the ground on which
//! fusion and verdict are fitted, so that fitting needs no search.
//!
//! ```text
//! channel_scores INDEX QUERIES.jsonl [CHANNEL...] > scores.jsonl
//! ```
//!
//! The first line lists the pages as `[path, number]`. Each line after it has a question's `id`, a
//! `channel`, the `most` that a page can have, where the channel can tell, the `tokens` of the query
//! where patches answer, and its `scores`, pairs of
//! a page's place in that list and its score. Pages that a channel did not find are left out.
//!
//! Passages are asked beside words, whose best pages they compare too, and four times, because their
//! scores depend on what is searched: of all documents, of the question's own, of all but its own and
//! of another one (a question that lists `answers` is asked of all alone). Their lines have the
//! `documents` searched, deviations by `tokens` and by `pooled` vectors as pairs, and the `mean` and
//! `deviation` of the cosines that the latter are of; none of these where the model does not
//! understand the question.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use pagesight::Index;
use pagesight::eval::{LabelledQuery, parse_queries};
use pagesight::index::{DocumentId, DocumentRecord};
use pagesight::model::{EmbedderOptions, find_embedder};
use pagesight::search::{Channel, Effort, Hit, PageId, PassageWeights, Search};
use serde_json::{Value, json};

/// Hits from which the scale of cosines is read.
const OF_SCALE: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(queries)) = (arguments.next(), arguments.next()) else {
        return Err("say an index and a file of questions".into());
    };
    let asked: Vec<String> = arguments.collect();
    let index = Index::open(folder)?;
    let text = std::fs::read_to_string(queries)?;
    let queries = parse_queries(&text)?;
    let everywhere = |line: &str| -> Option<bool> {
        Some(serde_json::from_str::<Value>(line).ok()?.get("answers").is_some())
    };
    let everywhere: Vec<bool> = text.lines().filter_map(everywhere).collect();
    let weights = std::env::var_os("PAGESIGHT_WEIGHTS");
    let models = find_embedder(weights.as_deref().map(AsRef::as_ref), None, None);
    let shipped = models.into_iter().find(|place| place.found).map(|place| place.path);
    index.set_embedding(EmbedderOptions { shipped, ..EmbedderOptions::default() });
    let mut pages: Vec<(String, PageId)> = Vec::new();
    for record in index.documents()? {
        let Some(document) = record.document else { continue };
        let numbers = 1..=record.page_count;
        let of = |number| (record.path.clone(), PageId { document, number });
        pages.extend(numbers.map(of));
    }
    let places: HashMap<PageId, usize> = (0..).zip(&pages).map(|(at, (_, id))| (*id, at)).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    let names: Vec<_> = pages.iter().map(|(path, id)| json!([path, id.number])).collect();
    writeln!(out, "{}", json!({ "pages": names }))?;
    for channel in [Channel::Patches, Channel::Words] {
        if !(asked.is_empty() || asked.iter().any(|name| name == channel.as_str())) {
            continue;
        }
        for query in &queries {
            let search = index.search(query.query.as_str()).channels([channel]);
            // No rank need be certain: scores by code will do.
            let search = search.k(pages.len()).effort(Effort::Best(pages.len() - 1)).all(true);
            let Ok(hits) = search.clone().hits() else { break };
            let said = |hit: &Hit| Some((places.get(&hit.page)?, hit.channel(channel)?.score));
            let scores: Vec<_> = hits.iter().filter_map(said).collect();
            let best = hits.first().and_then(|hit| hit.channel(channel));
            // What a page would have that has all that is asked.
            let most = best.and_then(|best| Some(best.score / best.share?));
            // Each query token is answered by a patch.
            let explained = match channel {
                Channel::Patches => Some(search.k(1).explain(true).run()?),
                _ => None,
            };
            let tokens = explained.and_then(|answer| Some(answer.hits.first()?.matches.len()));
            let line = json!({
                "id": query.id, "channel": channel.as_str(), "most": most, "tokens": tokens,
                "scores": scores,
            });
            writeln!(out, "{line}")?;
        }
    }
    if asked.is_empty() || asked.iter().any(|name| name == Channel::Passages.as_str()) {
        for (at, (query, everywhere)) in queries.iter().zip(everywhere).enumerate() {
            for documents in settings(&index.documents()?, query, at, everywhere) {
                writeln!(out, "{}", passages(&index, query, &documents, &places)?)?;
            }
        }
    }
    Ok(out.flush()?)
}

/// The documents that a question is asked of, each time.
fn settings(
    records: &[DocumentRecord],
    query: &LabelledQuery,
    at: usize,
    everywhere: bool,
) -> Vec<Vec<(String, DocumentId)>> {
    let named = records.iter().filter_map(|of| Some((of.path.clone(), of.document?)));
    let all: Vec<(String, DocumentId)> = named.collect();
    let is_own = |path: &str| path.ends_with(&query.doc) || query.doc.ends_with(path);
    let (own, others): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|of| is_own(&of.0));
    if everywhere || own.is_empty() || others.is_empty() {
        return vec![all];
    }
    // A step that shares no factor with small numbers of documents.
    let other = others[at * 37 % others.len()].clone();
    vec![all, own, others, vec![other]]
}

fn passages(
    index: &Index,
    query: &LabelledQuery,
    documents: &[(String, DocumentId)],
    places: &HashMap<PageId, usize>,
) -> Result<Value, Box<dyn std::error::Error>> {
    let ids: Vec<DocumentId> = documents.iter().map(|of| of.1).collect();
    let search = |channels: &[Channel], tokens, pooled| -> Search {
        let search = index.search(query.query.as_str()).channels(channels.iter().copied());
        let search = search.documents(ids.iter().copied()).all(true);
        search.passage_weights(PassageWeights { tokens, pooled, ..PassageWeights::default() })
    };
    let scores = |tokens, pooled| -> Result<Vec<(usize, f32)>, pagesight::Error> {
        let search = search(&[Channel::Words, Channel::Passages], tokens, pooled);
        let hits = search.k(places.len()).hits()?;
        let said =
            |hit: &Hit| Some((*places.get(&hit.page)?, hit.channel(Channel::Passages)?.score));
        Ok(hits.iter().filter_map(said).collect())
    };
    let paths: Vec<&str> = documents.iter().map(|of| of.0.as_str()).collect();
    let line = json!({ "id": query.id, "channel": "passages", "documents": paths });
    let tokens = scores(1.0, 0.0)?;
    if tokens.is_empty() {
        return Ok(line);
    }
    let pooled = scores(0.0, 1.0)?;
    // Scores are deviations above the mean; two of them and their cosines tell both.
    let hits = search(&[Channel::Passages], 0.0, 1.0).k(OF_SCALE).run()?.hits;
    let known: Vec<(f32, f32)> = hits
        .iter()
        .filter_map(|hit| {
            Some((hit.channel(Channel::Passages)?.score, hit.passage.as_ref()?.similarity))
        })
        .collect();
    let scale = known.first().zip(known.last()).filter(|(best, last)| best.0 > last.0);
    let deviation = scale.map_or(0.0, |(best, last)| (best.1 - last.1) / (best.0 - last.0));
    let mean = known.first().map_or(0.0, |best| best.1 - best.0 * deviation);
    let mut line = line;
    line["tokens"] = json!(tokens);
    line["pooled"] = json!(pooled);
    line["mean"] = json!(mean);
    line["deviation"] = json!(deviation);
    Ok(line)
}
