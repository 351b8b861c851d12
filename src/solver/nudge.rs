//! Small changes of an interruptible job's runs: a slide, slots handed from one run to another, a cut.
//!
//! What comes out keeps the job's rules about pieces; whether it fits and pays is for the caller to see.

use super::{noise::Noise, problem::Job, respond::join, schedule::Run};

/// Farthest slide of one step, slots.
const SLIDE_MAX: usize = 8;

/// Changes the runs a little within `from..deadline`; `false` when the change breaks a rule.
pub(super) fn nudge(
    job: &Job,
    (min_chunk, resume): (usize, usize),
    from: usize,
    runs: &mut Vec<Run>,
    noise: &mut Noise,
) -> bool {
    let i = noise.below(runs.len());
    let lost = |i: usize| if i == 0 { 0 } else { resume };
    let useful = runs[i].len - lost(i).min(runs[i].len);
    let changed = match noise.below(4) {
        0 => slide(&mut runs[i], noise),
        1 if 2 * min_chunk <= useful => {
            let cut = min_chunk + noise.below(useful - 2 * min_chunk + 1);
            runs[i].len -= cut;
            if noise.below(2) == 0 {
                runs[i].start += cut;
            }
            let len = cut + resume;
            let n_starts = (job.deadline + 1).saturating_sub(from + len);
            if n_starts == 0 {
                return false;
            }
            let start = from + noise.below(n_starts);
            runs.push(Run {
                start,
                len,
                units: 1,
            });
            true
        }
        2 if 1 < runs.len() => {
            // A whole run goes into another one.
            let gone = runs.remove(i);
            let heir = noise.below(runs.len());
            // A run leaves, and with it one resumption, whichever of them was the first.
            let grow = gone.len - resume.min(gone.len);
            lengthen(&mut runs[heir], grow, noise)
        }
        _ if 1 < runs.len() => {
            let spare = useful.saturating_sub(min_chunk);
            if spare == 0 {
                return false;
            }
            let n = 1 + noise.below(spare.min(SLIDE_MAX));
            runs[i].len -= n;
            if noise.below(2) == 0 {
                runs[i].start += n;
            }
            let other = (i + 1 + noise.below(runs.len() - 1)) % runs.len();
            lengthen(&mut runs[other], n, noise)
        }
        _ => slide(&mut runs[i], noise),
    };
    changed && is_right(job, (min_chunk, resume), from, runs)
}

fn slide(run: &mut Run, noise: &mut Noise) -> bool {
    let by = 1 + noise.below(SLIDE_MAX);
    if noise.below(2) == 0 {
        run.start += by;
        return true;
    }
    let start = run.start.checked_sub(by);
    run.start = start.unwrap_or(run.start);
    start.is_some()
}

fn lengthen(run: &mut Run, by: usize, noise: &mut Noise) -> bool {
    run.len += by;
    if noise.below(2) == 0 {
        return true;
    }
    let start = run.start.checked_sub(by);
    run.start = start.unwrap_or(run.start);
    start.is_some()
}

/// Sorts and joins the runs; `false` when they break a rule.
fn is_right(
    job: &Job,
    (min_chunk, resume): (usize, usize),
    from: usize,
    runs: &mut Vec<Run>,
) -> bool {
    runs.sort_unstable();
    if runs.windows(2).any(|pair| pair[1].start < pair[0].end()) {
        return false;
    }
    join(runs);
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return false;
    };
    let total: usize = runs.iter().map(|run| run.len).sum();
    let long_enough =
        |(i, run): (usize, &Run)| min_chunk + if i == 0 { 0 } else { resume } <= run.len;
    from <= first.start
        && last.end() <= job.deadline
        && total == job.duration + resume * (runs.len() - 1)
        && runs.iter().enumerate().all(long_enough)
}
