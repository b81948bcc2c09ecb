//! The action lists of the contexts, in the order the firmware needs: outputs are ready before inputs, and data can enter
//! the core only when everything else is configured.
//!
//! Source: vendor hailort v5.2.0, `resource_manager_builder.cpp`.

use super::config::ConfigPort;
use super::error::Refusal;
use super::markers::{check_markers, one_group};
use super::resources::{Boundary, Ddr, End, Port, Resources};
use super::translate::{Item, Planned};
use crate::hef::Direction;
use crate::spec::nnc::context::{
    Action, ActionKind, BufferInfo, BufferType, Direction as Way, null_stream,
};

/// A channel of a boundary input, or null: what the mapping of streams needs.
struct Mapping {
    context: usize,
    null: u8,
}

/// How the contexts of a network take turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    /// Dynamic contexts.
    pub(super) contexts: usize,
    /// Whether each sets up the next one, at a marker (extension 34).
    pub(super) split: bool,
}

impl Turns {
    pub(super) fn several(self) -> bool {
        self.contexts > 1
    }

    /// The context that context `own` sets up.
    pub(super) fn set_up_by(self, own: usize) -> usize {
        if self.split {
            (own + 1) % self.contexts
        } else {
            own
        }
    }
}

fn way(direction: Direction) -> Way {
    match direction {
        Direction::HostToDevice => Way::HOST_TO_DEVICE,
        Direction::DeviceToHost => Way::DEVICE_TO_HOST,
    }
}

fn act(action: Action) -> Item {
    Item::Act(Planned::made(action))
}

