//! What users read, by the tools that show it, and its examples, typed into a shell.

mod recipes;
mod rendered;
mod run;
