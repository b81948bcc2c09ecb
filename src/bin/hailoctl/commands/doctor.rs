//! `doctor`: what is wrong with this machine and its cards, and what to do about it.

use hailo_vfio::doctor::{self, Condition, Detection, Diagnosis, Finding, Severity};
use hailo_vfio::pci::Access;
use hailo_vfio::pci::platform::Platform;
use hailo_vfio::{Device, Error, ErrorKind};
use serde::Serialize;

use crate::args::Global;
use crate::cards;
use crate::exit::{Exit, Failure, Result};
use crate::output::{BAD, BOLD, CARE, DIM, GOOD, Output, labelled};

/// Find out what is wrong with this machine's cards, and what to do about it
///
/// Looks at the card, its way to the processor, drivers, packages and the kernel log. Changes nothing
/// and opens no device. Works with the vendor's driver, too. As root it sees more. Ends with 0 when
/// all is well, 10 with warnings, 11 with errors.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl doctor
  sudo hailoctl doctor -d 0001:01:00.0
  hailoctl doctor --explain L-05            more about one finding
  hailoctl doctor --json | jq -r '.findings[] | [.severity, .id, .seen] | @tsv'
  hailoctl doctor --sysfs-root report/      look at a copy of another machine's sysfs")]
pub(crate) struct Args {
    /// Open the card, too, and ask whether it answers; this resets it
    #[arg(long)]
    deep: bool,

    /// Tell all about one condition, such as L-05, instead
    #[arg(long, value_name = "ID")]
    explain: Option<String>,

    /// Print the page docs/diagnosis.md, which is made from the same table
    #[arg(long, hide = true)]
    page: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    verdict: &'static str,
    platform: Platform,
    devices: Vec<Listed<'a>>,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
    deep: Option<Vec<Answer>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: String,
    chip_name: &'static str,
    access: &'a Access,
}

/// What a card said when it was opened.
#[derive(Serialize)]
struct Answer {
    device: String,
    answers: bool,
    firmware_loaded: Option<bool>,
    error: Option<String>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Explained<'a> {
    id: &'a str,
    severity: Severity,
    title: &'a str,
    meaning: &'a str,
    advice: &'a [&'a str],
    source: &'a str,
    detected_by: &'a str,
}

/// Examines the machine.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    if args.page {
        output.text(&page())?;
        return Ok(Exit::Done);
    }
    if let Some(id) = &args.explain {
        return explain(id, output);
    }
    let root = global.root()?;
    let chosen = cards::chosen(global)?;
    let mut diagnosis = doctor::examine(&root);
    if global.target()?.is_some() {
        let is_chosen = |finding: &Finding| {
            let of = |address| chosen.iter().any(|card| card.address == address);
            finding.device.is_none_or(of)
        };
        diagnosis.findings.retain(is_chosen);
    }
    let deep = if args.deep {
        global.on_this_machine("a card can't be opened (--deep)")?;
        Some(
            chosen
                .iter()
                .map(|card| ask(&card.address.to_string()))
                .collect(),
        )
    } else {
        None
    };
    let silent = |answers: &Vec<Answer>| answers.iter().any(|answer| !answer.answers);
    let worst = if deep.as_ref().is_some_and(silent) {
        Some(Severity::Error)
    } else {
        diagnosis.worst()
    };
    let (verdict, exit) = match worst {
        Some(Severity::Error) => ("errors", Exit::Errors),
        Some(Severity::Warning) => ("warnings", Exit::Warnings),
        _ => ("healthy", Exit::Done),
    };
    let report = Report {
        verdict,
        platform: Platform::read(&root),
        devices: chosen
            .iter()
            .map(|card| Listed {
                name: card.address.to_string(),
                chip_name: card.chip.map_or("unknown", |chip| chip.name()),
                access: &card.access,
            })
            .collect(),
        diagnosis: &diagnosis,
        deep,
    };
    if output.is_json() {
        output.object(&report)?;
    } else {
        output.text(&human(&report))?;
    }
    Ok(exit)
}

