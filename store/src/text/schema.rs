//! The fields of the text index: one tantivy document a page.

use pagesight_core::PageId;
use tantivy::TantivyDocument;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing,
    TextOptions, Value,
};

#[derive(Clone)]
pub(super) struct Fields {
    /// Document id, hexadecimal.
    pub document: Field,
    /// `document#number`.
    pub page: Field,
    pub number: Field,
    /// Code of the language that stemmed the page.
    pub language: Field,
    pub body: Field,
    /// Words of the paths and the title.
    pub name: Field,
    /// Words of the body; those that stand for the same one count once.
    pub length: Field,
    /// The language again, as a number.
    pub language_number: Field,
    /// 1 for a table of contents.
    pub contents: Field,
}

/// Names of the fields that every page is read for.
pub(super) const LENGTH: &str = "length";
pub(super) const LANGUAGE: &str = "language_number";
pub(super) const CONTENTS: &str = "contents";

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
    let words = |option| {
        let indexing = TextFieldIndexing::default().set_index_option(option);
        TextOptions::default().set_indexing_options(indexing)
    };
    // Those of before come first, in their order: an index that is not analysed again yet has them.
    let fields = Fields {
        document: schema.add_text_field("document", STRING | STORED),
        page: schema.add_text_field("page", STRING),
        number: schema.add_u64_field("number", INDEXED | STORED | FAST),
        language: schema.add_text_field("language", STRING),
        body: schema.add_text_field("body", words(IndexRecordOption::WithFreqsAndPositions)),
        name: schema.add_text_field("name", words(IndexRecordOption::WithFreqs)),
        length: schema.add_u64_field(LENGTH, FAST),
        language_number: schema.add_u64_field(LANGUAGE, FAST),
        contents: schema.add_u64_field(CONTENTS, FAST),
    };
    (schema.build(), fields)
}
