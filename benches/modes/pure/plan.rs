//! What is to be measured: of all combinations those that say most in the time there is.

use super::setting::{Arrivals, Axis, Setting};

/// The values of every axis; the first of each is the base.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axes {
    pub(crate) dependents: Vec<f64>,
    pub(crate) disorder: Vec<u64>,
    pub(crate) late: Vec<f64>,
    pub(crate) late_by: Vec<u64>,
    pub(crate) references: Vec<u64>,
    pub(crate) skew: Vec<f64>,
    pub(crate) payload: Vec<u64>,
    pub(crate) workers: Vec<usize>,
    pub(crate) arrivals: Vec<Arrivals>,
}

impl Axes {
    /// The first value of every axis; `None` where one has none.
    pub(crate) fn base(&self) -> Option<Setting> {
        Some(Setting {
            dependents: *self.dependents.first()?,
            disorder: *self.disorder.first()?,
            late: *self.late.first()?,
            late_by: *self.late_by.first()?,
            references: *self.references.first()?,
            skew: *self.skew.first()?,
            payload: *self.payload.first()?,
            workers: *self.workers.first()?,
            arrivals: *self.arrivals.first()?,
        })
    }

    /// Settings that are a given one with each value of one axis.
    fn along(&self, axis: Axis, from: Setting) -> Vec<Setting> {
        match axis {
            Axis::Dependents => self.dependents.iter().map(|v| Setting { dependents: *v, ..from }).collect(),
            Axis::Disorder => self.disorder.iter().map(|v| Setting { disorder: *v, ..from }).collect(),
            Axis::Late => self.late.iter().map(|v| Setting { late: *v, ..from }).collect(),
            Axis::LateBy => self.late_by.iter().map(|v| Setting { late_by: *v, ..from }).collect(),
            Axis::References => self.references.iter().map(|v| Setting { references: *v, ..from }).collect(),
            Axis::Skew => self.skew.iter().map(|v| Setting { skew: *v, ..from }).collect(),
            Axis::Payload => self.payload.iter().map(|v| Setting { payload: *v, ..from }).collect(),
            Axis::Workers => self.workers.iter().map(|v| Setting { workers: *v, ..from }).collect(),
            Axis::Arrivals => self.arrivals.iter().map(|v| Setting { arrivals: *v, ..from }).collect(),
        }
    }

    /// The base and what differs from it: on one axis each, or with `cross` in every combination. Each once, the base first.
    pub(crate) fn settings(&self, cross: bool) -> Vec<Setting> {
        let Some(base) = self.base() else { return Vec::new() };
        let mut settings = vec![base];
        for axis in Axis::ALL {
            let from = if cross { settings.clone() } else { vec![base] };
            for setting in from.into_iter().flat_map(|from| self.along(axis, from)) {
                if !settings.contains(&setting) {
                    settings.push(setting);
                }
            }
        }
        settings
    }
}

/// The axes along which the highest sustained rate is searched and not only a rate in the middle measured: those that have a picture of their own.
pub(crate) const SEARCHED: [Axis; 2] = [Axis::Dependents, Axis::Disorder];

/// Whether the highest sustained rate is searched in a setting.
pub(crate) fn is_searched(setting: &Setting, base: &Setting, cross: bool) -> bool {
    cross || setting.differs_from(base).iter().all(|axis| SEARCHED.contains(axis))
}

/// How many records a point has: those that come in `seconds` at `rate`, at most `most`, in whole steps.
pub(crate) fn records(rate: u64, seconds: f64, most: u64, step: u64) -> u64 {
    let wanted = (rate as f64 * seconds) as u64;
    wanted.min(most).div_ceil(step).max(1) * step
}

#[cfg(test)]
mod tests {
    use super::super::setting::BASE;
    use super::*;

    fn axes() -> Axes {
        Axes {
            dependents: vec![0.5, 0.0, 1.0],
            disorder: vec![1_000, 0],
            late: vec![0.01],
            late_by: vec![20_000],
            references: vec![1],
            skew: vec![0.0],
            payload: vec![100],
            workers: vec![2, 1, 2],
            arrivals: vec![Arrivals::Constant],
        }
    }

    #[test]
    fn a_star_varies_one_axis_at_a_time() {
        let expected = [
            BASE,
            Setting { dependents: 0.0, ..BASE },
            Setting { dependents: 1.0, ..BASE },
            Setting { disorder: 0, ..BASE },
            Setting { workers: 1, ..BASE },
        ];
        assert_eq!(axes().settings(false), expected);
    }

    #[test]
    fn a_cross_has_every_combination_once() {
        let settings = axes().settings(true);
        assert_eq!(settings.len(), 3 * 2 * 2);
        assert_eq!(settings.first(), Some(&BASE));
        assert!(settings.contains(&Setting { dependents: 1.0, disorder: 0, workers: 1, ..BASE }));
    }

    #[test]
    fn only_axes_with_a_picture_are_searched() {
        assert!(is_searched(&BASE, &BASE, false));
        assert!(is_searched(&Setting { disorder: 0, ..BASE }, &BASE, false));
        assert!(!is_searched(&Setting { workers: 1, ..BASE }, &BASE, false));
        assert!(is_searched(&Setting { workers: 1, ..BASE }, &BASE, true));
    }

    #[test]
    fn a_point_has_whole_steps() {
        assert_eq!(records(40_000, 2.0, 600_000, 1_000), 80_000);
        assert_eq!(records(333, 2.0, 600_000, 1_000), 1_000);
        assert_eq!(records(10, 0.01, 600_000, 1_000), 1_000);
        assert_eq!(records(900_000, 2.0, 600_000, 1_000), 600_000);
    }
}
