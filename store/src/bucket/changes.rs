//! What a plan changes in an index: which rows, pages and words go, and which parts are added.
//!
//! A plan was made on one snapshot and is committed on another, on which a rival may have brought in
//! the same documents, dropped them, or given them other names. Plain functions of records, without
//! a bucket.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pagesight_core::{DocumentId, DocumentRecord, DocumentStatus};

use super::record::{Part, Plan, is_whole};
use crate::writer::names_of_documents;

/// Stands between the names of a document and of what it carries.
const CARRIED: char = '!';

/// Which documents and pages change, and how.
#[derive(Debug)]
pub(crate) struct Changes {
    /// As it is after the commit.
    pub ledger: BTreeMap<String, DocumentRecord>,
    /// Paths whose rows in the ledger go.
    pub touched: BTreeSet<String>,
    /// Rows that the ledger gets.
    pub records: Vec<DocumentRecord>,
    /// Documents whose rows go from the table of pages as it is, before parts are added.
    pub before: BTreeSet<DocumentId>,
    /// The parts whose pages are added.
    pub added: BTreeSet<usize>,
    /// Of these, before which ones pages of earlier parts go.
    pub between: BTreeMap<usize, BTreeSet<DocumentId>>,
    /// Documents whose rows go from what was added.
    pub after: BTreeSet<DocumentId>,
    /// Documents that the index has whole, by a rival, and of which parts that are added have some
    /// pages: nothing can be committed of them before they are read to their end.
    pub torn: BTreeSet<DocumentId>,
    /// Documents whose words are not as the segments have them.
    pub stale: BTreeSet<DocumentId>,
    /// Paths and titles of each document.
    pub names: HashMap<DocumentId, Vec<String>>,
}

/// Compares `parts` of `plan` with `base`, the ledger of the snapshot that they are added to. With
/// `partial`, documents that are not read to their end do not count.
pub(crate) fn changes(
    plan: &Plan,
    parts: &[Part],
    base: &BTreeMap<String, DocumentRecord>,
    partial: bool,
) -> Changes {
    // The last word of the plan about each path.
    let mut said: BTreeMap<&str, Option<&DocumentRecord>> = BTreeMap::new();
    for part in parts {
        part.dropped_paths.iter().for_each(|path| _ = said.insert(path, None));
        part.documents.iter().for_each(|record| _ = said.insert(&record.path, Some(record)));
    }
    let is_finished =
        |record: &DocumentRecord| !(partial && record.status == DocumentStatus::InProgress);
    let mut ledger = ledger_after(plan, &said, base, is_finished);
    let names = names_of_documents(&ledger);
    let names_before = names_of_documents(base);
    let ids = |is: &dyn Fn(&DocumentRecord) -> bool| -> BTreeSet<DocumentId> {
        base.values().filter(|record| is(record)).filter_map(|record| record.document).collect()
    };
    let whole = ids(&is_whole);
    let has_pages = ids(&|record| record.pages_indexed > 0);
    let finished: BTreeSet<DocumentId> =
        said.values().flatten().filter(|r| is_finished(r)).filter_map(|r| r.document).collect();
    let counts = |id: &DocumentId| names.contains_key(id) && finished.contains(id);

    // What a rival has brought in is there; of a part with something that is not, all comes.
    let is_wanted = |id: &DocumentId| counts(id) && !whole.contains(id);
    let mut added: BTreeSet<usize> =
        (0..parts.len()).filter(|&at| parts[at].pages.keys().any(is_wanted)).collect();
    // A document comes whole: its rows of before go, and all parts that have pages of it come.
    let mut coming: BTreeSet<DocumentId> = BTreeSet::new();
    loop {
        let pages = added.iter().flat_map(|&at| parts[at].pages.keys()).filter(|id| counts(id));
        let now: BTreeSet<DocumentId> = pages.copied().collect();
        if now == coming {
            break;
        }
        coming = now;
        let more =
            (0..parts.len()).filter(|&at| parts[at].pages.keys().any(|id| coming.contains(id)));
        added.extend(more);
    }
    let (mut between, mut after) = (BTreeMap::new(), BTreeSet::new());
    let mut seen: BTreeSet<DocumentId> = BTreeSet::new();
    for &at in &added {
        let again = parts[at].dropped_pages.iter().filter(|id| seen.contains(id));
        let again: BTreeSet<DocumentId> = again.copied().collect();
        if !again.is_empty() {
            between.insert(at, again);
        }
        seen.extend(parts[at].pages.keys());
        after.extend(parts[at].pages.keys().filter(|id| !counts(id)).copied());
    }
    let is_gone = |id: &&DocumentId| coming.contains(id) || !names.contains_key(id);
    let before: BTreeSet<DocumentId> = has_pages.iter().filter(is_gone).copied().collect();
    let is_torn = |id: &&DocumentId| has_pages.contains(id) && names.contains_key(id);
    let torn: BTreeSet<DocumentId> = after.iter().filter(is_torn).copied().collect();
    // Rows and records go together.
    for record in said.values().flatten() {
        let is_coming = record.document.is_some_and(|id| coming.contains(&id));
        if is_coming && ledger.get(&record.path).is_some_and(|r| r.document == record.document) {
            ledger.insert(record.path.clone(), (*record).clone());
        }
    }

    let mut stale: BTreeSet<DocumentId> = before.iter().chain(&after).copied().collect();
    stale.extend(between.values().flatten());
    for &at in &added {
        // As the words of the part were written.
        let of_part = parts[at].documents.iter().map(|r| (r.path.clone(), r.clone())).collect();
        let of_part = names_of_documents(&of_part);
        let ids = parts[at].pages.keys();
        stale.extend(ids.filter(|id| of_part.get(id) != names.get(id)));
    }
    let stays = has_pages.iter().filter(|id| !seen.contains(id) && names.contains_key(id));
    stale.extend(stays.filter(|id| names_before.get(id) != names.get(id)));

    let touched = base.iter().filter(|(path, record)| ledger.get(*path) != Some(record));
    let touched = touched.map(|(path, _)| path.clone()).collect();
    let records = ledger.iter().filter(|(path, record)| base.get(*path) != Some(record));
    let records = records.map(|(_, record)| record.clone()).collect();
    Changes { ledger, touched, records, before, added, between, after, torn, stale, names }
}

