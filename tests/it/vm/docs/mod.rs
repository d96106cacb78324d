//! What users read, by the tools that show it, and its examples, typed into a shell.

mod rendered;
mod run;
