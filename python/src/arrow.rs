//! Arrow's C data interface, as far as multi-vectors need it: lists of a fixed length of floats. The
//! two structures are its whole ABI, which is frozen; a crate for it would bring all of Arrow into
//! the bindings.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;

use half::f16;
use pagesight::model::EncodedPage;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods, PyTuple};

use crate::errors::refused;

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";

/// The flag of a type whose values may be null.
const NULLABLE: i64 = 2;

#[repr(C)]
struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

#[repr(C)]
struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

/// What a capsule owns until a consumer has moved it out.
#[repr(transparent)]
struct Exported<T: Released>(T);

// SAFETY: what the structures point to belongs to them alone, or is shared and never changes.
unsafe impl<T: Released> Send for Exported<T> {}

trait Released {
    fn release_once(&mut self);
}

impl<T: Released> Drop for Exported<T> {
    fn drop(&mut self) {
        self.0.release_once();
    }
}

impl Released for ArrowSchema {
    fn release_once(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: it is set, so the structure was not released or moved out before.
            unsafe { release(self) };
        }
    }
}

impl Released for ArrowArray {
    fn release_once(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: as above.
            unsafe { release(self) };
        }
    }
}

/// What a schema of ours owns.
struct SchemaParts {
    _format: CString,
    child: *mut ArrowSchema,
    children: [*mut ArrowSchema; 1],
}

/// What an array of ours owns.
struct ArrayParts {
    _page: Option<Arc<EncodedPage>>,
    buffers: Vec<*const c_void>,
    child: *mut ArrowArray,
    children: [*mut ArrowArray; 1],
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: called once, by its owner; `private_data` is what `schema` below put there.
    unsafe {
        let parts = Box::from_raw((*schema).private_data.cast::<SchemaParts>());
        if !parts.child.is_null() {
            let mut child = Box::from_raw(parts.child);
            child.release_once();
        }
        (*schema).release = None;
    }
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: as in `release_schema`.
    unsafe {
        let parts = Box::from_raw((*array).private_data.cast::<ArrayParts>());
        if !parts.child.is_null() {
            let mut child = Box::from_raw(parts.child);
            child.release_once();
        }
        (*array).release = None;
    }
}

fn schema(format: String, child: Option<ArrowSchema>) -> ArrowSchema {
    let format = CString::new(format).unwrap_or_default();
    let n_children = i64::from(child.is_some());
    let child = child.map_or(null_mut(), |child| Box::into_raw(Box::new(child)));
    let text = format.as_ptr();
    let parts = Box::new(SchemaParts { _format: format, child, children: [child] });
    let parts = Box::into_raw(parts);
    ArrowSchema {
        format: text,
        name: c"item".as_ptr(),
        metadata: null(),
        // What nullable types are by default; nothing is null.
        flags: NULLABLE,
        n_children,
        // SAFETY: `parts` was just made, and lives until `release_schema`.
        children: unsafe { &raw mut (*parts).children }.cast(),
        dictionary: null_mut(),
        release: Some(release_schema),
        private_data: parts.cast(),
    }
}

fn array(
    length: usize,
    buffers: Vec<*const c_void>,
    page: Option<Arc<EncodedPage>>,
    child: Option<ArrowArray>,
) -> ArrowArray {
    let n_children = i64::from(child.is_some());
    let child = child.map_or(null_mut(), |child| Box::into_raw(Box::new(child)));
    let n_buffers = buffers.len() as i64;
    let parts =
        Box::into_raw(Box::new(ArrayParts { _page: page, buffers, child, children: [child] }));
    ArrowArray {
        length: length as i64,
        null_count: 0,
        offset: 0,
        n_buffers,
        n_children,
        // SAFETY: `parts` was just made, and lives until `release_array`; so below.
        buffers: unsafe { (*parts).buffers.as_mut_ptr() },
        children: unsafe { &raw mut (*parts).children }.cast(),
        dictionary: null_mut(),
        release: Some(release_array),
        private_data: parts.cast(),
    }
}

/// The type of vectors of `dim` half-precision numbers, as a capsule.
pub fn schema_of(py: Python<'_>, dim: usize) -> PyResult<Bound<'_, PyCapsule>> {
    let whole = schema(format!("+w:{dim}"), Some(schema("e".into(), None)));
    PyCapsule::new_with_value(py, Exported(whole), SCHEMA)
}

/// The vectors of `page` without a copy: the capsules of their type and of the array.
pub fn exported<'py>(py: Python<'py>, page: &Arc<EncodedPage>) -> PyResult<Bound<'py, PyTuple>> {
    let vectors = page.vectors();
    let values = vectors.values();
    let data = vec![null(), values.as_ptr().cast::<c_void>()];
    let child = array(values.len(), data, Some(Arc::clone(page)), None);
    let whole = array(vectors.len(), vec![null()], None, Some(child));
    let whole = PyCapsule::new_with_value(py, Exported(whole), ARRAY)?;
    PyTuple::new(py, [schema_of(py, vectors.dim())?.into_any(), whole.into_any()])
}

