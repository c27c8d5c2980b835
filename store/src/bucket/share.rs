//! Which files of an index in a bucket a machine searches: all, or its part of several.
//!
//! Each file of codes and each segment of words is of the part with the largest hash of its name and the
//! part's number (rendezvous hashing: Thaler and Ravishankar 1998, "Using name-based mappings to
//! increase hit rates"). Nobody has to agree on anything, the parts have about as much each, and with
//! another number of parts few files change hands.

/// What of an index in a bucket a machine searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Share {
    /// All of it.
    #[default]
    Whole,
    /// Part `at`, from 0, of `of`.
    Part {
        /// Which part.
        at: usize,
        /// How many there are.
        of: usize,
    },
    /// Nothing: other machines have the parts, and are asked.
    Nothing,
}

impl Share {
    /// Whether the file of codes, or the segment of words, that is called `name` is searched here.
    pub fn has(self, name: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Part { at, of } => part_of(name, of) == at,
            Self::Nothing => false,
        }
    }

    /// What the folder of the local copy ends with, so that parts on one machine do not tidy each
    /// other's files away.
    pub(crate) fn ending(self) -> String {
        match self {
            Self::Whole => String::new(),
            Self::Part { at, of } => format!("-part-{at}-of-{of}"),
            Self::Nothing => "-router".into(),
        }
    }
}

/// Which of `parts` has what is called `name`.
fn part_of(name: &str, parts: usize) -> usize {
    let weight = |part: &usize| {
        let hash = blake3::hash(format!("{part}/{name}").as_bytes());
        let (first, _) = hash.as_bytes().split_at(8);
        (u64::from_be_bytes(first.try_into().expect("eight bytes")), *part)
    };
    (0..parts).max_by_key(weight).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_of_one_part_and_few_move_when_there_are_more() {
        let names: Vec<String> = (0..4000).map(|n| format!("{n:016x}-0-0-aa.codes")).collect();
        for of in 1..=5 {
            let parts: Vec<Share> = (0..of).map(|at| Share::Part { at, of }).collect();
            let mut counts = vec![0_usize; of];
            for name in &names {
                let has: Vec<usize> = (0..of).filter(|&at| parts[at].has(name)).collect();
                assert_eq!(has.len(), 1, "{name}");
                counts[has[0]] += 1;
            }
            let fair = names.len() / of;
            assert!(counts.iter().all(|count| count.abs_diff(fair) < fair / 5), "{counts:?}");
        }
        let moved = names.iter().filter(|name| part_of(name, 4) != part_of(name, 5)).count();
        assert!((600..1000).contains(&moved), "{moved} of 4000, and a fifth is 800");
        assert!(Share::Whole.has("x") && !Share::Nothing.has("x"));
    }
}
