//! Operations, triggers and actions from the schema to the model.

use super::super::action::{
    Action, ConfigPiece, NmsIdle, Operation, RegisterValue, RegisterWrite, Sequencer, Trigger,
};
use super::super::config::runs;
use super::super::schema::types::{self, action, debug, trigger};
use super::at::{At, Build};
use super::rules::Rules;

/// Most pieces for one channel in one run of config actions.
const MAX_RUN: usize = 65_535;
/// Shortest delay of the firmware in microseconds.
const MIN_SLEEP: u64 = 1000;

/// What actions are checked against besides themselves.
pub(crate) struct Scope<'a> {
    pub(crate) rules: &'a Rules<'a>,
    /// Config channels of the core op.
    pub(crate) channels: u32,
    /// Networks of the core op.
    pub(crate) networks: usize,
}

/// Builds a list of operations; `field` is its number in the message at `at`.
pub(crate) fn operations(
    list: &[types::Operation],
    field: u32,
    at: &At<'_>,
    scope: &Scope<'_>,
) -> Build<Vec<Operation>> {
    list.iter()
        .enumerate()
        .map(|(i, operation)| {
            self::operation(operation, &at.nth(field, i).numbered("operation"), scope)
        })
        .collect()
}

fn operation(operation: &types::Operation, at: &At<'_>, scope: &Scope<'_>) -> Build<Operation> {
    let trigger = trigger(operation.trigger.as_ref(), &at.field(1))?;
    let mut actions = Vec::with_capacity(operation.actions.len());
    for (i, action) in operation.actions.iter().enumerate() {
        actions.push(self::action(
            action,
            &at.nth(2, i).numbered("action"),
            scope,
        )?);
    }
    let long_runs = if actions.len() > MAX_RUN {
        runs(&actions)
    } else {
        runs(&[])
    };
    for run in long_runs {
        let mut counts = [0_usize; 256];
        for piece in run {
            let count = &mut counts[usize::from(piece.channel)];
            *count += 1;
            if *count > MAX_RUN {
                return Err(at.bad(
                    "config pieces for one channel in one run",
                    format!("at most {MAX_RUN}"),
                    "more",
                ));
            }
        }
    }
    Ok(Operation { trigger, actions })
}

fn trigger(message: Option<&types::Trigger>, at: &At<'_>) -> Build<Trigger> {
    let Some(kind) = message.and_then(|m| m.trigger.as_ref()) else {
        return Err(at.bad("trigger", "one of six kinds", "none set"));
    };
    Ok(match kind {
        trigger::Trigger::TriggerNone(_) => Trigger::None,
        trigger::Trigger::TriggerLcu(t) => {
            let at = at.field(2);
            Trigger::Lcu {
                cluster: at.field(1).u8("cluster", t.cluster_index)?,
                lcu: at.field(2).u8("layer controller", t.lcu_index)?,
            }
        }
        trigger::Trigger::TriggerAllDataWasSent(t) => Trigger::OutputDone {
            stream: at.field(4).field(1).u8("stream index", t.shmifo_index)?,
        },
        trigger::Trigger::TriggerAllDataWasReceived(_) => {
            return Err(at.field(5).bad(
                "trigger",
                "a kind that readers implement",
                "all data was received",
            ));
        }
        trigger::Trigger::TriggerNms(t) => {
            let at = at.field(6);
            Trigger::NmsIdle(Box::new(NmsIdle {
                aggregator: at.field(1).u8("aggregator", t.aggregator_index)?,
                pred_buffer: at.field(2).u8("output buffer", t.pred_cluster_ob_index)?,
                pred_cluster: at.field(3).u8("cluster", t.pred_cluster_ob_cluster_index)?,
                pred_interface: at.field(4).u8("interface", t.pred_cluster_ob_interface)?,
                succ_buffer: at.field(5).u8("output buffer", t.succ_prepost_ob_index)?,
                succ_interface: at.field(6).u8("interface", t.succ_prepost_ob_interface)?,
            }))
        }
        trigger::Trigger::TriggerDmaIdle(t) => Trigger::DmaIdle {
            stream: at.field(7).field(1).u8("stream index", t.shmifo_index)?,
        },
    })
}

