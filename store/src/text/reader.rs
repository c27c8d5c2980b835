//! The read side of the text index: BM25 over the words of one snapshot's pages.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pagesight_core::seam::DocumentFilter;
use pagesight_core::{DocumentId, Found, FoundWords, Frequencies, PageId, Sums, WordFacts};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocId, DocSet, Index, ReloadPolicy, TERMINATED, TantivyDocument, Term};

use super::bm25::{Columns, Corpus, Scored, Statistics, terms};
use super::pinned::{PinnedDirectory, TextSums};
use super::schema::{CONTENTS, Fields, LANGUAGE, LENGTH, schema};
use super::snippet::{Snippet, snippet_of};
use crate::error::StoreError;

/// A page with fewer words is not judged by them: a scan may have a stamp or a page number.
const FEW_WORDS: u32 = 8;

/// The text index of one snapshot.
pub(crate) struct TextReader {
    path: PathBuf,
    corpus: Corpus,
    fields: Fields,
    /// Of the pages here, which are all unless other machines have the rest.
    statistics: Statistics,
}

impl TextReader {
    /// Opens the segments that `meta`, tantivy's `meta.json`, names in `folder`.
    ///
    /// # Errors
    /// [`StoreError::Text`].
    pub fn open(folder: &Path, meta: &str) -> Result<Self, StoreError> {
        Self::checked(folder, meta, TextSums::new())
    }

    /// The same, and what is read of the files that have `sums` is compared with them.
    ///
    /// # Errors
    /// [`StoreError::Text`]; [`StoreError::DamagedFile`] for a block that is not what was written, which
    /// searches say, too.
    pub fn checked(folder: &Path, meta: &str, sums: TextSums) -> Result<Self, StoreError> {
        let open = || -> tantivy::Result<Self> {
            let (_, fields) = schema();
            let index = Index::open(PinnedDirectory::checked(folder, Some(meta), sums)?)?;
            let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
            let (body, name, stemmer) = (fields.body, fields.name, fields.language);
            let (length, language, contents) = (LENGTH, LANGUAGE, CONTENTS);
            let columns = Columns { body, name, stemmer, length, language, contents };
            let corpus = Corpus::open(reader.searcher(), columns)?;
            let statistics = Statistics::of(corpus.facts());
            Ok(Self { path: folder.to_path_buf(), corpus, fields, statistics })
        };
        open().map_err(StoreError::text("opening", folder))
    }

    /// What is known of the words of these pages.
    pub fn facts(&self) -> &WordFacts {
        self.corpus.facts()
    }

    /// On how many of these pages what `query` looks up is, where `all` are the facts of all pages.
    ///
    /// # Errors
    /// [`StoreError::Text`].
    pub fn frequencies(&self, query: &str, all: &WordFacts) -> Result<Frequencies, StoreError> {
        self.frequencies_by(query, &Statistics::of(all))
    }

    fn frequencies_by(&self, query: &str, all: &Statistics) -> Result<Frequencies, StoreError> {
        let counted = self.corpus.frequencies(&all.question(query), all);
        counted.map_err(StoreError::text("searching", &self.path))
    }

    /// The part of `text` that answers `query` best, its words marked. Nothing is marked when no
    /// word of the query is in it: then the page was found by its path or title.
    pub fn snippet(&self, query: &str, text: &str) -> Snippet {
        // A word that cannot be looked up is marked: a snippet is no place to fail.
        let question = self.statistics.question(query);
        let known = terms(&question).map(|term| self.corpus.pages_with(term).unwrap_or(0));
        snippet_of(&question, text, self.statistics.pages, &known.collect::<Vec<u64>>())
    }

    /// The `k` best pages, best first, ties by [`PageId`], and the scale of the scores of all pages
    /// of `filter`.
    ///
    /// # Errors
    /// [`StoreError::Text`].
    pub fn search(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
    ) -> Result<Found, StoreError> {
        let FoundWords { pages, sums, searched, most } =
            self.search_by(query, k, filter, (&self.statistics, None))?;
        Ok(Found { pages, scale: sums.scale(searched, most) })
    }

