//! Two rankings into one.

use std::collections::{BTreeMap, HashSet};

use pagesight_core::{ChannelScore, Hit, PageId};

/// Softens the difference between neighbouring ranks; 60 as in Cormack, Clarke and Buettcher
/// 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods".
const RANK_OFFSET: f32 = 60.0;

/// How far the pictures are to be trusted beside words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// What the visual rank of a page with words counts; its text rank counts 1.
    pub visual_weight: f32,
    /// How much more, a query token, the visual score of a page without words must be to put it
    /// before one with words.
    pub visual_margin: f32,
}

impl Default for Fusion {
    /// As much as words.
    fn default() -> Self {
        Self { visual_weight: 1.0, visual_margin: 0.0 }
    }
}

/// What the visual channel said.
#[derive(Debug, Clone, Copy)]
pub struct Visual<'a> {
    /// Pages and their MaxSim, best first.
    pub ranking: &'a [(PageId, f32)],
    /// Tokens of the query.
    pub tokens: usize,
    /// Those of the pages that have hardly a word.
    pub wordless: &'a HashSet<PageId>,
}

/// Joins the channels' rankings (best first). With one channel its own scores rank. With two, pages
/// with words rank by weighted reciprocal rank fusion, `1 / (60 + text rank) + visual_weight / (60 +
/// visual rank)`, since MaxSim and BM25 have no common scale. Of a page without words BM25 says
/// nothing, so there late interaction decides alone: the page goes before the first one whose own
/// visual score, by the margin, is lower. Ties go to the better visual rank, then the smaller
/// [`PageId`].
///
/// ```
/// use std::collections::HashSet;
/// use pagesight_core::{DocumentId, PageId};
/// use pagesight_query::{Fusion, Visual, fuse};
/// let page = |number| PageId { document: DocumentId([0; 32]), number };
/// let text = [(page(2), 3.5), (page(3), 3.0)];
/// let ranking = [(page(1), 9.0), (page(2), 8.9), (page(3), 5.0)];
/// let order = |fusion, wordless: &HashSet<PageId>| -> Vec<u32> {
///     let visual = Visual { ranking: &ranking, tokens: 10, wordless };
///     fuse(fusion, Some(visual), Some(&text)).iter().map(|hit| hit.page.number).collect()
/// };
/// // Both channels found page 2. With page 1 a scan, the pictures alone compare the two.
/// assert_eq!(order(Fusion::default(), &HashSet::new()), [2, 3, 1]);
/// let scan = HashSet::from([page(1)]);
/// assert_eq!(order(Fusion::default(), &scan), [1, 2, 3]);
/// // 0.1 in ten tokens is not enough for this margin.
/// assert_eq!(order(Fusion { visual_weight: 0.0, visual_margin: 0.05 }, &scan), [2, 1, 3]);
/// ```
pub fn fuse(
    fusion: Fusion,
    visual: Option<Visual<'_>>,
    text: Option<&[(PageId, f32)]>,
) -> Vec<Hit> {
    let mut hits: BTreeMap<PageId, Hit> = BTreeMap::new();
    let both = visual.is_some() && text.is_some();
    let mut add = |ranking: &[(PageId, f32)], weight: f32, set: fn(&mut Hit, ChannelScore)| {
        for (index, &(page, score)) in ranking.iter().enumerate() {
            let rank = index as u32 + 1;
            let hit =
                hits.entry(page).or_insert(Hit { page, score: 0.0, visual: None, text: None });
            hit.score += if both { weight / (RANK_OFFSET + rank as f32) } else { score };
            set(hit, ChannelScore { score, rank });
        }
    };
    if let Some(visual) = visual {
        add(visual.ranking, fusion.visual_weight, |hit, score| hit.visual = Some(score));
    }
    add(text.unwrap_or_default(), 1.0, |hit, score| hit.text = Some(score));
    let mut hits: Vec<Hit> = hits.into_values().collect();
    let rank = |hit: &Hit| hit.visual.map_or(u32::MAX, |visual| visual.rank);
    hits.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then(rank(a).cmp(&rank(b))).then(a.page.cmp(&b.page))
    });
    match visual.filter(|visual| both && !visual.wordless.is_empty()) {
        Some(visual) => place_wordless(fusion, visual, hits),
        None => hits,
    }
}

