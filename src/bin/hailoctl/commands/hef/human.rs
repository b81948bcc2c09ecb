//! All about one file, for people.

use std::path::Path;

use hailo_vfio::hef::{
    Direction, Hef, LayerQuantization, MemoryEstimate, NetworkGroup, PhysicalStream, VirtualStream,
    report,
};

use super::{Entry, Verdict};
use crate::output::{BAD, BOLD, CARE, GOOD, Table, bytes, labelled};

/// Heading of a file.
pub(super) fn title(path: &Path) -> String {
    format!("{BOLD}{}{BOLD:#}", plain(&path.display().to_string()))
}

/// Text from a file, safe for a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// All about one file.
pub(super) fn page(entry: &Entry, hef: &Hef, verdicts: &[Verdict], verify: bool) -> String {
    let mut facts: Vec<(&str, String)> = vec![("what", what(hef)), ("for", architecture(hef))];
    facts.push((
        "runs",
        verdicts.iter().map(verdict).collect::<Vec<_>>().join("\n"),
    ));
    facts.push(("compiler", compiler(hef)));
    facts.push(("file", file(hef)));
    facts.push(("checksums", checksums(entry, hef, verify)));
    facts.push(("features", features(hef)));
    let mut text = format!("{}\n{}", title(&entry.path), labelled(&facts));
    for group in hef.groups() {
        text += &self::group(hef, group);
    }
    if !hef.resources().is_empty() {
        text += &resources(hef);
    }
    for note in hef.notes() {
        text += &format!(
            "\n{CARE}note:{CARE:#} {}: {}",
            plain(&note.place),
            note.text
        );
    }
    if !hef.notes().is_empty() {
        text.push('\n');
    }
    text
}

fn what(hef: &Hef) -> String {
    let groups = hef.groups().len();
    let contexts: usize = hef
        .groups()
        .iter()
        .map(|group| group.core_op().contexts.len())
        .sum();
    format!(
        "{}: {}, {}, {}",
        hef.kind(),
        count(groups, "network group"),
        count(contexts, "context"),
        bytes(hef.container().file_bytes)
    )
}

pub(super) fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn architecture(hef: &Hef) -> String {
    match hef.architecture().devices() {
        [] => format!("{} (no device accepts it)", hef.architecture()),
        _ => format!(
            "{}; compiled for {}",
            report::compatible(hef),
            hef.architecture()
        ),
    }
}

fn verdict(verdict: &Verdict) -> String {
    match &verdict.result {
        Ok(()) => format!("{GOOD}yes{GOOD:#}, on {}", verdict.device),
        Err(error) => {
            let hint = error
                .hint()
                .map(|hint| format!("\n    {hint}"))
                .unwrap_or_default();
            format!("{BAD}no{BAD:#}, {error}{hint}")
        }
    }
}

fn compiler(hef: &Hef) -> String {
    let version = version(hef).unwrap_or_else(|| "unknown release".to_owned());
    match hef.timestamp() {
        0 => version,
        milliseconds => format!("{version}, {}", date(milliseconds / 1000)),
    }
}

pub(super) fn version(hef: &Hef) -> Option<String> {
    hef.compiler()
        .map(|v| format!("{}.{}.{}", v.major, v.minor, v.revision))
}

fn file(hef: &Hef) -> String {
    let container = hef.container();
    let mut parts = vec![format!("description {}", bytes(container.proto_bytes))];
    if container.version > 0 {
        parts.push(format!("config words {}", bytes(container.config_bytes)));
    }
    if !hef.resources().is_empty() {
        parts.push(format!(
            "resources {}",
            bytes(hef.resources().iter().map(|r| r.bytes).sum())
        ));
    }
    format!(
        "container version {}: {}; identity {}",
        container.version,
        parts.join(", "),
        container.identity()
    )
}