    /// The `k` best of these pages by the facts and frequencies of all pages.
    ///
    /// # Errors
    /// [`StoreError::Text`].
    pub fn search_part(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
        (all, have): (&WordFacts, &Frequencies),
    ) -> Result<FoundWords, StoreError> {
        self.search_by(query, k, filter, (&Statistics::of(all), Some(have)))
    }

    fn search_by(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
        (all, have): (&Statistics, Option<&Frequencies>),
    ) -> Result<FoundWords, StoreError> {
        let question = all.question(query);
        if question.words.is_empty() {
            return Ok(FoundWords::default());
        }
        let search = || -> tantivy::Result<FoundWords> {
            let within = filter.map(|documents| self.pages_of(documents)).transpose()?;
            let is_within = |segment: usize, page: DocId| {
                within.as_ref().is_none_or(|within| within[segment][page as usize])
            };
            let (mut found, most) = self.corpus.score(&question, (all, have), is_within)?;
            let searched = within.as_ref().map_or(self.corpus.facts().pages as usize, |within| {
                within.iter().flatten().filter(|&&is_within| is_within).count()
            });
            let sums: Sums = found.iter().map(|found| found.score).collect();
            found.sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
            // Pages that tie with the last one that counts come along: their ids decide.
            let last = found.get(k.max(1) - 1).map_or(0.0, |last| last.score);
            found.truncate(found.partition_point(|found| found.score >= last));
            let mut pages = Vec::with_capacity(found.len());
            for Scored { segment, page, score } in found {
                let address = DocAddress::new(segment as u32, page);
                let document: TantivyDocument = self.corpus.searcher().doc(address)?;
                pages.extend(self.fields.page_of(&document).map(|page| (page, score)));
            }
            pages.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            pages.truncate(k);
            Ok(FoundWords { pages, sums, searched, most })
        };
        search().map_err(StoreError::text("searching", &self.path))
    }

    /// For each segment, which pages are of `documents`.
    fn pages_of(&self, documents: &HashSet<DocumentId>) -> tantivy::Result<Vec<Vec<bool>>> {
        let mut all = Vec::new();
        for segment in self.corpus.searcher().segment_readers() {
            let mut within = vec![false; segment.max_doc() as usize];
            let index = segment.inverted_index(self.fields.document)?;
            for id in documents {
                let term = Term::from_field_text(self.fields.document, &id.to_string());
                let postings = index.read_postings(&term, IndexRecordOption::Basic)?;
                let Some(mut postings) = postings else { continue };
                while postings.doc() != TERMINATED {
                    within[postings.doc() as usize] = !segment.is_deleted(postings.doc());
                    postings.advance();
                }
            }
            all.push(within);
        }
        Ok(all)
    }

    /// Those of `pages` with fewer than [`FEW_WORDS`] words.
    pub fn wordless(&self, pages: &[PageId]) -> Result<HashSet<PageId>, StoreError> {
        let wordless = || -> tantivy::Result<HashSet<PageId>> {
            let mut found = HashSet::new();
            for (at, segment) in self.corpus.searcher().segment_readers().iter().enumerate() {
                let terms = segment.inverted_index(self.fields.page)?;
                for page in pages {
                    let term = Term::from_field_text(self.fields.page, &page.to_string());
                    let postings = terms.read_postings(&term, IndexRecordOption::Basic)?;
                    let Some(mut postings) = postings else { continue };
                    while postings.doc() != TERMINATED {
                        let living = !segment.is_deleted(postings.doc());
                        if living && self.corpus.length(at, postings.doc()) < FEW_WORDS {
                            found.insert(*page);
                        }
                        postings.advance();
                    }
                }
            }
            Ok(found)
        };
        wordless().map_err(StoreError::text("reading", &self.path))
    }

