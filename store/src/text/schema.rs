//! The fields of the text index: one tantivy document a page.

use pagesight_core::PageId;
use tantivy::TantivyDocument;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing,
    TextOptions, Value,
};
use tantivy::tokenizer::Language;

#[derive(Clone)]
pub(super) struct Fields {
    /// Document id, hexadecimal.
    pub document: Field,
    /// `document#number`.
    pub page: Field,
    pub number: Field,
    /// Language that stemmed the page, as a debug name.
    pub language: Field,
    pub body: Field,
    /// Words of the paths and the title.
    pub name: Field,
}

impl Fields {
    /// The page that `document` is of; `None` when it does not say so.
    pub fn page_of(&self, document: &TantivyDocument) -> Option<PageId> {
        let id = document.get_first(self.document)?.as_str()?.parse().ok()?;
        let number = document.get_first(self.number)?.as_u64()?;
        Some(PageId { document: id, number: number as u32 })
    }
}

pub(super) fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let words = || {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default().set_index_option(IndexRecordOption::WithFreqs),
        )
    };
    let fields = Fields {
        document: schema.add_text_field("document", STRING | STORED),
        page: schema.add_text_field("page", STRING),
        number: schema.add_u64_field("number", INDEXED | STORED | FAST),
        language: schema.add_text_field("language", STRING),
        body: schema.add_text_field("body", words()),
        name: schema.add_text_field("name", words()),
    };
    (schema.build(), fields)
}

/// The languages that have a stemmer.
pub(super) const LANGUAGES: [Language; 18] = [
    Language::Arabic,
    Language::Danish,
    Language::Dutch,
    Language::English,
    Language::Finnish,
    Language::French,
    Language::German,
    Language::Greek,
    Language::Hungarian,
    Language::Italian,
    Language::Norwegian,
    Language::Portuguese,
    Language::Romanian,
    Language::Russian,
    Language::Spanish,
    Language::Swedish,
    Language::Tamil,
    Language::Turkish,
];
