//! What boot ROM and SCU firmware look at, and what they tell: boot status, SKU word, log.
//!
//! Codes and texts are the model's own; only the places are known.

use super::core::Core;
use super::fault::Fault;
use super::received::Container;
use crate::addr::DeviceAddr;
use crate::spec::board::{
    BOOT_STATUS_WAITING, Layout, Mode, SCU_LOG_LEN, Sku, Stage, StageTransport,
};
use crate::spec::firmware::{
    ContainerHeader, HEADER_VERSION, MAX_APPLICATION_CODE, MAX_CORE_CODE, MIN_CODE, Version,
};

/// Boot status words. Source: inferred, only "waiting" is known; unconfirmed.
pub(super) mod status {
    pub(in crate::model) const STARTED: u32 = 2;
    pub(in crate::model) const NO_CONTAINER: u32 = 0xe001;
    pub(in crate::model) const BAD_MAGIC: u32 = 0xe002;
    pub(in crate::model) const BAD_HEADER: u32 = 0xe003;
    pub(in crate::model) const BAD_CODE_SIZE: u32 = 0xe004;
    pub(in crate::model) const TRUNCATED_CODE: u32 = 0xe005;
    pub(in crate::model) const NO_CERTIFICATE: u32 = 0xe006;
    pub(in crate::model) const NO_CUSTOMER_CERTIFICATE: u32 = 0xe007;
    pub(in crate::model) const NOT_AUTHENTIC: u32 = 0xe008;
    pub(in crate::model) const NO_CORE: u32 = 0xe009;
}

/// Why a stage fails: the boot status word, and what the log says where the SCU runs.
pub(super) struct Diagnosis(pub(super) u32, pub(super) String);

impl Core {
    /// What the boot ROM leaves in memory for the host to see.
    pub(super) fn enter_rom(&mut self) {
        self.memory
            .poke(self.board.boot_status, BOOT_STATUS_WAITING);
        let triggers = self
            .board
            .layouts()
            .filter_map(|layout| self.board.stages(layout));
        for stage in triggers
            .flatten()
            .filter(|stage| stage.transport == StageTransport::Window)
        {
            self.memory.poke(stage.trigger, 0);
        }
        self.memory
            .copy_in(self.board.scu_log, &[u8::MAX; SCU_LOG_LEN]);
    }

    /// What the boot ROM checks of a part of the container: its header and the length of its code.
    fn check_part(
        &self,
        name: &str,
        header: &ContainerHeader,
        code: DeviceAddr,
        most: u32,
    ) -> Result<(), Diagnosis> {
        let fail = |code, text: String| Err(Diagnosis(code, format!("{name}: {text}")));
        let magic = header.magic.get();
        if magic != self.board.magic {
            return fail(
                status::BAD_MAGIC,
                format!("magic {magic:#x}, expected {:#x}", self.board.magic),
            );
        }
        if header.header_version.get() != HEADER_VERSION {
            return fail(
                status::BAD_HEADER,
                format!("header version {}", header.header_version),
            );
        }
        let code_size = header.code_size.get();
        if !(MIN_CODE..=most).contains(&code_size) {
            return fail(status::BAD_CODE_SIZE, format!("code of {code_size} bytes"));
        }
        let arrived = self.memory.received.len_from(code);
        if arrived < code_size.into() {
            return fail(
                status::TRUNCATED_CODE,
                format!("{arrived} of {code_size} bytes of code"),
            );
        }
        Ok(())
    }

    /// Stage 1: what the boot ROM checks, and what the SCU firmware then tells.
    pub(super) fn check_first_stage(&mut self) -> Result<(), Diagnosis> {
        let Some((_, stage)) = self.next_stages().next() else {
            return Ok(());
        };
        let fail = |code, text: &str| Err(Diagnosis(code, text.to_owned()));
        let Some(found) = Container::find(self.board, stage, &self.memory) else {
            return fail(status::NO_CONTAINER, "no container header");
        };
        let code = self.board.application_code;
        self.check_part("application", &found.header, code, MAX_APPLICATION_CODE)?;
        if found.key == 0 || found.content == 0 {
            return fail(status::NO_CERTIFICATE, "a certificate is missing");
        }
        if let Some(place) = self.board.core {
            let Some(core) = found.core else {
                return fail(status::NO_CORE, "no header of the core part");
            };
            self.check_part("core", &core, place.code, MAX_CORE_CODE)?;
        }
        let customer = stage.files.first().map(|file| file.address);
        if self.board.mode == Mode::Soc
            && !customer.is_some_and(|place| self.memory.received.has(place, 1))
        {
            return fail(status::NO_CUSTOMER_CERTIFICATE, "no customer certificate");
        }
        let version = Version::from(found.header);
        self.firmware.scu = Some(version);
        self.memory.poke(self.board.boot_status, status::STARTED);
        if self.board.mode == Mode::Nnc {
            return Ok(());
        }
        self.firmware.layout = self.layout_of(version);
        self.report_sku();
        let sku = self.firmware.sku.unwrap_or(Sku::Default);
        self.say(&format!("scu firmware {version}, board sku {sku}"));
        Ok(())
    }

    /// Which layout firmware of this version expects: by its release; else, with a device tree in
    /// place already, the one that takes it in stage 1; else undecided between the others.
    fn layout_of(&self, version: Version) -> Option<Layout> {
        let by_release = Layout::of_release(version.major, version.minor);
        if let Some(layout) = by_release.filter(|&layout| self.board.stages(layout).is_some()) {
            return Some(layout);
        }
        let first = self.stages(Layout::V4).first()?;
        let tree = first.files.get(1)?;
        self.memory
            .received
            .has(tree.address, 1)
            .then_some(Layout::V4)
    }

    pub(super) fn check_files(&mut self, stage: &'static Stage) -> Result<(), Diagnosis> {
        let stages = self.stages(self.layout());
        let stage = stages
            .iter()
            .find(|own| own.number == stage.number)
            .unwrap_or(stage);
        for file in stage.files.iter().filter(|file| file.mandatory) {
            let arrived = self.memory.received.len_within(file.address, file.max_len);
            if !self.memory.received.has(file.address, 1) || arrived == 0 {
                let text = format!("nothing at {}, where {:?} belongs", file.address, file.name);
                return Err(Diagnosis(status::STARTED, text));
            }
        }
        Ok(())
    }

    pub(super) fn report_sku(&mut self) {
        let fault = self.faults.fire(|fault| match fault {
            Fault::Sku(sku) => Some(*sku),
            _ => None,
        });
        let sku = fault.unwrap_or(self.profile.sku);
        self.firmware.sku = Some(sku);
        let word = match sku {
            Sku::Default => 0,
            Sku::Number(number) => {
                let bits = (0..).zip(Sku::NUMBER_BITS);
                let number = bits.map(|(n, place)| u32::from(number >> n & 1) << place);
                1 << Sku::VALID_BIT | number.sum::<u32>()
            }
        };
        self.memory.poke(self.board.sku, word);
    }

    /// Adds a line to the SCU log, as text with zeros behind it. NNC mode has no such log.
    pub(super) fn say(&mut self, line: &str) {
        if self.board.mode == Mode::Nnc {
            log::debug!("sim: {line}");
            return;
        }
        let log = &mut self.firmware.log;
        log.push_str("scu: ");
        log.push_str(line);
        log.push('\n');
        let mut page = [0; SCU_LOG_LEN];
        let len = log.len().min(SCU_LOG_LEN);
        page[..len].copy_from_slice(&log.as_bytes()[..len]);
        self.memory.copy_in(self.board.scu_log, &page);
    }
}
