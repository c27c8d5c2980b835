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

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use pagesight::Index;
use pagesight::eval::parse_queries;
use pagesight::search::{Channel, Effort, Hit, PageId};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(queries)) = (arguments.next(), arguments.next()) else {
        return Err("say an index and a file of questions".into());
    };
    let asked: Vec<String> = arguments.collect();
    let index = Index::open(folder)?;
    let queries = parse_queries(&std::fs::read_to_string(queries)?)?;
    let mut pages: Vec<(String, PageId)> = Vec::new();
    for record in index.documents() {
        let Some(document) = record.document else { continue };
        let numbers = 1..=record.page_count;
        let of = |number| (record.path.clone(), PageId { document, number });
        pages.extend(numbers.map(of));
    }
    let places: HashMap<PageId, usize> = (0..).zip(&pages).map(|(at, (_, id))| (*id, at)).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    let names: Vec<_> = pages.iter().map(|(path, id)| json!([path, id.number])).collect();
    writeln!(out, "{}", json!({ "pages": names }))?;
    for channel in [Channel::Patches, Channel::Words, Channel::Passages] {
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
    Ok(out.flush()?)
}
