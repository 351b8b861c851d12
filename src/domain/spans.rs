//! When the program of an attempt ran: spans of time, pauses left out.
//!
//! Spans are in order and never overlap; nothing is longer than it was, and there are at most [`limits::SPANS_MAX`].

use crate::{
    limits,
    slot::{Slot, SlotGrid, TimeMs},
};

/// Time from `start` up to and without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First moment.
    pub start: TimeMs,
    /// Moment after the last, never before `start`.
    pub end: TimeMs,
}

/// The spans of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spans {
    closed: Vec<Span>,
    open: Option<TimeMs>,
}

impl Spans {
    /// Spans that were read back; `None` when they are out of order or too many.
    #[must_use]
    pub fn restore(closed: Vec<Span>, open: Option<TimeMs>) -> Option<Self> {
        let in_order = closed.iter().all(|span| span.start <= span.end)
            && closed.is_sorted_by(|a, b| a.end <= b.start);
        let last = closed.last().map_or(TimeMs(i64::MIN), |span| span.end);
        let open_ok = open.is_none_or(|open| last <= open);
        (in_order && open_ok).then_some(Self { closed, open })
    }

    /// Spans that are over, in order.
    #[must_use]
    pub fn closed(&self) -> &[Span] {
        &self.closed
    }

    /// Since when the program runs; `None` while it does not.
    #[must_use]
    pub fn open(&self) -> Option<TimeMs> {
        self.open
    }

    /// Whether the program never ran.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.is_none()
    }

    /// The program runs from a moment on, but not from before it last stopped. Changes nothing while it runs.
    pub fn begin(&mut self, at: TimeMs) {
        if self.open.is_none() {
            let last = self.closed.last().map_or(at, |span| span.end);
            self.open = Some(at.max(last));
        }
    }

    /// The program runs no more from a moment on, but not from before it began; a span may be empty. Changes nothing while
    /// it does not run.
    pub fn end(&mut self, at: TimeMs) {
        let Some(start) = self.open.take() else {
            return;
        };
        let end = at.max(start);
        match self.closed.last_mut() {
            // It went on at once.
            Some(last) if last.end == start => last.end = end,
            _ => self.closed.push(Span { start, end }),
        }
        if limits::SPANS_MAX < self.closed.len() {
            self.close_shortest_gap();
        }
    }

    /// What is bounded counts the shortest pause as run time: it is the least that can be wrong.
    fn close_shortest_gap(&mut self) {
        let gap = |i: &usize| self.closed[i + 1].start.0 - self.closed[*i].end.0;
        if let Some(i) = (0..self.closed.len().saturating_sub(1)).min_by_key(gap) {
            self.closed[i].end = self.closed[i + 1].end;
            self.closed.remove(i + 1);
        }
    }

    /// The first moment in which one runs and the other does not; `None` when both are equal.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<TimeMs> {
        let mine = self.edges();
        let others = other.edges();
        let n_same = mine.iter().zip(&others).take_while(|(a, b)| a == b).count();
        let edges = [mine.get(n_same), others.get(n_same)];
        edges.into_iter().flatten().min().copied()
    }

    /// Starts and ends in turn.
    fn edges(&self) -> Vec<TimeMs> {
        let closed = self.closed.iter().flat_map(|span| [span.start, span.end]);
        closed.chain(self.open).collect()
    }

    /// Slots from `from` on with the milliseconds that the program ran in each, up to a moment; none with 0.
    #[must_use]
    pub fn by_slot(&self, grid: SlotGrid, from: Slot, until: TimeMs) -> Vec<(Slot, u32)> {
        let mut slots: Vec<(Slot, u32)> = Vec::new();
        let open = self.open.map(|start| Span { start, end: until });
        let first = grid.start_of(from);
        for span in self.closed.iter().copied().chain(open) {
            let (mut at, end) = (span.start.max(first), span.end.min(until));
            while at < end {
                let slot = grid.slot_at(at);
                let stop = grid.start_of(slot.plus(1)).min(end);
                let ms = u32::try_from(stop.0 - at.0).unwrap_or(u32::MAX);
                match slots.last_mut() {
                    Some((last, sum)) if *last == slot => *sum += ms,
                    _ => slots.push((slot, ms)),
                }
                at = stop;
            }
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(edges: &[i64]) -> Spans {
        let mut spans = Spans::default();
        for (i, &edge) in edges.iter().enumerate() {
            if i % 2 == 0 {
                spans.begin(TimeMs(edge));
            } else {
                spans.end(TimeMs(edge));
            }
        }
        spans
    }

    #[test]
    fn run_time_falls_into_its_slots() {
        let grid = SlotGrid::new(900).unwrap();
        let spans = spans(&[899_000, 901_000, 902_000, 903_000, 1_800_000]);
        let by_slot = |from, until| spans.by_slot(grid, Slot(from), TimeMs(until));
        let first_two = [(Slot(0), 1_000), (Slot(1), 2_000)];
        assert_eq!(by_slot(0, 1_800_000), first_two);
        let all = [(Slot(0), 1_000), (Slot(1), 2_000), (Slot(2), 500)];
        assert_eq!(by_slot(0, 1_800_500), all);
        assert_eq!(by_slot(1, 1_800_500), all[1..]);
        assert_eq!(by_slot(0, 900_500), [(Slot(0), 1_000), (Slot(1), 500)]);
    }

    #[test]
    fn time_never_goes_backwards() {
        let spans = spans(&[10, 5, 3, 20]);
        let whole = Span {
            start: TimeMs(10),
            end: TimeMs(20),
        };
        assert_eq!(spans.closed(), [whole]);
    }

    #[test]
    fn beyond_the_bound_the_shortest_gap_is_closed() {
        let n = i64::try_from(limits::SPANS_MAX).unwrap();
        let edges = |n: i64| (0..n).flat_map(|i| [i * 100, i * 100 + if i == 3 { 70 } else { 50 }]);
        let at = spans(&edges(n).collect::<Vec<_>>());
        assert_eq!(at.closed().len(), limits::SPANS_MAX);
        let above = spans(&edges(n + 1).collect::<Vec<_>>());
        assert_eq!(above.closed().len(), limits::SPANS_MAX);
        let merged = Span {
            start: TimeMs(300),
            end: TimeMs(450),
        };
        assert_eq!(above.closed()[3], merged);
    }

    #[test]
    fn the_first_difference_is_found() {
        let one = spans(&[10, 20, 30]);
        assert_eq!(one.first_difference(&one), None);
        assert_eq!(one.first_difference(&spans(&[10, 20])), Some(TimeMs(30)));
        assert_eq!(one.first_difference(&spans(&[10, 25])), Some(TimeMs(20)));
        assert_eq!(
            one.first_difference(&spans(&[10, 20, 30, 40])),
            Some(TimeMs(40))
        );
        assert_eq!(one.first_difference(&Spans::default()), Some(TimeMs(10)));
    }

    proptest! {
        #[test]
        fn spans_read_back(edges in proptest::collection::vec(0..1_000_i64, 0..300)) {
            let spans = spans(&edges);
            let again = Spans::restore(spans.closed().to_vec(), spans.open());
            prop_assert_eq!(again, Some(spans));
        }
    }
}