/// Puts the pages without words where their visual scores put them among the others, unless words
/// that found their names put them higher.
fn place_wordless(fusion: Fusion, visual: Visual<'_>, hits: Vec<Hit>) -> Vec<Hit> {
    let is_bare = |hit: &Hit| hit.visual.is_some() && visual.wordless.contains(&hit.page);
    let mut bare: Vec<Hit> = hits.iter().copied().filter(is_bare).collect();
    bare.sort_by_key(|hit| hit.visual.map(|visual| visual.rank));
    let worded = hits.into_iter().filter(|hit| hit.text.is_some() || !is_bare(hit));
    // What the channel did not return has at most the score of the last that it did.
    let least = visual.ranking.last().map_or(f32::NEG_INFINITY, |last| last.1);
    let score = |hit: &Hit| hit.visual.map_or(least, |visual| visual.score);
    let margin = fusion.visual_margin * visual.tokens as f32;
    let mut placed: Vec<Hit> = Vec::with_capacity(bare.len() + worded.size_hint().1.unwrap_or(0));
    let mut worded = worded.peekable();
    for mut hit in bare {
        while let Some(next) = worded.next_if(|next| score(next) >= score(&hit) - margin) {
            push_once(&mut placed, next);
        }
        // Between its neighbours, so that scores rank.
        let below = worded.peek().map_or(0.0, |next| next.score);
        let above = placed.last().map_or(below + 2.0 / RANK_OFFSET, |last| last.score);
        hit.score = (above + below) / 2.0;
        push_once(&mut placed, hit);
    }
    worded.for_each(|hit| push_once(&mut placed, hit));
    placed
}

fn push_once(placed: &mut Vec<Hit>, hit: Hit) {
    if placed.iter().all(|before| before.page != hit.page) {
        placed.push(hit);
    }
}

#[cfg(test)]
mod tests {
    use pagesight_core::DocumentId;

    use super::*;

    fn page(number: u32) -> PageId {
        PageId { document: DocumentId([0; 32]), number }
    }

    fn ranking(pages: &[(u32, f32)]) -> Vec<(PageId, f32)> {
        pages.iter().map(|&(number, score)| (page(number), score)).collect()
    }

    fn order(hits: &[Hit]) -> Vec<u32> {
        assert!(hits.is_sorted_by(|a, b| a.score >= b.score), "{hits:?}");
        hits.iter().map(|hit| hit.page.number).collect()
    }

    #[test]
    fn untrusted_pictures_leave_the_order_of_words() {
        let text = ranking(&[(5, 3.0), (4, 2.0), (3, 1.0)]);
        let seen = ranking(&[(1, 9.0), (3, 8.0), (2, 7.0), (4, 6.0)]);
        let none = HashSet::new();
        let visual = Some(Visual { ranking: &seen, tokens: 10, wordless: &none });
        let fusion = Fusion { visual_weight: 0.0, visual_margin: 0.0 };
        // Pages that only the pictures found come after, in their order.
        assert_eq!(order(&fuse(fusion, visual, Some(&text))), [5, 4, 3, 1, 2]);
        assert_eq!(order(&fuse(fusion, visual, None)), [1, 3, 2, 4]);
        assert_eq!(order(&fuse(fusion, None, Some(&text))), [5, 4, 3]);
        assert_eq!(order(&fuse(fusion, visual, Some(&[]))), [1, 3, 2, 4]);
    }

    #[test]
    fn pages_without_words_go_where_their_pictures_put_them() {
        let text = ranking(&[(5, 3.0), (4, 2.0), (3, 1.0)]);
        let seen = ranking(&[(1, 9.0), (5, 8.9), (2, 7.0), (4, 6.0)]);
        let bare = HashSet::from([page(1), page(2)]);
        let fused = |visual_margin| {
            let visual = Visual { ranking: &seen, tokens: 10, wordless: &bare };
            let fusion = Fusion { visual_weight: 0.0, visual_margin };
            order(&fuse(fusion, Some(visual), Some(&text)))
        };
        assert_eq!(fused(0.0), [1, 5, 2, 4, 3]);
        assert_eq!(fused(0.02), [5, 1, 2, 4, 3]);
        // Page 3 was not seen: at most the score of the last that was.
        assert_eq!(fused(0.35), [5, 4, 3, 1, 2]);
        // A page that words found by its name alone is there once, where they or the pictures put it.
        let text = ranking(&[(2, 4.0), (5, 3.0)]);
        let visual = Visual { ranking: &seen, tokens: 10, wordless: &bare };
        let hits = fuse(Fusion::default(), Some(visual), Some(&text));
        assert_eq!(order(&hits), [1, 2, 5, 4]);
        assert_eq!(hits[1].text.map(|text| text.rank), Some(1));
    }
}
