//! One search, from question to ranked pages.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use pagesight_core::{Channel, Found, Hit, PageId, QueryVectors, phrases};

use crate::effort::Effort;
use crate::error::QueryError;
use crate::explain::explain_hits;
use crate::fusion::{ChannelRanking, Wordless, fuse};
use crate::identifiers::put_identified_first;
use crate::notice::Notice;
use crate::passages::{self, Meant, PassagesError};
use crate::question::Question;
use crate::question_vectors::encode;
use crate::ranking::{Ranking, Timings};
use crate::request::{Request, Sources};
use crate::verdict::{Asked, AskedPassages};
use crate::visual::{Correction, Depth, Visual, Work};

/// Pages that say whether there is an answer: as many as the fit looked at.
const JUDGED: usize = 10;

/// Answers `request`.
///
/// A channel that cannot answer is passed over as long as another can: the patches where the
/// question is words and there is no model, the words where the question has none. Where the model
/// has no pieces for most of a query it cannot see what is asked, and its ranking counts for no page.
/// [`Ranking::notices`] says so. Pages without what the question has in quotation marks are left out
/// of all channels. A question in a language that the model of meaning was not made for is answered
/// by the other channels, as if there were no passages; and so is one whose best pages by words have
/// none yet.
///
/// # Errors
/// [`QueryError`]; never a partial ranking as if whole.
///
/// ```
/// use pagesight_core::seam::{Batch, PageSink};
/// use pagesight_core::testing::{FakeStore, document_record, page_record};
/// use pagesight_core::DocumentId;
/// use pagesight_query::{Notice, Request, Sources, search};
///
/// let mut store = FakeStore::default();
/// let id = DocumentId::of(b"a");
/// store.commit(Batch {
///     documents: vec![document_record("a.pdf", id, 1)],
///     pages: vec![page_record(id, 1, "net revenue by region", None)],
///     ..Batch::default()
/// })?;
/// let ranking = search(&Sources::new(&store, &store), &Request::new(&"revenue".into()))?;
/// assert_eq!(ranking.hits[0].page.number, 1);
/// assert_eq!(ranking.notices, [Notice::NoModel]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn search(sources: &Sources<'_>, request: &Request<'_>) -> Result<Ranking, QueryError> {
    let (mut channels, mut notices) = answering(sources, request)?;
    let mut timings = Timings::default();
    let mut work = Work::default();
    // A page that is the question is found and left out: one more is wanted.
    let unwanted = request.question.page();
    let more = usize::from(unwanted.is_some());
    let (k, depth) = (request.k + more, request.depth.max(request.k) + more);
    let (mut query, mut meant, mut unsettled) = (None, None, None);
    let mut rankings: Vec<(Channel, Found)> = Vec::with_capacity(channels.len());
    for &channel in &channels {
        let start;
        let mut found = match channel {
            Channel::Patches => {
                let vectors = timed(&mut timings.encode, || encode(sources, request.question))?;
                start = Instant::now();
                // Below the last hit nothing is fused with one channel alone.
                let pages = if channels.len() == 1 { k } else { depth };
                let query = &*query.insert(vectors);
                let depth = Depth { pages, certain: k };
                let correction = correction(sources, request, query);
                let visual = visual(sources, request, query, depth, correction.as_ref());
                let ranked = if may_be_ordered_by_code(request, &channels) {
                    visual.rank_by_code()
                } else {
                    visual.rank().map(|(ranked, notice)| (ranked, None, notice))
                };
                match ranked {
                    Ok((ranked, coded, notice)) => {
                        let found;
                        (found, work) = ranked;
                        unsettled = coded.map(|coded| (coded, depth));
                        notices.extend(notice);
                        found
                    }
                    Err(error) => match error.out_of_reach().filter(|_| channels.len() > 1) {
                        Some(reason) => {
                            notices.push(Notice::OutOfReach { reason });
                            continue;
                        }
                        None => return Err(error),
                    },
                }
            }
            Channel::Words => {
                start = Instant::now();
                let words = request.question.words().ok_or(QueryError::NoWords)?;
                let found = sources.text.search_text(words, depth, request.documents);
                found.map_err(QueryError::Text)?
            }
            _ => {
                let (source, words) = (sources.passages, request.question.words());
                let (source, words) = source.zip(words).ok_or(QueryError::NoWords)?;
                let encode = || source.encoder.encode_question(words).map_err(QueryError::Encode);
                let question = timed(&mut timings.encode, encode)?;
                start = Instant::now();
                let found = rankings.iter().find(|(channel, _)| *channel == Channel::Words);
                let found = found.map_or(&[][..], |(_, found)| &found.pages);
                let (documents, weights) = (request.documents, request.passages);
                match passages::rank(source, &question, found, documents, weights) {
                    Ok(found) => {
                        let Meant { found, passages } = found;
                        meant = Some(passages);
                        found
                    }
                    Err(PassagesError::Damaged(reason)) if channels.len() > 1 => {
                        notices.push(Notice::PassagesDamaged { reason });
                        continue;
                    }
                    Err(PassagesError::Damaged(reason)) => {
                        return Err(QueryError::Passages { reason });
                    }
                    Err(PassagesError::Missing) => continue,
                    Err(PassagesError::Failed(error)) => return Err(error),
                }
            }
        };
        let at = leave_out(&mut found, unwanted);
        if channel == Channel::Patches && at.is_some_and(|at| at < work.certain) {
            work.certain -= 1;
        }
        timings.channels.push((channel, start.elapsed()));
        rankings.push((channel, found));
    }
    // Its codes are out of reach.
    let is_answered =
        |of: &Channel| *of != Channel::Patches || rankings.iter().any(|(channel, _)| channel == of);
    channels.retain(is_answered);
    if !channels.contains(&Channel::Patches) {
        query = None;
    }
    let mut asked = Asked { words: None, patches: None, model: request.model, passages: None };
    for (channel, found) in &rankings {
        match channel {
            Channel::Words => asked.words = Some(found.scale),
            Channel::Patches => {
                let spelled = query.as_ref().filter(|query| query.is_spelled());
                asked.patches = spelled.map(|_| found.scale);
            }
            _ => {}
        }
    }
    // What is quoted is required, and words alone can say that it is there.
    let quotes = request.question.words().is_some_and(|words| !phrases(words).is_empty());
    let with_quotes: Option<HashSet<PageId>> = rankings
        .iter()
        .find(|(channel, _)| quotes && *channel == Channel::Words)
        .map(|(_, found)| found.pages.iter().map(|(page, _)| *page).collect());
    let keep_quoted = |found: &mut Found| {
        if let Some(with_quotes) = &with_quotes {
            found.pages.retain(|(page, _)| with_quotes.contains(page));
        }
    };
    rankings.iter_mut().for_each(|(_, found)| keep_quoted(found));
    let mut wordless = HashSet::new();
    if let Some(query) = query.as_ref().filter(|_| channels.len() > 1) {
        if !query.is_spelled() {
            // What a model sees of letters that it has no pieces for is no vote, for no page.
            rankings.retain(|(channel, _)| *channel != Channel::Patches);
            unsettled = None;
            let unspelled = query.tokens().iter().filter(|token| !token.spelled).count();
            notices.push(Notice::Unspelled { unspelled, tokens: query.len() });
        }
        let seen = rankings.iter().filter(|(channel, _)| *channel == Channel::Patches);
        let seen = seen.flat_map(|(_, found)| &found.pages).map(|(page, _)| *page);
        let seen: Vec<PageId> = seen.collect();
        wordless = sources.text.wordless(&seen).map_err(QueryError::Text)?;
    }
    let tokens = query.as_ref().map_or(0, QueryVectors::len);
    let wordless = Wordless { pages: &wordless, tokens };
    let joined = |rankings: &[(Channel, Found)]| {
        join(sources, request, rankings, depth, meant.is_some(), wordless)
    };
    let mut hits = joined(&rankings)?;
    let of_interest = request.k.max(JUDGED);
    if let (Some((coded, depth)), Some(query)) = (unsettled, &query)
        && patches_decide(&hits, of_interest, wordless)
    {
        let start = Instant::now();
        let correction = correction(sources, request, query);
        let visual = visual(sources, request, query, depth, correction.as_ref());
        let (mut found, notice);
        ((found, work), notice) = visual.settle(coded)?;
        notices.extend(notice);
        if leave_out(&mut found, unwanted).is_some_and(|at| at < work.certain) {
            work.certain -= 1;
        }
        keep_quoted(&mut found);
        timings.add(Channel::Patches, start.elapsed());
        let patches = rankings.iter_mut().find(|(channel, _)| *channel == Channel::Patches);
        patches.expect("it ranked").1 = found;
        hits = joined(&rankings)?;
    }
    let embedder = sources.passages.map(|source| source.encoder.record().id);
    let said = rankings.iter().find(|(channel, _)| *channel == Channel::Passages);
    if let (Some(model), Some((_, found)), Some(matches)) = (&embedder, said, &meant) {
        asked.passages = Some(AskedPassages { model, found, matches });
    }
    // What is said of an answer does not depend on how few of its pages are wanted.
    let judged = &hits[..hits.len().min(of_interest)];
    let (mut likelihoods, likelihood) =
        request.calibration.judge(&asked, judged, |hit| wordless.pages.contains(&hit.page));
    hits.truncate(request.k);
    likelihoods.truncate(request.k);
    if meant.is_none() {
        // Damaged codes, or too few passages, said nothing.
        channels.retain(|channel| *channel != Channel::Passages);
    }
    let meant = meant.unwrap_or_default();
    let passages = hits.iter().map(|hit| meant.get(&hit.page).copied()).collect();
    if let Some(query) = query.as_ref().filter(|_| request.explain)
        && let Some(correction) = correction(sources, request, query)
    {
        let explained = explain_background(&correction, sources, &mut hits);
        as_far_as_in_reach(explained, &mut notices)?;
    }
    let matches = match &query {
        Some(query) if request.explain => {
            as_far_as_in_reach(explain_hits(sources.vectors, query, &hits), &mut notices)?
        }
        _ => Vec::new(),
    };
    Ok(Ranking {
        hits,
        matches,
        passages,
        likelihoods,
        likelihood,
        channels,
        work,
        timings,
        notices,
    })
}