fn checksums(entry: &Entry, hef: &Hef, verify: bool) -> String {
    if verify {
        let line = |(check, result): &(
            hailo_vfio::hef::Check,
            Result<(), hailo_vfio::hef::HefError>,
        )| match result {
            Ok(()) => format!(
                "{GOOD}ok{GOOD:#}   {} ({}, {})",
                plain(&check.what),
                check.digest.algorithm,
                bytes(check.bytes())
            ),
            Err(error) => format!("{BAD}bad{BAD:#}  {}", plain(&error.to_string())),
        };
        return entry.checks.iter().map(line).collect::<Vec<_>>().join("\n");
    }
    let all = hef.container().proto_digest.is_none()
        && hef.is_description_verified()
        && hef.resources().is_empty();
    match (all, hef.is_description_verified()) {
        (true, _) => format!(
            "{GOOD}ok{GOOD:#}, {} of everything",
            hef.container().digest.algorithm
        ),
        (false, true) => format!("{GOOD}ok{GOOD:#} for the description; --verify checks the rest"),
        (false, false) => format!("{CARE}not compared{CARE:#}; --verify does"),
    }
}

fn features(hef: &Hef) -> String {
    let names = |list: &[hailo_vfio::hef::Extension]| {
        let name = |e: &hailo_vfio::hef::Extension| match e.name {
            Some(name) => name.to_ascii_lowercase(),
            None => e.number.to_string(),
        };
        list.iter().map(name).collect::<Vec<_>>()
    };
    let mut words = names(&hef.features().mandatory);
    words.extend(
        names(&hef.features().optional)
            .into_iter()
            .map(|name| format!("({name})")),
    );
    wrap(&words, 86)
}