/// Row length and numbers of an object with `__arrow_c_array__`; `None` for one without it.
pub fn imported(object: &Bound<'_, PyAny>) -> PyResult<Option<(usize, Vec<f32>)>> {
    let py = object.py();
    if !object.hasattr("__arrow_c_array__")? {
        return Ok(None);
    }
    let given = object.call_method0("__arrow_c_array__")?.cast_into::<PyTuple>()?;
    let (of, whole) = (given.get_item(0)?, given.get_item(1)?);
    let of = of.cast::<PyCapsule>()?.pointer_checked(Some(SCHEMA))?;
    let whole = whole.cast::<PyCapsule>()?.pointer_checked(Some(ARRAY))?;
    // SAFETY: a capsule of this name holds such a structure, which lives as long as the capsule,
    // which `given` keeps.
    let (of, whole) =
        unsafe { (of.cast::<ArrowSchema>().as_ref(), whole.cast::<ArrowArray>().as_ref()) };
    let wrong = |what: &str| {
        Err(refused(
            py,
            &format!("vectors of Arrow must be lists of a fixed length of floats: {what}"),
        ))
    };
    if of.release.is_none() || whole.release.is_none() {
        return wrong("they were released");
    }
    // SAFETY: the format of a schema is a text that ends with NUL.
    let format = unsafe { CStr::from_ptr(of.format) }.to_str().unwrap_or_default();
    let dim = format.strip_prefix("+w:").and_then(|dim| dim.parse::<usize>().ok());
    let Some(dim) = dim.filter(|dim| *dim > 0) else {
        return wrong(&format!("their format is {format:?}"));
    };
    if of.n_children != 1 || whole.n_children != 1 {
        return wrong("they have no numbers");
    }
    // SAFETY: there is one child each.
    let (of_number, numbers) = unsafe { (&**of.children, &**whole.children) };
    if whole.null_count > 0 || numbers.null_count > 0 {
        return wrong("some are null");
    }
    let has_validity = |array: &ArrowArray| {
        // SAFETY: each of these arrays has its validity bitmap as first buffer.
        array.null_count != 0 && array.n_buffers > 0 && unsafe { !(*array.buffers).is_null() }
    };
    if has_validity(whole) || has_validity(numbers) {
        return wrong("some may be null");
    }
    if numbers.n_buffers != 2 {
        return wrong("the numbers have no buffer");
    }
    let (length, first) = (whole.length, whole.offset);
    let (Ok(length), Ok(first), Ok(skipped)) =
        (usize::try_from(length), usize::try_from(first), usize::try_from(numbers.offset))
    else {
        return wrong("their length is unknown");
    };
    let (start, count) = (skipped + first * dim, length * dim);
    if usize::try_from(numbers.length).is_ok_and(|has| has < first * dim + count) {
        return wrong("there are fewer numbers than they say");
    }
    // SAFETY: as above.
    let of_number = unsafe { CStr::from_ptr(of_number.format) }.to_bytes();
    // SAFETY: a primitive array has its numbers as second buffer.
    let data = unsafe { *numbers.buffers.add(1) };
    if count > 0 && data.is_null() {
        return wrong("the numbers have no buffer");
    }
    // SAFETY: the buffer has `offset + length` numbers of this format, which was checked to be
    // enough, aligned as the interface demands.
    let values = unsafe {
        match of_number {
            b"e" => read::<f16>(data, start, count, f16::to_f32),
            b"f" => read::<f32>(data, start, count, |x| x),
            b"g" => read::<f64>(data, start, count, |x| x as f32),
            _ => return wrong("their numbers are no floats"),
        }
    };
    Ok(Some((dim, values)))
}

/// # Safety
/// `data` points to at least `start + count` values of type `T`.
unsafe fn read<T: Copy>(
    data: *const c_void,
    start: usize,
    count: usize,
    convert: fn(T) -> f32,
) -> Vec<f32> {
    let number = |at: usize| {
        // SAFETY: within the buffer, by the contract of this function.
        convert(unsafe { data.cast::<T>().add(start + at).read_unaligned() })
    };
    (0..count).map(number).collect()
}
