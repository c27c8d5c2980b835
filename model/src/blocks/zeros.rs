//! Zeros for activations. A layer makes a dozen buffers of megabytes and drops them again. As
//! vectors, some would be written by a single thread before the others may begin, and all be asked of
//! the system and given back each time, page by page of 4 kB, which took a fifth of the time of a page
//! of tiles. Here large ones are kept for the next who asks, and all threads write their zeros.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use memmap2::MmapMut;
use rayon::prelude::*;

/// Plain numbers.
///
/// # Safety
/// Any bytes are a value, and its alignment is at most [`PAGE`]'s.
pub unsafe trait Plain: Copy + Send + Sync {}

// SAFETY: a byte.
unsafe impl Plain for u8 {}

/// Zeros at first, `[len]`.
pub struct Zeros<T>(Memory<T>);

enum Memory<T> {
    Small(Vec<T>),
    Large {
        map: MmapMut,
        /// The first byte that is used, so that pages are whole.
        start: usize,
        len: usize,
    },
}

/// What is in them at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Zero,
    /// Anything, since all is written.
    Any,
    /// Anything, for long.
    Kept,
}

/// A large page of x86-64 and of most others, bytes.
const PAGE: usize = 2 << 20;

/// Smaller ones are vectors, bytes: a page of its own would be mostly empty.
const LEAST: usize = 1 << 20;

/// No more than this is kept for the next who ask, bytes: what a layer over 13 tiles of 512 px has.
const KEPT: usize = 512 << 20;

/// What a thread writes zeros to at once, bytes.
const PART: usize = 1 << 20;

/// Maps that nobody has at the moment.
static FREE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

/// The smallest free map of `bytes` or more, unless it is much larger.
fn free(bytes: usize) -> Option<MmapMut> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |map: &MmapMut| (bytes..=2 * bytes).contains(&map.len());
    let fitting = free.iter().enumerate().filter(|(_, map)| fits(map));
    let (at, _) = fitting.min_by_key(|(_, map)| map.len())?;
    Some(free.swap_remove(at))
}

/// Keeps `map` for the next who asks, or gives it back to the system.
fn keep(map: MmapMut) {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if free.iter().map(|map| map.len()).sum::<usize>() + map.len() <= KEPT {
        free.push(map);
    }
}

impl<T: Plain> Zeros<T> {
    /// So many.
    pub fn new(len: usize) -> Self {
        Self::of(len, Begin::Zero)
    }

    /// So many for one who writes all of them before any is read: what is in them is zero, or of
    /// someone before. In tests it is neither, so that a number that was forgotten is seen.
    pub fn to_be_written(len: usize) -> Self {
        Self::of(len, Begin::Any).spoiled(len)
    }

    /// As [`to_be_written`](Self::to_be_written), for what is kept as long as a model: there is no
    /// large page of which only a part is used.
    pub fn to_be_kept(len: usize) -> Self {
        Self::of(len, Begin::Kept).spoiled(len)
    }

    fn spoiled(mut self, len: usize) -> Self {
        if cfg!(test) {
            // SAFETY: any bytes are a value; those of ones are no number in f32.
            unsafe { self.as_mut_ptr().write_bytes(0xff, len) };
        }
        self
    }

    fn of(len: usize, begin: Begin) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        if bytes >= LEAST
            && let Some(memory) = Self::mapped(bytes, len, begin)
        {
            return Self(memory);
        }
        // SAFETY: all bytes zero are a value, as its type promises.
        let zero = unsafe { std::mem::zeroed() };
        Self(Memory::Small(vec![zero; len]))
    }

    /// Memory of the system's own, `None` where it gives none.
    fn mapped(bytes: usize, len: usize, begin: Begin) -> Option<Memory<T>> {
        let whole = bytes.checked_next_multiple_of(PAGE)?.checked_add(PAGE)?;
        let used = if begin == Begin::Kept { None } else { free(whole) };
        let (mut map, is_new) = match used {
            Some(map) => (map, false),
            None => (MmapMut::map_anon(whole).ok()?, true),
        };
        let at = map.as_ptr().addr();
        let start = at.next_multiple_of(PAGE) - at;
        if is_new {
            // Advice alone: without large pages it is slower.
            #[cfg(target_os = "linux")]
            let _ = if begin == Begin::Kept {
                map.advise_range(memmap2::Advice::HugePage, start, bytes / PAGE * PAGE)
            } else {
                map.advise(memmap2::Advice::HugePage)
            };
        } else if begin == Begin::Zero {
            map[start..start + bytes].par_chunks_mut(PART).for_each(|part| part.fill(0));
        }
        Some(Memory::Large { map, start, len })
    }
}

