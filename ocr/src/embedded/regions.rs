//! Lines of text in the map that the detector makes: for each place, how likely it is the core of a
//! line.

use super::pixels::Frame;

/// Places above it belong to a line.
const CORE: f32 = 0.3;

/// Lines of less are none: the mean over their core.
const LINE: f32 = 0.5;

/// The detector was taught the cores of lines, which are thinner and shorter than the lines: by this
/// share of area over circumference.
const GROWTH: f32 = 1.6;

/// Room that is left at both ends beyond that, a share of the line's height.
const ENDS: f32 = 0.15;

/// Lines whose heights differ by less than this factor may be of the same print.
const ALIKE: f32 = 1.2;

/// A page of more lines is noise; the largest are kept.
const MOST_LINES: usize = 1_500;

/// A line that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Region {
    pub frame: Frame,
    /// How sure the detector is, 0 to 1.
    pub confidence: f32,
}

/// Connected places of a map.
#[derive(Debug, Clone, Default)]
struct Core {
    places: Vec<(f32, f32)>,
    sum: f32,
}

/// How a core lies: its middle, the direction of its longer side, and its extents in that frame.
#[derive(Debug, Clone, Copy)]
struct Lie {
    middle: [f32; 2],
    /// Radians, from -pi/2 to pi/2; 0 is level.
    angle: f32,
    long: f32,
    short: f32,
}

/// The lines in `map`, `[height, width]`. `scale` is how many pixels of the picture a place of the
/// map stands for, across and down.
pub(super) fn regions(map: &[f32], width: usize, scale: [f32; 2]) -> Vec<Region> {
    let mut cores = cores(map, width);
    cores.retain(|core| core.places.len() >= 6 && core.sum / core.places.len() as f32 >= LINE);
    if cores.len() > MOST_LINES {
        cores.sort_by_key(|core| std::cmp::Reverse(core.places.len()));
        cores.truncate(MOST_LINES);
    }
    let lies: Vec<Lie> = cores.iter().map(|core| lie(&core.places)).collect();
    let tilt = tilt(&lies);
    let mut found: Vec<Region> = cores
        .iter()
        .zip(lies)
        .filter_map(|(core, lie)| {
            let angle = if lie.long > 4.0 * lie.short { lie.angle } else { near(lie.angle, tilt) };
            let frame = frame(&core.places, angle, lie.middle)?;
            let confidence = core.sum / core.places.len() as f32;
            let scaled = |side: [f32; 2]| [side[0] * scale[0], side[1] * scale[1]];
            let frame = Frame {
                corner: scaled(frame.corner),
                along: scaled(frame.along),
                down: scaled(frame.down),
            };
            Some(Region { frame, confidence })
        })
        .collect();
    even(&mut found);
    found
}

/// Gives each line the middle height of those that are about as high. A place of the map is a tenth
/// of the height of small print, so that lines of the same print would be brought to sizes that
/// differ by as much. Measured in `benches/results/ocr.txt`.
fn even(lines: &mut [Region]) {
    let mut heights: Vec<f32> = lines.iter().map(|line| line.frame.height()).collect();
    heights.sort_by(f32::total_cmp);
    for Region { frame, .. } in lines {
        let height = frame.height();
        let from = heights.partition_point(|other| *other * ALIKE < height);
        let to = heights.partition_point(|other| *other <= height * ALIKE);
        let share = heights[usize::midpoint(from, to - 1)] / height;
        frame.corner = frame.at(0.0, (1.0 - share) / 2.0);
        frame.down = frame.down.map(|side| side * share);
    }
}

fn cores(map: &[f32], width: usize) -> Vec<Core> {
    let height = map.len() / width;
    let mut seen = vec![false; map.len()];
    let mut cores = Vec::new();
    let mut waiting = Vec::new();
    for start in 0..map.len() {
        if seen[start] || map[start] <= CORE {
            continue;
        }
        seen[start] = true;
        waiting.push(start);
        let mut core = Core::default();
        while let Some(at) = waiting.pop() {
            let (x, y) = (at % width, at / width);
            core.places.push((x as f32 + 0.5, y as f32 + 0.5));
            core.sum += map[at];
            for row in y.saturating_sub(1)..(y + 2).min(height) {
                for column in x.saturating_sub(1)..(x + 2).min(width) {
                    let next = row * width + column;
                    if !seen[next] && map[next] > CORE {
                        seen[next] = true;
                        waiting.push(next);
                    }
                }
            }
        }
        cores.push(core);
    }
    cores
}

