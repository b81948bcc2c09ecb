//! From the operations of a file to actions of the firmware.
//!
//! Source: vendor hailort v5.2.0, `hef.cpp`, `context_switch_actions.cpp`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::error::Refusal;
use super::memory::{List, ListId};
use super::resources::{End, Port};
use crate::hef::{self, ConfigPiece, Direction, Operation, RegisterValue, Trigger};
use crate::spec::nnc::context::{
    Action, BufferType, CreditType, DEFAULT_DONE_ADDRESS, DEFAULT_DONE_COUNT, LcuId, WriteKind,
};

/// Where an action comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The host made it.
    Host,
    /// The trigger of an operation of the file.
    Trigger {
        /// Number of the operation in its program, from 0.
        operation: usize,
    },
    /// An action of the file, or the first of a run of config writes.
    File {
        /// Number of the operation in its program, from 0.
        operation: usize,
        /// Number of the action in the operation, from 0.
        number: usize,
    },
}

/// An action to send. The address of its list, if it names one, is still 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// What the firmware does.
    #[serde(flatten)]
    pub action: Action,
    /// The list whose address goes into it.
    pub list: Option<ListId>,
    /// The layer it concerns.
    #[serde(serialize_with = "as_text")]
    pub layer: Option<Arc<str>>,
    /// Where it comes from.
    pub origin: Origin,
}

fn as_text<S: serde::Serializer>(layer: &Option<Arc<str>>, s: S) -> Result<S::Ok, S::Error> {
    layer.as_deref().serialize(s)
}

impl Planned {
    /// An action that the host makes.
    pub(super) fn made(action: Action) -> Self {
        Self {
            action,
            list: None,
            layer: None,
            origin: Origin::Host,
        }
    }

    /// An action that the host makes for a stream; with a list where it names memory.
    pub(super) fn of(action: Action, port: &Port) -> Self {
        let list = action.buffer().is_some().then_some(port.list);
        Self {
            list,
            layer: Some(Arc::clone(&port.name)),
            ..Self::made(action)
        }
    }
}

/// What stands in a context before it is finished.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// Something to send.
    Act(Planned),
    /// Nothing, but it ends a run of like actions.
    Gap,
    /// Marker P: data channels are set up here.
    SetUp,
    /// Marker D: data channels are closed here.
    TearDown,
}

/// A program as items, with the config writes it makes.
#[derive(Debug, Default)]
pub(super) struct Translated {
    pub(super) items: Vec<Item>,
    /// Runs of config writes by config stream.
    pub(super) config: BTreeMap<u8, Vec<Vec<ConfigPiece>>>,
}

/// What a translation looks streams up in.
pub(super) struct Scope<'a> {
    pub(super) ports: &'a [Port],
    pub(super) lists: &'a [List],
}

/// Translates a program.
pub(super) fn translate(
    operations: &[Operation],
    scope: &Scope<'_>,
) -> Result<Translated, Refusal> {
    let mut out = Translated::default();
    for (number, operation) in operations.iter().enumerate() {
        out.operation(number, operation, scope)
            .map_err(|refusal| refusal.at_operation(number))?;
    }
    Ok(out)
}

impl Translated {
    fn operation(
        &mut self,
        operation: usize,
        content: &Operation,
        scope: &Scope<'_>,
    ) -> Result<(), Refusal> {
        let origin = Origin::Trigger { operation };
        self.items.push(match trigger(&content.trigger, scope)? {
            Some(planned) => Item::Act(Planned { origin, ..planned }),
            None => Item::Gap,
        });
        let mut rest = content.actions.as_slice();
        while let [first, after @ ..] = rest {
            let origin = Origin::File {
                operation,
                number: content.actions.len() - rest.len(),
            };
            let writes = rest.iter().map_while(|action| match action {
                hef::Action::WriteConfig(piece) => Some(*piece),
                _ => None,
            });
            let run: Vec<ConfigPiece> = writes.collect();
            if run.is_empty() {
                let item = match action(first, scope)? {
                    Item::Act(planned) => Item::Act(Planned { origin, ..planned }),
                    other => other,
                };
                self.items.push(item);
                rest = after;
            } else {
                rest = rest.get(run.len()..).unwrap_or_default();
                self.config_run(&run, origin)?;
            }
        }
        Ok(())
    }