fn action(message: &types::Action, at: &At<'_>, scope: &Scope<'_>) -> Build<Action> {
    use action::Action as Kind;
    let Some(kind) = &message.action else {
        return Err(at.bad("action", "one of the kinds of the schema", "none set"));
    };
    Ok(match kind {
        Kind::WriteData(_) => {
            return Err(at
                .field(2)
                .bad("action", "a kind that readers implement", "write data"));
        }
        Kind::WriteCompressedData(_) => {
            return Err(at.field(4).bad(
                "action",
                "a kind that readers implement",
                "write compressed data",
            ));
        }
        Kind::WriteDataCcw(a) => inline_config(a, &at.field(3), scope)?,
        Kind::WriteDataCcwPtr(a) => pointed_config(a, &at.field(16), scope)?,
        Kind::EnableSequencer(a) => sequencer(a, &at.field(5))?,
        Kind::WaitForSeqeuncer(a) => Action::WaitForSequencer {
            cluster: at.field(6).field(1).u8("cluster", a.cluster_index)?,
        },
        Kind::DisableLcu(a) => {
            let at = at.field(7);
            Action::DisableLcu {
                lcu: at.field(1).u8("layer controller", a.lcu_index)?,
                cluster: at.field(2).u8("cluster", a.cluster_index)?,
            }
        }
        Kind::EnableLcu(a) => {
            let at = at.field(8);
            Action::EnableLcu {
                lcu: at.field(1).u8("layer controller", a.lcu_index)?,
                cluster: at.field(2).u8("cluster", a.cluster_index)?,
                done_address: at
                    .field(3)
                    .u16("kernel-done address", a.lcu_kernel_done_address)?,
                done_count: a.lcu_kernel_done_count,
                network_index: scope.network(a.network_index, &at.field(6))?,
            }
        }
        Kind::None(_) => Action::None,
        Kind::AllowInputDataflow(a) => Action::AllowInputDataflow {
            stream: at.field(10).field(1).u8("stream index", a.sys_index)?,
        },
        Kind::WaitForModuleConfigDone(a) => Action::WaitForModule {
            module: at.field(11).field(1).u8("module", a.index)?,
        },
        Kind::Debug(a) => match &a.action {
            Some(debug::Action::Sleep(sleep)) if sleep.duration_in_usec >= MIN_SLEEP => {
                Action::Sleep {
                    microseconds: sleep.duration_in_usec,
                }
            }
            Some(debug::Action::Sleep(sleep)) => {
                let at = at.field(12);
                return Err(at.field(2).bad(
                    "sleep",
                    format!("at least {MIN_SLEEP} us"),
                    sleep.duration_in_usec,
                ));
            }
            Some(debug::Action::Halt(_)) => Action::Halt,
            None => {
                return Err(at
                    .field(12)
                    .bad("debug action", "sleep or halt", "none set"));
            }
        },
        Kind::EnableNms(a) => {
            let at = at.field(13);
            let positive = |field, what, value: u32| match value {
                0 => Err(at.field(field).bad(what, "1 to 65535", 0)),
                value => at.field(field).u16(what, value),
            };
            Action::EnableNms {
                unit: at.field(1).u8("detection unit", a.nms_unit_index)?,
                network_index: scope.network(a.network_index, &at.field(2))?,
                classes: positive(3, "classes", a.number_of_classes)?,
                burst: positive(4, "burst size", a.burst_size)?,
                division_factor: at.field(5).u8("division factor", a.division_factor)?.max(1),
            }
        }
        Kind::WriteDataByType(a) => register_write(a, &at.field(14), scope)?,
        Kind::SwitchLcuBatch(a) => {
            let at = at.field(15);
            Action::SwitchLcuBatch {
                lcu: at.field(1).u8("layer controller", a.lcu_index)?,
                cluster: at.field(2).u8("cluster", a.cluster_index)?,
                network_index: scope.network(a.network_index, &at.field(6))?,
            }
        }
        Kind::AllowConfigChannels(a) => {
            at.field(17).field(1).u8("config channel", a.config_index)?;
            Action::AllowConfigChannels
        }
        Kind::DisableDataChannels(_) => Action::DisableDataChannels,
    })
}

impl Scope<'_> {
    /// Network index of an action: 0 unless the file counts networks.
    fn network(&self, index: u32, at: &At<'_>) -> Build<u8> {
        if !self.rules.multi_network {
            return Ok(0);
        }
        let narrow = at.u8("network index", index)?;
        if usize::from(narrow) >= self.networks {
            return Err(at.bad("network index", format!("below {}", self.networks), index));
        }
        Ok(narrow)
    }

    fn channel(&self, index: u32, at: &At<'_>) -> Build<u8> {
        if index >= self.channels {
            return Err(at.bad("config channel", format!("below {}", self.channels), index));
        }
        at.u8("config channel", index)
    }
}

