//! Which annotations stand on layers that are off. pdfium keeps text and pictures of such layers from
//! the page, and draws annotations whatever layer they are on; nor does it say which that is.
//!
//! So the tree of pages, their annotations and the state of the layers are read from the objects of
//! the document, when one of its annotations says that it is on a layer. Where the objects cannot be
//! read, as in some encrypted documents, annotations are shown.

use std::collections::{HashMap, HashSet};

use memchr::memmem;

use crate::facts::{Facts, Value};

/// Layers that depend on layers are followed this deep, and pages below pages.
const MAX_DEPTH: usize = 32;

/// No more pages, or nodes above them, are looked at.
const MAX_PAGES: usize = 100_000;

/// The annotations of a document that are on layers that are off.
#[derive(Debug, Default)]
pub struct HiddenAnnotations {
    /// Page, from 0, and place among its annotations.
    hidden: HashSet<(u32, usize)>,
}

impl HiddenAnnotations {
    /// Of the document that `facts` are about.
    pub fn of(facts: &Facts<'_>) -> Self {
        let matters = |object: &[u8]| {
            let words = ["/OC", "/Annots", "/Page", "/Parent", "/Kids", "/View"];
            object.starts_with(b"[")
                || words.iter().any(|word| memmem::find(object, word.as_bytes()).is_some())
        };
        let objects = facts.objects(matters);
        let document = Objects { objects: &objects };
        let mut hidden = Self::default();
        let Some(catalog) = document.catalog(facts.root()) else { return hidden };
        let layers = Layers::of(document, catalog);
        let mut pages = Vec::new();
        if let Some(tree) = catalog.get("Pages") {
            document.pages(tree, 0, &mut HashSet::new(), &mut pages);
        }
        for (page, number) in pages.into_iter().zip(0..) {
            let Some(Value::Array(annotations)) = page.get("Annots").map(|v| document.at(v)) else {
                continue;
            };
            for (at, annotation) in annotations.iter().enumerate() {
                let layer = document.dict(annotation).and_then(|annotation| annotation.get("OC"));
                if layer.is_some_and(|layer| !layers.shows(layer, 0)) {
                    hidden.hidden.insert((number, at));
                }
            }
        }
        hidden
    }

    /// Whether the annotation at place `at` of page `number` (1-based) is one.
    pub fn has(&self, number: u32, at: usize) -> bool {
        self.hidden.contains(&(number - 1, at))
    }
}

type Dict = HashMap<String, Value>;

/// The objects of a document by their numbers.
#[derive(Clone, Copy)]
struct Objects<'o> {
    objects: &'o HashMap<u32, Value>,
}