    /// One action for each config stream of a run of writes, by rising stream.
    fn config_run(&mut self, run: &[ConfigPiece], origin: Origin) -> Result<(), Refusal> {
        let mut streams: BTreeMap<u8, Vec<ConfigPiece>> = BTreeMap::new();
        for piece in run {
            streams.entry(piece.channel).or_default().push(*piece);
        }
        for (config_stream, pieces) in streams {
            let bursts = u16::try_from(pieces.len()).map_err(|_| {
                Refusal::resource("config writes in a row", "at most 65535", pieces.len())
            })?;
            let action = Action::FetchCcwBursts {
                bursts,
                config_stream,
            };
            let planned = Planned::made(action);
            self.items.push(Item::Act(Planned { origin, ..planned }));
            self.config.entry(config_stream).or_default().push(pieces);
        }
        Ok(())
    }
}

fn lcu_id(cluster: u8, lcu: u8) -> Result<LcuId, Refusal> {
    LcuId::new(cluster, lcu).ok_or_else(|| {
        let expected = "cluster 0 to 7, controller 0 to 15";
        Refusal::file("layer controller", expected, format!("{cluster}, {lcu}"))
    })
}

fn port<'a>(scope: &Scope<'a>, direction: Direction, stream: u8) -> Result<&'a Port, Refusal> {
    let found = scope
        .ports
        .iter()
        .find(|port| port.direction == direction && port.stream == stream);
    found.ok_or_else(|| {
        let what = match direction {
            Direction::HostToDevice => "input stream",
            Direction::DeviceToHost => "output stream",
        };
        Refusal::file(what, "a layer of this context", stream)
    })
}

fn trigger(trigger: &Trigger, scope: &Scope<'_>) -> Result<Option<Planned>, Refusal> {
    let is_inter_context = |port: &Port| u8::from(port.end == End::InterContext);
    let buffer_type = BufferType::DESCRIPTORS;
    Ok(Some(match trigger {
        Trigger::None => return Ok(None),
        Trigger::Lcu { cluster, lcu } => Planned::made(Action::WaitLcu {
            lcu: lcu_id(*cluster, *lcu)?,
        }),
        Trigger::OutputDone { stream } => {
            let port = port(scope, Direction::DeviceToHost, *stream)?;
            let action = Action::WaitOutputTransfer {
                channel: port.channel,
                stream: *stream,
                network: port.network,
                is_inter_context: is_inter_context(port),
                buffer_type,
            };
            Planned::of(action, port)
        }
        Trigger::DmaIdle { stream } => {
            let port = port(scope, Direction::DeviceToHost, *stream)?;
            let action = Action::WaitDmaIdle {
                channel: port.channel,
                stream: *stream,
                is_inter_context: is_inter_context(port),
                buffer_type,
            };
            Planned::of(action, port)
        }
        Trigger::NmsIdle(units) => Planned::made(Action::WaitNms {
            aggregator: units.aggregator,
            pred_buffer: units.pred_buffer,
            pred_cluster: units.pred_cluster,
            pred_interface: units.pred_interface,
            succ_buffer: units.succ_buffer,
            succ_interface: units.succ_interface,
        }),
    }))
}