fn lie(places: &[(f32, f32)]) -> Lie {
    let count = places.len() as f32;
    let mean = |of: fn(&(f32, f32)) -> f32| places.iter().map(of).sum::<f32>() / count;
    let (mx, my) = (mean(|place| place.0), mean(|place| place.1));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in places {
        xx += (x - mx) * (x - mx);
        xy += (x - mx) * (y - my);
        yy += (y - my) * (y - my);
    }
    let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
    let spread = ((xx - yy) * (xx - yy) / 4.0 + xy * xy).sqrt();
    let half = f32::midpoint(xx, yy);
    // A bar of length l has a variance of l * l / 12.
    let side = |variance: f32| (variance.max(0.0) / count * 12.0).sqrt() + 1.0;
    Lie { middle: [mx, my], angle, long: side(half + spread), short: side(half - spread) }
}

/// How much the lines of the page lean, as most long ones do; radians.
fn tilt(lies: &[Lie]) -> f32 {
    use std::f32::consts::FRAC_PI_4;
    let long = lies.iter().filter(|lie| lie.long > 8.0 * lie.short && lie.angle.abs() < FRAC_PI_4);
    let mut angles: Vec<f32> = long.map(|lie| lie.angle).collect();
    angles.sort_by(f32::total_cmp);
    angles.get(angles.len() / 2).copied().unwrap_or(0.0)
}

/// The tilt of the page, or what is square to it, whichever is nearer to `angle`.
fn near(angle: f32, tilt: f32) -> f32 {
    use std::f32::consts::{FRAC_PI_2, FRAC_PI_4};
    let off = (angle - tilt).abs();
    if off > FRAC_PI_4 && off < 3.0 * FRAC_PI_4 { tilt + FRAC_PI_2 } else { tilt }
}

