//! Two rankings into one.

use std::collections::BTreeMap;

use pagesight_core::{ChannelScore, Hit, PageId};

/// Softens the difference between neighbouring ranks; 60 as in Cormack, Clarke and Buettcher
/// 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods".
const RANK_OFFSET: f32 = 60.0;

/// Joins the channels' rankings (best first). With one channel its own scores rank; with two,
/// reciprocal rank fusion: `sum over channels of 1 / (60 + rank)`, since MaxSim and BM25 have no
/// common scale. Ties go to the smaller [`PageId`].
///
/// ```
/// use pagesight_core::{DocumentId, PageId};
/// use pagesight_query::fuse;
/// let page = |number| PageId { document: DocumentId([0; 32]), number };
/// let hits = fuse(Some(&[(page(1), 9.0), (page(2), 8.0)]), Some(&[(page(2), 3.5)]));
/// assert_eq!(hits[0].page, page(2)); // both channels found it
/// assert_eq!(hits[0].text.unwrap().rank, 1);
/// assert!(hits[1].text.is_none());
/// ```
pub fn fuse(visual: Option<&[(PageId, f32)]>, text: Option<&[(PageId, f32)]>) -> Vec<Hit> {
    let mut hits: BTreeMap<PageId, Hit> = BTreeMap::new();
    let both = visual.is_some() && text.is_some();
    let mut add = |ranking: Option<&[(PageId, f32)]>, set: fn(&mut Hit, ChannelScore)| {
        for (index, &(page, score)) in ranking.unwrap_or_default().iter().enumerate() {
            let rank = index as u32 + 1;
            let hit =
                hits.entry(page).or_insert(Hit { page, score: 0.0, visual: None, text: None });
            hit.score += if both { 1.0 / (RANK_OFFSET + rank as f32) } else { score };
            set(hit, ChannelScore { score, rank });
        }
    };
    add(visual, |hit, score| hit.visual = Some(score));
    add(text, |hit, score| hit.text = Some(score));
    let mut hits: Vec<Hit> = hits.into_values().collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.page.cmp(&b.page)));
    hits
}
