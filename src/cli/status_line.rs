//! The status line on a terminal: what is waited for, since when, how much was copied, and what a guest
//! that boots shows. It never wraps, is removed before anything else is printed, and comes back
//! while what it tells of goes on.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::launch::{Activity, redraw_with};
use crate::text::escape::printable;

/// Shorter waits are not counted.
const COUNTED: Duration = Duration::from_secs(1);

/// How much of a text is shown, in characters.
const LONGEST: usize = 60;

/// Global, because the log is.
static SHOWN: Mutex<Option<StatusLine>> = Mutex::new(None);

struct StatusLine {
    bar: ProgressBar,
    text: String,
    since: Instant,
    /// When it was set.
    before: Activity,
}

/// Whether the terminal can draw a line anew.
pub(super) fn is_possible() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
    !is_dumb
}

/// Shows a line in place of the last.
pub(super) fn show(text: &str) {
    with(|shown| {
        let bar = shown.take().map_or_else(new_bar, |shown| shown.bar);
        let text = printable(text);
        let new = StatusLine {
            bar,
            text,
            since: Instant::now(),
            before: Activity::now(),
        };
        new.draw();
        *shown = Some(new);
    });
    redraw_with(|| with(|shown| shown.iter().for_each(StatusLine::draw)));
}

/// Takes it away until it is drawn again, because something else is printed.
pub(super) fn hide() {
    with(|shown| {
        if let Some(shown) = shown {
            shown.bar.suspend(|| ());
            shown.bar.finish_and_clear();
            shown.bar = new_bar();
        }
    });
}

/// Takes it away for good.
pub(super) fn remove() {
    with(|shown| {
        if let Some(shown) = shown.take() {
            shown.bar.finish_and_clear();
        }
    });
}

fn with(work: impl FnOnce(&mut Option<StatusLine>)) {
    work(&mut SHOWN.lock().unwrap_or_else(PoisonError::into_inner));
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl StatusLine {
    fn draw(&self) {
        let line = line(
            &self.text,
            self.since.elapsed(),
            &self.before,
            &Activity::now(),
        );
        self.bar.set_message(format!("bivouac: {line}"));
        self.bar.tick();
    }
}

fn line(text: &str, elapsed: Duration, before: &Activity, now: &Activity) -> String {
    // The time is not to be cut off.
    let mut line = match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    };
    if elapsed < COUNTED {
        return line;
    }
    line += &format!(" ({} s)", elapsed.as_secs());
    let copied = now.copied.saturating_sub(before.copied);
    if copied > 0 {
        let rate = copied as f64 / elapsed.as_secs_f64();
        let (copied, rate) = (BinaryBytes(copied), BinaryBytes(rate as u64));
        line += &format!(", {copied}, {rate}/s");
    }
    if let Some(console) = &now.console
        && now.console != before.console
    {
        line += &format!(": {}", printable(console));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(copied: u64, console: Option<&str>) -> Activity {
        let console = console.map(str::to_owned);
        Activity { copied, console }
    }

    #[test]
    fn a_line_tells_what_goes_on_and_for_how_long() {
        let none = Activity::default();
        let line = |millis, before: &Activity, now: &Activity| {
            line("booting", Duration::from_millis(millis), before, now)
        };
        assert_eq!(line(999, &none, &activity(7, Some("x"))), "booting");
        assert_eq!(line(61_500, &none, &none), "booting (61 s)");
        let long = super::line(&"é".repeat(99), COUNTED, &none, &none);
        assert_eq!(long, format!("{}... (1 s)", "é".repeat(60)));
        let boots = activity(0, Some("[  OK  ] Started\x1b[2J x"));
        assert_eq!(
            line(3000, &none, &boots),
            r"booting (3 s): [  OK  ] Started\u{1b}[2J x"
        );
        assert_eq!(line(3000, &boots, &boots), "booting (3 s)");
        let (before, now) = (activity(1 << 20, None), activity(9 << 20, None));
        assert_eq!(
            line(4000, &before, &now),
            "booting (4 s), 8.00 MiB, 2.00 MiB/s"
        );
    }
}
