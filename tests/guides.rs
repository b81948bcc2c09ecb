//! The guides are true: each command in a block that begins with `$` is typed at a made-up machine of the
//! kind that the page is about, and shows what the page says.
//!
//! A comment `<!-- machine: NAME -->` names the machine, one of `tests/fixtures/sysfs`. Commands that look
//! are run on it, `bind` and `unbind` as dry runs; commands that open a card are run on the software chip.
//! Other commands, and blocks of kind `sh`, are given to a shell to parse.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hailo_vfio::model::mkfw::MakeFirmware;

const MACHINE: &str = "<!-- machine: ";
/// Where the guides have the firmware.
const FIRMWARE: &str = "/lib/firmware/hailo/hailo10h";

fn guides() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide");
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A fenced block with its kind, and the machine that was named last.
struct Block {
    kind: String,
    machine: Option<String>,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut machine = None;
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix(MACHINE) {
            machine = Some(rest.trim_end_matches(" -->").to_owned());
        } else if let Some(kind) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                blocks.push(Block {
                    kind: kind.to_owned(),
                    machine: machine.clone(),
                    text: String::new(),
                });
            }
        } else if inside {
            let block = blocks.last_mut().unwrap();
            block.text += &format!("{line}\n");
        }
    }
    assert!(!inside, "a block does not end");
    blocks
}

/// A command, the exit code that the page tells, and what it shows.
struct Typed {
    command: String,
    code: i32,
    shown: Vec<String>,
}

fn typed(text: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            all.push(Typed {
                command: command.trim_start_matches("sudo ").to_owned(),
                code: 0,
                shown: Vec::new(),
            });
        } else if let Some(code) = line.strip_prefix("? ") {
            all.last_mut().unwrap().code = code.parse().unwrap();
        } else {
            all.last_mut().unwrap().shown.push(line.to_owned());
        }
    }
    all
}

fn parses(command: &str) -> bool {
    let shell = Command::new("sh")
        .args(["-n", "-c", "--", command])
        .status();
    shell.unwrap().success()
}

/// The command as it can be run here.
fn here(command: &str, machine: Option<&str>, firmware: &Path) -> String {
    let firmware = firmware.to_str().unwrap();
    let command = command.replace(FIRMWARE, firmware);
    let verb = command
        .split(' ')
        .skip(1)
        .find(|word| !word.starts_with('-'));
    let machine = machine.unwrap_or("no machine is named");
    match verb.unwrap() {
        "scan" | "link" | "doctor" | "report" => {
            format!("{command} --sysfs-root tests/fixtures/sysfs/{machine}")
        }
        "bind" | "unbind" => format!("{command} -n --sysfs-root tests/fixtures/sysfs/{machine}"),
        "fw-load" | "identify" | "regs" => format!("{command} -d sim"),
        _ => command,
    }
}

/// Whether lines are as the page has them: `...` stands for any lines, `[..]` for the rest of a line.
fn fits(page: &[String], lines: &[&str]) -> bool {
    match page.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any == "..." => {
            (0..=lines.len()).any(|skip| fits(rest, &lines[skip..]))
        }
        Some((line, rest)) => lines.split_first().is_some_and(|(first, others)| {
            let same = match line.strip_suffix("[..]") {
                Some(start) => first.starts_with(start),
                None => first == line,
            };
            same && fits(rest, others)
        }),
    }
}

#[test]
fn what_the_guides_type_shows_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let firmware = dir.path().join("fw");
    MakeFirmware::default().write(&firmware).unwrap();
    let tools = Path::new(env!("CARGO_BIN_EXE_hailoctl")).parent().unwrap();
    let path = env::join_paths(
        [tools.to_owned()]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let path = path.unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in guides() {
        let name = page.file_name().unwrap().to_str().unwrap().to_owned();
        for block in blocks(&fs::read_to_string(&page).unwrap()) {
            if block.kind == "sh" && !parses(&block.text) {
                wrong.push(format!("{name}: a shell does not take\n{}", block.text));
            }
            if block.kind != "console" {
                continue;
            }
            for one in typed(&block.text) {
                if !one.command.starts_with("hailoctl ") {
                    assert!(parses(&one.command), "{name}: {}", one.command);
                    continue;
                }
                count += 1;
                let command = here(&one.command, block.machine.as_deref(), &firmware);
                let run = Command::new("sh")
                    .args(["-c", &command])
                    .current_dir(env!("CARGO_MANIFEST_DIR"))
                    .env("PATH", &path)
                    .env("HAILO_FIRMWARE_DIR", &firmware)
                    .env_remove("HAILOCTL_DEVICE")
                    .output()
                    .unwrap();
                let shown = String::from_utf8(run.stdout).unwrap();
                let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
                let code = run.status.code();
                if code != Some(one.code) || !fits(&one.shown, &lines) {
                    let said = String::from_utf8_lossy(&run.stderr);
                    wrong.push(format!("{name}: {command}: {code:?}\n{shown}{said}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 20, "only {count} commands");
}

#[test]
fn each_guide_leads_to_a_running_card_and_says_what_can_go_wrong_and_what_was_tried() {
    for page in guides() {
        let text = fs::read_to_string(&page).unwrap();
        let index = page.ends_with("README.md");
        for part in [
            "hailoctl",
            "fw-load",
            "## What can go wrong",
            "## What has been tried",
        ] {
            let needed = !index || part == "hailoctl";
            assert!(!needed || text.contains(part), "{}: {part}", page.display());
        }
        let links = text.matches("diagnosis.md#").count();
        assert!(
            index || links >= 4,
            "{}: {links} conditions",
            page.display()
        );
        let index = fs::read_to_string(page.with_file_name("README.md")).unwrap();
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(
            index.contains(&format!("({name})")) || name == "README.md",
            "{name}"
        );
    }
}

/// What stands in backticks in the first column of a table of failures is said by the tool, to the word;
/// `…` stands for what differs. What others say stands in quotation marks.
#[test]
fn messages_that_the_guides_quote_are_those_of_the_tool() {
    let mut sources = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let mut count = 0;
    for page in guides() {
        let text = fs::read_to_string(&page).unwrap();
        let Some((_, table)) = text.split_once("## What can go wrong") else {
            continue;
        };
        for row in table.lines().filter_map(|line| line.strip_prefix("| ")) {
            let seen = row.split('|').next().unwrap();
            for message in seen.split('`').skip(1).step_by(2) {
                let parts = message.split('…').map(str::trim);
                for part in parts.filter(|part| part.contains(' ')) {
                    count += 1;
                    assert!(sources.contains(part), "{}: {part}", page.display());
                }
            }
        }
    }
    assert!(count > 10, "only {count} messages");
}