    /// Every page of the index, in no order; a page that is there twice comes twice.
    pub fn pages(&self) -> Result<Vec<PageId>, StoreError> {
        let pages = || -> tantivy::Result<Vec<PageId>> {
            let searcher = self.corpus.searcher();
            let mut pages = Vec::with_capacity(searcher.num_docs() as usize);
            for segment in searcher.segment_readers() {
                let store = segment.get_store_reader(1)?;
                for id in segment.doc_ids_alive() {
                    let document: TantivyDocument = store.get(id)?;
                    pages.extend(self.fields.page_of(&document));
                }
            }
            Ok(pages)
        };
        pages().map_err(StoreError::text("reading", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pagesight_core::Scale;
    use pagesight_core::seam::{Batch, PageSink, TextIndex};
    use pagesight_core::testing::{document_record, page_record};

    use super::*;
    use crate::text::writer::{PageWords, TextWriter};
    use crate::{Reader, Writer, repair, verify};

    /// A text index of `pages`, numbered from 1 in documents of their own.
    struct Place {
        reader: TextReader,
        pages: Vec<PageId>,
        _folder: tempfile::TempDir,
    }

    impl Place {
        fn new(pages: &[&str]) -> Self {
            let named: Vec<(&str, &str)> = pages.iter().map(|text| ("x.pdf", *text)).collect();
            Self::named(&named)
        }

        fn named(pages: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut writer = TextWriter::open(folder.path(), None).unwrap();
            let ids: Vec<PageId> = (1..=pages.len() as u32)
                .map(|n| PageId { document: DocumentId::of(&n.to_le_bytes()), number: n })
                .collect();
            let names: Vec<Vec<String>> =
                pages.iter().map(|(name, _)| vec![name.to_string()]).collect();
            let words = pages.iter().zip(&names).zip(&ids);
            let words = words.map(|(((_, text), names), &id)| PageWords { id, text, names });
            writer.commit([], words).unwrap();
            let reader = TextReader::open(folder.path(), &writer.meta()).unwrap();
            Self { reader, pages: ids, _folder: folder }
        }

        /// Numbers of the pages found, best first, and their scores.
        fn ask(&self, question: &str) -> Vec<(u32, f32)> {
            let hits = self.reader.search(question, 10, None).unwrap().pages;
            hits.into_iter().map(|(page, score)| (page.number, score)).collect()
        }

        fn found(&self, question: &str) -> Vec<u32> {
            self.ask(question).into_iter().map(|(page, _)| page).collect()
        }

        /// The best page, which is alone at its score.
        fn first(&self, question: &str) -> u32 {
            match self.ask(question)[..] {
                [(page, _)] => page,
                [(page, best), (_, next), ..] => {
                    assert!(best > next, "{question}: {best} and {next}");
                    page
                }
                [] => panic!("{question}: nothing"),
            }
        }
    }

    const ENGLISH: &str = "The workshop keeps its tools in drawers along the wall, and every drawer has \
                           a label and a list of what it holds.";
    const FRENCH: &str = "Les ouvriers de cette maison rangent leurs outils dans les tiroirs qui sont \
                          le long du mur, et chaque tiroir porte une liste.";
    const PORTUGUESE: &str = "Os trabalhadores desta casa guardam as suas ferramentas nas gavetas que \
                              estão ao longo da parede, e cada gaveta tem uma lista.";

    #[test]
    fn what_a_page_says_is_found_as_people_type_it() {
        for (text, questions) in [
            (
                "Report by O’Sullivan and D’Angelo",
                vec!["O'Sullivan", "sullivan", "d'angelo", "dangelo"],
            ),
            ("L’entreprise d’assurance", vec!["entreprise", "assurance", "l'entreprise"]),
            ("Casting of bronze bells ........ 14,250", vec!["bronze", "14250", "14,250"]),
            (
                "Name:Smithson Born:Kilkenny May.Afterwards",
                vec!["smithson", "kilkenny", "afterwards"],
            ),
            ("your résumé, your exposé", vec!["resume", "expose", "résumé", "resumes"]),
            (
                "Straße und Maß, Müller",
                vec!["strasse", "STRASSE", "mass", "mueller", "muller", "Müller"],
            ),
            (
                "Søren drew an ærial œuvre in Århus",
                vec!["soren", "soeren", "aerial", "oeuvre", "arhus", "aarhus"],
            ),
            ("Łódź, Þórshöfn, ışık, Đà Nẵng", vec!["lodz", "łódź", "thorshofn", "isik", "da nang"]),
            ("שָׁלוֹם", vec!["שלום"]),
            ("研究の研\n究、電\n力会社", vec!["電力", "研究"]),
            ("東 京 都", vec!["東京", "東京都", "都", "東"]),
            ("⽇本の⼈⼝、ｶﾞｽ", vec!["日本", "人口", "ガス"]),
            ("\u{110c}\u{1175}\u{1112}\u{1161}\u{110e}\u{1165}\u{11af}", vec!["지하철"]),
            (
                "Prix 1\u{202F}234\u{202F}567 et 98\u{A0}765, 2 500 000",
                vec!["1234567", "98765", "98 765", "2500000"],
            ),
            ("The balance is 1.234,56 euros", vec!["1.234,56", "1234,56", "1,234.56", "1234.56"]),
            ("The rate is 12,5", vec!["12,5", "12.5"]),
            (
                "See parse_config_file and userAccountId",
                vec!["config", "parse_config_file", "account", "useraccountid"],
            ),
            ("Set MAX_RETRY_COUNT", vec!["retry", "max_retry_count", "maxRetryCount"]),
            ("the well-\nknown state-of-the-\nart", vec!["known", "wellknown", "art"]),
            ("the inter\u{AD}national body", vec!["international", "national"]),
            ("C++ and C#", vec!["C++", "c#", "C"]),
            ("𝐡𝐞𝐚𝐝𝐢𝐧𝐠", vec!["heading"]),
        ] {
            let place = Place::new(&[text, ENGLISH]);
            for question in questions {
                assert_eq!(place.found(question), [1], "{question} in {text}");
            }
        }
    }

    #[test]
    fn what_is_another_word_is_not_found() {
        for (text, question) in [
            ("The rate is 125 percent", "12,5"),
            ("The rate is 12,5 percent", "125"),
            ("Written in C by the night shift", "C++"),
            ("Written in C# by the night shift", "C++"),
            ("The house had white shutters", "\"white house\""),
        ] {
            let place = Place::new(&[text, ENGLISH]);
            assert_eq!(place.found(question), Vec::<u32>::new(), "{question} in {text}");
        }
    }

    #[test]
    fn the_spelling_of_the_question_comes_first() {
        let place = Place::new(&["the resume of a cook", "the résumé of a cook", ENGLISH]);
        assert_eq!((place.first("resume"), place.first("résumé")), (1, 2));
        assert_eq!(place.found("resume").len(), 2);
        let place = Place::new(&["written in C by", "written in C++ by", "written in C# by"]);
        assert_eq!((place.first("C++"), place.first("C#"), place.first("C")), (2, 3, 1));
        let place = Place::new(&["a sum of 1.234 pounds", "a sum of 1234 pounds", ENGLISH]);
        assert_eq!((place.first("1.234"), place.first("1234")), (1, 2));
        assert_eq!(place.found("1,234"), [2, 1]);
    }

    #[test]
    fn a_word_is_stemmed_in_the_language_of_each_page() {
        let portuguese = format!("A administração do porto. {PORTUGUESE}");
        let french = format!("Les administrations du port. {FRENCH}");
        let place = Place::new(&[&portuguese, &french, ENGLISH]);
        assert_eq!(place.found("administracao"), [1]);
        assert_eq!(place.found("administrações"), [1]);
        assert_eq!(place.found("administration")[0], 2);
    }

    #[test]
    fn letters_in_another_order_are_another_word() {
        for (text, other, question) in [
            ("กรุงเทพมหานครเป็นเมืองหลวง", "รคนาหมพทเงรุก รคนาหมพทเงรุก", "กรุงเทพมหานคร"),
            ("ນະຄອນຫຼວງວຽງຈັນ", "ງວຫຼນອຄະນ ງວຫຼນອຄະນ", "ນະຄອນຫຼວງ"),
            ("រាជធានីភ្នំពេញ", "ញពេភ្នំនីធាជរា ញពេភ្នំនីធាជរា", "ភ្នំពេញ"),
        ] {
            assert_eq!(Place::new(&[text, other, ENGLISH]).first(question), 1, "{question}");
        }
    }

    #[test]
    fn what_is_quoted_is_required() {
        let place = Place::new(&[
            "The white house on the hill was sold to a banker",
            "The house had white shutters and a hill behind",
            "White paint, white doors, a house, a house and a house",
            "Le Château d’Eau, et l’eau du château",
        ]);
        assert_eq!(place.found("\"white house\""), [1]);
        assert_eq!(place.found("“White House” banker"), [1]);
        assert_eq!(place.found("hill \"a house\""), [3]);
        assert_eq!(place.found("\"chateau d'eau\""), [4]);
        assert_eq!(place.found("\"house white\""), Vec::<u32>::new());
        assert_eq!(place.found("white house").len(), 3);
        let japanese = Place::new(&["東京都の人口", "京都と東京"]);
        assert_eq!(japanese.found("「東京都」"), [1]);
    }

    #[test]
    fn function_words_do_not_rank_pages() {
        let prose = "What is the use of it? How does it do what it does, and which of the two is \
                     what we have? It is what it is, and where it is it has been, in the way that \
                     the things which there are have been what they are.";
        let place = Place::new(&[prose, "Net revenue by region", ENGLISH, FRENCH]);
        assert_eq!(place.found("What is the net revenue of the region?"), [2]);
        assert_eq!(place.found("what is it").first(), Some(&1));
        let place = Place::new(&[FRENCH, "Chiffre d’affaires 2023", ENGLISH]);
        assert_eq!(place.found("Quel est le chiffre d'affaires de la maison qui ?")[0], 2);
    }

    #[test]
    fn contents_rank_below_the_page_that_they_lead_to() {
        let contents = "Contents\n1 Installing the parrot ...... 3\n2 Feeding the parrot ...... 9\n\
                        3 Cleaning the cage ...... 12\n4 Teaching it to speak ...... 17\n\
                        5 Travel ...... 22\n6 Illness ...... 30\n";
        let page = format!("2 Feeding the parrot\n{ENGLISH} {ENGLISH} {ENGLISH}");
        let place = Place::new(&[contents, &page, ENGLISH]);
        assert_eq!(place.found("feeding the parrot"), [2, 1]);
        assert_eq!(place.found("illness"), [1]);
    }

    #[test]
    fn names_are_found_in_both_forms_of_their_letters() {
        let place = Place::named(&[
            ("berichte/Mu\u{308}nchen_UltaBeauty_2023.pdf", "1"),
            ("other.pdf", ENGLISH),
        ]);
        for question in ["München", "muenchen", "munchen", "ulta beauty", "ultabeauty", "2023"] {
            assert_eq!(place.found(question), [1], "{question}");
        }
    }

    #[test]
    fn pages_with_hardly_a_word_are_told_by_their_words_not_their_terms() {
        // Six words, and many more terms.
        let place = Place::new(&["FY2023 10-K résumé parse_config Müller", ENGLISH]);
        let wordless = place.reader.wordless(&place.pages).unwrap();
        assert!(!wordless.contains(&place.pages[1]));
        let place = Place::new(&["résumé Müller Łódź", ENGLISH]);
        assert!(place.reader.wordless(&place.pages).unwrap().contains(&place.pages[0]));
    }

    #[test]
    fn a_filter_leaves_scores_as_they_are() {
        let place = Place::new(&["white house", "white house hill", ENGLISH]);
        let all = place.reader.search("white hill", 10, None).unwrap();
        let only = HashSet::from([place.pages[0].document]);
        let some = place.reader.search("white hill", 10, Some(&only)).unwrap();
        let of_one = all.pages.iter().filter(|hit| hit.0 == place.pages[0]).copied();
        assert_eq!(some.pages, of_one.collect::<Vec<_>>());
        assert_eq!((some.scale.pages, all.scale.pages), (1, 3));
        assert_eq!(some.scale.most, all.scale.most);
    }

    #[test]
    fn the_scale_is_that_of_all_pages() {
        let place = Place::new(&["white house", "white white hill", ENGLISH, FRENCH]);
        let found = place.reader.search("white hill", 1, None).unwrap();
        let all = place.reader.search("white hill", 10, None).unwrap();
        assert_eq!((found.pages.len(), all.pages.len()), (1, 2));
        // As many as are asked for change nothing, and a page without a word counts.
        assert_eq!(found.scale, all.scale);
        assert_eq!(all.scale, Scale::of(all.pages.iter().map(|hit| hit.1), 4, all.scale.most));
        assert!(all.scale.share(all.pages[0].1).unwrap() > 0.4);
        // A word that is nowhere is missing everywhere.
        let more = place.reader.search("white hill xyzzyqwv", 10, None).unwrap();
        let share = |found: &Found| found.scale.share(found.pages[0].1).unwrap();
        assert!(share(&more) < share(&all));
        let none = place.reader.search("xyzzyqwv", 10, None).unwrap();
        assert!(none.pages.is_empty() && none.scale.most > 0.0);
    }

    #[test]
    fn a_flipped_bit_of_a_large_file_is_never_read_as_words() {
        let mut random = 1u64;
        let mut word = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("w{:x}", random >> 40)
        };
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("index");
        let mut writer = Writer::create(&index).unwrap();
        let id = DocumentId::of(b"a");
        let texts: Vec<String> =
            (0..500).map(|_| (0..800).map(|_| word()).collect::<Vec<_>>().join(" ")).collect();
        let page = |(n, text): (u32, &String)| page_record(id, n, text, None);
        let pages = (1..).zip(&texts).map(page).collect();
        let documents = vec![document_record("a.pdf", id, 500)];
        writer.commit(Batch { documents, pages, ..Batch::default() }).unwrap();
        drop(writer);
        let questions: Vec<&str> =
            texts.iter().map(|text| text.split(' ').nth(7).unwrap()).collect();
        let ask = |reader: &Reader| -> Vec<Result<Vec<PageId>, String>> {
            let ask = |question: &&str| match reader.search_text(question, 10, None) {
                Ok(found) => Ok(found.pages.into_iter().map(|(page, _)| page).collect()),
                Err(error) => Err(error.to_string()),
            };
            questions.iter().map(ask).collect()
        };
        let sound = ask(&Reader::open(&index).unwrap());
        assert!(sound.iter().all(|found| found.as_ref().is_ok_and(|found| !found.is_empty())));
        let files = fs::read_dir(index.join("text")).unwrap().map(|file| file.unwrap().path());
        let large: Vec<PathBuf> =
            files.filter(|file| file.metadata().unwrap().len() > 1 << 20).collect();
        assert!(large.len() >= 2, "{large:?}");
        let mut refused = 0;
        for file in &large {
            let bytes = fs::read(file).unwrap();
            for at in (0..bytes.len()).step_by(bytes.len() / 9) {
                let mut bad = bytes.clone();
                bad[at] ^= 0x10;
                fs::write(file, bad).unwrap();
                let name = file.file_name().unwrap().to_str().unwrap();
                match Reader::open(&index) {
                    // What every search reads.
                    Err(error) => assert!(error.to_string().contains(name), "{error:?}"),
                    Ok(reader) => {
                        for (found, expected) in ask(&reader).into_iter().zip(&sound) {
                            match found {
                                Ok(found) => assert_eq!(Ok(&found), expected.as_ref()),
                                Err(error) => {
                                    refused += 1;
                                    assert!(error.contains(name), "{error}");
                                }
                            }
                        }
                    }
                }
                assert!(verify(&index).unwrap().damage.iter().any(|d| d.file.contains(name)));
            }
            fs::write(file, bytes).unwrap();
        }
        assert!(refused > 0);
        // The checksums themselves, and the words: both are made again.
        let sums = fs::read_dir(index.join("sums")).unwrap().next().unwrap().unwrap().path();
        for file in [&sums, &large[0]] {
            let mut bad = fs::read(file).unwrap();
            bad[10] ^= 1;
            fs::write(file, bad).unwrap();
            assert!(!verify(&index).unwrap().damage.is_empty());
            assert!(!repair(&index).unwrap().mended.is_empty());
            assert!(verify(&index).unwrap().damage.is_empty());
            assert_eq!(ask(&Reader::open(&index).unwrap()), sound);
        }
    }
}
