//! No circle of imports between files. A `mod.rs` may name what is below it: that is what it is
//! for, and is no arrow here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::source::{Source, sources};

/// Circles that stand, by their files below `src`, each with its reason.
#[rustfmt::skip]
const ALLOWED: &[(&[&str], &str)] = &[];

type Graph = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

/// Which file names which.
fn graph(sources: &[Source]) -> Graph {
    let modules: BTreeMap<Vec<String>, &Source> = sources
        .iter()
        .filter(|source| source.path != Path::new("src/main.rs"))
        .map(|source| (source.module_path(), source))
        .collect();
    let mut graph = Graph::new();
    for source in sources {
        let own = source.module_path();
        let named = graph.entry(source.path.clone()).or_default();
        for (_, path) in source.paths() {
            let Some(found) = resolve(&modules, &path, 0) else {
                continue;
            };
            let is_below = found.module_path().starts_with(&own);
            if !is_below && !found.module_path().is_empty() {
                named.insert(found.path.clone());
            }
        }
    }
    graph
}

/// The file that has what a path names: that of the longest module, or of what is used from there
/// again (`pub use`).
fn resolve<'a>(
    modules: &BTreeMap<Vec<String>, &'a Source>,
    path: &[String],
    depth: usize,
) -> Option<&'a Source> {
    let length = (0..=path.len())
        .rev()
        .find(|length| modules.contains_key(&path[..*length]))?;
    let (module, rest) = path.split_at(length);
    let source = modules[module];
    let Some(name) = rest.first().filter(|_| depth < 4) else {
        return Some(source);
    };
    let again = reexports(source, module).into_iter();
    for target in again.filter(|target| target.last() == Some(name)) {
        if let Some(found) = resolve(modules, &target, depth + 1) {
            return Some(found);
        }
    }
    Some(source)
}

/// What a module uses again for others, as paths from the crate's root.
fn reexports(source: &Source, module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let code: String = source.lines().map(|(_, line)| format!("{line} ")).collect();
    for part in code.split("pub use ").skip(1) {
        let part = part.split(';').next().unwrap_or_default();
        // Only names below the module itself: all that this project does.
        for path in super::source::expand(part) {
            let base = match path[0].as_str() {
                "crate" | "super" => continue,
                _ => module,
            };
            found.push([base, &path[..]].concat());
        }
    }
    found
}

/// All that can be come to from a file.
fn reachable<'a>(graph: &'a Graph, from: &'a PathBuf) -> BTreeSet<&'a PathBuf> {
    let mut found = BTreeSet::new();
    let mut queue = vec![from];
    while let Some(file) = queue.pop() {
        for next in graph.get(file).into_iter().flatten() {
            if found.insert(next) {
                queue.push(next);
            }
        }
    }
    found
}

/// The files of each circle: those that lead to one another.
fn circles(graph: &Graph) -> BTreeSet<BTreeSet<PathBuf>> {
    let reach: BTreeMap<_, _> = graph
        .keys()
        .map(|file| (file, reachable(graph, file)))
        .collect();
    let circle = |file: &PathBuf| -> BTreeSet<PathBuf> {
        let both = reach[file]
            .iter()
            .filter(|other| reach[**other].contains(file));
        both.map(|other| (*other).clone()).collect()
    };
    let found = graph.keys().filter(|file| reach[*file].contains(*file));
    found.map(circle).collect()
}

#[test]
fn no_circle_of_imports_between_files() {
    let found = circles(&graph(&sources()));
    let mut unknown = Vec::new();
    let mut used = BTreeSet::new();
    for circle in &found {
        let is_in = |files: &[&str]| {
            let mut all = circle.iter();
            all.all(|file| {
                files
                    .iter()
                    .any(|name| *file == PathBuf::from("src").join(name))
            })
        };
        match ALLOWED.iter().position(|(files, _)| is_in(files)) {
            Some(known) => _ = used.insert(known),
            None => unknown.push(format!("{circle:#?}")),
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert_eq!(
        used.len(),
        ALLOWED.len(),
        "of the circles that are allowed only these are there, by their place: {used:?}"
    );
}
