//! Several rankings into one.

use std::collections::{BTreeMap, HashSet};

use pagesight_core::{Channel, ChannelScore, Fusion, Hit, PageId, Scale};

/// What a page without words is put above or below all others by, deviations.
const STEP: f32 = 0.1;

/// What one channel said: pages with their scores, best first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelRanking<'a> {
    /// The channel.
    pub channel: Channel,
    /// Pages and their scores, best first.
    pub pages: &'a [(PageId, f32)],
    /// The scale of the scores of all pages that the channel searched.
    pub scale: Scale,
    /// The score that pages have which are not listed, or the most that they can have.
    pub rest: f32,
    /// What a deviation above the mean counts.
    pub weight: f32,
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
/// With one channel, its own scores rank. With several, pages rank by the weighted sum of
/// [`Scale::z`], how many deviations a score is above the mean of all pages that the channel
/// searched: unlike ranks, that keeps how much better the best page is than the next. A page that a
/// channel did not list has the score [`rest`](ChannelRanking::rest) there. Ties go to the better
/// rank among the patches, then to the smaller [`PageId`].
///
/// Channels of text say nothing of a page without words, so there the patches decide alone: each of
/// the `wordless` pages goes before the first page whose own score among the patches, by the
/// margin of `fusion`, is lower.
///
/// ```
/// use std::collections::HashSet;
/// use pagesight_core::{Channel, DocumentId, Fusion, PageId, Scale};
/// use pagesight_query::{ChannelRanking, Wordless, fuse};
/// let page = |number| PageId { document: DocumentId([0; 32]), number };
/// let words = [(page(2), 3.5), (page(3), 3.0)];
/// let patches = [(page(1), 9.0), (page(2), 8.9), (page(3), 5.0)];
/// let ranking = |channel, pages, weight| {
///     let scores: &[(PageId, f32)] = pages;
///     let scale = Scale::of(scores.iter().map(|page| page.1), 4, 0.0);
///     ChannelRanking { channel, pages, scale, rest: 0.0, weight }
/// };
/// let rankings =
///     [ranking(Channel::Patches, &patches, 1.0), ranking(Channel::Words, &words, 1.0)];
/// let order = |fusion, wordless: &HashSet<PageId>| -> Vec<u32> {
///     let wordless = Wordless { pages: wordless, tokens: 10 };
///     fuse(fusion, &rankings, Some(wordless)).iter().map(|hit| hit.page.number).collect()
/// };
/// // Both channels found page 2. With page 1 a scan, the patches alone compare the two.
/// assert_eq!(order(Fusion::default(), &HashSet::new()), [2, 3, 1]);
/// let scan = HashSet::from([page(1)]);
/// assert_eq!(order(Fusion::default(), &scan), [1, 2, 3]);
/// // 0.1 in ten tokens is not enough for this margin.
/// assert_eq!(order(Fusion { visual_margin: 0.05, ..Fusion::default() }, &scan), [2, 1, 3]);
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
    for &ChannelRanking { channel, pages, scale, weight, .. } in &rankings {
        for (&(page, score), rank) in pages.iter().zip(1..) {
            let hit = hits.entry(page).or_insert_with(|| Hit::new(page));
            let mut said = ChannelScore::new(channel, score, rank);
            (said.z, said.share) = (scale.z(score), scale.share(score));
            said.part = if alone { score } else { weight * said.z };
            hit.channels.push(said);
        }
    }
    let mut hits: Vec<Hit> = hits.into_values().collect();
    for hit in &mut hits {
        let part = |ranking: &ChannelRanking<'_>| match hit.channel(ranking.channel) {
            Some(said) => said.part,
            None => ranking.weight * ranking.scale.z(ranking.rest),
        };
        hit.score = rankings.iter().map(part).sum();
    }
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
        let below = worded.peek().map(|next| next.score);
        let above = placed.last().map(|last| last.score);
        hit.score = match (above, below) {
            (Some(above), Some(below)) => (above + below) / 2.0,
            (Some(above), None) => above - STEP,
            (None, Some(below)) => below + STEP,
            (None, None) => 0.0,
        };
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

    /// What a channel said that searched 20 pages; those that it does not list have nothing.
    fn weighed(channel: Channel, pages: &[(PageId, f32)], weight: f32) -> ChannelRanking<'_> {
        let scale = Scale::of(pages.iter().map(|page| page.1), 20, 0.0);
        ChannelRanking { channel, pages, scale, rest: 0.0, weight }
    }

    fn of(channel: Channel, pages: &[(PageId, f32)]) -> ChannelRanking<'_> {
        weighed(channel, pages, 1.0)
    }

    fn order(hits: &[Hit]) -> Vec<u32> {
        assert!(hits.is_sorted_by(|a, b| a.score >= b.score), "{hits:?}");
        hits.iter().map(|hit| hit.page.number).collect()
    }

    #[test]
    fn untrusted_patches_leave_the_order_of_words() {
        let text = ranking(&[(5, 3.0), (4, 2.0), (3, 1.0)]);
        let seen = ranking(&[(1, 9.0), (3, 8.0), (2, 7.0), (4, 6.0)]);
        let (words, patches) = (of(Channel::Words, &text), weighed(Channel::Patches, &seen, 0.0));
        let fusion = Fusion::default();
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
            let rankings = [weighed(Channel::Patches, &seen, 0.0), of(Channel::Words, &text)];
            let fusion = Fusion { visual_margin, ..Fusion::default() };
            order(&fuse(fusion, &rankings, wordless))
        };
        assert_eq!(fused(0.0), [1, 5, 2, 4, 3]);
        assert_eq!(fused(0.02), [5, 1, 2, 4, 3]);
        // Page 3 was not seen: at most the score of the last that was.
        assert_eq!(fused(0.35), [5, 4, 3, 1, 2]);
        // A page that words found by its name alone is there once, where they or the patches put
        // it.
        let text = ranking(&[(2, 4.0), (5, 3.0)]);
        let rankings = [of(Channel::Patches, &seen), of(Channel::Words, &text)];
        let hits = fuse(Fusion::default(), &rankings, wordless);
        assert_eq!(order(&hits), [1, 2, 5, 4]);
        assert_eq!(hits[1].channel(Channel::Words).map(|said| said.rank), Some(1));
    }

    #[test]
    fn three_channels_add_up_and_each_says_its_part() {
        let seen = ranking(&[(1, 9.0), (2, 8.0)]);
        let text = ranking(&[(2, 3.0), (3, 1.0)]);
        let meant = ranking(&[(3, 0.9), (2, 0.8), (4, 0.7)]);
        let mut rankings = [
            weighed(Channel::Passages, &meant, 2.0),
            of(Channel::Words, &text),
            weighed(Channel::Patches, &seen, 0.5),
        ];
        let fusion = Fusion::default();
        let hits = fuse(fusion, &rankings, None);
        assert_eq!(order(&hits), [2, 3, 4, 1]);
        let said: Vec<(Channel, u32)> =
            hits[0].channels.iter().map(|said| (said.channel, said.rank)).collect();
        assert_eq!(said, [(Channel::Patches, 2), (Channel::Words, 1), (Channel::Passages, 2)]);
        let parts = [0.5 * rankings[2].scale.z(8.0), rankings[1].scale.z(3.0)];
        let parts = [parts[0], parts[1], 2.0 * rankings[0].scale.z(0.8)];
        for (said, part) in hits[0].channels.iter().zip(parts) {
            assert_eq!(said.part, part, "{said:?}");
        }
        assert_eq!(hits[0].score, parts.iter().sum::<f32>());
        // The order in which rankings are given changes nothing.
        rankings.reverse();
        assert_eq!(fuse(fusion, &rankings, None), hits);
        // A scan goes before the first page that the patches put lower: page 2, by one channel.
        let bare = HashSet::from([page(1)]);
        let wordless = Some(Wordless { pages: &bare, tokens: 9 });
        assert_eq!(order(&fuse(fusion, &rankings, wordless)), [1, 2, 3, 4]);
    }

    #[test]
    fn how_much_better_the_best_is_counts() {
        // Ranks alone would let one place among the meanings undo one among the words.
        let text = ranking(&[(1, 20.0), (2, 3.0), (3, 2.9)]);
        let meant = ranking(&[(2, 0.52), (3, 0.51), (1, 0.5)]);
        let hits = fuse(
            Fusion::default(),
            &[of(Channel::Words, &text), of(Channel::Passages, &meant)],
            None,
        );
        assert_eq!(order(&hits), [1, 2, 3]);
    }

    /// Fusion restated plainly, page by page: pages, scores, and the rank in the first and second.
    fn plainly(
        fusion: Fusion,
        rankings: &[ChannelRanking<'_>],
        bare: &HashSet<PageId>,
        tokens: usize,
    ) -> Vec<(PageId, f32)> {
        let own = |ranking: &ChannelRanking<'_>, page: PageId| {
            ranking.pages.iter().find(|(other, _)| *other == page).map(|(_, score)| *score)
        };
        let seen = rankings.iter().find(|ranking| ranking.channel == Channel::Patches);
        let seen_at = |page: PageId| {
            let at = seen.and_then(|seen| seen.pages.iter().position(|(other, _)| *other == page));
            at.unwrap_or(usize::MAX)
        };
        let mut pages: Vec<PageId> =
            rankings.iter().flat_map(|ranking| ranking.pages).map(|(page, _)| *page).collect();
        pages.sort();
        pages.dedup();
        let mut hits: Vec<(PageId, f32)> = Vec::new();
        for page in pages {
            let score = match rankings {
                [alone] => own(alone, page).unwrap(),
                all => all
                    .iter()
                    .map(|of| {
                        let score = own(of, page).unwrap_or(of.rest);
                        let above = score - of.scale.mean;
                        of.weight
                            * if of.scale.deviation > 0.0 {
                                above / of.scale.deviation
                            } else {
                                0.0
                            }
                    })
                    .sum(),
            };
            hits.push((page, score));
        }
        let before = |a: &(PageId, f32), b: &(PageId, f32)| {
            b.1.total_cmp(&a.1).then(seen_at(a.0).cmp(&seen_at(b.0))).then(a.0.cmp(&b.0))
        };
        hits.sort_by(before);
        let Some(seen) = seen.filter(|_| rankings.len() > 1 && !bare.is_empty()) else {
            return hits;
        };
        let least = seen.pages.last().map_or(f32::NEG_INFINITY, |last| last.1);
        let score = |page| own(seen, page).unwrap_or(least);
        let margin = fusion.visual_margin * tokens as f32;
        let is_bare = |page| seen_at(page) < usize::MAX && bare.contains(&page);
        let by_text = |page| {
            rankings.iter().any(|of| of.channel != Channel::Patches && own(of, page).is_some())
        };
        let mut scans: Vec<_> = hits.iter().filter(|hit| is_bare(hit.0)).copied().collect();
        scans.sort_by_key(|hit| seen_at(hit.0));
        let mut others: Vec<_> =
            hits.into_iter().filter(|hit| by_text(hit.0) || !is_bare(hit.0)).collect();
        others.reverse();
        let mut placed: Vec<(PageId, f32)> = Vec::new();
        let push = |placed: &mut Vec<(PageId, f32)>, hit: (PageId, f32)| {
            if !placed.iter().any(|other| other.0 == hit.0) {
                placed.push(hit);
            }
        };
        for mut scan in scans {
            while others.last().is_some_and(|next| score(next.0) >= score(scan.0) - margin) {
                push(&mut placed, others.pop().unwrap());
            }
            scan.1 = match (placed.last(), others.last()) {
                (Some(above), Some(below)) => (above.1 + below.1) / 2.0,
                (Some(above), None) => above.1 - STEP,
                (None, Some(below)) => below.1 + STEP,
                (None, None) => 0.0,
            };
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
        fn any_channels_fuse_as_page_by_page(
            seen in prop::option::of(any_ranking()),
            text in prop::option::of(any_ranking()),
            meant in prop::option::of(any_ranking()),
            bare in prop::collection::hash_set(0u32..30, 0..9),
            weights in prop::array::uniform3(0.0f32..2.0),
            visual_margin in prop::sample::select(vec![0.0f32, 0.05, 0.5]),
            tokens in 1usize..20,
        ) {
            let bare: HashSet<PageId> = bare.into_iter().map(page).collect();
            let fusion = Fusion { visual_margin, ..Fusion::default() };
            let channels = [Channel::Patches, Channel::Words, Channel::Passages];
            let mut rankings: Vec<ChannelRanking<'_>> = [&seen, &text, &meant]
                .into_iter()
                .zip(channels.into_iter().zip(weights))
                .filter_map(|(pages, (channel, weight))| Some(weighed(channel, pages.as_ref()?, weight)))
                .collect();
            let expected = plainly(fusion, &rankings, &bare, tokens);
            rankings.reverse();
            let hits = fuse(fusion, &rankings, Some(Wordless { pages: &bare, tokens }));
            let got: Vec<(PageId, f32)> = hits.iter().map(|hit| (hit.page, hit.score)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
