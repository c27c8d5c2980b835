//! What a vision tower saw, in its places among the tokens of a page.

use std::collections::BTreeMap;

use candle_core::{Result, bail};

/// Puts `features`, `[features, hidden]`, into `rows`, `[positions, hidden]`, at `places`, in order.
///
/// # Errors
/// When there are more or fewer features than places.
pub fn put(
    features: &[f32],
    places: impl Iterator<Item = usize>,
    rows: &mut [f32],
    hidden: usize,
) -> Result<()> {
    let mut features = features.chunks_exact(hidden);
    for place in places {
        let Some(feature) = features.next() else { bail!("fewer features than places for them") };
        rows[place * hidden..][..hidden].copy_from_slice(feature);
    }
    if features.next().is_some() {
        bail!("more features than places for them")
    }
    Ok(())
}

/// The places of all sequences, one after the other; of each its length and its own places.
pub fn places<P: IntoIterator<Item = usize>>(
    sequences: impl Iterator<Item = (usize, P)>,
) -> impl Iterator<Item = usize> {
    let mut start = 0;
    sequences.flat_map(move |(length, places)| {
        let first = start;
        start += length;
        places.into_iter().map(move |place| first + place)
    })
}

/// Where the rows of positions come from: the distinct tokens of `ids`, and of each position the
/// number of its token among them. What stands at `places` is no token: the numbers of the `features`
/// come after those of tokens, in order.
///
/// # Errors
/// When there are more or fewer features than places.
pub fn sources(
    ids: &[u32],
    places: impl Iterator<Item = usize>,
    features: usize,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let mut numbers = BTreeMap::new();
    let mut distinct = Vec::new();
    let mut rows: Vec<Option<u32>> = vec![None; ids.len()];
    let mut count = 0;
    for place in places {
        rows[place] = Some(count);
        count += 1;
    }
    if count as usize != features {
        bail!("{features} features for {count} places")
    }
    for (row, &id) in rows.iter().zip(ids) {
        if row.is_none() {
            numbers.entry(id).or_insert_with(|| {
                distinct.push(id);
                distinct.len() as u32 - 1
            });
        }
    }
    let tokens = distinct.len() as u32;
    let rows = rows.into_iter().zip(ids).map(|(row, id)| match row {
        Some(feature) => tokens + feature,
        None => numbers[id],
    });
    Ok((distinct, rows.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_stand_in_their_places_and_none_is_left() {
        let sequences = || places([(3, vec![1]), (4, vec![0, 3])].into_iter());
        let mut rows = vec![0.0; 14];
        put(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], sequences(), &mut rows, 2).unwrap();
        let expected = [0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 5.0, 6.0];
        assert_eq!(rows, expected);
        for (count, words) in [(4, "fewer"), (8, "more")] {
            let error = put(&vec![0.0; count], sequences(), &mut rows, 2).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn each_token_is_looked_up_once_and_features_come_after_all_of_them() {
        let (ids, places) = ([7, 9, 9, 7, 5, 9], [1, 4]);
        let (distinct, rows) = sources(&ids, places.into_iter(), 2).unwrap();
        assert_eq!((distinct, rows), (vec![7, 9], vec![0, 2, 1, 0, 3, 1]));
        let (distinct, rows) = sources(&[3; 2], 0..2, 2).unwrap();
        assert_eq!((distinct, rows), (vec![], vec![0, 1]));
        let error = sources(&ids, places.into_iter(), 3).unwrap_err();
        assert!(error.to_string().contains("3 features for 2 places"), "{error}");
    }
}
