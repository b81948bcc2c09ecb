//! The rules about the source itself: which layer imports which, where `unsafe` may stand, that hardware
//! facts name their source, that modules say what they are and stay readable.

#![expect(
    clippy::unwrap_used,
    reason = "a file that can't be read fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that any other may import.
const ANYWHERE: &[&str] = &["addr", "deadline", "error"];

/// What each module may import beside itself and [`ANYWHERE`]: whole modules, or parts of them.
const ALLOWED: &[(&str, &[&str])] = &[
    ("addr", &[]),
    ("deadline", &[]),
    ("error", &[]),
    ("mem", &[]),
    ("spec", &[]),
    (
        "pci",
        &["spec::board", "spec::config_space", "spec::register"],
    ),
    ("doctor", &["pci", "spec"]),
    ("transport", &["pci", "mem", "spec"]),
    ("dma", &["transport", "mem", "spec"]),
    ("irq", &["transport", "spec"]),
    ("boot", &["dma", "irq", "transport", "mem", "spec"]),
    ("infer", &["dma", "transport", "hef"]),
    (
        "soc",
        &["dma", "irq", "transport", "mem", "spec", "hef", "infer"],
    ),
    (
        "nnc",
        &["dma", "irq", "transport", "mem", "spec", "hef", "infer"],
    ),
    ("hef", &["spec"]),
    ("transform", &["hef"]),
    (
        "device",
        &[
            "boot",
            "soc",
            "nnc",
            "hef",
            "infer",
            "transform",
            "dma",
            "irq",
            "transport",
            "pci",
            "mem",
            "spec",
        ],
    ),
    (
        "model",
        &[
            "spec",
            "mem",
            "hef",
            "transport::local",
            "transport::fd",
            "transport::frame",
        ],
    ),
];

/// Files that may hold `unsafe`.
const UNSAFE: &[&str] = &[
    "mem.rs",
    "mem/pool.rs",
    "dma/fence.rs",
    "transport/vfio/ioctl.rs",
    "transport/mmio.rs",
    "transport/fd.rs",
    // Cache maintenance instructions; pins by system calls; a fork.
    "transport/physical/cache.rs",
    "transport/physical/pins.rs",
    "transport/physical/guardian.rs",
];

/// Longest file, in lines.
const LONGEST: usize = 500;

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All Rust files under `src`, by their path below it.
fn files() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&src(), &mut found);
    found.sort();
    let name = |path: &Path| {
        path.strip_prefix(src())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    found
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).unwrap()))
        .collect()
}

fn report(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The text without comments, strings and what stands behind `#[cfg(test)]` (tests end a file).
fn code(text: &str) -> String {
    let end = ["#[cfg(test)]", "#[cfg(all(test"]
        .iter()
        .filter_map(|mark| text.find(&format!("\n{mark}")))
        .min()
        .unwrap_or(text.len());
    let mut rest = &text[..end];
    let mut out = String::new();
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |at| at + 5)
        } else if c == '"' {
            string_len(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else {
            out.push(c);
            c.len_utf8()
        };
        rest = &rest[skip..];
    }
    out
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return at + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

/// All paths that start with `root::`, groups in braces unfolded, without `root::` itself.
fn paths(code: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let start = format!("{root}::");
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        if !before.is_alphanumeric() && before != '_' && before != ':' {
            unfold(&code[at + start.len()..], "", &mut found);
        }
    }
    found
}

/// Reads one path or group at the start of `text` and returns what is left behind it.
fn unfold<'a>(text: &'a str, prefix: &str, found: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = unfold(rest, prefix, found).trim_start();
            rest = match rest.chars().next() {
                Some(',') => rest[1..].trim_start(),
                Some('}') => return &rest[1..],
                // `name as other`, or something that is no path after all.
                Some(_) => rest.trim_start_matches(|c| c != ',' && c != '}'),
                None => return rest,
            };
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
        }
    }
    let len = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(len);
    let path = if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}::{name}")
    };
    match rest.strip_prefix("::") {
        Some(below) => unfold(below, &path, found),
        None => {
            found.insert(path);
            rest
        }
    }
}

/// Whether `path` is `part` or below it.
fn within(path: &str, part: &str) -> bool {
    path.strip_prefix(part)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether a tool wrote the file: nobody reads it.
fn generated(text: &str) -> bool {
    text.lines()
        .next()
        .is_some_and(|line| line.contains("@generated"))
}

fn module_of(file: &str) -> &str {
    let top = file.split('/').next().unwrap_or(file);
    top.strip_suffix(".rs").unwrap_or(top)
}

#[test]
fn each_layer_imports_only_what_lies_below_it() {
    let mut broken = Vec::new();
    for (file, text) in files() {
        let module = module_of(&file);
        if matches!(module, "lib" | "bin") || file.ends_with("tests.rs") {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("{file}: module {module} is not in the table"));
            continue;
        };
        let code = code(&text);
        let depth = file.trim_end_matches("/mod.rs").split('/').count();
        // As many `super` as the file is deep lead to the crate's root.
        let mut imported = paths(&code, "crate");
        imported.extend(paths(&code, &vec!["super"; depth].join("::")));
        for path in imported {
            let top = path.split("::").next().unwrap_or_default();
            let known = ALLOWED.iter().any(|(name, _)| *name == top);
            let fine = top == module
                || ANYWHERE.contains(&top)
                || allowed.iter().any(|part| within(&path, part));
            if known && !fine {
                broken.push(format!("{file}: {module} must not import {path}"));
            }
        }
    }
    report(
        "imports against the layers (see docs/architecture.md)",
        &broken,
    );
}