fn inline_config(message: &types::WriteDataCcw, at: &At<'_>, scope: &Scope<'_>) -> Build<Action> {
    if scope.rules.version != 0 {
        let expected = format!(
            "pointers into the config section in container version {}",
            scope.rules.version
        );
        return Err(at.bad("config action", expected, "inline words"));
    }
    let bytes = u32::try_from(message.data.len())
        .map_err(|_| at.bad("inline config", "32 bits", "more bytes"))?;
    multiple_of_8(bytes, &at.field(1))?;
    let Some(offset) = scope.rules.inline_offset(&message.data) else {
        return Err(at.bad("inline config", "words inside the proto section", "a copy"));
    };
    Ok(Action::WriteConfig(ConfigPiece {
        channel: scope.channel(message.cfg_channel_index, &at.field(2))?,
        offset,
        bytes,
    }))
}

fn pointed_config(
    message: &types::WriteDataCcwPtr,
    at: &At<'_>,
    scope: &Scope<'_>,
) -> Build<Action> {
    if scope.rules.version == 0 {
        return Err(at.bad(
            "config action",
            "inline words in container version 0",
            "a pointer",
        ));
    }
    let end = message.offset.checked_add(message.size.into());
    if end.is_none_or(|end| end > scope.rules.config_bytes) {
        let expected = format!(
            "inside the config section of {} bytes",
            scope.rules.config_bytes
        );
        let found = format!("{} bytes at {}", message.size, message.offset);
        return Err(at.field(1).bad("config pointer", expected, found));
    }
    multiple_of_8(message.size, &at.field(2))?;
    Ok(Action::WriteConfig(ConfigPiece {
        channel: scope.channel(message.cfg_channel_index, &at.field(3))?,
        offset: message.offset,
        bytes: message.size,
    }))
}

fn multiple_of_8(bytes: u32, at: &At<'_>) -> Build<()> {
    if bytes.is_multiple_of(8) {
        Ok(())
    } else {
        Err(at.bad("config size", "a multiple of 8 bytes", bytes))
    }
}

fn sequencer(message: &types::EnableSequencer, at: &At<'_>) -> Build<Action> {
    let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let (l3_cut, l3_offset) = match &message.initial_l3_info {
        Some(info) if info.includes_initial_l3_info => {
            let at = at.field(11);
            (
                at.field(1).u8("L3 cut", info.initial_l3_index)?,
                at.field(2).u16("L3 offset", info.initial_l3_offset)?,
            )
        }
        _ => {
            let legacy = message.initial_l3_legacy;
            let offset = (legacy >> 7 & 0xfff) * 8;
            (
                at.u8("L3 cut", legacy & 0x7f)?,
                at.u16("L3 offset", offset)?,
            )
        }
    };
    Ok(Action::EnableSequencer(Box::new(Sequencer {
        cluster: at.field(1).u8("cluster", message.cluster_index)?,
        l3_cut,
        l3_offset,
        apus: message.active_apu_bitmap,
        input_aligners: message.active_ia_bitmap,
        subclusters: message.active_sc_bitmap,
        l2_memories: message.active_l2_bitmap,
        l2_offsets: [
            wide(message.l2_write_0, message.l2_write_1),
            wide(message.l2_write_2, message.l2_write_3),
        ],
    })))
}

fn register_write(
    message: &types::WriteDataByType,
    at: &At<'_>,
    scope: &Scope<'_>,
) -> Build<Action> {
    let address = at.field(1).u32("register address", message.address)?;
    if !address.is_multiple_of(4) {
        return Err(at.field(1).bad(
            "register address",
            "a multiple of 4",
            format!("{address:#x}"),
        ));
    }
    if message.data.len() > 4 {
        return Err(at
            .field(3)
            .bad("register value", "at most 4 bytes", message.data.len()));
    }
    let mut data = [0_u8; 4];
    data[..message.data.len()].copy_from_slice(&message.data);
    let value = match message.data_type {
        0 => RegisterValue::Constant(u32::from_le_bytes(data)),
        1 => RegisterValue::BatchSize,
        other => return Err(at.field(2).bad("register value type", "0 or 1", other)),
    };
    Ok(Action::WriteRegister(Box::new(RegisterWrite {
        address,
        value,
        mask: message.mask,
        shift: at.field(6).u8("shift", message.shift)?,
        network_index: scope.network(message.network_index, &at.field(5))?,
    })))
}