impl<T> Drop for Zeros<T> {
    fn drop(&mut self) {
        if let Memory::Large { map, .. } = std::mem::replace(&mut self.0, Memory::Small(Vec::new()))
        {
            keep(map);
        }
    }
}

impl<T> Deref for Zeros<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Memory::Small(values) => values,
            // SAFETY: from `start`, which is aligned, `len` of them are inside the map; they were
            // zero, or written since as such.
            Memory::Large { map, start, len } => unsafe {
                std::slice::from_raw_parts(map.as_ptr().add(*start).cast(), *len)
            },
        }
    }
}

impl<T> DerefMut for Zeros<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Memory::Small(values) => values,
            // SAFETY: as above, and ours alone.
            Memory::Large { map, start, len } => unsafe {
                std::slice::from_raw_parts_mut(map.as_mut_ptr().add(*start).cast(), *len)
            },
        }
    }
}

impl<T: Plain> Clone for Zeros<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::to_be_written(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: PartialEq> PartialEq for Zeros<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for Zeros<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::lanes::Line;

    #[test]
    fn they_are_zero_aligned_and_kept_apart() {
        let line = size_of::<Line>();
        for bytes in [0, 64, LEAST - 64, LEAST, PAGE - 64, PAGE, PAGE + 64, 3 * PAGE + 128] {
            let mut zeros = Zeros::<Line>::new(bytes / line);
            assert_eq!(zeros.len(), bytes / line);
            assert!(zeros.iter().all(|line| line.0 == [0; 16]), "{bytes}");
            assert!(zeros.as_ptr().is_aligned());
            zeros.iter_mut().enumerate().for_each(|(n, line)| line.0 = [n as u32 + 1; 16]);
            let copy = zeros.clone();
            zeros.iter_mut().for_each(|line| line.0 = [0; 16]);
            assert!(copy.iter().enumerate().all(|(n, line)| line.0 == [n as u32 + 1; 16]));
            // What is dropped is not seen by the next.
            drop(copy);
            for _ in 0..3 {
                let mut next = Zeros::<Line>::new(bytes / line);
                assert!(next.iter().all(|line| line.0 == [0; 16]), "{bytes}");
                next.iter_mut().for_each(|line| line.0 = [u32::MAX; 16]);
            }
        }
    }

    #[test]
    fn what_is_to_be_written_keeps_what_is_written() {
        for len in [0, 3, LEAST / 64, 3 * PAGE / 64 + 2] {
            let mut these = Zeros::<Line>::to_be_written(len);
            assert!(these.iter().all(|line| line.0 == [u32::MAX; 16]));
            these.iter_mut().enumerate().for_each(|(n, line)| line.0 = [n as u32; 16]);
            assert!(these.clone().iter().enumerate().all(|(n, line)| line.0 == [n as u32; 16]));
            drop(these);
            let mut kept = Zeros::<u8>::to_be_kept(len * 64 + 5);
            assert!(kept.iter().all(|&byte| byte == 0xff));
            kept.iter_mut().enumerate().for_each(|(n, byte)| *byte = n as u8);
            assert!(kept.iter().enumerate().all(|(n, byte)| *byte == n as u8));
            drop(kept);
            assert!(Zeros::<Line>::new(len).iter().all(|line| line.0 == [0; 16]));
        }
    }

    #[test]
    fn threads_that_take_and_give_back_never_share_one() {
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                scope.spawn(move || {
                    for round in 0..30 {
                        let len = (1 + (round + thread as usize) % 3) * LEAST / size_of::<Line>();
                        let mut zeros = Zeros::<Line>::new(len);
                        assert!(zeros.iter().all(|line| line.0 == [0; 16]));
                        zeros.iter_mut().for_each(|line| line.0 = [thread + 1; 16]);
                        assert!(zeros.iter().all(|line| line.0 == [thread + 1; 16]));
                    }
                });
            }
        });
    }

    #[test]
    fn no_more_is_kept_than_said() {
        let all: Vec<_> = (0..20).map(|_| Zeros::<Line>::new((64 << 20) / 64)).collect();
        drop(all);
        let free = FREE.lock().unwrap();
        assert!(free.iter().map(|map| map.len()).sum::<usize>() <= KEPT);
    }
}