fn action(action: &hef::Action, scope: &Scope<'_>) -> Result<Item, Refusal> {
    let made = match action {
        hef::Action::None | hef::Action::WriteConfig(_) => return Ok(Item::Gap),
        hef::Action::AllowConfigChannels => return Ok(Item::SetUp),
        hef::Action::DisableDataChannels => return Ok(Item::TearDown),
        hef::Action::AllowInputDataflow { stream } => {
            let port = port(scope, Direction::HostToDevice, *stream)?;
            return Ok(Item::Act(Planned::of(fetch_data(port, scope.lists)?, port)));
        }
        hef::Action::EnableSequencer(sequencer) => Action::TriggerSequencer {
            cluster: sequencer.cluster,
            l3_cut: sequencer.l3_cut,
            l3_offset: sequencer.l3_offset,
            active_apu: sequencer.apus,
            active_ia: sequencer.input_aligners,
            active_sc: sequencer.subclusters,
            active_l2: sequencer.l2_memories,
            l2_offset_0: sequencer.l2_offsets[0],
            l2_offset_1: sequencer.l2_offsets[1],
        },
        hef::Action::WaitForSequencer { cluster } => Action::WaitSequencer { cluster: *cluster },
        hef::Action::EnableLcu {
            cluster,
            lcu,
            network_index,
            done_address,
            done_count,
        } => enable_lcu(
            lcu_id(*cluster, *lcu)?,
            *network_index,
            *done_address,
            *done_count,
        ),
        hef::Action::DisableLcu { cluster, lcu } => Action::DisableLcu {
            lcu: lcu_id(*cluster, *lcu)?,
        },
        hef::Action::SwitchLcuBatch {
            cluster,
            lcu,
            network_index,
        } => Action::SwitchLcuBatch {
            lcu: lcu_id(*cluster, *lcu)?,
            network: *network_index,
            done_count: 0,
        },
        hef::Action::WaitForModule { module } => Action::WaitModuleConfig { module: *module },
        hef::Action::EnableNms {
            unit,
            network_index,
            classes,
            burst,
            division_factor,
        } => Action::EnableNms {
            unit: *unit,
            network: *network_index,
            classes: *classes,
            burst: *burst,
            division_factor: *division_factor,
        },
        hef::Action::WriteRegister(write) => {
            let (kind, data) = match write.value {
                RegisterValue::Constant(value) => (WriteKind::DATA, value),
                RegisterValue::BatchSize => (WriteKind::BATCH_SIZE, 0),
            };
            Action::WriteData {
                address: write.address,
                kind,
                data,
                shift: write.shift,
                mask: write.mask,
                network: write.network_index,
            }
        }
        hef::Action::Sleep { microseconds } => Action::Sleep {
            microseconds: u32::try_from(*microseconds).map_err(|_| {
                Refusal::resource(
                    "microseconds of a sleep",
                    "at most 4294967295",
                    microseconds,
                )
            })?,
        },
        hef::Action::Halt => Action::Halt,
    };
    Ok(Item::Act(Planned::made(made)))
}

fn enable_lcu(lcu: LcuId, network: u8, done_address: u16, done_count: u32) -> Action {
    if (done_address, done_count) == (DEFAULT_DONE_ADDRESS, DEFAULT_DONE_COUNT) {
        Action::EnableLcuDefault { lcu, network }
    } else {
        Action::EnableLcu {
            lcu,
            network,
            done_address,
            done_count,
        }
    }
}

fn fetch_data(port: &Port, lists: &[List]) -> Result<Action, Refusal> {
    let list = lists.get(port.list.0);
    let (frame_size, credit_type) = match (port.end, list) {
        (End::InterContext, Some(list)) => {
            (list.pattern.div_ceil(list.page), CreditType::DESCRIPTORS)
        }
        (End::Cache { .. }, Some(list)) => (list.descriptors - 1, CreditType::DESCRIPTORS),
        (End::Boundary, _) => {
            let bytes = u32::from(port.registers.periph_bytes);
            let frame = bytes.checked_mul(port.registers.periph_buffers);
            let frame = frame.ok_or_else(|| {
                let found = format!("{}", port.registers);
                Refusal::resource("bytes of a frame", "32 bits", found).of(&port.name)
            })?;
            (frame, CreditType::BYTES)
        }
        _ => {
            let refusal = Refusal::file("input that fetches data", "no end of a ddr ring", "one");
            return Err(refusal.of(&port.name));
        }
    };
    Ok(Action::FetchData {
        channel: port.channel,
        stream: port.stream,
        network: port.network,
        frame_size,
        credit_type,
        buffer_type: BufferType::DESCRIPTORS,
    })
}
