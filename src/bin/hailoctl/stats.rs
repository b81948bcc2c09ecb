//! What the software chip saw: counters, digests of the files that arrived, the host's mistakes.

use std::time::Duration;

use hailo_vfio::deadline::Deadline;
use hailo_vfio::model::{Chip, Counters, ReceivedFile};
use serde::Serialize;

use crate::exit::Result;
use crate::output::{BAD, BOLD, Output, Table, bytes, labelled};

/// How long the chip may take to become idle before it is counted.
const IDLE: Duration = Duration::from_secs(2);

/// What a chip saw.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    event: &'static str,
    /// Whether the chip had nothing under way any more.
    idle: bool,
    counters: Counters,
    received: Vec<ReceivedFile>,
    /// What had arrived of firmware that a reset has ended since.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    received_before_reset: Vec<ReceivedFile>,
    complaints: Vec<String>,
}

impl Stats {
    /// What `chip` saw so far.
    pub(crate) fn of(chip: &Chip) -> Self {
        let idle = chip.wait_idle(Deadline::after(IDLE));
        Self {
            event: "stats",
            idle,
            counters: chip.counters(),
            received: chip.received(),
            received_before_reset: chip.received_before_reset(),
            complaints: chip.complaints(),
        }
    }

    /// Tells it.
    pub(crate) fn tell(&self, output: &mut Output) -> Result<()> {
        if output.is_json() {
            return output.event(self);
        }
        output.text(&self.text())
    }

    fn text(&self) -> String {
        let by_bar =
            |[bar0, bar2, bar4]: [u64; 3]| format!("BAR0 {bar0}, BAR2 {bar2}, BAR4 {bar4}");
        let counters = &self.counters;
        let facts = [
            ("MMIO reads", by_bar(counters.mmio_reads)),
            ("MMIO writes", by_bar(counters.mmio_writes)),
            (
                "config space",
                format!(
                    "{} reads, {} writes",
                    counters.config_reads, counters.config_writes
                ),
            ),
            (
                "DMA",
                format!(
                    "{} descriptors, {} to the device, {} from it",
                    counters.descriptors,
                    bytes(counters.bytes_to_device),
                    bytes(counters.bytes_from_device)
                ),
            ),
            (
                "interrupts",
                format!(
                    "{} causes, {} sent",
                    counters.interrupts_raised, counters.interrupts_sent
                ),
            ),
        ];
        let busy = if self.idle {
            ""
        } else {
            " (and is still at work)"
        };
        let mut text = format!("{BOLD}the chip saw{BOLD:#}{busy}\n{}", labelled(&facts));
        let files = [
            ("RECEIVED", &self.received),
            ("BEFORE THE RESET", &self.received_before_reset),
        ];
        for (title, files) in files.into_iter().filter(|(_, files)| !files.is_empty()) {
            let mut table = Table::new(&[title, "ADDRESS", "BYTES", "SHA-256"]);
            for file in files {
                table.row([
                    file.name.clone(),
                    format!("{:#x}", file.address),
                    file.len.to_string(),
                    file.sha256.clone(),
                ]);
            }
            text += &table.to_string();
        }
        for complaint in &self.complaints {
            text += &format!("{BAD}complaint{BAD:#}: {complaint}\n");
        }
        text
    }
}