/// Opens a card and looks whether it answers.
fn ask(name: &str) -> Answer {
    let opened = name
        .parse()
        .map_err(|_| Error::new(ErrorKind::NoDevice, name, "there is no such card"))
        .and_then(|target| Device::open(&target, &Default::default()))
        .and_then(|device| device.firmware_loaded());
    match opened {
        Ok(loaded) => Answer {
            device: name.to_owned(),
            answers: true,
            firmware_loaded: Some(loaded),
            error: None,
            next: None,
        },
        Err(error) => Answer {
            device: name.to_owned(),
            answers: false,
            firmware_loaded: None,
            error: Some(error.action().to_owned()),
            next: error.hint().map(str::to_owned),
        },
    }
}

fn human(report: &Report<'_>) -> String {
    let mut text = String::new();
    let platform = &report.platform;
    let machine = platform.model.as_deref().unwrap_or("unknown machine");
    let kernel = platform.kernel.as_deref().unwrap_or("unknown");
    let pages = platform
        .page_size
        .map_or_else(String::new, |size| format!(", {} KiB pages", size >> 10));
    text += &format!("{BOLD}{machine}{BOLD:#}, kernel {kernel}{pages}\n");
    for device in &report.devices {
        let access = match device.access {
            Access::Ready { path, .. } => format!("ready by {path}"),
            Access::Blocked { obstacles } => obstacles.first().map_or_else(String::new, |first| {
                format!("hailoctl can't open it now: {first}")
            }),
        };
        text += &format!(
            "{BOLD}{}{BOLD:#} {}: {access}\n",
            device.name, device.chip_name
        );
    }
    for finding in &report.diagnosis.findings {
        text += &paragraph(finding);
    }
    for answer in report.deep.iter().flatten() {
        text += &answered(answer);
    }
    for unseen in &report.diagnosis.unseen {
        text += &format!("\n{DIM}not looked at:{DIM:#} {unseen}\n");
    }
    text + &format!(
        "\n{}\n",
        conclusion(&report.diagnosis.findings, report.verdict)
    )
}

fn answered(answer: &Answer) -> String {
    let name = &answer.device;
    if answer.answers {
        let firmware = if answer.firmware_loaded == Some(true) {
            "its firmware runs"
        } else {
            "it waits for firmware"
        };
        return format!("\n{GOOD}{name} answers{GOOD:#}: {firmware}\n");
    }
    let facts: Vec<_> = [("reason", &answer.error), ("next", &answer.next)]
        .into_iter()
        .filter_map(|(label, value)| Some((label, value.as_deref()?)))
        .collect();
    format!(
        "\n{BAD}{name} could not be opened{BAD:#}\n{}",
        labelled(&facts)
    )
}

fn paragraph(finding: &Finding) -> String {
    let style = match finding.severity {
        Severity::Error => BAD,
        Severity::Warning => CARE,
        Severity::Info => BOLD,
    };
    let device = finding
        .device
        .map_or_else(String::new, |device| format!("{device}: "));
    let evidence = finding.evidence.iter();
    let mut facts: Vec<(&str, String)> = vec![("seen", wrapped(&finding.seen))];
    facts.extend(evidence.map(|one| ("where", format!("{}: {}", one.place, one.value))));
    facts.push(("meaning", wrapped(finding.meaning)));
    facts.extend(finding.advice.iter().map(|step| ("do", step.clone())));
    format!(
        "\n{style}{}{style:#} {} {device}{BOLD}{}{BOLD:#}\n{}",
        finding.severity,
        finding.id,
        finding.title,
        labelled(&facts)
    )
}

/// Prose in lines that can be read. Advice is left whole, because it holds commands to copy.
fn wrapped(text: &str) -> String {
    const LONGEST: usize = 88;
    let mut lines = String::new();
    let mut length = 0;
    for word in text.split(' ') {
        let more = word.chars().count();
        if length > 0 && length + 1 + more > LONGEST {
            lines.push('\n');
            length = 0;
        } else if length > 0 {
            lines.push(' ');
            length += 1;
        }
        lines.push_str(word);
        length += more;
    }
    lines
}