/// What was found; nothing where it is out of reach, which the notices say then, once.
fn as_far_as_in_reach<T: Default>(
    found: Result<T, QueryError>,
    notices: &mut Vec<Notice>,
) -> Result<T, QueryError> {
    let error = match found {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let Some(reason) = error.out_of_reach() else { return Err(error) };
    if !notices.iter().any(|notice| matches!(notice, Notice::OutOfReach { .. })) {
        notices.push(Notice::OutOfReach { reason });
    }
    Ok(T::default())
}

/// A ranking by the patches.
fn visual<'a>(
    sources: &Sources<'a>,
    request: &Request<'a>,
    query: &'a QueryVectors,
    depth: Depth,
    correction: Option<&'a Correction<'a>>,
) -> Visual<'a> {
    Visual {
        source: sources.vectors,
        codes: sources.codes,
        parts: sources.parts,
        query,
        depth,
        documents: request.documents,
        effort: request.effort,
        correction,
    }
}

/// Whether the patches may well have no say in the answer, so that it can wait which of their ranks
/// are certain: that takes longer than all the rest of a search.
fn may_be_ordered_by_code(request: &Request<'_>, channels: &[Channel]) -> bool {
    request.effort == Effort::Auto
        && request.fusion.visual_weight == 0.0
        && channels.len() > 1
        && !request.explain
}

