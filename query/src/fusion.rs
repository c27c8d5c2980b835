//! Several rankings into one.

use std::collections::{BTreeMap, HashSet};

use pagesight_core::{Channel, ChannelScore, Fusion, Hit, PageId};

/// Softens the difference between neighbouring ranks; 60 as in Cormack, Clarke and Buettcher
/// 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods".
const RANK_OFFSET: f32 = 60.0;

/// What one channel said: pages with their scores, best first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelRanking<'a> {
    /// The channel.
    pub channel: Channel,
    /// Pages and their scores, best first.
    pub pages: &'a [(PageId, f32)],
}

/// Pages that have hardly a word, such as scans. That a channel of text did not find them says
/// nothing against them.
#[derive(Debug, Clone, Copy)]
pub struct Wordless<'a> {
    /// The pages.
    pub pages: &'a HashSet<PageId>,
    /// Tokens of the query, which the margin of [`Fusion`] is for each of.
    pub tokens: usize,
}

/// Joins the rankings of any number of channels, each of them once.
///
/// With one channel, its own scores rank. With several, pages rank by weighted reciprocal rank
/// fusion, the sum of `weight / (60 + rank)` over the channels that found the page, since the scores
/// of channels have no common scale. The patches weigh [`Fusion::visual_weight`], the others 1. Ties
/// go to the better rank among the patches, then to the smaller [`PageId`].
///
/// Channels of text say nothing of a page without words, so there the patches decide alone: each of
/// the `wordless` pages goes before the first page whose own score among the patches, by the margin,
/// is lower.
///
/// ```
/// use std::collections::HashSet;
/// use pagesight_core::{Channel, DocumentId, Fusion, PageId};
/// use pagesight_query::{ChannelRanking, Wordless, fuse};
/// let page = |number| PageId { document: DocumentId([0; 32]), number };
/// let words = [(page(2), 3.5), (page(3), 3.0)];
/// let patches = [(page(1), 9.0), (page(2), 8.9), (page(3), 5.0)];
/// let rankings = [
///     ChannelRanking { channel: Channel::Patches, pages: &patches },
///     ChannelRanking { channel: Channel::Words, pages: &words },
/// ];
/// let order = |fusion, wordless: &HashSet<PageId>| -> Vec<u32> {
///     let wordless = Wordless { pages: wordless, tokens: 10 };
///     fuse(fusion, &rankings, Some(wordless)).iter().map(|hit| hit.page.number).collect()
/// };
/// // Both channels found page 2. With page 1 a scan, the patches alone compare the two.
/// assert_eq!(order(Fusion::default(), &HashSet::new()), [2, 3, 1]);
/// let scan = HashSet::from([page(1)]);
/// assert_eq!(order(Fusion::default(), &scan), [1, 2, 3]);
/// // 0.1 in ten tokens is not enough for this margin.
/// assert_eq!(order(Fusion { visual_weight: 0.0, visual_margin: 0.05 }, &scan), [2, 1, 3]);
/// ```
pub fn fuse(
    fusion: Fusion,
    rankings: &[ChannelRanking<'_>],
    wordless: Option<Wordless<'_>>,
) -> Vec<Hit> {
    // Always in the same order, so that sums of f32 are the same whatever order is given.
    let mut rankings = rankings.to_vec();
    rankings.sort_by_key(|ranking| ranking.channel);
    let alone = rankings.len() == 1;
    let mut hits: BTreeMap<PageId, Hit> = BTreeMap::new();
    for &ChannelRanking { channel, pages } in &rankings {
        let weight = if channel == Channel::Patches { fusion.visual_weight } else { 1.0 };
        for (&(page, score), rank) in pages.iter().zip(1..) {
            let hit = hits.entry(page).or_insert_with(|| Hit::new(page));
            hit.score += if alone { score } else { weight / (RANK_OFFSET + rank as f32) };
            hit.channels.push(ChannelScore::new(channel, score, rank));
        }
    }
    let mut hits: Vec<Hit> = hits.into_values().collect();
    let rank = |hit: &Hit| patches(hit).map_or(u32::MAX, |said| said.rank);
    hits.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then(rank(a).cmp(&rank(b))).then(a.page.cmp(&b.page))
    });
    let seen = rankings.iter().find(|ranking| ranking.channel == Channel::Patches);
    match (seen, wordless) {
        (Some(seen), Some(wordless)) if !alone && !wordless.pages.is_empty() => {
            place_wordless(fusion, seen.pages, wordless, hits)
        }
        _ => hits,
    }
}

