//! Messages of a system's log: [`record`] is one and how it is shown, [`select`] says which are wanted,
//! [`fields`] makes messages of a journal's entries, [`syslog`] of the lines of log files. Pure.

pub mod fields;
pub mod record;
pub mod select;
pub mod syslog;
