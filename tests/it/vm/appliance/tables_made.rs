//! Images of partition tables, made by sfdisk, sgdisk and parted.

use std::path::{Path, PathBuf};

use crate::env::filesystems::{empty, run, write_table};

/// How a table is made: a script for sfdisk, or the arguments of a program for each call.
#[derive(Clone, Copy)]
enum Tool {
    Sfdisk(&'static str),
    Sgdisk(&'static [&'static str]),
    /// One call for each line.
    Parted(&'static str),
    /// An MBR by sfdisk, converted by sgdisk.
    Converted(&'static str),
}

/// Who else reads it.
#[derive(Clone, Copy)]
pub enum By {
    Sfdisk,
    Partx,
    /// Both of these.
    Both,
    Parted,
}

#[derive(Clone, Copy)]
pub struct Recipe {
    pub name: &'static str,
    tool: Tool,
    pub by: By,
}

const fn recipe(name: &'static str, tool: Tool, by: By) -> Recipe {
    Recipe { name, tool, by }
}

const fn sfdisk(name: &'static str, script: &'static str) -> Recipe {
    recipe(name, Tool::Sfdisk(script), By::Both)
}

const fn sgdisk(name: &'static str, args: &'static [&'static str]) -> Recipe {
    recipe(name, Tool::Sgdisk(args), By::Both)
}

const fn parted(name: &'static str, by: By, commands: &'static str) -> Recipe {
    recipe(name, Tool::Parted(commands), by)
}

#[rustfmt::skip]
pub const TABLES: &[Recipe] = &[
    sfdisk("gpt", "label: gpt\nsize=1MiB, type=U, name=esp\nsize=2MiB, type=L, name=\"a name\"\n"),
    recipe("gpt-unicode", Tool::Sfdisk("label: gpt\nsize=1MiB, name=\"Système\"\n"), By::Sfdisk),
    sfdisk("gpt-gaps", "label: gpt\n3: size=1MiB\n7: size=2MiB\n128: size=1MiB\n"),
    sfdisk("gpt-unsorted", "label: gpt\n2: start=2048, size=2048\n1: start=8192, size=2048\n"),
    sfdisk("gpt-256-entries", "label: gpt\ntable-length: 256\n1: size=1MiB\n250: size=1MiB\n"),
    sfdisk("gpt-ids", "label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\n\
        size=1MiB, uuid=66666666-7777-8888-9999-AAAAAAAAAAAA, attrs=LegacyBIOSBootable\n"),
    sfdisk("dos", "label: dos\nlabel-id: 0xcafe0001\nsize=1MiB, type=83\n4: size=2MiB, type=ef\n"),
    sfdisk("dos-gaps", "label: dos\n2: size=1MiB, type=7\n4: size=1MiB, type=c, bootable\n"),
    sfdisk("dos-unsorted", "label: dos\n1: start=8192, size=2048\n2: start=2048, size=2048\n"),
    sfdisk("dos-logical", "label: dos\nsize=1MiB, type=83\nsize=40MiB, type=5\nsize=1MiB, type=82\n\
        5: size=1MiB, type=83\n6: size=1MiB, type=8e\n7: size=2MiB, type=6\n"),
    sfdisk("dos-lba-extended", "label: dos\n2: size=20MiB, type=f\n5: size=1MiB\n6: size=1MiB\n"),
    sfdisk("dos-linux-extended", "label: dos\n1: size=20MiB, type=85\n5: size=1MiB\n"),
    sfdisk("dos-extended-fourth", "label: dos\n4: size=20MiB, type=5\n5: size=1MiB\n6: size=2MiB\n"),
    sfdisk("dos-chain-with-gaps", "label: dos\n1: start=2048, size=100000, type=5\n\
        5: start=10000, size=2048\n6: start=40000, size=2048\n7: start=80000, size=2048\n"),
    sfdisk("dos-many-logical", "label: dos\n1: size=60MiB, type=5\n5: size=1MiB\n6: size=1MiB\n\
        7: size=1MiB\n8: size=1MiB\n9: size=1MiB\n10: size=1MiB\n11: size=1MiB\n12: size=1MiB\n\
        13: size=1MiB\n14: size=1MiB\n15: size=1MiB\n16: size=1MiB\n17: size=1MiB\n18: size=1MiB\n"),
    recipe("sun", Tool::Sfdisk("label: sun\nsize=8MiB\nsize=16MiB\n"), By::Sfdisk),
    recipe("sgi", Tool::Sfdisk("label: sgi\nstart=20480, size=20480\nsize=8MiB\n"), By::Sfdisk),
    sgdisk("sgdisk", &["-n1:0:+1M", "-t1:ef00", "-n2:0:+8M", "-c2:root", "-n3:0:0", "-t3:8200"]),
    sgdisk("sgdisk-unaligned", &["-a", "1", "-n1:34:99", "-n2:100:100", "-n3:4097:5001"]),
    sgdisk("sgdisk-many-entries", &["-S", "512", "-n1:0:+1M", "-n200:0:+1M", "-n255:0:+1M"]),
    sgdisk("sgdisk-few-entries", &["-S", "4", "-n1:0:+1M", "-n4:0:+1M"]),
    sgdisk("sgdisk-hybrid", &["-n1:0:+1M", "-n2:0:+8M", "-t2:8300", "-h", "1:2"]),
    sgdisk("sgdisk-hybrid-without-ee-first", &["-n1:0:+1M", "-n2:0:+8M", "-n3:0:+8M", "-h", "2:3:EE"]),
    sgdisk("sgdisk-reversed", &["-n2:2048:+1M", "-n1:20480:+1M"]),
    recipe("converted", Tool::Converted("label: dos\nsize=1MiB\n3: size=20MiB, type=5\n5: size=2MiB\n"), By::Both),
    parted("parted-gpt", By::Both, "mklabel gpt\nmkpart one ext4 1MiB 9MiB\n\
        mkpart two fat32 9MiB 20MiB\nset 2 esp on\nmkpart three 30MiB 40MiB\nrm 1"),
    parted("parted-msdos", By::Both, "mklabel msdos\nmkpart primary ext2 1MiB 9MiB\n\
        mkpart extended 9MiB 60MiB\nmkpart logical fat32 10MiB 20MiB\nmkpart logical 21MiB 30MiB\n\
        mkpart logical 31MiB 40MiB\nset 1 boot on\nrm 6"),
    parted("parted-mac", By::Partx, "mklabel mac\nmkpart data ext2 4MiB 12MiB\n\
        mkpart more hfs 20MiB 40MiB"),
    parted("parted-bsd", By::Partx, "mklabel bsd\nmkpart ext2 4MiB 12MiB\nmkpart 20MiB 40MiB"),
    parted("parted-sun", By::Sfdisk, "mklabel sun\nmkpart ext2 8MiB 16MiB\nmkpart 24MiB 40MiB"),
    parted("parted-dvh", By::Both, "mklabel dvh\nmkpart primary ext2 4MiB 12MiB\n\
        mkpart primary 20MiB 40MiB"),
    parted("parted-amiga", By::Parted, "mklabel amiga\nmkpart ext2 4MiB 12MiB\n\
        mkpart ext2 20MiB 40MiB\nname 2 DH1"),
    parted("parted-atari", By::Partx, "mklabel atari\nmkpart primary 4MiB 12MiB\n\
        mkpart primary 20MiB 40MiB"),
    parted("parted-atari-extended", By::Partx, "mklabel atari\nmkpart primary 1MiB 4MiB\n\
        mkpart extended 4MiB 60MiB\nmkpart logical 5MiB 20MiB\nmkpart logical 21MiB 40MiB"),
];

/// The image of a table, 64 MiB, in `dir`.
pub fn make(dir: &Path, recipe: &Recipe) -> PathBuf {
    let path = empty(dir, recipe.name, 64);
    let file = path.to_str().unwrap();
    match recipe.tool {
        Tool::Sfdisk(script) => write_table(file.as_ref(), script),
        Tool::Sgdisk(args) => {
            run("sgdisk", &[args, &[file]].concat());
        }
        Tool::Parted(commands) => {
            for command in commands.lines() {
                let words = command.split(' ');
                let args: Vec<_> = ["-s", file].into_iter().chain(words).collect();
                run("parted", &args);
            }
        }
        Tool::Converted(script) => {
            write_table(file.as_ref(), script);
            run("sgdisk", &["-g", file]);
        }
    }
    path
}