fn conclusion(findings: &[Finding], verdict: &str) -> String {
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let some = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    let style = match verdict {
        "errors" => BAD,
        "warnings" => CARE,
        _ => GOOD,
    };
    format!(
        "{style}{verdict}{style:#}: {}, {}, {}",
        some(count(Severity::Error), "error", "errors"),
        some(count(Severity::Warning), "warning", "warnings"),
        some(count(Severity::Info), "note", "notes")
    )
}

fn explain(id: &str, output: &mut Output) -> Result<Exit> {
    let Some(condition) = doctor::conditions().find(|one| one.id.eq_ignore_ascii_case(id)) else {
        let action = format!("there is no condition {id}");
        return Err(Failure::usage(
            action,
            "they are P-01 to P-09, V-01 to V-11, L-01 to L-13, H-01 to H-14, M-01 to M-13",
        ));
    };
    let detected_by = detected_by(condition);
    if output.is_json() {
        output.object(&Explained {
            id: condition.id,
            severity: condition.severity,
            title: condition.title,
            meaning: condition.meaning,
            advice: condition.advice,
            source: condition.source,
            detected_by,
        })?;
        return Ok(Exit::Done);
    }
    let meaning = wrapped(condition.meaning);
    let mut facts = vec![("meaning", meaning.as_str())];
    facts.extend(condition.advice.iter().map(|step| ("do", *step)));
    facts.push(("seen by", detected_by));
    facts.push(("source", condition.source));
    output.text(&format!(
        "{BOLD}{} {}{BOLD:#} ({})\n{}",
        condition.id,
        condition.title,
        condition.severity,
        labelled(&facts)
    ))?;
    Ok(Exit::Done)
}

fn detected_by(condition: &Condition) -> &'static str {
    match condition.detection {
        Detection::Doctor(_) => "hailoctl doctor",
        Detection::Elsewhere(place) => place,
    }
}

const PAGE_HEAD: &str = "\
# What can be wrong, and what to do

`hailoctl doctor` looks for these conditions. This page is made from its table by
`hailoctl doctor --page`; a test compares the two. In the advice, `{device}` stands for the card's
address (`hailoctl scan` shows it) and `{kernel}` for what `uname -r` prints. Steps that are for one kind
of machine only are shown there only. How to set a machine up is in the [guides](guide/README.md).

An *error* means that it does not work, a *warning* that it does not work well or not for long, *info*
is good to know. `doctor` ends with 0 when all is well, 10 with warnings, 11 with errors.

With `--json` it prints one object: `schema` (1), `verdict` (`healthy`, `warnings`, `errors`), `platform`
(`model`, `pi5`, `kernel`, `page_size`), `devices` (`name`, `chip_name`, `access` as `scan` has it), `findings`, `unseen` (what could not be looked at) and
`deep` (with `--deep`: what each card answered). A finding has `id`, `severity` (`error`, `warning`,
`info`), `title`, `device` (an address, or null), `seen` (a sentence), `evidence` (a list of `place` and
`value`), `meaning`, `advice` (steps) and `source`. A condition of which only the risk was seen counts as
`info`.
";

/// What `hailoctl` says where this computer drives the neural core; tests/doctor.rs has it say so.
const NNC_MODE: &str = include_str!("doctor/nnc.md");

/// The page of all conditions.
fn page() -> String {
    let families = [
        ('P', "Presence and identity"),
        ('V', "Versions and packaging"),
        ('L', "Link"),
        ('H', "Firmware, run time, power"),
        ('M', "Host memory, VFIO, virtualisation"),
    ];
    let mut text = PAGE_HEAD.to_owned();
    for (family, name) in families {
        text += &format!("\n## {name}\n");
        for one in doctor::conditions().filter(|one| one.id.starts_with(family)) {
            // A target for links that stays when the title changes.
            text += &format!(
                "\n<a id=\"{}\"></a>\n\n### {} {}\n\n*{}.* {}\n\n",
                one.id.to_lowercase(),
                one.id,
                one.title,
                one.severity,
                one.meaning
            );
            for step in one.advice {
                text += &format!("- {step}\n");
            }
            if let Detection::Elsewhere(place) = one.detection {
                text += &format!("\n`doctor` can't see this. Where it shows: {place}.\n");
            }
            text += &format!("\nSource: {}.\n", one.source);
        }
    }
    text + NNC_MODE
}
