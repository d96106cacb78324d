//! The survey, in a real machine.