impl<'o> Objects<'o> {
    /// What `value` is or refers to.
    fn at(self, value: &'o Value) -> &'o Value {
        match value {
            Value::Reference(number) => self.objects.get(number).unwrap_or(&Value::Other),
            value => value,
        }
    }

    fn dict(self, value: &'o Value) -> Option<&'o Dict> {
        match self.at(value) {
            Value::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// The dictionary that is in `dict` under `key`.
    fn within(self, dict: &'o Dict, key: &str) -> Option<&'o Dict> {
        self.dict(dict.get(key)?)
    }

    fn catalog(self, root: Option<u32>) -> Option<&'o Dict> {
        let is_catalog = |dict: &&Dict| dict.contains_key("Pages");
        let dict = |value: &'o Value| match value {
            Value::Dict(dict) => Some(dict),
            _ => None,
        };
        let named = root.and_then(|root| self.objects.get(&root)).and_then(dict);
        let has_layers = |dict: &&Dict| dict.contains_key("OCProperties");
        named
            .filter(is_catalog)
            .or_else(|| self.objects.values().filter_map(dict).filter(is_catalog).find(has_layers))
    }

    /// Appends the pages below a node of the tree of pages, in order.
    fn pages(
        self,
        node: &'o Value,
        depth: usize,
        seen: &mut HashSet<u32>,
        pages: &mut Vec<&'o Dict>,
    ) {
        let is_new = match node {
            Value::Reference(number) => seen.insert(*number),
            _ => true,
        };
        let Some(dict) = self.dict(node).filter(|_| is_new) else { return };
        if depth > MAX_DEPTH || seen.len() > MAX_PAGES || pages.len() > MAX_PAGES {
            return;
        }
        match dict.get("Kids").map(|kids| self.at(kids)) {
            Some(Value::Array(kids)) => {
                kids.iter().for_each(|kid| self.pages(kid, depth + 1, seen, pages));
            }
            _ => pages.push(dict),
        }
    }
}

/// The state of the layers of a document, by the numbers of their objects.
struct Layers<'o> {
    document: Objects<'o>,
    on: HashSet<u32>,
    off: HashSet<u32>,
    /// What layers are of which neither says something.
    others: bool,
}

impl<'o> Layers<'o> {
    fn of(document: Objects<'o>, catalog: &'o Dict) -> Self {
        let properties = document.within(catalog, "OCProperties");
        let usual = properties.and_then(|properties| document.within(properties, "D"));
        let numbers = |key| match usual.and_then(|usual| usual.get(key)).map(|v| document.at(v)) {
            Some(Value::Array(layers)) => layers.iter().filter_map(reference).collect(),
            _ => HashSet::new(),
        };
        let others = usual.and_then(|usual| usual.get("BaseState")) != Some(&name("OFF"));
        Self { document, on: numbers("ON"), off: numbers("OFF"), others }
    }

    /// Whether what is on `layer` is shown: a layer, or a rule about several.
    fn shows(&self, layer: &'o Value, depth: usize) -> bool {
        let Some(dict) = self.document.dict(layer).filter(|_| depth < MAX_DEPTH) else {
            return true;
        };
        if dict.get("Type") != Some(&name("OCMD")) {
            return self.is_on(layer, dict);
        }
        if let Some(Value::Array(rule)) = dict.get("VE").map(|rule| self.document.at(rule)) {
            return self.fulfils(rule, depth + 1);
        }
        let layers = dict.get("OCGs").map(|layers| (layers, self.document.at(layers)));
        let layers: Vec<&Value> = match layers {
            Some((_, Value::Array(layers))) => layers.iter().collect(),
            Some((layer, Value::Dict(_))) => vec![layer],
            _ => Vec::new(),
        };
        let mut states = layers
            .into_iter()
            .filter(|layer| self.document.dict(layer).is_some())
            .map(|layer| self.shows(layer, depth + 1))
            .peekable();
        if states.peek().is_none() {
            return true;
        }
        match dict.get("P") {
            Some(Value::Name(policy)) if policy == "AllOn" => states.all(|on| on),
            Some(Value::Name(policy)) if policy == "AllOff" => states.all(|on| !on),
            Some(Value::Name(policy)) if policy == "AnyOff" => states.any(|on| !on),
            _ => states.any(|on| on),
        }
    }

    /// Whether a rule holds: `[/And a b]`, `[/Or a b]`, `[/Not a]`.
    fn fulfils(&self, rule: &'o [Value], depth: usize) -> bool {
        let Some((Value::Name(operation), operands)) = rule.split_first() else { return true };
        if depth >= MAX_DEPTH {
            return true;
        }
        let mut holds = operands.iter().map(|operand| match self.document.at(operand) {
            Value::Array(rule) => self.fulfils(rule, depth + 1),
            _ => self.shows(operand, depth + 1),
        });
        match operation.as_str() {
            "And" => holds.all(|holds| holds),
            "Or" => holds.any(|holds| holds),
            "Not" => !holds.next().unwrap_or(false),
            _ => true,
        }
    }

    fn is_on(&self, layer: &'o Value, dict: &'o Dict) -> bool {
        // What a layer says of itself comes before what the document says, as in pdfium.
        let usage = self.document.within(dict, "Usage");
        let view = usage.and_then(|usage| self.document.within(usage, "View"));
        if let Some(state) = view.and_then(|view| view.get("ViewState")) {
            return *state != name("OFF");
        }
        match reference(layer) {
            Some(number) if self.on.contains(&number) => true,
            Some(number) if self.off.contains(&number) => false,
            _ => self.others,
        }
    }
}

fn name(name: &str) -> Value {
    Value::Name(name.into())
}

fn reference(value: &Value) -> Option<u32> {
    match value {
        Value::Reference(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places of the annotations of page 1 that are hidden, by what each says of its layer: 10 is on
    /// and 11 is off.
    fn hidden(of_annotations: &[&str], rest: &str) -> Vec<usize> {
        let annotations: String =
            of_annotations.iter().map(|rest| format!("<</Subtype/Text {rest}>>")).collect();
        let pdf = format!(
            "1 0 obj<</Type/Catalog/Pages 2 0 R/OCProperties 5 0 R>>endobj
             2 0 obj<</Kids[3 0 R]>>endobj 3 0 obj <</Kids [4 0 R 6 0 R]>> endobj
             4 0 obj<</Type/Page/Annots 7 0 R>>endobj 6 0 obj<</Annots[8 0 R]>>endobj
             7 0 obj [{annotations}] endobj 8 0 obj<</OC 11 0 R/Rect[0 -1 2.5 3]>>endobj
             5 0 obj<</OCGs[10 0 R 11 0 R 12 0 R]/D<</OFF[11 0 R]/Name(x)>>>>endobj
             10 0 obj<</Type/OCG/Name(on)>>endobj 11 0 obj<</Type/OCG/Name(off)>>endobj
             12 0 obj<</Type/OCG/Usage<</View<</ViewState/OFF>>>>>>endobj {rest}
             trailer<</Root 1 0 R>>"
        );
        let hidden = HiddenAnnotations::of(&Facts::of(pdf.as_bytes()));
        (0..of_annotations.len()).filter(|&at| hidden.has(1, at)).collect()
    }

    #[test]
    fn layers_and_rules_about_layers_hide_annotations() {
        let member = |policy: &str| format!("/OC<</Type/OCMD/OCGs[10 0 R 11 0 R]{policy}>>");
        for (what, layer, is_hidden) in [
            ("none", "", false),
            ("on", "/OC 10 0 R", false),
            ("off", "/OC 11 0 R", true),
            ("off by its usage", "/OC 12 0 R", true),
            ("one that is not there", "/OC 99 0 R", false),
            ("any of two", &*member(""), false),
            ("all of two", &*member("/P/AllOn"), true),
            ("none of two", &*member("/P/AllOff"), true),
            ("not all of two", &*member("/P/AnyOff"), false),
            ("a single one", "/OC<</Type/OCMD/OCGs 11 0 R>>", true),
            ("of none", "/OC<</Type/OCMD/OCGs[]>>", false),
            ("not off", "/OC<</Type/OCMD/VE[/Not 11 0 R]>>", false),
            ("on and not on", "/OC<</Type/OCMD/VE[/And 10 0 R[/Not 10 0 R]]>>", true),
            ("a rule without end", "/OC 20 0 R", false),
        ] {
            let endless = "20 0 obj<</Type/OCMD/OCGs[20 0 R]>>endobj";
            assert_eq!(hidden(&["", layer], endless) == [1], is_hidden, "{what}");
        }
    }

    #[test]
    fn pages_are_counted_and_the_last_word_of_an_object_holds() {
        let pdf = b"1 0 obj<</Pages 2 0 R/OCProperties<</D<</BaseState/OFF/ON[10 0 R]>>>>>>endobj
            2 0 obj<</Kids[3 0 R 4 0 R 2 0 R]>>endobj 3 0 obj<</Annots[5 0 R]>>endobj
            4 0 obj<</Annots[6 0 R 5 0 R]/Parent 2 0 R>>endobj 5 0 obj<</OC 10 0 R>>endobj
            6 0 obj<</OC 11 0 R>>endobj 10 0 obj<</Type/OCG>>endobj 11 0 obj<</Type/OCG>>endobj
            trailer<</Root 1 0 R>>";
        let hidden = |pdf: &[u8]| {
            let hidden = HiddenAnnotations::of(&Facts::of(pdf)).hidden;
            let mut hidden: Vec<(u32, usize)> = hidden.into_iter().collect();
            hidden.sort_unstable();
            hidden
        };
        assert_eq!(hidden(pdf), [(1, 0)]);
        let update = b"\n6 0 obj<</OC 10 0 R>>endobj 5 0 obj<</OC 11 0 R>>endobj";
        assert_eq!(hidden(&[&pdf[..], update].concat()), [(0, 0), (1, 1)]);
        assert_eq!(hidden(b"%PDF-1.4 no objects"), []);
    }
}
