//! Highest sustained rates beside each other.
//!
//! A search has no repetitions, and on the same code one finds what another does not: [`ALONE`] leaves room for that. So what one search finds lower counts
//! as worse only where it is much lower, or where [`SEARCHES`] searches found no more: the best of them counts, as by chance a rate is not sustained that
//! could be, and hardly ever the other way round. A sitting that compares itself searches again by itself what comes out lower.

use super::super::results::Results;
use super::super::search::Search;
use super::super::text;
use super::{Left, Row, Verdict, WORSE_BY};

/// After so many searches the best of them is taken for what the mode sustains.
pub(crate) const SEARCHES: usize = 3;

/// Below this part of what was sustained before one search is enough. Two single searches of the same code have been 0.70 apart.
pub(crate) const ALONE: f64 = 0.6;

/// Whether another search would tell chance from a regression.
pub(crate) fn is_to_be_searched_again(before: &Search, (after, searches): &(Search, usize)) -> bool {
    *searches < SEARCHES && !after.generator_bound && is_below(after, before)
}

/// Whether what was not sustained in `one` lies clearly below what was sustained in `other`: to what can be sustained a search only comes near.
fn is_below(one: &Search, other: &Search) -> bool {
    let below = |failed: u64, sustained: u64| (failed as f64) < sustained as f64 * (1.0 - WORSE_BY);
    one.not_sustained.zip(other.sustained).is_some_and(|(failed, sustained)| below(failed, sustained))
}

/// Whether `one` is so far below `other` that no second search is needed. Where nothing is sustained at all, it is.
fn is_far_below(one: &Search, other: &Search) -> bool {
    one.sustained.zip(other.sustained).is_none_or(|(one, other)| (one as f64) < other as f64 * ALONE)
}

/// The highest sustained rates that were searched in both, and those that cannot be compared.
pub(super) fn searches(old: &Results, new: &Results) -> (Vec<Row>, Vec<Left>) {
    let (mut rows, mut left) = (Vec::new(), Vec::new());
    let mut places = old.searched();
    places.extend(new.searched().into_iter().filter(|place| !old.searched().contains(place)));
    for (mode, setting) in places {
        let what = format!("{mode}, {}", setting.name(&old.about.base));
        let compared = match (old.best_search(mode, &setting), new.best_search(mode, &setting)) {
            (Some(before), Some(after)) => row(&what, &before, &after),
            (Some(_), None) => Err("not searched now"),
            (None, _) => Err("not searched before"),
        };
        match compared {
            Ok(row) => rows.push(row),
            Err(why) => left.push(Left { what: format!("{what}, highest sustained"), why: why.to_owned() }),
        }
    }
    (rows, left)
}

/// # Errors
///
/// Why they cannot be compared.
fn row(what: &str, before: &(Search, usize), after: &(Search, usize)) -> Result<Row, &'static str> {
    let ((before, searches_before), (after, searches_after)) = (before, after);
    let verdict = if is_below(after, before) {
        match after.generator_bound {
            true => return Err("the generator was the limit now, at less than was sustained before"),
            false if *searches_after >= SEARCHES || is_far_below(after, before) => Verdict::Worse,
            false => Verdict::Lower,
        }
    } else if is_below(before, after) {
        match before.generator_bound {
            true => return Err("the generator was the limit before, at less than is sustained now"),
            false if *searches_before >= SEARCHES || is_far_below(before, after) => Verdict::Better,
            false => Verdict::Higher,
        }
    } else if before.sustained.is_none() || after.sustained.is_none() {
        return Err("no rate was found that is sustained, nor one that would tell");
    } else {
        Verdict::Same
    };
    let ratio = before.sustained.zip(after.sustained).map(|(before, after)| after as f64 / before as f64);
    Ok(Row {
        what: what.to_owned(),
        figure: "highest sustained",
        old: rate(before),
        new: rate(after),
        ratio,
        verdict,
        searches: Some((*searches_before, *searches_after)),
    })
}

fn rate(search: &Search) -> String {
    let at_least = if search.generator_bound || search.not_sustained.is_none() { "\u{2265}" } else { "" };
    search.sustained.map_or("none".to_owned(), |rate| format!("{at_least}{}", text::short(rate as f64)))
}

