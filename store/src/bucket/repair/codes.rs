//! Codes made again from the vectors of the pages, around the coder of the index.
//!
//! Files that are as they were written stay. Of every document of which they have other pages than the
//! table, what they have is dropped, and new files at the end of the list have all of its pages: those whose
//! codes are sound as they were, the others derived again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;

use pagesight_core::{DocumentId, PageId, PageVectors};
use pagesight_maxsim::{Segments, SketchCoder, Slot};

use super::rows::Rows;
use super::{Mending, grouped, in_bucket};
use crate::bucket::coder;
use crate::bucket::record::plan_of;
use crate::codes::mend::Mending as Segment;
use crate::codes::neutral::LazyNeutral;
use crate::codes::segments::{map, open};
use crate::codes::write::fit;
use crate::error::StoreError;
use crate::lance::schema::{Rows as Batch, VECTOR_COLUMNS};
use crate::lance::table::LanceTable;
use crate::snapshot::contents::FileMark;
use crate::snapshot::names::CODES;

/// Pages of one new file: as many as a part has.
const PAGES: usize = 2048;

/// Pages whose vectors are in memory at once.
const CODED: usize = 64;

/// Pages of which a coder is made where nothing says any more around what the codes were.
const SAMPLE: usize = 32;

impl Mending<'_> {
    /// Makes the codes fit those pages of `rows` that have vectors in `table`: the names of their files
    /// after, the oldest first.
    pub async fn codes(
        &mut self,
        rows: &Rows,
        table: &LanceTable,
        neutral: Option<&LazyNeutral>,
    ) -> Result<Vec<String>, StoreError> {
        let all = self.on.snapshot.codes.clone().unwrap_or_default();
        if self.on.snapshot.compact.is_some() {
            return Ok(all);
        }
        let is_known = |name: &&String| self.known.contains_key(&in_bucket(name));
        let mut names: Vec<String> = all.iter().filter(is_known).cloned().collect();
        let codes = open(self.mirror.folder(), &names)?;
        let coder = self.coder(&codes, rows, table).await?;
        let sure = self.sure(&all, &names, &codes, rows, table).await?;

        // Documents of which there are other codes than pages with vectors.
        let living: BTreeSet<PageId> = codes.ids().collect();
        let wrong = living.iter().filter(|page| !sure.contains_key(page));
        let missing = rows.with_vectors.iter().filter(|page| !living.contains(page));
        let wrong: BTreeSet<DocumentId> = wrong.chain(missing).map(|page| page.document).collect();
        drop(codes);
        if let Some(coder) = coder.filter(|_| !wrong.is_empty()) {
            let (mut copied, mut derived) = (0, 0);
            let with_vectors = rows.with_vectors.iter().copied();
            for (n, (documents, pages)) in
                grouped(&wrong, with_vectors, PAGES).into_iter().enumerate()
            {
                let (kept, lost): (Vec<PageId>, Vec<PageId>) =
                    pages.into_iter().partition(|page| sure.contains_key(page));
                (copied, derived) = (copied + kept.len(), derived + lost.len());
                let slots: Vec<Slot> = kept.iter().map(|page| sure[page]).collect();
                let name = format!("{}-{n}.codes", self.begin);
                let path = self.scratch.join(&name);
                let mut segment = Segment::create(&path, &coder, documents)?;
                self.copy(&mut segment, &names, &slots).await?;
                for some in lost.chunks(CODED) {
                    let vectors = vectors_of(table, rows, some).await?;
                    segment.derive(neutral.and_then(LazyNeutral::get), &vectors)?;
                }
                segment.finish()?;
                self.put(&name).await?;
                names.push(name);
            }
            self.say(format!(
                "{CODES}: those of {derived} pages are derived again from the vectors, and those of \
                 {copied} copied"
            ));
        }
        for name in self.damaged_in(CODES) {
            self.say(format!("{name}: it is replaced"));
        }
        Ok(names)
    }

    /// The coder of the index. Where it is gone or damaged it is put again, as the codes have it, or where
    /// there are none that are sound, made anew of the first pages; `None` where there are no vectors.
    async fn coder(
        &mut self,
        codes: &Segments,
        rows: &Rows,
        table: &LanceTable,
    ) -> Result<Option<SketchCoder>, StoreError> {
        let Some(model) = &self.on.snapshot.model else { return Ok(None) };
        let there = match coder::there(self.objects, model).await {
            Err(StoreError::DamagedFile { .. }) => None,
            there => there?,
        };
        let of_codes = codes.segments().first().map(|first| first.mean().to_vec());
        let made = match (there, of_codes) {
            (Some(there), None) => return Ok(Some(there)),
            (Some(there), Some(mean)) if there.mean() == mean => return Ok(Some(there)),
            (_, Some(mean)) => SketchCoder::around(mean),
            (None, None) if rows.with_vectors.is_empty() => return Ok(None),
            (None, None) => {
                let first: Vec<PageId> = rows.with_vectors.iter().take(SAMPLE).copied().collect();
                let vectors = vectors_of(table, rows, &first).await?;
                fit(model.dim, vectors.iter().map(|(_, vectors)| vectors))
            }
        };
        let name = coder::restore(self.objects, model, &made).await?;
        self.say(format!("{name}: it is made again"));
        Ok(Some(made))
    }

    /// Where the codes of those pages lie that are beyond doubt those of their rows: in the files `names`,
    /// which are left of `all` and open in `codes`.
    ///
    /// A document that was read again has codes in several files, of which the newest counts. Where that
    /// is gone, those of before live again. A part's codes are called as its rows are, which tells them
    /// apart; joined ones are not, and are doubted when later joined ones are gone.
    async fn sure(
        &self,
        all: &[String],
        names: &[String],
        codes: &Segments,
        rows: &Rows,
        table: &LanceTable,
    ) -> Result<HashMap<PageId, Slot>, StoreError> {
        let here: HashSet<&String> = names.iter().collect();
        let gone: Vec<(usize, &String)> =
            all.iter().enumerate().filter(|(_, name)| !here.contains(name)).collect();
        let is_of_part = |name: &str| plan_of(&in_bucket(name)).is_some();
        let last_joined = gone.iter().rev().find(|(_, name)| !is_of_part(name)).map(|(at, _)| *at);
        // Where each of `names` stands in the list of all.
        let places: Vec<usize> = (0..all.len()).filter(|&at| here.contains(&all[at])).collect();
        let files: HashMap<u64, String> = table
            .dataset()
            .await?
            .fragments()
            .iter()
            .filter_map(|fragment| Some((fragment.id, fragment.files.first()?.path.clone())))
            .collect();
        let is_of = |codes: &str, file: &str| {
            codes.strip_suffix(".codes").is_some_and(|begin| file.starts_with(begin))
        };
        let is_sure = |page: &PageId, slot: &Slot| {
            if gone.is_empty() {
                return true;
            }
            let at = slot.segment as usize;
            let file = rows.there.get(page).and_then(|row| files.get(&(row >> 32)));
            let Some(file) = file else { return false };
            is_of(&names[at], file)
                || (!is_of_part(&names[at])
                    && last_joined.is_none_or(|last| last < places[at])
                    && !gone.iter().any(|(_, name)| is_of(name, file)))
        };
        let slots = codes.ids().zip(codes.living().iter().copied());
        let slots = slots.filter(|(page, _)| rows.with_vectors.contains(page));
        Ok(slots.filter(|(page, slot)| is_sure(page, slot)).collect())
    }

    /// Copies the pages that lie at `slots` of the files `names`.
    async fn copy(
        &self,
        segment: &mut Segment<'_>,
        names: &[String],
        slots: &[Slot],
    ) -> Result<(), StoreError> {
        let mut of_files: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for slot in slots {
            of_files.entry(slot.segment).or_default().push(slot.index);
        }
        for (at, pages) in of_files {
            let name = &names[at as usize];
            let object = in_bucket(name);
            let whole: BTreeMap<String, FileMark> = self
                .known
                .get_key_value(&object)
                .map(|(k, v)| (k.clone(), v.clone()))
                .into_iter()
                .collect();
            self.mirror.bring_whole(&whole).await?;
            let from = map(self.mirror.folder(), name)?;
            for page in pages {
                segment.copy(&from, page as usize)?;
            }
        }
        Ok(())
    }

    /// Puts the file of codes `name` of the scratch folder.
    async fn put(&mut self, name: &str) -> Result<(), StoreError> {
        let path = self.scratch.join(name);
        let reading = || StoreError::io("reading", &path);
        let mut hash = blake3::Hasher::new();
        let file = fs::File::open(&path).map_err(reading())?;
        let bytes = file.metadata().map_err(reading())?.len();
        hash.update_reader(file).map_err(reading())?;
        let mark = FileMark { bytes, blake3: hash.finalize().to_hex().to_string() };
        let object = in_bucket(name);
        self.objects.upload(&object, &path).await?;
        self.known.insert(object, mark);
        let _ = fs::remove_file(&path);
        Ok(())
    }
}

/// The vectors of `pages`, in their order.
async fn vectors_of(
    table: &LanceTable,
    rows: &Rows,
    pages: &[PageId],
) -> Result<Vec<(PageId, PageVectors)>, StoreError> {
    let ids: Vec<u64> = pages.iter().map(|page| rows.there[page]).collect();
    let mut found = Vec::with_capacity(pages.len());
    for batch in table.take(&VECTOR_COLUMNS, ids).await? {
        found.extend(Batch { batch: &batch, path: &table.path }.vectors()?);
    }
    found.sort_by_key(|(page, _)| *page);
    Ok(found)
}
