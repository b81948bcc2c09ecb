//! The pages for people say what is there.

#![expect(
    clippy::unwrap_used,
    reason = "a page that can't be read fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hailo_vfio::model::mkfw::MakeFirmware;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in [
        "docs",
        "docs/guide",
        "docs/hardware",
        "docs/json",
        "firmware",
        "udev",
    ] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        pages.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    pages
}

#[test]
fn the_readme_shows_the_example_that_is_built() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = fs::read_to_string(root().join("docs/examples/boot.rs")).unwrap();
    let code = example.split_once("\n\n").unwrap().1;
    assert!(readme.contains(&format!("```rust\n{code}```\n")));
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let (target, place) = link.split_once('#').unwrap_or((link, ""));
            if target.contains("://") {
                continue;
            }
            let path = match target {
                "" => page.clone(),
                target => page.parent().unwrap().join(target),
            };
            assert!(path.exists(), "{}: {target}", page.display());
            if !place.is_empty() {
                let text = fs::read_to_string(&path).unwrap();
                assert!(
                    places(&text).contains(&place.to_owned()),
                    "{}: {link}",
                    page.display()
                );
            }
        }
    }
}

/// What can be linked to in a page: headings, as GitHub makes names of them, and named places.
fn places(page: &str) -> Vec<String> {
    let heading = |line: &str| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let kept = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        };
        Some(title.to_lowercase().chars().filter_map(kept).collect())
    };
    let named = |line: &str| Some(line.strip_prefix("<a id=\"")?.split_once('"')?.0.to_owned());
    page.lines()
        .filter_map(|line| heading(line).or_else(|| named(line)))
        .collect()
}

/// The keys of an object, and of all objects in it.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            found.extend(object.keys().cloned());
            object.values().for_each(|value| keys(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

/// Pages of `docs/json`, and commands whose output they are about.
const EXPLAINED: &[(&str, &str)] = &[
    ("hef", "hef tests/golden/hef/v3_single.hef"),
    ("plan", "hef tests/golden/hef/v3_multi_context.hef --plan"),
    ("plan", "hef tests/golden/hef/v3_planes_nv12.hef --plan"),
    ("identify", "-d sim:default,loaded=5.2.0,power=on identify"),
    (
        "run",
        "-d sim:default,loaded=5.2.0 run tests/golden/hef/v3_single.hef --frames 2",
    ),
    ("monitor", "-d sim:default,loaded=5.2.0 monitor --once"),
    ("monitor", "-d sim:default,loaded=5.2.0 logs"),
    (
        "monitor",
        "-d sim:default,loaded=5.2.0 --fault notify=1;notify=14 notifications --seconds 0.5",
    ),
    ("probe", "-d sim probe mmio --rounds 2"),
    ("probe", "-d sim:default,loaded=5.2.0 probe irq --rounds 2"),
    (
        "probe",
        "-d sim:default,loaded=5.2.0 probe session --rounds 2 --size 64 --time 1",
    ),
    (
        "probe",
        "-d sim probe link --time 1 --size 65536 --page 4096 --channels 1 --depth 1",
    ),
];

#[test]
fn each_key_that_a_command_prints_is_explained_in_its_page() {
    let dir = tempfile::tempdir().unwrap();
    let firmware = dir.path().join("fw");
    MakeFirmware::default().write(&firmware).unwrap();
    for (page, command) in EXPLAINED {
        let text = fs::read_to_string(root().join(format!("docs/json/{page}.md"))).unwrap();
        let run = Command::new(env!("CARGO_BIN_EXE_hailoctl"))
            .args(command.split(' '))
            .arg("--json")
            .current_dir(root())
            .env("HAILO_FIRMWARE_DIR", &firmware)
            .env_remove("HAILOCTL_DEVICE")
            .output()
            .unwrap();
        let shown = String::from_utf8(run.stdout).unwrap();
        assert!(run.status.success(), "{command}: {shown}");
        let mut found = BTreeSet::new();
        for line in shown.lines() {
            keys(&serde_json::from_str(line).unwrap(), &mut found);
        }
        found.retain(|key| !text.contains(&format!("`{key}`")) && key != "schema");
        assert!(found.is_empty(), "{command}: {page}.md lacks {found:?}");
    }
}

/// Words in backticks that look like files of the repository.
#[test]
fn files_that_pages_name_exist() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for name in text.split('`').skip(1).step_by(2) {
            let ours = ["src/", "tests/", "tools/", "docs/", "firmware/manifests"]
                .iter()
                .any(|folder| name.starts_with(folder));
            let name = name.split([' ', ',']).next().unwrap();
            if ours && !name.contains(['*', '<', '\n']) {
                let found = ["", ".rs"]
                    .iter()
                    .any(|ending| root().join(format!("{name}{ending}")).exists());
                assert!(found, "{}: {name}", page.display());
            }
        }
    }
}