/// Words with commas, in lines of at most `width` characters.
fn wrap(words: &[String], width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for (i, word) in words.iter().enumerate() {
        let comma = if i + 1 < words.len() { "," } else { "" };
        if column > 0 && column + 2 + word.len() > width {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out += &format!("{word}{comma}");
        column += word.len() + 1;
    }
    out
}

fn group(hef: &Hef, group: &NetworkGroup) -> String {
    let core = group.core_op();
    let mut facts: Vec<(&str, String)> = Vec::new();
    if group.networks.len() > 1 || group.networks.first() != Some(&group.default_network()) {
        facts.push(("networks", plain(&group.networks.join(", "))));
    }
    let operations: usize = core.programs().map(|p| p.operations.len()).sum();
    let actions: usize = core.programs().map(|p| p.actions().count()).sum();
    let config: u64 = core
        .programs()
        .map(hailo_vfio::hef::Program::config_bytes)
        .sum();
    let engines = core
        .config_channel_engines
        .iter()
        .map(u8::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    facts.push((
        "contexts",
        format!(
            "{} and a preliminary program: {}, {}",
            core.contexts.len(),
            count(operations, "operation"),
            count(actions, "action")
        ),
    ));
    facts.push((
        "config",
        format!(
            "{} through {} (engines {engines})",
            bytes(config),
            count(core.config_channel_engines.len(), "channel")
        ),
    ));
    facts.push((
        "memory",
        match hef.memory(core, 1) {
            Ok(estimate) => memory(&estimate),
            Err(error) => error.to_string(),
        },
    ));
    let layouts: Vec<String> = group
        .variants
        .iter()
        .filter_map(|v| v.layout)
        .map(|l| format!("{l:#x}"))
        .collect();
    if !layouts.is_empty() {
        facts.push(("layouts", layouts.join(", ")));
    }
    if group.bottleneck_fps > 0.0 {
        facts.push((
            "estimate",
            format!("{:.0} frames/s, says the compiler", group.bottleneck_fps),
        ));
    }
    for step in &group.post_processing {
        let flow = format!("{} -> {}", step.inputs.join(", "), step.output);
        let lines = wrap(&step.kind.description(), 86);
        facts.push(("on the host", format!("{}\n{lines}", plain(&flow))));
    }
    let mut table = Table::new(&[
        "",
        "STREAM",
        "TYPE",
        "ORDER",
        "SHAPE",
        "SCALE",
        "ZERO",
        "HOST FRAME",
        "CHIP FRAME",
        "ON THE CHIP",
    ]);
    for stream in &group.virtual_streams {
        table.row(stream_row(group, stream));
    }
    format!(
        "\n{BOLD}{}{BOLD:#}\n{}\n{table}",
        plain(&group.name),
        labelled(&facts)
    )
}

fn memory(estimate: &MemoryEstimate) -> String {
    let mut parts = Vec::new();
    let mut add = |size: u64, what: &str| {
        if size > 0 {
            parts.push(format!("{} {what}", bytes(size)));
        }
    };
    add(estimate.config_contiguous.iter().sum(), "config buffers");
    add(estimate.config_in_place, "config in place (once a file)");
    add(estimate.inter_context, "between contexts");
    add(estimate.ddr, "DDR rings");
    add(estimate.caches.iter().map(|c| c.bytes).sum(), "caches");
    add(
        estimate.config_lists + estimate.ddr_lists,
        "descriptor lists",
    );
    if parts.is_empty() {
        "none besides frames".to_owned()
    } else {
        format!("{} (batch 1)", parts.join(", "))
    }
}

fn stream_row(group: &NetworkGroup, stream: &VirtualStream) -> [String; 10] {
    let shape = match stream.nms {
        Some(nms) if nms.mask_bytes > 0 => format!(
            "{} classes, {} boxes with masks",
            nms.classes, nms.max_total
        ),
        Some(nms) => format!("{} classes x {} boxes", nms.classes, nms.max_per_class),
        None if stream.transposed => format!("{} transposed", stream.shape),
        None => stream.shape.to_string(),
    };
    let (scale, zero) = quantization(&stream.by_feature, stream.direction);
    let physical: Vec<&PhysicalStream> = group
        .streams
        .iter()
        .filter(|s| stream.streams.contains(&s.name))
        .collect();
    let chip: u64 = physical.iter().map(|s| s.frame_bytes).sum();
    [
        stream.direction.word().to_owned(),
        plain(&stream.name),
        stream.data_type.to_string(),
        stream.order.to_string(),
        shape,
        scale,
        zero,
        bytes(stream.frame_bytes),
        bytes(chip),
        on_the_chip(&physical),
    ]
}

fn on_the_chip(physical: &[&PhysicalStream]) -> String {
    match physical {
        [one] if one.is_mux => format!("part of mux {}", plain(&one.name)),
        [one] if one.nms.is_some() => format!("stream {}, {}", one.stream_index, one.order),
        [one] => format!(
            "stream {}, {} {}",
            one.stream_index, one.order, one.hw_shape
        ),
        many => format!(
            "streams {}",
            many.iter()
                .map(|s| s.stream_index.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

fn quantization(q: &LayerQuantization, direction: Direction) -> (String, String) {
    if q.by_feature
        && direction == Direction::DeviceToHost
        && !(q.scales.is_empty() && q.zero_points.is_empty())
    {
        return ("by feature".to_owned(), "by feature".to_owned());
    }
    (q.layer.scale.to_string(), q.layer.zero_point.to_string())
}

fn resources(hef: &Hef) -> String {
    let mut table = Table::new(&["RESOURCE", "SIZE", "OFFSET", "XXH3-64"]);
    for resource in hef.resources() {
        table.row([
            plain(&resource.name),
            bytes(resource.bytes),
            format!("{:#x}", resource.file_offset),
            resource
                .digest
                .map(|d| format!("{d:016x}"))
                .unwrap_or_default(),
        ]);
    }
    format!("\n{table}")
}

/// Date and time of seconds since 1970, in UTC.
fn date(seconds: u64) -> String {
    // Days are counted from 1 March of year 0, so that a leap day ends a year.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let minutes = seconds / 60 % 1440;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        minutes / 60,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_700_000_000), "2023-11-14 22:13 UTC");
        assert!(date(u64::MAX / 1000).ends_with("UTC"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{9b}"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn long_lists_wrap() {
        let words: Vec<String> = ["one", "two", "three"].map(str::to_owned).into();
        assert_eq!(wrap(&words, 10), "one, two,\nthree");
    }
}
