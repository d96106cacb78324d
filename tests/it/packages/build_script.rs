//! What `build.rs` does for `cargo install`: a program that rustc links as usual becomes static.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = r#"
    fn main() {
        let panicked = std::panic::catch_unwind(|| panic!("caught")).is_err();
        let thread = std::thread::spawn(|| std::fs::read_link("/proc/self/exe")).join();
        println!("{panicked} {}", thread.unwrap().is_ok());
    }
"#;

fn rustc(directory: &Path, source: &str, arguments: &[String]) -> Output {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .current_dir(directory)
        .args(["--edition=2024", source])
        .args(arguments)
        .output()
        .expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{source}: {text}");
    output
}

/// Runs the build script as cargo does; the lines that it prints for cargo.
fn run_script(directory: &Path, variables: &[(&str, &str)]) -> String {
    let output = Command::new(directory.join("build"))
        .env("OUT_DIR", directory)
        .env("CARGO_CFG_TARGET_OS", "linux")
        .env("CARGO_CFG_TARGET_ENV", "gnu")
        .env("CARGO_CFG_TARGET_FEATURE", "fxsr,sse,sse2")
        .env_remove("RUSTC_LINKER")
        .envs(variables.iter().copied())
        .output()
        .expect("the build script runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

fn link_arguments(lines: &str) -> Vec<String> {
    let arguments = lines
        .lines()
        .filter_map(|line| line.strip_prefix("cargo:rustc-link-arg-bins="));
    arguments
        .map(|argument| format!("-Clink-arg={argument}"))
        .collect()
}

#[test]
fn a_program_that_is_linked_as_cargo_install_does_is_static_and_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");
    rustc(directory, script, &["--crate-name=build".to_owned()]);
    fs::write(directory.join("program.rs"), PROGRAM).expect("written");

    // With the configuration of the repository there is nothing to do.
    let there = run_script(directory, &[("CARGO_CFG_TARGET_FEATURE", "crt-static,sse")]);
    assert_eq!(link_arguments(&there), Vec::<String>::new());

    let arguments = link_arguments(&run_script(directory, &[]));
    rustc(directory, "program.rs", &arguments);
    let program = directory.join("program");
    let found = fs::File::open(&program).expect("the program");
    bivouac::appliance::self_elf::mapped_part(&found).expect("a static program");
    let output = Command::new(&program).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "true true\n");

    // Where the archives are not to be found, the program is linked as usual, which is said.
    let linker = directory.join("linker");
    crate::env::script::write_script(&linker, "echo \"${1#*=}\"");
    let linker = linker.to_str().expect("text");
    let lines = run_script(directory, &[("RUSTC_LINKER", linker)]);
    assert_eq!(link_arguments(&lines), Vec::<String>::new());
    assert!(
        lines.contains("cargo:warning=bivouac is linked dynamically"),
        "{lines}"
    );
    rustc(directory, "program.rs", &[]);
    let found = fs::File::open(&program).expect("the program");
    let refused = bivouac::appliance::self_elf::mapped_part(&found).expect_err("dynamic");
    assert!(
        refused.to_string().contains("not linked statically"),
        "{refused}"
    );
}