/// The line around a core that leans by `angle`; `None` for a speck. Its way along points to the
/// right, or downwards for one that stands on end.
fn frame(places: &[(f32, f32)], angle: f32, middle: [f32; 2]) -> Option<Frame> {
    let (sin, cos) = angle.sin_cos();
    let mut bounds = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    for (x, y) in places {
        let (x, y) = (x - middle[0], y - middle[1]);
        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
        bounds[0] = bounds[0].min(u);
        bounds[1] = bounds[1].min(v);
        bounds[2] = bounds[2].max(u);
        bounds[3] = bounds[3].max(v);
    }
    let [mut left, mut top, mut right, mut bottom] = bounds;
    // From the middles of places to their edges.
    (left, top, right, bottom) = (left - 0.5, top - 0.5, right + 0.5, bottom + 0.5);
    let (length, height) = (right - left, bottom - top);
    if length.min(height) < 2.0 {
        return None;
    }
    let grow = GROWTH * length * height / (2.0 * (length + height));
    (top, bottom) = (top - grow, bottom + grow);
    // A letter that is cut off is lost, and white room is not.
    let ends = grow + ENDS * (bottom - top);
    (left, right) = (left - ends, right + ends);
    let point = |u: f32, v: f32| [middle[0] + u * cos - v * sin, middle[1] + u * sin + v * cos];
    let (corner, end, foot) = (point(left, top), point(right, top), point(left, bottom));
    let frame = Frame {
        corner,
        along: [end[0] - corner[0], end[1] - corner[1]],
        down: [foot[0] - corner[0], foot[1] - corner[1]],
    };
    // A square to a tilt may point upwards or to the left.
    let along = frame.along;
    Some(if along[0].abs() >= along[1].abs() {
        if along[0] < 0.0 { frame.around() } else { frame }
    } else if along[1] < 0.0 {
        frame.around()
    } else {
        frame
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map with a bar of `long` by `short` places about a middle, leaning by `degrees`.
    fn bar(middle: [f32; 2], long: f32, short: f32, degrees: f32) -> Vec<f32> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let is_in = |at: usize| {
            let (x, y) = ((at % 200) as f32 + 0.5 - middle[0], (at / 200) as f32 + 0.5 - middle[1]);
            let (u, v) = (x * cos + y * sin, y * cos - x * sin);
            u.abs() <= long / 2.0 && v.abs() <= short / 2.0
        };
        (0..200 * 100).map(|at| if is_in(at) { 0.9 } else { 0.1 }).collect()
    }

    #[test]
    fn a_bar_becomes_the_line_around_it() {
        let found = regions(&bar([100.0, 50.0], 120.0, 6.0, 0.0), 200, [2.0, 3.0]);
        assert_eq!(found.len(), 1);
        let [left, top, right, bottom] = found[0].frame.bounds();
        // It grows by 1.6 * 120 * 6 / 252 = 4.6 places, and at its ends by 2.3 more.
        for (got, expected) in [(left, 66.3), (top, 127.3), (right, 333.7), (bottom, 172.7)] {
            assert!((got - expected).abs() < 1.0, "{:?}", found[0]);
        }
        assert!((found[0].confidence - 0.9).abs() < 1e-3);
    }

    #[test]
    fn a_line_that_leans_is_followed() {
        for degrees in [-10.0f32, -2.0, 3.0, 12.0] {
            let found = regions(&bar([100.0, 50.0], 120.0, 6.0, degrees), 200, [1.0, 1.0]);
            let along = found[0].frame.along;
            let got = along[1].atan2(along[0]).to_degrees();
            assert!((got - degrees).abs() < 1.0, "{degrees} {got}");
            assert!((found[0].frame.height() - 15.2).abs() < 2.5, "{:?}", found[0].frame);
        }
        // One that stands on end is followed downwards.
        let found = regions(&bar([100.0, 50.0], 80.0, 6.0, 90.0), 200, [1.0, 1.0]);
        let along = found[0].frame.along;
        assert!(along[1] > 80.0 && along[0].abs() < 2.0, "{along:?}");
    }

    #[test]
    fn lines_of_the_same_print_are_equally_high() {
        let mut map = vec![0f32; 200 * 100];
        for (middle, height) in [(10.0, 5.0), (25.0, 6.0), (40.0, 5.0), (70.0, 14.0)] {
            let bar = bar([100.0, middle], 120.0, height, 0.0);
            map.iter_mut().zip(bar).for_each(|(map, bar)| *map = map.max(bar));
        }
        let found = regions(&map, 200, [2.0, 2.0]);
        let heights: Vec<f32> = found.iter().map(|line| line.frame.height()).collect();
        assert_eq!(heights.len(), 4);
        assert!(
            heights[..3].iter().all(|height| (height - heights[0]).abs() < 1e-3),
            "{heights:?}"
        );
        assert!(heights[3] > 2.0 * heights[0], "{heights:?}");
        // Each stays about its middle.
        for (line, middle) in found.iter().zip([20.0, 50.0, 80.0, 140.0]) {
            let [_, top, _, bottom] = line.frame.bounds();
            assert!((f32::midpoint(top, bottom) - middle).abs() < 1.1, "{line:?}");
        }
    }

    #[test]
    fn specks_and_doubts_are_no_lines() {
        assert_eq!(regions(&bar([50.0, 50.0], 2.0, 2.0, 0.0), 200, [1.0, 1.0]), []);
        let doubt: Vec<f32> =
            bar([100.0, 50.0], 90.0, 8.0, 0.0).iter().map(|value| value * 0.5).collect();
        assert_eq!(regions(&doubt, 200, [1.0, 1.0]), []);
        assert_eq!(regions(&[0.0; 64], 8, [1.0, 1.0]), []);
        // A map that is all line has one.
        assert_eq!(regions(&[1.0; 64], 8, [1.0, 1.0]).len(), 1);
    }
}
