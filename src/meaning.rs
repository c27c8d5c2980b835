//! The meaning of the text as an index keeps it: which model gives it, and passages brought in step
//! with the texts that are stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pagesight_core::seam::PassageEncoder;
use pagesight_core::{EncodedPassages, PageId, chain};
use pagesight_indexer::{Event, SyncOptions, apart};
use pagesight_store::Writer;

use crate::engine::Engine;
use crate::error::Error;

/// Pages whose texts are in memory at a time, a megabyte each at most.
const AT_ONCE: usize = 16;

/// Pages after which passages are made durable.
const COMMIT_PAGES: usize = 256;

/// Time after which they are at the latest.
const COMMIT_TIME: Duration = Duration::from_secs(20);

/// The model that encodes passages in a run; what stands in its way is told, since pages are found
/// without them too.
pub(crate) fn encoder(
    engine: &Engine,
    tell: &mut dyn FnMut(Event<'_>),
) -> Option<Arc<dyn PassageEncoder>> {
    match engine.page_embedder() {
        Ok(encoder) => encoder,
        Err(error) => {
            let text = format!("new pages are not found by their meaning: {}", chain(&error));
            tell(Event::Warning { text });
            None
        }
    }
}

/// Brings the passages of an index in step with its texts: those of pages that have none are
/// encoded, from what is stored. Each step is durable; a run that is interrupted is continued by
/// the next. Returns whether it was.
pub(crate) fn embed(
    writer: &mut Writer,
    encoder: Option<&dyn PassageEncoder>,
    options: &SyncOptions,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<bool, Error> {
    let Some(encoder) = encoder else { return Ok(false) };
    writer.set_embedder(Some(encoder.record()))?;
    let missing = writer.pages_to_embed()?;
    let mut encoded: Vec<(PageId, EncodedPassages)> = Vec::new();
    let (mut begun, mut done) = (Instant::now(), 0);
    for pages in missing.chunks(AT_ONCE) {
        if options.stop.load(Ordering::Relaxed) {
            writer.add_passages(&encoded)?;
            return Ok(true);
        }
        let texts = writer.texts(pages)?;
        let of_pages: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        let passages = apart(|| encoder.encode_texts(&of_pages)).map_err(Error::Embed)?;
        let pages = texts.iter().zip(passages);
        encoded.extend(pages.filter_map(|((id, _), passages)| Some((*id, passages?))));
        done += texts.len();
        tell(Event::Embedded { pages: done, of: missing.len() });
        if encoded.len() >= COMMIT_PAGES || begun.elapsed() >= COMMIT_TIME {
            writer.add_passages(&encoded)?;
            encoded.clear();
            begun = Instant::now();
        }
    }
    writer.add_passages(&encoded)?;
    Ok(false)
}