/// The ledger after a commit of what is `said` of paths.
fn ledger_after(
    plan: &Plan,
    said: &BTreeMap<&str, Option<&DocumentRecord>>,
    base: &BTreeMap<String, DocumentRecord>,
    is_finished: impl Fn(&DocumentRecord) -> bool,
) -> BTreeMap<String, DocumentRecord> {
    let whole: BTreeSet<DocumentId> =
        base.values().filter(|r| is_whole(r)).filter_map(|r| r.document).collect();
    let mut ledger = base.clone();
    for dropped in &plan.dropped {
        if base.get(&dropped.path).is_some_and(|record| record.document == dropped.document) {
            ledger.remove(&dropped.path);
        }
    }
    for record in &plan.renamed {
        // A document that a rival dropped meanwhile is new to the next plan.
        if record.document.is_none_or(|id| whole.contains(&id)) {
            ledger.insert(record.path.clone(), record.clone());
        }
    }
    for (&path, record) in said {
        match record {
            None => _ = ledger.remove(path),
            Some(record) if is_finished(record) => {
                // What a rival read whole stays as the rival has it, unless it is another by now.
                let is_there = base.get(path).is_some_and(|there| {
                    is_whole(there) && there.document == record.document && there.stale.is_none()
                });
                if !is_there {
                    ledger.insert(path.into(), (*record).clone());
                }
            }
            Some(_) => {}
        }
    }
    // A document that was read anew carries what was found in it, and nothing else.
    let is_read = |record: &&DocumentRecord| record.document.is_some() && is_finished(record);
    for carrier in said.values().flatten().filter(|record| is_read(record)) {
        let begin = format!("{}{CARRIED}", carrier.path);
        let carried = base.range(begin.clone()..).take_while(|(path, _)| path.starts_with(&begin));
        for (path, _) in carried.filter(|(path, _)| !said.contains_key(&***path)) {
            ledger.remove(path);
        }
    }
    ledger
}

#[cfg(test)]
mod tests {
    use pagesight_core::testing::document_record;

    use super::super::record::{DroppedPath, Plan, PlannedDocument, PlannedFile, Work};
    use super::*;

    fn id(name: &str) -> DocumentId {
        DocumentId::of(name.as_bytes())
    }

    fn plan(change: impl FnOnce(&mut Work)) -> Plan {
        let file = PlannedFile { path: "x.pdf".into(), bytes: 1, modified_ns: 1 };
        let planned = PlannedDocument { document: Some(id("x")), files: vec![file] };
        let mut work = Work { base: 1, documents: vec![planned], ..Work::default() };
        change(&mut work);
        Plan::of(work).unwrap().0
    }

    fn record(path: &str, name: &str) -> DocumentRecord {
        document_record(path, id(name), 1)
    }

    fn base(records: &[DocumentRecord]) -> BTreeMap<String, DocumentRecord> {
        records.iter().map(|record| (record.path.clone(), record.clone())).collect()
    }

    fn part(seq: u64, records: &[DocumentRecord]) -> Part {
        let mut part = Part::new("p", 0, seq);
        part.documents = records.to_vec();
        part.pages = records.iter().filter_map(|r| Some((r.document?, 1))).collect();
        part
    }

    fn ids(names: &[&str]) -> BTreeSet<DocumentId> {
        names.iter().map(|name| id(name)).collect()
    }

    #[test]
    fn new_documents_are_added_and_nothing_else_changes() {
        let parts = [part(0, &[record("x.pdf", "x")]), part(1, &[record("y.pdf", "y")])];
        let found = changes(&plan(|_| {}), &parts, &base(&[record("a.pdf", "a")]), false);
        assert_eq!(found.added, BTreeSet::from([0, 1]));
        assert!(found.before.is_empty() && found.after.is_empty() && found.stale.is_empty());
        assert!(found.touched.is_empty() && found.ledger.len() == 3 && found.records.len() == 2);
    }

