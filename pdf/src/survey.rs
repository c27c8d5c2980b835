//! A walk over the objects of a page: its text, and whether the page shows it.
//!
//! pdfium reads the text of a page whether it is displayed or not. Text is not displayed outside
//! the CropBox, outside the clipping paths that it stands in, and on a layer that is off. Boxes
//! decide the first two. For layers pdfium itself is asked: text of a layer is drawn alone, and when
//! nothing comes out it is not shown. That is what the picture of the page shows too, whatever rule
//! says when the layer is on.

use std::collections::{HashMap, HashSet};
use std::ptr;

use crate::facts::Facts;
use crate::raw::{Box4, Drawn, Handle, Kind, Mark, Matrix, Object, Page};

/// A page of more objects is looked at so far and no further.
const MAX_OBJECTS: usize = 1_000_000;

/// Forms are followed this deep; pdfium itself stops earlier.
const MAX_DEPTH: usize = 32;

/// Layers that are looked at on one page; text of further ones counts as shown.
const MAX_LAYERS: usize = 48;

/// Tags of one page that are looked at.
const MAX_TAGS: usize = 100_000;

/// Longest side of the drawings that tell whether a layer is on, px. Text of 8 points is four
/// pixels high on a page of A4.
const LAYER_SIDE_PX: f32 = 400.0;

/// Whether a page shows a piece of text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shown {
    All,
    /// Only what stands in the box.
    Within(Box4),
    Nothing,
}

/// What text stands in that may be off: the innermost layer mark, and the innermost form.
type Layer<'p> = (Option<Mark<'p>>, Handle);

/// Text that is drawn at once.
pub struct TextObject<'p> {
    pub object: Object<'p>,
    pub shown: Shown,
    /// Names the piece of marked content with a text of its own that it stands in.
    pub replaced: Option<Handle>,
    pub bounds: Option<Box4>,
    layer: Layer<'p>,
}

/// Marked content that has a text of its own (`ActualText`), or whose tag has.
pub struct Replacement {
    /// Tells it from others.
    pub mark: Handle,
    /// As it is in the document.
    pub text: Vec<u8>,
    /// How many of [`Survey::texts`] were drawn before it.
    pub at: usize,
    /// Whether all that stands in it is not shown.
    pub hidden: bool,
    /// Where its first object is.
    pub bounds: Option<Box4>,
}

/// What was found on a page.
pub struct Survey<'p> {
    pub texts: Vec<TextObject<'p>>,
    pub replacements: Vec<Replacement>,
    /// Images, where they are displayed.
    pub images: Vec<Box4>,
    /// Number of lines and shapes.
    pub paths: usize,
    bounds: Option<Box4>,
    seen: usize,
    /// Text in forms, which may be layers.
    has_forms: bool,
    has_layer_marks: bool,
    tags: Tags,
}

/// Texts that stand for marked content, by its numbers.
#[derive(Default)]
struct Tags {
    texts: Vec<Vec<u8>>,
    by_number: HashMap<i32, usize>,
    /// Those that were met.
    met: HashSet<usize>,
}

impl Tags {
    fn of(page: &Page<'_>) -> Self {
        let mut tags = Self::default();
        for (text, numbers) in page.replaced_by_tags(MAX_TAGS) {
            let at = tags.texts.len();
            tags.by_number.extend(numbers.into_iter().map(|number| (number, at)));
            let utf16 = text.encode_utf16().flat_map(u16::to_be_bytes);
            tags.texts.push([0xFE, 0xFF].into_iter().chain(utf16).collect());
        }
        tags
    }

    /// The text of `object`, and what tells it from the marks of replacements, which are places in
    /// memory.
    fn of_object(&self, object: &Object<'_>) -> Option<(usize, Handle)> {
        let at = *self.by_number.get(&object.content_number())?;
        Some((at, ptr::without_provenance_mut(at + 1)))
    }
}

#[derive(Clone, Copy)]
struct Place<'p> {
    matrix: Matrix,
    clip: Option<Box4>,
    form: Handle,
    layer: Option<Mark<'p>>,
    depth: usize,
}

