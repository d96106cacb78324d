//! Text for people and for other programs: escaping, sizes, times, tables, CSV. Pure: it opens
//! nothing, prints nothing, and depends on nothing of ours.

pub mod csv;
pub mod escape;
pub mod size;
pub mod table;
pub mod time;

/// An error on one line: it and its causes, each behind a colon.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}