/// Whether the order of the patches matters among the first `count` of `hits`, although they weigh
/// nothing: they place pages without words, pages that nothing else has found, and pages that are
/// equally good.
fn patches_decide(hits: &[Hit], count: usize, wordless: Wordless<'_>) -> bool {
    let by_patches_alone =
        |hit: &Hit| hit.channels.iter().all(|said| said.channel == Channel::Patches);
    let first = &hits[..hits.len().min(count)];
    let and_next = &hits[..hits.len().min(count + 1)];
    !wordless.pages.is_empty()
        || first.iter().any(by_patches_alone)
        || and_next.windows(2).any(|two| two[0].score == two[1].score)
}

/// Takes a page out; where it was.
fn leave_out(found: &mut Found, unwanted: Option<PageId>) -> Option<usize> {
    let at = found.pages.iter().position(|(page, _)| Some(*page) == unwanted)?;
    found.pages.remove(at);
    Some(at)
}

/// The hits of all rankings, best first.
fn join(
    sources: &Sources<'_>,
    request: &Request<'_>,
    rankings: &[(Channel, Found)],
    depth: usize,
    are_passages_asked: bool,
    wordless: Wordless<'_>,
) -> Result<Vec<Hit>, QueryError> {
    let weight_of = |channel, found: &Found| match channel {
        Channel::Patches => request.fusion.visual_weight,
        Channel::Words if are_passages_asked => request.passages.of_words(best_share(found)),
        _ => 1.0,
    };
    let said: Vec<ChannelRanking<'_>> = rankings
        .iter()
        .map(|(channel, found)| weighed(*channel, found, depth, weight_of))
        .collect();
    let mut hits = fuse(request.fusion, &said, Some(wordless));
    if said.iter().any(|of| of.channel != Channel::Words && of.weight != 0.0) {
        put_identified_first(sources, request, &mut hits)?;
    }
    Ok(hits)
}