fn patches(hit: &Hit) -> Option<&ChannelScore> {
    hit.channel(Channel::Patches)
}

/// Puts the pages without words where their scores among the patches, `seen`, put them among the
/// others, unless a channel of text that found their names put them higher.
fn place_wordless(
    fusion: Fusion,
    seen: &[(PageId, f32)],
    wordless: Wordless<'_>,
    hits: Vec<Hit>,
) -> Vec<Hit> {
    let is_bare = |hit: &Hit| patches(hit).is_some() && wordless.pages.contains(&hit.page);
    let mut bare: Vec<Hit> = hits.iter().filter(|hit| is_bare(hit)).cloned().collect();
    bare.sort_by_key(|hit| patches(hit).map(|said| said.rank));
    let has_words = |hit: &Hit| {
        hit.channels.iter().any(|said| said.channel != Channel::Patches) || !is_bare(hit)
    };
    let worded = hits.into_iter().filter(has_words);
    // What the channel did not return has at most the score of the last that it did.
    let least = seen.last().map_or(f32::NEG_INFINITY, |last| last.1);
    let score = |hit: &Hit| patches(hit).map_or(least, |said| said.score);
    let margin = fusion.visual_margin * wordless.tokens as f32;
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
    use proptest::prelude::*;

    use super::*;

    type Ranking = Vec<(PageId, f32)>;

    fn page(number: u32) -> PageId {
        PageId { document: DocumentId([0; 32]), number }
    }

    fn ranking(pages: &[(u32, f32)]) -> Ranking {
        pages.iter().map(|&(number, score)| (page(number), score)).collect()
    }

    fn of<'a>(channel: Channel, pages: &'a [(PageId, f32)]) -> ChannelRanking<'a> {
        ChannelRanking { channel, pages }
    }

    fn order(hits: &[Hit]) -> Vec<u32> {
        assert!(hits.is_sorted_by(|a, b| a.score >= b.score), "{hits:?}");
        hits.iter().map(|hit| hit.page.number).collect()
    }

    #[test]
    fn untrusted_patches_leave_the_order_of_words() {
        let text = ranking(&[(5, 3.0), (4, 2.0), (3, 1.0)]);
        let seen = ranking(&[(1, 9.0), (3, 8.0), (2, 7.0), (4, 6.0)]);
        let (words, patches) = (of(Channel::Words, &text), of(Channel::Patches, &seen));
        let fusion = Fusion { visual_weight: 0.0, visual_margin: 0.0 };
        // Pages that only the patches found come after, in their order.
        assert_eq!(order(&fuse(fusion, &[patches, words], None)), [5, 4, 3, 1, 2]);
        assert_eq!(order(&fuse(fusion, &[patches], None)), [1, 3, 2, 4]);
        assert_eq!(order(&fuse(fusion, &[words], None)), [5, 4, 3]);
        assert_eq!(order(&fuse(fusion, &[of(Channel::Words, &[]), patches], None)), [1, 3, 2, 4]);
        assert!(fuse(fusion, &[], None).is_empty());
    }

    #[test]
    fn pages_without_words_go_where_their_patches_put_them() {
        let text = ranking(&[(5, 3.0), (4, 2.0), (3, 1.0)]);
        let seen = ranking(&[(1, 9.0), (5, 8.9), (2, 7.0), (4, 6.0)]);
        let bare = HashSet::from([page(1), page(2)]);
        let wordless = Some(Wordless { pages: &bare, tokens: 10 });
        let fused = |visual_margin| {
            let rankings = [of(Channel::Patches, &seen), of(Channel::Words, &text)];
            order(&fuse(Fusion { visual_weight: 0.0, visual_margin }, &rankings, wordless))
        };
        assert_eq!(fused(0.0), [1, 5, 2, 4, 3]);
        assert_eq!(fused(0.02), [5, 1, 2, 4, 3]);
        // Page 3 was not seen: at most the score of the last that was.
        assert_eq!(fused(0.35), [5, 4, 3, 1, 2]);
        // A page that words found by its name alone is there once, where they or the patches put it.
        let text = ranking(&[(2, 4.0), (5, 3.0)]);
        let rankings = [of(Channel::Patches, &seen), of(Channel::Words, &text)];
        let hits = fuse(Fusion::default(), &rankings, wordless);
        assert_eq!(order(&hits), [1, 2, 5, 4]);
        assert_eq!(hits[1].channel(Channel::Words).map(|said| said.rank), Some(1));
    }

    #[test]
    fn three_channels_add_up_and_each_says_its_rank() {
        let seen = ranking(&[(1, 9.0), (2, 8.0)]);
        let text = ranking(&[(2, 3.0), (3, 1.0)]);
        let meant = ranking(&[(3, 0.9), (2, 0.8), (4, 0.7)]);
        let mut rankings =
            [of(Channel::Passages, &meant), of(Channel::Words, &text), of(Channel::Patches, &seen)];
        let fusion = Fusion { visual_weight: 0.5, visual_margin: 0.0 };
        let hits = fuse(fusion, &rankings, None);
        assert_eq!(order(&hits), [2, 3, 4, 1]);
        let said: Vec<(Channel, u32)> =
            hits[0].channels.iter().map(|said| (said.channel, said.rank)).collect();
        assert_eq!(said, [(Channel::Patches, 2), (Channel::Words, 1), (Channel::Passages, 2)]);
        assert_eq!(hits[0].score, 0.5 / 62.0 + 1.0 / 61.0 + 1.0 / 62.0);
        // The order in which rankings are given changes nothing.
        rankings.reverse();
        assert_eq!(fuse(fusion, &rankings, None), hits);
        // A scan goes before the first page that the patches put lower: page 2, by one channel.
        let bare = HashSet::from([page(1)]);
        let wordless = Some(Wordless { pages: &bare, tokens: 9 });
        assert_eq!(order(&fuse(fusion, &rankings, wordless)), [1, 2, 3, 4]);
    }

    /// Fusion as it was while there were two channels by name, restated plainly: pages, scores, and
    /// the rank in each.
    fn of_two(
        fusion: Fusion,
        seen: Option<&Ranking>,
        text: Option<&Ranking>,
        bare: &HashSet<PageId>,
        tokens: usize,
    ) -> Vec<(PageId, f32, Option<u32>, Option<u32>)> {
        let both = seen.is_some() && text.is_some();
        let rank = |ranking: Option<&Ranking>, page: PageId| {
            let at = ranking?.iter().position(|(other, _)| *other == page)?;
            Some(at as u32 + 1)
        };
        let mut pages: Vec<PageId> =
            seen.into_iter().chain(text).flatten().map(|(page, _)| *page).collect();
        pages.sort();
        pages.dedup();
        let own = |ranking: Option<&Ranking>, page| {
            ranking?.iter().find(|(other, _)| *other == page).map(|(_, score)| *score)
        };
        let mut hits: Vec<_> = pages
            .into_iter()
            .map(|page| {
                let (seen_at, text_at) = (rank(seen, page), rank(text, page));
                let reciprocal = |rank: u32| 1.0 / (60.0 + rank as f32);
                let score = if both {
                    let visual =
                        seen_at.map_or(0.0, |rank| fusion.visual_weight / (60.0 + rank as f32));
                    visual + text_at.map_or(0.0, reciprocal)
                } else {
                    own(seen, page).or(own(text, page)).unwrap()
                };
                (page, score, seen_at, text_at)
            })
            .collect();
        hits.sort_by(|a, b| {
            let rank = |rank: Option<u32>| rank.unwrap_or(u32::MAX);
            b.1.total_cmp(&a.1).then(rank(a.2).cmp(&rank(b.2))).then(a.0.cmp(&b.0))
        });
        if !both || bare.is_empty() {
            return hits;
        }
        let ranking = seen.unwrap();
        let least = ranking.last().map_or(f32::NEG_INFINITY, |last| last.1);
        let score = |page| own(Some(ranking), page).unwrap_or(least);
        let margin = fusion.visual_margin * tokens as f32;
        let is_bare = |page, at: Option<u32>| at.is_some() && bare.contains(&page);
        let mut scans: Vec<_> = hits.iter().filter(|hit| is_bare(hit.0, hit.2)).copied().collect();
        scans.sort_by_key(|hit| hit.2);
        let mut others: Vec<_> =
            hits.into_iter().filter(|hit| hit.3.is_some() || !is_bare(hit.0, hit.2)).collect();
        others.reverse();
        let mut placed: Vec<(PageId, f32, Option<u32>, Option<u32>)> = Vec::new();
        let push = |placed: &mut Vec<_>, hit: (PageId, f32, Option<u32>, Option<u32>)| {
            let there = placed
                .iter()
                .any(|other: &(PageId, f32, Option<u32>, Option<u32>)| other.0 == hit.0);
            if !there {
                placed.push(hit);
            }
        };
        for mut scan in scans {
            while others.last().is_some_and(|next| score(next.0) >= score(scan.0) - margin) {
                push(&mut placed, others.pop().unwrap());
            }
            let below = others.last().map_or(0.0, |next| next.1);
            let above = placed.last().map_or(below + 2.0 / 60.0, |last| last.1);
            scan.1 = (above + below) / 2.0;
            push(&mut placed, scan);
        }
        while let Some(next) = others.pop() {
            push(&mut placed, next);
        }
        placed
    }

    /// A ranking, best first, ties by page.
    fn any_ranking() -> impl Strategy<Value = Ranking> {
        prop::collection::btree_map(0u32..30, -3i8..20, 0..20).prop_map(|pages| {
            let mut ranking: Ranking =
                pages.into_iter().map(|(n, score)| (page(n), f32::from(score))).collect();
            ranking.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            ranking
        })
    }

    proptest! {
        #[test]
        fn patches_and_words_fuse_as_they_always_have(
            seen in prop::option::of(any_ranking()),
            text in prop::option::of(any_ranking()),
            bare in prop::collection::hash_set(0u32..30, 0..9),
            visual_weight in 0.0f32..2.0,
            visual_margin in prop::sample::select(vec![0.0f32, 0.05, 0.5]),
            tokens in 1usize..20,
        ) {
            let bare: HashSet<PageId> = bare.into_iter().map(page).collect();
            let fusion = Fusion { visual_weight, visual_margin };
            let expected = of_two(fusion, seen.as_ref(), text.as_ref(), &bare, tokens);
            let rankings: Vec<ChannelRanking<'_>> = [
                text.as_ref().map(|pages| of(Channel::Words, pages)),
                seen.as_ref().map(|pages| of(Channel::Patches, pages)),
            ]
            .into_iter()
            .flatten()
            .collect();
            let hits = fuse(fusion, &rankings, Some(Wordless { pages: &bare, tokens }));
            let rank = |hit: &Hit, channel| hit.channel(channel).map(|said| said.rank);
            let got: Vec<_> = hits
                .iter()
                .map(|hit| (hit.page, hit.score, rank(hit, Channel::Patches), rank(hit, Channel::Words)))
                .collect();
            prop_assert_eq!(got, expected);
        }
    }
}