#[cfg(test)]
mod tests {
    use super::super::super::results::samples::{found, results};
    use super::super::super::setting::{BASE, Mode};
    use super::*;

    /// A sitting with searches of streaming that found these rates.
    fn searched(rates: &[u64]) -> Results {
        results(Vec::new(), rates.iter().map(|rate| found(Mode::Streaming, BASE, *rate)).collect())
    }

    fn nothing_sustained() -> Results {
        let mut sitting = searched(&[500]);
        sitting.found[0].search = Search { sustained: None, not_sustained: Some(600), generator_bound: false };
        sitting
    }

    fn verdict(old: &Results, new: &Results) -> Verdict {
        searches(old, new).0[0].verdict
    }

    #[test]
    fn one_search_that_is_lower_is_no_regression_unless_it_is_much_lower() {
        for (now, expected) in [
            (100_000, Verdict::Same),
            (90_000, Verdict::Same),
            (70_000, Verdict::Lower),
            (55_000, Verdict::Worse),
            (140_000, Verdict::Higher),
            (180_000, Verdict::Better),
        ] {
            assert_eq!(verdict(&searched(&[100_000]), &searched(&[now])), expected, "{now}");
        }
    }

    #[test]
    fn of_several_searches_the_best_counts() {
        let before = searched(&[100_000]);
        assert_eq!(verdict(&before, &searched(&[70_000, 65_000])), Verdict::Lower);
        assert_eq!(verdict(&before, &searched(&[70_000, 65_000, 72_000])), Verdict::Worse);
        assert_eq!(verdict(&before, &searched(&[70_000, 95_000])), Verdict::Same);
        assert_eq!(verdict(&searched(&[70_000, 60_000, 71_000]), &before), Verdict::Better);
        let rows = searches(&before, &searched(&[70_000, 65_000, 72_000])).0;
        assert_eq!((rows[0].searches, rows[0].ratio), (Some((1, 3)), Some(0.72)));
    }

    #[test]
    fn another_search_is_needed_where_one_is_lower() {
        let of = |sitting: &Results| sitting.best_search(Mode::Streaming, &BASE).unwrap();
        let before = of(&searched(&[100_000])).0;
        let is_needed = |rates: &[u64]| is_to_be_searched_again(&before, &of(&searched(rates)));
        assert!(is_needed(&[70_000]) && is_needed(&[70_000, 60_000]) && is_needed(&[10_000]));
        assert!(!is_needed(&[95_000]) && !is_needed(&[70_000, 95_000]) && !is_needed(&[70_000, 60_000, 50_000]));
        assert!(is_to_be_searched_again(&before, &of(&nothing_sustained())));
    }

    #[test]
    fn that_nothing_is_sustained_any_more_is_worse() {
        assert_eq!(verdict(&searched(&[500_000]), &nothing_sustained()), Verdict::Worse);
        assert_eq!(verdict(&nothing_sustained(), &searched(&[500_000])), Verdict::Better);
        let rows = searches(&searched(&[500_000]), &nothing_sustained()).0;
        assert_eq!((rows[0].new.as_str(), rows[0].ratio), ("none", None));
    }

    #[test]
    fn what_cannot_be_compared_is_told_with_its_reason() {
        let left = |old: &Results, new: &Results| {
            let (rows, left) = searches(old, new);
            assert!(rows.is_empty(), "{rows:?}");
            left[0].why.clone()
        };
        let mut by_generator = searched(&[70_000]);
        by_generator.found[0].search.generator_bound = true;
        assert!(left(&searched(&[100_000]), &by_generator).starts_with("the generator was the limit now"));
        assert!(left(&by_generator, &searched(&[100_000])).starts_with("the generator was the limit before"));
        assert_eq!(left(&searched(&[100_000]), &searched(&[])), "not searched now");
        assert_eq!(left(&searched(&[]), &searched(&[100_000])), "not searched before");
        assert!(left(&nothing_sustained(), &nothing_sustained()).starts_with("no rate was found"));
    }
}
