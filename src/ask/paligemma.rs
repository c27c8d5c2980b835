//! An answer that a model of this machine reads off the picture of a page.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pagesight_model::{Decoding, PaliGemma, Task};

use crate::ask::evidence::Evidence;
use crate::ask::said::Said;
use crate::error::Error;

impl Evidence {
    /// Asks `model` about the picture of each page, and takes the surest answer; a page further down
    /// the ranking must be surer. Each piece of the answer is given to `reader` where there is one
    /// page.
    ///
    /// # Errors
    /// What drawing pages says, and [`Error::Model`].
    pub fn ask_model(
        &self,
        model: &PaliGemma,
        stop: &Arc<AtomicBool>,
        reader: &mut dyn FnMut(&str),
    ) -> Result<Said, Error> {
        let start = Instant::now();
        let task = Task::answer(self.question.as_str());
        let mut best: Option<(f32, usize, String)> = None;
        for source in &self.context.sources {
            let picture = source.page.image_until(2 * model.input_px(), stop)?;
            let is_alone = self.context.sources.len() == 1;
            let mut pass_on = |piece: &str| {
                if is_alone {
                    reader(piece);
                }
                if stop.load(Ordering::Relaxed) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let written = model.write_to(&picture, &task, Decoding::GREEDY, &mut pass_on)?;
            let text = written.text.trim();
            if text.is_empty() || text.eq_ignore_ascii_case("unanswerable") {
                continue;
            }
            // Each rank is worth a tenth of the certainty.
            let score = written.mean_probability() * 0.9f32.powi(source.number as i32 - 1);
            if best.as_ref().is_none_or(|(highest, ..)| score > *highest) {
                best = Some((score, source.number, text.into()));
            }
        }
        let answered = best.is_some();
        let (_, number, text) = best.unwrap_or_default();
        let sentences =
            if answered { vec![self.checked(text.clone(), &[number])] } else { Vec::new() };
        let (asked, usage, time) = (None, None, start.elapsed());
        Ok(Said { text, sentences, answered, answerer: "paligemma", asked, usage, time })
    }
}
