//! A plot of calls: how many there were, and how long they took.

use compere_host::audit::index::Done;
use maud::{Markup, html};

use crate::text::{count, duration, moment};

/// Bars.
const BARS: usize = 60;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 120.0;
/// The longest time that the plot has room for is ten to this many microseconds.
const DECADES: f64 = 8.0;
/// A fraction of what was found, in hundredths.
const HALF: usize = 50;
const MOST: usize = 95;

/// The plot, and what it says in words.
pub(crate) fn plot(done: &[Done]) -> Markup {
    let (Some(newest), Some(oldest)) = (done.first(), done.last()) else {
        return html! {};
    };
    let span = newest.at.saturating_sub(oldest.at).max(1);
    let mut bars: Vec<(usize, usize, Vec<u64>)> = vec![(0, 0, Vec::new()); BARS];
    for one in done {
        let since = u128::from(one.at.saturating_sub(oldest.at));
        let place = since * BARS as u128 / (u128::from(span) + 1);
        let Some(bar) = bars.get_mut(usize::try_from(place).unwrap_or(BARS)) else {
            continue;
        };
        match one.micros {
            Some(micros) => {
                bar.0 += 1;
                bar.2.push(micros);
            }
            None => bar.1 += 1,
        }
    }
    for (_, _, times) in &mut bars {
        times.sort_unstable();
    }
    let most = bars
        .iter()
        .map(|bar| bar.0 + bar.1)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut all: Vec<u64> = done.iter().filter_map(|one| one.micros).collect();
    all.sort_unstable();
    let refused = done.len() - all.len();
    let step = WIDTH / whole(BARS);
    html! {
        figure.plot {
            figcaption {
                (count(done.len(), "call", "calls")) " from " (moment(oldest.at / 1_000_000)) " to " (moment(newest.at / 1_000_000))
                @if refused > 0 { ", " (refused) " of them refused" }
                @if let (Some(half), Some(most)) = (share(&all, HALF), share(&all, MOST)) {
                    @let of = if refused > 0 { "of the others" } else { "of them" };
                    ". Half " (of) " took at most " (duration(half)) ", 95 of 100 at most " (duration(most))
                }
                "."
            }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Calls over time, and how long they took" preserveAspectRatio="none" {
                @for (place, (well, refused, _)) in bars.iter().enumerate() {
                    @let left = whole(place) * step;
                    @let good = HEIGHT * whole(*well) / whole(most);
                    @let bad = HEIGHT * whole(*refused) / whole(most);
                    rect.calls x=(left + 1.0) y=(HEIGHT - good) width=(step - 2.0) height=(good) {}
                    rect.refused x=(left + 1.0) y=(HEIGHT - good - bad) width=(step - 2.0) height=(bad) {}
                }
                @for (class, hundredths) in [("half", HALF), ("most", MOST)] {
                    polyline class=(class) points=(line(&bars, hundredths, step)) {}
                }
            }
            p.legend {
                span.calls { "calls" } " " span.refused { "refused" } " "
                span.half { "half took less" } " " span.most { "95 of 100 took less" }
                " (times: each step up of an eighth is ten times as long, from 1 µs)"
            }
        }
    }
}

/// What so many hundredths of these do not exceed.
fn share(sorted: &[u64], hundredths: usize) -> Option<u64> {
    let place = (sorted.len() * hundredths).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied()
}

fn line(bars: &[(usize, usize, Vec<u64>)], hundredths: usize, step: f64) -> String {
    let points = bars
        .iter()
        .enumerate()
        .filter_map(|(place, (_, _, times))| {
            let micros = u32::try_from(share(times, hundredths)?).unwrap_or(u32::MAX);
            let up = f64::from(micros.max(1)).log10() / DECADES;
            let across = whole(place) * step + step / 2.0;
            Some(format!("{across:.1},{:.1}", HEIGHT * (1.0 - up.min(1.0))))
        });
    points.collect::<Vec<_>>().join(" ")
}

/// A number of calls or bars, to be drawn.
fn whole(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
