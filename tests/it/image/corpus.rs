//! The seeds of the fuzz targets: what is said of each stays the same.

use super::Images;
use std::fs;
use std::path::Path;

#[test]
fn every_seed_of_the_corpus_keeps_its_verdict() {
    let images = Images::new();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut names: Vec<String> = fs::read_dir(corpus.clone())
        .expect("the corpus is there")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    images.raw("base");
    let mut verdicts = String::new();
    for name in names {
        fs::copy(corpus.join(&name), images.path(&name)).expect("copied");
        let answer = images.chain(&[&name, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
        let layers = json["layers"].as_array().map_or(0, Vec::len);
        let problem = json["problems"][0]["error"].as_str().unwrap_or("accepted");
        verdicts.push_str(&format!("{name}: {layers} layers, {problem}\n"));
    }
    insta::assert_snapshot!("corpus", verdicts);
}
