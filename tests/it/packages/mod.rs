//! How the program is packaged and installed.

mod build_script;