#[test]
fn the_tool_stands_on_the_library_s_upper_side() {
    let below = ["dma", "irq", "transport::local", "transport::bars"];
    let mut broken = Vec::new();
    for (file, text) in files() {
        if module_of(&file) != "bin" {
            continue;
        }
        for path in paths(&code(&text), "hailo_vfio") {
            if below.iter().any(|part| within(&path, part)) {
                broken.push(format!("{file}: the tool must not import {path}"));
            }
        }
    }
    report("the tool reaches around `device`", &broken);
}

#[test]
fn every_module_opens_with_what_it_is() {
    let broken: Vec<String> = files()
        .into_iter()
        .filter(|(file, text)| !file.ends_with("tests.rs") && !generated(text))
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| file)
        .collect();
    report("modules that do not open with `//!`", &broken);
}

#[test]
fn unsafe_code_is_in_the_named_files_only() {
    let words = |text: &str| {
        let separators = |c: char| !c.is_alphanumeric() && c != '_';
        text.split(separators).any(|word| word == "unsafe")
    };
    let broken: Vec<String> = files()
        .into_iter()
        .filter(|(file, _)| !UNSAFE.contains(&file.as_str()))
        .filter(|(_, text)| words(&code(text)))
        .map(|(file, _)| file)
        .collect();
    report("`unsafe` outside the named files", &broken);
}

#[test]
fn no_file_is_too_long_to_read() {
    let broken: Vec<String> = files()
        .into_iter()
        .filter(|(_, text)| !generated(text))
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    report("files above 500 lines", &broken);
}

/// What of a line of `spec` is a hardware fact that needs a source.
fn fact(line: &str) -> Option<&str> {
    let name = |rest: &'static str| {
        line.strip_prefix(rest)
            .and_then(|rest| rest.split([':', ' ', '(', '{', ';']).next())
    };
    let register = line.contains("\" @ ").then(|| name("pub ")).flatten();
    // Lists of what stands elsewhere are no facts of their own.
    let constant = name("pub const ").filter(|name| !["fn", "ALL", "REGISTERS"].contains(name));
    register.or(constant).or_else(|| name("pub static "))
}

#[test]
fn every_hardware_fact_names_its_source() {
    let mut broken = Vec::new();
    for (file, text) in files() {
        if !file.starts_with("spec/") || file.ends_with("tests.rs") {
            continue;
        }
        let text = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        let opening = text.lines().take_while(|line| line.starts_with("//!"));
        // For each open brace whether what it encloses has a source, the file first.
        let mut scopes = vec![opening.clone().any(|line| line.contains("Source:"))];
        let mut documented = false;
        let mut wire = false;
        let mut attribute = false;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.starts_with("///") {
                documented |= line.contains("Source:");
                continue;
            }
            if attribute || line.starts_with("#[") {
                wire |= line.starts_with("#[repr(C");
                attribute = !line.ends_with(']');
                continue;
            }
            let sourced = documented || scopes.iter().any(|sourced| *sourced);
            let layout = wire.then(|| line.strip_prefix("pub struct ")).flatten();
            if let Some(name) = fact(line).or(layout)
                && !sourced
            {
                broken.push(format!("{file}:{number}: {name}"));
            }
            for c in code(line).chars() {
                match c {
                    '{' => scopes.push(documented),
                    '}' => drop(scopes.pop()),
                    _ => {}
                }
            }
            if !line.is_empty() {
                documented = false;
                wire = false;
            }
        }
    }
    report("facts in `spec` without a `Source:` line", &broken);
}

#[test]
fn the_checks_see_what_they_look_for() {
    let text = "use crate::{addr::Iova, spec::{a, b::{self, C as D}}, mem};\nfn f() { crate::dma::x(); super::y::z() } // crate::no\nlet s = \"crate::no\";\n#[cfg(test)]\nmod t { use crate::never; }";
    let code = code(text);
    let found: Vec<String> = paths(&code, "crate").into_iter().collect();
    assert_eq!(
        found,
        [
            "addr::Iova",
            "dma::x",
            "mem",
            "spec::a",
            "spec::b::C",
            "spec::b::self"
        ]
    );
    assert_eq!(
        paths(&code, "super").into_iter().collect::<Vec<_>>(),
        ["y::z"]
    );
    assert!(within("spec::board::X", "spec::board") && !within("spec::boards", "spec::board"));
    assert_eq!(fact("pub const LEN: usize = 16;"), Some("LEN"));
    assert_eq!(fact("pub const fn f() {"), None);
    assert_eq!(
        fact("pub Doorbell10 = \"DOORBELL\" @ Access + 0x1754 WriteOnly {"),
        Some("Doorbell10")
    );
}