    #[test]
    fn what_a_rival_brought_in_comes_once() {
        let (x, y) = (record("x.pdf", "x"), record("y.pdf", "y"));
        let base = base(std::slice::from_ref(&x));
        let alone = [part(0, std::slice::from_ref(&x))];
        let found = changes(&plan(|_| {}), &alone, &base, false);
        assert!(found.added.is_empty() && found.before.is_empty() && found.records.is_empty());
        // Together with another, its rows are those of the part.
        let found = changes(&plan(|_| {}), &[part(0, &[x.clone(), y.clone()])], &base, false);
        assert_eq!((found.added, found.before), (BTreeSet::from([0]), ids(&["x"])));
        // And if it lies in two parts, both come.
        let parts = [part(0, std::slice::from_ref(&x)), part(1, &[x.clone(), y])];
        let found = changes(&plan(|_| {}), &parts, &base, false);
        assert_eq!((found.added, found.before), (BTreeSet::from([0, 1]), ids(&["x"])));
        assert!(found.stale.contains(&id("x")) && !found.stale.contains(&id("y")));
    }

    #[test]
    fn paths_that_are_gone_drop_their_documents_unless_they_hold_others_now() {
        let dropped = |name: &str| DroppedPath { path: "a.pdf".into(), document: Some(id(name)) };
        let base = base(&[record("a.pdf", "a"), record("b.pdf", "b"), record("c.pdf", "b")]);
        let found = changes(&plan(|work| work.dropped = vec![dropped("a")]), &[], &base, false);
        assert_eq!((found.before.clone(), found.stale), (ids(&["a"]), ids(&["a"])));
        assert_eq!(found.touched, BTreeSet::from(["a.pdf".to_string()]));
        let found = changes(&plan(|work| work.dropped = vec![dropped("z")]), &[], &base, false);
        assert!(found.before.is_empty() && found.ledger.len() == 3);
        // One of two names goes: the pages stay, and their words are written anew.
        let one = DroppedPath { path: "b.pdf".into(), document: Some(id("b")) };
        let found = changes(&plan(|work| work.dropped = vec![one]), &[], &base, false);
        assert_eq!((found.before.len(), found.stale), (0, ids(&["b"])));
    }

    #[test]
    fn a_changed_file_replaces_its_document() {
        let found = changes(
            &plan(|_| {}),
            &[part(0, &[record("a.pdf", "new")])],
            &base(&[record("a.pdf", "old")]),
            false,
        );
        assert_eq!((found.before, found.added.len()), (ids(&["old"]), 1));
        assert_eq!(found.ledger["a.pdf"].document, Some(id("new")));
    }

    #[test]
    fn a_document_that_is_read_again_counts_from_there() {
        let x = record("x.pdf", "x");
        let mut again = part(1, std::slice::from_ref(&x));
        again.dropped_pages = vec![id("x")];
        let found = changes(&plan(|_| {}), &[part(0, &[x]), again], &BTreeMap::new(), false);
        assert_eq!(found.between, BTreeMap::from([(1, ids(&["x"]))]));
        assert!(found.stale.contains(&id("x")));
    }

    #[test]
    fn a_partial_commit_takes_whole_documents() {
        let mut half = record("h.pdf", "h");
        half.status = DocumentStatus::InProgress;
        let parts = [part(0, &[record("x.pdf", "x"), half.clone()])];
        let found = changes(&plan(|_| {}), &parts, &BTreeMap::new(), true);
        assert_eq!((found.added.len(), found.after), (1, ids(&["h"])));
        assert!(!found.ledger.contains_key("h.pdf"));
        // The whole commit after it: what is there comes by the part, once.
        let parts = [parts[0].clone(), part(1, &[record("h.pdf", "h")])];
        let found = changes(&plan(|_| {}), &parts, &base(&[record("x.pdf", "x")]), false);
        assert_eq!((found.added.len(), found.before), (2, ids(&["x"])));
        assert!(found.after.is_empty() && found.ledger.len() == 2);
    }

    #[test]
    fn what_a_rival_has_whole_is_not_cut_by_a_partial_commit() {
        let mut half = record("h.pdf", "h");
        half.status = DocumentStatus::InProgress;
        let parts = [part(0, &[record("x.pdf", "x"), half])];
        let found = changes(&plan(|_| {}), &parts, &base(&[record("h.pdf", "h")]), true);
        assert_eq!(found.torn, ids(&["h"]));
    }

    #[test]
    fn what_a_document_does_not_carry_any_more_goes() {
        let base = base(&[
            record("c.pdf", "c"),
            record("c.pdf!one.pdf", "one"),
            record("c.pdf!two.pdf", "two"),
        ]);
        let parts = [part(0, &[record("c.pdf", "c2"), record("c.pdf!one.pdf", "one")])];
        let found = changes(&plan(|_| {}), &parts, &base, false);
        assert_eq!(found.ledger.keys().collect::<Vec<_>>(), ["c.pdf", "c.pdf!one.pdf"]);
        assert!(found.before.contains(&id("two")) && found.before.contains(&id("c")));
    }
}