impl<'p> Survey<'p> {
    /// Looks at `objects`, which are displayed within `bounds`. `facts` says whether the document
    /// has layers and tags at all; it is asked only when it matters.
    pub fn of(
        page: &'p Page<'_>,
        objects: &[Object<'p>],
        bounds: Option<Box4>,
        facts: &Facts<'_>,
    ) -> Self {
        let tags = if facts.has_tags_with_text() { Tags::of(page) } else { Tags::default() };
        let mut survey = Self {
            texts: Vec::new(),
            replacements: Vec::new(),
            images: Vec::new(),
            paths: 0,
            bounds,
            seen: 0,
            has_forms: false,
            has_layer_marks: false,
            tags,
        };
        let place = Place {
            matrix: Matrix::IDENTITY,
            clip: None,
            form: ptr::null_mut(),
            layer: None,
            depth: 0,
        };
        survey.walk(objects, place);
        if survey.has_layer_marks || (survey.has_forms && facts.has_layers()) {
            survey.hide_layers_that_are_off(page);
        }
        for replacement in &mut survey.replacements {
            let mut inside =
                survey.texts.iter().filter(|text| text.replaced == Some(replacement.mark));
            let first = inside.next();
            replacement.hidden = first.is_some_and(|text| text.shown == Shown::Nothing)
                && inside.all(|text| text.shown == Shown::Nothing);
        }
        survey
    }

    fn walk(&mut self, objects: &[Object<'p>], place: Place<'p>) {
        for object in objects {
            self.seen += 1;
            if self.seen > MAX_OBJECTS {
                return;
            }
            let (mut layer, mut replaced) = (place.layer, None);
            for mark in object.marks() {
                if mark.is_layer() {
                    layer = Some(mark);
                    self.has_layer_marks = true;
                }
                // A replacement within another one is replaced, too.
                let known = self.replacements.last().is_some_and(|r| r.mark == mark.handle());
                if replaced.is_some() {
                } else if known {
                    replaced = Some(mark.handle());
                } else if let Some(text) = mark.actual_text().filter(|text| !text.is_empty()) {
                    replaced = Some(mark.handle());
                    let (mark, at) = (mark.handle(), self.texts.len());
                    let bounds = object.bounds().map(|bounds| place.matrix.apply(bounds));
                    let hidden = false;
                    self.replacements.push(Replacement { mark, text, at, hidden, bounds });
                }
            }
            // Forms number their content on their own.
            if replaced.is_none()
                && place.form.is_null()
                && let Some((tag, mark)) = self.tags.of_object(object)
            {
                replaced = Some(mark);
                if self.tags.met.insert(tag) {
                    let (text, at) = (self.tags.texts[tag].clone(), self.texts.len());
                    let (bounds, hidden) = (object.bounds(), false);
                    self.replacements.push(Replacement { mark, text, at, hidden, bounds });
                }
            }
            match object.kind() {
                Kind::Text => {
                    let bounds = object.bounds().map(|bounds| place.matrix.apply(bounds));
                    let shown = bounds.map_or(Shown::All, |b| self.shown(object, b, &place));
                    self.has_forms |= !place.form.is_null();
                    let (object, layer) = (*object, (layer, place.form));
                    self.texts.push(TextObject { object, shown, replaced, bounds, layer });
                }
                Kind::Image => {
                    let bounds = object.bounds().map(|bounds| place.matrix.apply(bounds));
                    let shown = |image: Box4| self.bounds.map_or(image, |page| image.and(page));
                    self.images.extend(bounds.map(shown).filter(|image| image.area() > 0.0));
                }
                Kind::Path => self.paths += 1,
                Kind::Form if place.depth < MAX_DEPTH => {
                    let clip = object.clip().map(|clip| place.matrix.apply(clip));
                    let inner = Place {
                        matrix: object.matrix().then(place.matrix),
                        clip: both(place.clip, clip),
                        form: object.handle(),
                        layer,
                        depth: place.depth + 1,
                    };
                    self.walk(&object.objects(), inner);
                }
                _ => {}
            }
        }
    }

    fn shown(&self, object: &Object<'_>, bounds: Box4, place: &Place<'_>) -> Shown {
        let clip = object.clip().map(|clip| place.matrix.apply(clip));
        match both(self.bounds, both(place.clip, clip)) {
            Some(limit) if limit.misses(&bounds) => Shown::Nothing,
            Some(limit) if !limit.holds_all(&bounds) => Shown::Within(limit),
            _ => Shown::All,
        }
    }

    /// The text that stands in layers, or in forms that may be some, by what `name` tells apart.
    fn members_of_layers(
        &self,
        name: impl Fn(&Layer<'p>) -> (Handle, Handle, Vec<u8>),
    ) -> Vec<Vec<usize>> {
        let mut layers: Vec<Vec<usize>> = Vec::new();
        let mut by_name = HashMap::new();
        for (index, text) in self.texts.iter().enumerate() {
            // Text that is never drawn, as under a scan, cannot say whether its layer is on.
            let is_drawn = text.shown != Shown::Nothing && text.object.text_mode() != 3;
            if (text.layer.0.is_none() && text.layer.1.is_null()) || !is_drawn {
                continue;
            }
            let at = *by_name.entry(name(&text.layer)).or_insert(layers.len());
            if at == layers.len() {
                layers.push(Vec::new());
            }
            layers[at].push(index);
        }
        layers
    }

    fn hide_layers_that_are_off(&mut self, page: &Page<'_>) {
        // Text of one piece of marked content is on one layer, and in drawings with thousands of such
        // pieces, text of layers with one name.
        let by_mark = |layer: &Layer<'_>| {
            (layer.0.map_or(ptr::null_mut(), |mark| mark.handle()), layer.1, Vec::new())
        };
        let by_name = |layer: &Layer<'_>| {
            let name = layer.0.and_then(|mark| mark.layer_name()).unwrap_or_default();
            (ptr::null_mut(), layer.1, name)
        };
        let mut layers = self.members_of_layers(by_mark);
        if layers.len() > MAX_LAYERS {
            layers = self.members_of_layers(by_name);
        }
        if layers.is_empty() {
            return;
        }
        let mut leaves = Vec::new();
        collect_leaves(&page.objects(), 0, &mut leaves);
        leaves.iter().for_each(|leaf| leaf.set_active(false));
        for members in layers.iter().take(MAX_LAYERS) {
            let set_active = |active| {
                for &index in members {
                    self.texts[index].object.set_active(active);
                }
            };
            set_active(true);
            let is_on = leaves_a_mark(page);
            set_active(false);
            if !is_on {
                for &index in members {
                    self.texts[index].shown = Shown::Nothing;
                }
            }
        }
        leaves.iter().for_each(|leaf| leaf.set_active(true));
    }
}

fn both(one: Option<Box4>, other: Option<Box4>) -> Option<Box4> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    }
}

