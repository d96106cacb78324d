//! Links the program statically where nothing else has asked for it: for `cargo install`, which ignores
//! the `.cargo/config.toml` of a package. The file is copied into guests, which may have no libraries.
//!
//! Without `crt-static`, rustc names the shared libraries at the linker's command line. So a directory
//! that is searched first has a linker script for each of these names, which leads to the archive.
//! If an archive is missing, the program is linked as usual, and `bivouac doctor` says so.

// Cargo reads what is printed, and the linker knows its files.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What rustc links the standard library with, for this target (`library/unwind`, the crate libc).
const LIBRARIES: [&str; 5] = ["util", "rt", "pthread", "m", "dl"];

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    let cfg = |name: &str| env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    let is_static = cfg("TARGET_FEATURE")
        .split(',')
        .any(|it| it == "crt-static");
    if is_static || cfg("TARGET_OS") != "linux" || cfg("TARGET_ENV") != "gnu" {
        return Ok(());
    }
    let directory = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    match write_scripts(&directory) {
        Ok(()) => {
            println!("cargo:rustc-link-arg-bins=-L{}", directory.display());
            println!("cargo:rustc-link-arg-bins=-static-pie");
        }
        Err(error) => println!(
            "cargo:warning=bivouac is linked dynamically: {error}. It boots images, but cannot \
             inspect them or run commands in them; see `bivouac doctor`"
        ),
    }
    Ok(())
}

fn write_scripts(directory: &Path) -> io::Result<()> {
    // The startup code of a static program.
    find("rcrt1.o")?;
    for library in LIBRARIES {
        let name = format!("lib{library}.a");
        let script = format!("INPUT ( \"{}\" )\n", find(&name)?);
        fs::write(directory.join(name), script)?;
    }
    let archives = ["libc.a", "libgcc_eh.a", "libgcc.a"].map(find);
    let archives: io::Result<Vec<_>> = archives.into_iter().collect();
    // These need each other.
    let script = format!("GROUP ( \"{}\" )\n", archives?.join("\" \""));
    for name in ["libc.a", "libgcc_s.a"] {
        fs::write(directory.join(name), &script)?;
    }
    Ok(())
}

/// The path of a file that the linker would use; NotFound if it has none of that name.
fn find(name: &str) -> io::Result<String> {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let output = Command::new(linker)
        .arg(format!("-print-file-name={name}"))
        .output()?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match Path::new(&path).is_absolute() {
        true => Ok(path),
        false => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("the C library for static linking has no {name} here"),
        )),
    }
}