impl Resources<'_> {
    fn info(&self, port: &Port) -> BufferInfo {
        self.lists[port.list.0].info()
    }

    /// Opens the channels of the user.
    pub(super) fn activation(&self) -> Vec<Planned> {
        let of = |action, stream: &Boundary| Planned {
            list: Some(stream.list),
            layer: Some(stream.name.as_str().into()),
            ..Planned::made(action)
        };
        let info = |stream: &Boundary| self.lists[stream.list.0].info();
        let outputs = self.streams(Direction::DeviceToHost).map(|stream| {
            let action = Action::OpenBoundaryOutput {
                channel: stream.channel,
                buffer: info(stream),
            };
            of(action, stream)
        });
        let inputs = self.streams(Direction::HostToDevice).map(|stream| {
            let action = Action::OpenBoundaryInput {
                channel: stream.channel,
                buffer: info(stream),
                stream: stream.stream,
                network: stream.network,
                periph_bytes: stream.registers.periph_bytes,
                frame_size: stream.frame_size(),
            };
            of(action, stream)
        });
        let start = Planned::made(Action::ResetBurstCredits);
        std::iter::once(start)
            .chain(outputs)
            .chain(inputs)
            .collect()
    }

    fn streams(&self, direction: Direction) -> impl Iterator<Item = &Boundary> {
        self.boundary
            .iter()
            .filter(move |stream| stream.direction == direction)
    }

    /// Takes over a new batch size. `preliminary` are the items of that program, `first` the streams of context 0.
    pub(super) fn batch_switching(&self, preliminary: &[Item], first: &[Port]) -> Vec<Item> {
        let switch = |planned: &Planned| {
            let (lcu, network, done_count) = planned.action.layer_controller()?;
            let action = Action::SwitchLcuBatch {
                lcu,
                network,
                done_count,
            };
            Some(Item::Act(Planned {
                origin: planned.origin,
                ..Planned::made(action)
            }))
        };
        let switches = preliminary.iter().filter_map(|item| match item {
            Item::Act(planned) => switch(planned),
            _ => None,
        });
        let mut list: Vec<Item> = switches.collect();
        let internal: Vec<&Port> = first
            .iter()
            .filter(|port| matches!(port.end, End::Ddr(_) | End::InterContext))
            .collect();
        let close = |port: &&Port| Item::Act(Planned::of(deactivate(port, 0), port));
        list.extend(internal.iter().map(close));
        list.push(act(Action::ResetDdrBuffering));
        list.extend(internal.iter().map(|port| self.activate(port)));
        list.extend(self.ddr_pairs(first));
        list.extend(self.streams(Direction::HostToDevice).map(|stream| {
            let action = Action::ChangeBoundaryInputBatch {
                channel: stream.channel,
            };
            let layer = Some(stream.name.as_str().into());
            Item::Act(Planned {
                layer,
                ..Planned::made(action)
            })
        }));
        list.push(act(Action::StartBurstCredits));
        list
    }

    /// The preliminary context. With `asap` it sets context 0 up and starts its first frame.
    pub(super) fn preliminary(
        &self,
        items: Vec<Item>,
        config: &[ConfigPort],
        asap: Option<&[Port]>,
        turns: Turns,
    ) -> Result<Vec<Item>, Refusal> {
        let list = match asap {
            Some(ports) => self.with_set_up(items, ports, (0, ports), turns, None)?,
            None => items,
        };
        Ok(self.with_config(list, config))
    }

    /// A dynamic context. `ports` are the streams of all of them.
    pub(super) fn dynamic(
        &self,
        own: usize,
        items: Vec<Item>,
        config: &[ConfigPort],
        ports: &[Vec<Port>],
        turns: Turns,
        last: Last,
    ) -> Result<Vec<Item>, Refusal> {
        let next = turns.set_up_by(own);
        let (mine, target) = (&ports[own], (next, ports[next].as_slice()));
        let closing = turns.several().then(|| self.closing(mine));
        let at_marker = closing.as_deref().filter(|_| turns.split);
        if at_marker.is_some() {
            check_markers(&items, mine, target.1)?;
        }
        let mut list = self.with_set_up(items, mine, target, turns, at_marker)?;
        list = self.with_config(list, config);
        match closing {
            None => list.push(act(Action::WaitApplicationChange)),
            Some(closing) => {
                if !turns.split {
                    list.extend(closing);
                }
                list.extend(boundary_inputs(mine).map(|port| {
                    let direction = way(port.direction);
                    Item::Act(Planned::of(
                        Action::PauseChannel {
                            channel: port.channel,
                            direction,
                        },
                        port,
                    ))
                }));
                if last == Last::WithCaches {
                    list.push(act(Action::WaitCacheUpdated));
                }
            }
        }
        Ok(list)
    }

    /// Opens config channels in front and closes them behind.
    fn with_config(&self, items: Vec<Item>, config: &[ConfigPort]) -> Vec<Item> {
        let open = config
            .iter()
            .filter_map(|port| port.open(&self.lists))
            .map(Item::Act);
        let close = config.iter().map(|port| Item::Act(port.close()));
        open.chain(items).chain(close).collect()
    }

    /// Puts the set-up block of `target` where it belongs, and the start of credits behind the inputs of `mine`.
    /// `at_marker` replaces marker D.
    fn with_set_up(
        &self,
        items: Vec<Item>,
        mine: &[Port],
        (context, target): (usize, &[Port]),
        turns: Turns,
        at_marker: Option<&[Item]>,
    ) -> Result<Vec<Item>, Refusal> {
        let fetches = |item: &Item| matches!(item, Item::Act(planned) if planned.action.kind() == ActionKind::FetchData);
        let group = one_group(&items, fetches, "groups of inputs that fetch data")?;
        let at = if turns.split {
            one_group(
                &items,
                |item| matches!(item, Item::SetUp),
                "markers for setting channels up",
            )?
            .start
        } else {
            group.start
        };
        let mut list = Vec::with_capacity(items.len() + 2 * target.len());
        for (number, item) in items.into_iter().enumerate() {
            if number == at {
                list.extend(self.set_up(context, target, turns)?);
            }
            match (item, at_marker) {
                (Item::TearDown, Some(closing)) => list.extend(closing.iter().cloned()),
                (item, _) => list.push(item),
            }
            if number + 1 == group.end && boundary_inputs(mine).next().is_some() {
                list.push(act(Action::StartBurstCredits));
            }
        }
        Ok(list)
    }

    /// Activates streams of a context and connects them.
    fn set_up(&self, context: usize, ports: &[Port], turns: Turns) -> Result<Vec<Item>, Refusal> {
        let mut list: Vec<Item> = ports.iter().map(|port| self.activate(port)).collect();
        if turns.several() {
            let architecture = self.hef.architecture();
            let null = null_stream(architecture.0).ok_or_else(|| {
                let expected = "one with a known null stream (103, 4, 6 or 108)";
                Refusal::file(
                    "architecture of a network of several contexts",
                    expected,
                    architecture,
                )
            })?;
            let mapping = Mapping { context, null };
            list.extend(self.boundary.iter().map(|stream| mapping.of(stream)));
        }
        list.extend(self.ddr_pairs(ports));
        list.extend(boundary_inputs(ports).map(|port| {
            let direction = way(port.direction);
            Item::Act(Planned::of(
                Action::ResumeChannel {
                    channel: port.channel,
                    direction,
                },
                port,
            ))
        }));
        Ok(list)
    }

    fn activate(&self, port: &Port) -> Item {
        let Port {
            channel,
            stream,
            network,
            registers,
            credit: initial_credit,
            ..
        } = *port;
        let buffer = self.info(port);
        let action = match (port.end, port.direction) {
            (End::Boundary, Direction::HostToDevice) => Action::ActivateBoundaryInput {
                channel,
                stream,
                registers,
                buffer,
                initial_credit,
            },
            (End::Boundary, Direction::DeviceToHost) => Action::ActivateBoundaryOutput {
                channel,
                stream,
                network,
                registers,
                buffer,
            },
            (End::InterContext, Direction::HostToDevice) => Action::ActivateInterContextInput {
                channel,
                stream,
                network: 0,
                registers,
                buffer,
                initial_credit,
            },
            (End::InterContext, Direction::DeviceToHost) => Action::ActivateInterContextOutput {
                channel,
                stream,
                network,
                registers,
                buffer,
            },
            (End::Ddr(ddr), Direction::HostToDevice) => Action::ActivateDdrInput {
                channel,
                stream,
                registers,
                buffer,
                initial_credit,
                paired_channel: ddr.pair,
            },
            (End::Ddr(ddr), Direction::DeviceToHost) => Action::ActivateDdrOutput {
                channel,
                stream,
                registers,
                buffer,
                buffered_rows: ddr.rows,
            },
            (End::Cache { .. }, Direction::HostToDevice) => Action::ActivateCacheInput {
                channel,
                stream,
                network: 0,
                registers,
                buffer,
                initial_credit,
            },
            (End::Cache { entries }, Direction::DeviceToHost) => Action::ActivateCacheOutput {
                registers,
                buffer,
                batch: u16::try_from(entries).unwrap_or(u16::MAX),
                channel,
                stream,
                network,
            },
        };
        Item::Act(Planned::of(action, port))
    }

    /// Names the DDR rings and starts the task that moves their credits.
    fn ddr_pairs(&self, ports: &[Port]) -> Vec<Item> {
        let pairs = ports
            .iter()
            .filter_map(|port| match (port.end, port.direction) {
                (
                    End::Ddr(Ddr {
                        pair,
                        descriptors_per_frame,
                        ..
                    }),
                    Direction::DeviceToHost,
                ) => {
                    let action = Action::AddDdrPair {
                        input_channel: pair,
                        output_channel: port.channel,
                        network: port.network,
                        descriptors_per_frame,
                        programmed_descriptors: u16::try_from(self.info(port).descriptors)
                            .unwrap_or(u16::MAX),
                    };
                    Some(Item::Act(Planned::of(action, port)))
                }
                _ => None,
            });
        let mut list: Vec<Item> = pairs.collect();
        if !list.is_empty() {
            list.push(act(Action::StartDdrBuffering));
        }
        list
    }

    /// Closes the inner channels of a context; firmware with extended checks looks at all of them first.
    fn closing(&self, ports: &[Port]) -> Vec<Item> {
        let mut list = Vec::new();
        for port in ports {
            let check = u8::from(port.end == End::InterContext);
            if self.parameters.extended_checks {
                list.push(Item::Act(Planned::of(validate(port, check), port)));
            }
            if port.end != End::Boundary {
                list.push(Item::Act(Planned::of(deactivate(port, check), port)));
            }
        }
        list
    }
}

/// What the last context of a round waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    No,
    WithCaches,
}

impl Mapping {
    fn of(&self, stream: &Boundary) -> Item {
        let own = stream.context == self.context;
        let action = Action::ChangeMapping {
            channel: stream.channel,
            stream: if own { stream.stream } else { self.null },
            dummy: (!own).into(),
        };
        let layer = Some(stream.name.as_str().into());
        Item::Act(Planned {
            layer,
            ..Planned::made(action)
        })
    }
}

fn boundary_inputs(ports: &[Port]) -> impl Iterator<Item = &Port> {
    ports
        .iter()
        .filter(|port| port.end == End::Boundary && port.direction == Direction::HostToDevice)
}

fn deactivate(port: &Port, check_host_empty: u8) -> Action {
    Action::DeactivateChannel {
        channel: port.channel,
        direction: way(port.direction),
        check_host_empty,
        buffer_type: BufferType::DESCRIPTORS,
        initial_credit: port.credit,
    }
}

fn validate(port: &Port, check_host_empty: u8) -> Action {
    Action::ValidateChannel {
        channel: port.channel,
        direction: way(port.direction),
        check_host_empty,
        buffer_type: BufferType::DESCRIPTORS,
        initial_credit: port.credit,
    }
}