/// The objects that forms consist of.
fn collect_leaves<'p>(objects: &[Object<'p>], depth: usize, leaves: &mut Vec<Object<'p>>) {
    for object in objects {
        if leaves.len() >= MAX_OBJECTS {
            return;
        }
        match object.kind() {
            Kind::Form if depth < MAX_DEPTH => {
                collect_leaves(&object.objects(), depth + 1, leaves);
            }
            _ => leaves.push(*object),
        }
    }
}

/// Whether what is active on the page changes a single pixel of a small drawing.
fn leaves_a_mark(page: &Page<'_>) -> bool {
    /// The colour of the empty page: one that hardly any text has.
    const BLANK: [u8; 3] = [0x7B, 0x3F, 0x9D];
    let (width, height) = page.size();
    let scale = LAYER_SIDE_PX / width.max(height);
    let side = |pt: f32| ((pt * scale) as u32).clamp(1, LAYER_SIDE_PX as u32);
    let (width, height) = (side(width), side(height));
    // A row of a multiple of four pixels needs no padding.
    let row = (width as usize).next_multiple_of(4) * 3;
    let mut rgb: Vec<u8> = BLANK.iter().copied().cycle().take(row * height as usize).collect();
    page.draw(&mut rgb, (width, height), row, 0, Drawn::Content)
        && rgb.chunks_exact(3).any(|pixel| pixel != BLANK)
}