/// What is taken off the scores of pages for `query`, where anything is. What a page gives to
/// questions says nothing of what it gives to another page.
fn correction<'a>(
    sources: &Sources<'a>,
    request: &Request<'_>,
    query: &QueryVectors,
) -> Option<Correction<'a>> {
    let backgrounds = sources.backgrounds.filter(|_| request.background)?;
    if request.question.page().is_some() {
        return None;
    }
    Correction::new(backgrounds, sources.encoder, query)
}

/// What `channel` found, with what it counts.
fn weighed<'a>(
    channel: Channel,
    found: &'a Found,
    depth: usize,
    weight_of: impl Fn(Channel, &Found) -> f32,
) -> ChannelRanking<'a> {
    let weight = weight_of(channel, found);
    let last = found.pages.last().map_or(0.0, |last| last.1);
    // Words list all pages that have any, as far as they are asked for.
    let rest = match channel {
        Channel::Words if found.pages.len() < depth => 0.0,
        _ => last,
    };
    ChannelRanking { channel, pages: &found.pages, scale: found.scale, rest, weight }
}

/// How much of what is asked the best page has, 0 where there is none.
fn best_share(found: &Found) -> f32 {
    let best = found.pages.first().and_then(|best| found.scale.share(best.1));
    best.unwrap_or_default()
}

/// Says of each hit what was taken off because the page gives it to any question.
fn explain_background(
    correction: &Correction<'_>,
    sources: &Sources<'_>,
    hits: &mut [Hit],
) -> Result<(), QueryError> {
    let pages: Vec<PageId> = hits.iter().map(|hit| hit.page).collect();
    let off = match sources.parts {
        Some(parts) if parts.has_codes() => correction.of_pages(parts, &pages)?,
        _ => correction.of_vectors(sources.codes)?,
    };
    let unknown: Vec<PageId> = pages.into_iter().filter(|page| !off.knows(*page)).collect();
    let vectors = sources.vectors.vectors_of(&unknown).map_err(QueryError::Vectors)?;
    for hit in hits {
        let vectors = vectors.iter().find(|(page, _)| *page == hit.page).map(|(_, page)| page);
        let said = hit.channels.iter_mut().find(|said| said.channel == Channel::Patches);
        if let Some(said) = said {
            said.background = off.off(hit.page, vectors)?;
        }
    }
    Ok(())
}

/// The channels of `request` that can answer it, in the order of [`Channel`], and what to say of
/// those that cannot.
fn answering(
    sources: &Sources<'_>,
    request: &Request<'_>,
) -> Result<(Vec<Channel>, Vec<Notice>), QueryError> {
    let asked: BTreeSet<Channel> = request.channels.iter().copied().collect();
    let (mut channels, mut notices, mut failed) = (Vec::new(), Vec::new(), None);
    for channel in asked {
        let needs_a_model = matches!(request.question, Question::Words(_));
        let (error, notice) = match channel {
            Channel::Patches if needs_a_model && sources.encoder.is_none() => {
                (QueryError::NoModel, Some(Notice::NoModel))
            }
            Channel::Words | Channel::Passages if request.question.words().is_none() => {
                (QueryError::NoWords, None)
            }
            Channel::Passages if sources.passages.is_none() => {
                (QueryError::NoChannel { channel }, Some(Notice::NoChannel { channel }))
            }
            // Others answer a question that the model was not made for.
            Channel::Passages if !channels.is_empty() && !understood(sources, request) => continue,
            Channel::Patches | Channel::Words | Channel::Passages => {
                channels.push(channel);
                continue;
            }
            _ => (QueryError::NoChannel { channel }, Some(Notice::NoChannel { channel })),
        };
        notices.extend(notice);
        failed.get_or_insert(error);
    }
    if channels.is_empty() {
        return Err(failed.unwrap_or(QueryError::NothingAsked));
    }
    Ok((channels, notices))
}

/// Whether the model of meaning was made for the language of the question.
fn understood(sources: &Sources<'_>, request: &Request<'_>) -> bool {
    let asked = sources.passages.zip(request.question.words());
    asked.is_some_and(|(source, words)| source.encoder.understands(words))
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

#[cfg(test)]
mod tests;
