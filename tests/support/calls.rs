//! Which system calls of a log of strace are the driver's.

use std::collections::BTreeSet;

/// System calls between the lines "`mark` `part`" and "`mark` end" that the program wrote to its standard error: of the
/// thread that wrote them and of those named so, the driver's. The software chip's own threads, and what the
/// in-process bus does on theirs, are not counted.
///
/// # Panics
/// The log lacks the marks or a thread.
pub(crate) fn between(log: &str, mark: &str, part: &str, threads: &[&str]) -> Vec<String> {
    let inside: Vec<&str> = log
        .lines()
        .skip_while(|line| {
            !line.contains(&format!("{mark} {part}\\n")) && !line.contains(&format!(" {part}\\n"))
        })
        .take_while(|line| !line.contains(" end\\n"))
        .collect();
    let thread = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let user = inside
        .first()
        .unwrap_or_else(|| panic!("no mark {part}:\n{log}"));
    let mut ours = BTreeSet::from([thread(user)]);
    for name in threads {
        let named = log
            .lines()
            .find(|line| line.contains("PR_SET_NAME") && line.contains(name))
            .unwrap_or_else(|| panic!("no thread {name}:\n{log}"));
        ours.insert(thread(named));
    }
    // What the threads of the in-process chip sleep on is the chip's business, whoever wakes them.
    let sleeps = |line: &&str| line.contains("FUTEX_WAIT") && !ours.contains(&thread(line));
    let futex = |line: &str| {
        let from = line.find("futex(0x").map(|at| at + 6)?;
        let address = line[from..].split(',').next();
        Some(address.unwrap_or_default().to_owned())
    };
    let of_the_chip: BTreeSet<String> = log.lines().filter(sleeps).filter_map(futex).collect();
    inside
        .into_iter()
        .filter(|line| {
            ours.contains(&thread(line))
                && futex(line).is_none_or(|futex| !of_the_chip.contains(&futex))
                && !line.contains("write(2,")
                && !line.contains("resumed>")
        })
        .map(str::to_owned)
        .collect()
}
