//! What BM25 takes from the whole index.

use std::collections::HashMap;

use tantivy::fieldnorm::FieldNormReader;
use tantivy::query::Bm25StatisticsProvider;
use tantivy::schema::Field;
use tantivy::{Searcher, Term};

use super::schema::Fields;

/// What BM25 takes from the whole index, over the pages that are there. tantivy's own counts the
/// deleted ones, and after a merge it guesses: then the same pages would rank otherwise after
/// another history.
pub(super) struct Statistics {
    pub searcher: Searcher,
    /// Words of each field, each page's rounded as its own length is.
    words: HashMap<Field, u64>,
}

impl Statistics {
    pub fn new(searcher: Searcher, fields: &Fields) -> tantivy::Result<Self> {
        let mut words = HashMap::new();
        for field in [fields.body, fields.name] {
            let mut pages_of_length = [0u64; 256];
            for segment in searcher.segment_readers() {
                let lengths = segment.get_fieldnorms_reader(field)?;
                for page in segment.doc_ids_alive() {
                    pages_of_length[usize::from(lengths.fieldnorm_id(page))] += 1;
                }
            }
            let length = |id: u8| u64::from(FieldNormReader::id_to_fieldnorm(id));
            let sum = (0..=u8::MAX).map(|id| pages_of_length[usize::from(id)] * length(id)).sum();
            words.insert(field, sum);
        }
        Ok(Self { searcher, words })
    }
}

impl Bm25StatisticsProvider for Statistics {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        Ok(self.words.get(&field).copied().unwrap_or_default())
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.searcher.num_docs())
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        // Until the merge at the end of a run, deleted pages count here.
        Ok(self.searcher.doc_freq(term)?.min(self.searcher.num_docs()))
    }
}
