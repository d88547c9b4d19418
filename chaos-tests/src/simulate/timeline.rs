//! One run over virtual time, for a page: when what was signed was asked for and how long it took, and what went wrong behind it.

use std::time::Duration;

use crate::measure::{Latencies, Spread};
use crate::plot::Plot;

/// One point of the picture.
const SLICE: Duration = Duration::from_secs(1);
/// How wide a fault is drawn that is over at once.
const MARK: Duration = Duration::from_millis(300);

/// What a run did, and when. Instants are virtual milliseconds from its beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// When each signature was asked for, and how long it took.
    signed: Vec<(u64, u64)>,
    /// When each was asked for that did not come.
    unsigned: Vec<u64>,
    /// What went on, and from when to when.
    marks: Vec<(&'static str, u64, u64)>,
}

impl Timeline {
    /// A request that was made then is over now.
    pub(super) fn asked(&mut self, at: u64, now: u64, is_signed: bool) {
        if is_signed { self.signed.push((at, now - at)) } else { self.unsigned.push(at) }
    }

    /// Something went wrong.
    pub(super) fn mark(&mut self, what: &'static str, at: u64) {
        self.marks.push((what, at, at + MARK.as_millis() as u64));
    }

    /// A part of the run was from then to now.
    pub(super) fn phase(&mut self, what: &'static str, from: u64, until: u64) {
        // Behind the faults in it.
        self.marks.insert(0, (what, from, until));
    }

    /// The picture and what its lines are.
    pub(super) fn svg(&self) -> String {
        let last =
            self.signed.iter().map(|(at, _)| *at).chain(self.unsigned.iter().copied()).chain(self.marks.iter().map(|mark| mark.2)).max();
        let count = last.map_or(0, |last| last / SLICE.as_millis() as u64 + 1) as usize;
        let mut slices: Vec<Latencies> = (0..count).map(|_| Latencies::default()).collect();
        for (at, took) in &self.signed {
            if let Some(slice) = slices.get_mut((at / SLICE.as_millis() as u64) as usize) {
                slice.record(Duration::from_millis(*took));
            }
        }
        let slices: Vec<Spread> = slices.iter().map(Latencies::spread).collect();
        let millis = Duration::from_millis;
        let marks: Vec<_> = self.marks.iter().map(|(what, from, until)| (*what, millis(*from), millis(*until))).collect();
        let failures: Vec<_> = self.unsigned.iter().copied().map(millis).collect();
        let plot = Plot { slice: SLICE, slices: &slices, marks: &marks, failures: &failures };
        plot.svg() + &plot.legend()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_is_drawn_when_it_was_asked_for_with_faults_behind_it_and_ticks_for_what_was_not() {
        let mut timeline = Timeline::default();
        for (at, took) in [(200, 30), (700, 40), (2_100, 900)] {
            timeline.asked(at, at + took, true);
        }
        timeline.asked(1_500, 1_600, false);
        timeline.mark("process killed", 1_200);
        timeline.phase("faults", 0, 2_500);
        let svg = timeline.svg();
        let lines: Vec<usize> =
            svg.split("points='").skip(1).filter_map(|rest| rest.split('\'').next()).map(|points| points.split(' ').count()).collect();
        assert_eq!(lines, [3, 2, 2], "three seconds, two of them with signatures: {svg}");
        let (phase, fault) = (svg.find(">faults<").expect("the phase"), svg.find(">process killed<").expect("the fault"));
        assert!(phase < fault, "a phase is drawn behind what was in it");
        assert_eq!(svg.matches("v12").count(), 1);
    }
}
