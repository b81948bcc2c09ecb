//! Networks for NNC mode, made by the test writer, and vectors to hold them to.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "every test binary uses a part of it, and a test may fail"
)]

use hailo_vfio::hef::{
    Action, Body, ConfigPiece, Connection, Context, CoreOp, DataType, Direction, EdgeLayer, Hef,
    Layer, LayerQuantization, NmsIdle, Operation, Order, Peer, Program, RegisterValue,
    RegisterWrite, Sequencer, Shape, Trigger,
};

use crate::support::model::{Description, Group};
use crate::support::random::Sample;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes networks: layers by a few numbers, config words as they are asked for.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) config: Vec<u8>,
    pub(crate) channels: usize,
    pub(crate) networks: Vec<String>,
    pub(crate) preliminary: Vec<Operation>,
    pub(crate) contexts: Vec<(Vec<Operation>, Vec<EdgeLayer>)>,
    pub(crate) extensions: Vec<u32>,
    pub(crate) optional: Vec<u32>,
    pub(crate) architecture: u32,
}

/// FIFO of every layer in bytes.
pub(crate) const FIFO: u32 = 20480;

pub(crate) fn op(trigger: Trigger, actions: Vec<Action>) -> Operation {
    Operation { trigger, actions }
}

pub(crate) fn layer(name: &str, stream: u8, shape: (u32, u32, u32), core: (u16, u16)) -> Layer {
    let shape = Shape::new(shape.0, shape.1, shape.2);
    Layer {
        name: format!("net/{name}"),
        original_names: Vec::new(),
        network_index: 0,
        stream_index: stream,
        engine: 0,
        shape,
        hw_shape: shape,
        data_type: DataType::Uint8,
        order: Order::Nhwc,
        transposed: false,
        core_bytes_per_buffer: core.0,
        core_buffers_per_frame: core.1,
        fifo_bytes: FIFO,
        feature_padding_payload: None,
        quantization: LayerQuantization::default(),
        nms: None,
        buffer: Some((0, 0)),
    }
}

fn edge(direction: Direction, connection: Connection, layer: Layer) -> EdgeLayer {
    EdgeLayer {
        direction,
        connection,
        pad: None,
        body: Body::Plain(layer),
    }
}

pub(crate) fn to_device(connection: Connection, layer: Layer) -> EdgeLayer {
    edge(Direction::HostToDevice, connection, layer)
}

pub(crate) fn from_device(connection: Connection, layer: Layer) -> EdgeLayer {
    edge(Direction::DeviceToHost, connection, layer)
}

pub(crate) fn input(layer: Layer) -> EdgeLayer {
    to_device(Connection::Boundary, layer)
}

pub(crate) fn output(layer: Layer) -> EdgeLayer {
    from_device(Connection::Boundary, layer)
}

pub(crate) fn peer(context: u16, stream_index: u8) -> Peer {
    Peer {
        context,
        stream_index,
        engine: 0,
    }
}

/// What another context writes or reads, there by a stream of its own.
pub(crate) fn between(context: u16, stream: u8) -> Connection {
    Connection::InterContext {
        peer: peer(context, stream),
    }
}

pub(crate) fn lcu(cluster: u8, lcu: u8, done_address: u16, done_count: u32) -> Action {
    Action::EnableLcu {
        cluster,
        lcu,
        network_index: 0,
        done_address,
        done_count,
    }
}

pub(crate) fn allow(stream: u8) -> Action {
    Action::AllowInputDataflow { stream }
}

impl Network {
    pub(crate) fn new() -> Self {
        Self {
            channels: 1,
            networks: vec!["net".to_owned()],
            extensions: vec![26],
            architecture: 103,
            ..Self::default()
        }
    }

    /// Config words of a pattern: index, then number of the write.
    pub(crate) fn ccw(&mut self, channel: u8, bytes: u32) -> Action {
        let offset = u64::try_from(self.config.len()).unwrap();
        let write = u32::try_from(self.config.len() / 8 + 1).unwrap();
        for word in 0..bytes / 8 {
            self.config.extend(word.to_le_bytes());
            self.config.extend(write.to_le_bytes());
        }
        self.config
            .extend(vec![0x11; usize::try_from(bytes % 8).unwrap()]);
        Action::WriteConfig(ConfigPiece {
            channel,
            offset,
            bytes,
        })
    }

    /// The file.
    pub(crate) fn sample(&self) -> Sample {
        let program = |operations: &[Operation]| Program {
            operations: operations.to_vec(),
            config: Vec::new(),
        };
        let contexts = self.contexts.iter().map(|(operations, layers)| Context {
            name: String::new(),
            program: program(operations),
            layers: layers.clone(),
        });
        let core = CoreOp {
            layout: None,
            networks: self.networks.clone(),
            config_channel_engines: vec![0; self.channels],
            preliminary: program(&self.preliminary),
            contexts: contexts.collect(),
        };
        let output_order = core
            .boundary(Direction::DeviceToHost)
            .map(|layer| layer.name().to_owned())
            .collect();
        let group = Group {
            name: "net".to_owned(),
            variants: vec![core],
            output_order,
            flow: None,
            bottleneck_fps: 0.0,
            latency: 0.0,
            computational_ops: 0,
        };
        Sample {
            version: 3,
            description: Description {
                architecture: self.architecture,
                proto_version: 1,
                compiler: (5, 2, 0),
                timestamp: 0,
                extensions: self.extensions.clone(),
                optional: self.optional.clone(),
                groups: vec![group],
            },
            config: self.config.clone(),
            blobs: Vec::new(),
            proto_digest: true,
        }
    }

    pub(crate) fn hef(&self) -> Hef {
        Hef::from_bytes(self.sample().file()).unwrap()
    }
}

/// The network of `cs_two_contexts`: the first context hands 6144 bytes to the second.
pub(crate) fn two_contexts() -> Hef {
    let mut net = Network::new();
    net.preliminary = vec![op(
        Trigger::None,
        vec![
            net.ccw(0, 1200),
            net.ccw(0, 72),
            Action::WaitForModule { module: 0 },
            lcu(0, 0, 1, 2),
            lcu(0, 1, 1, 2),
        ],
    )];
    let first = vec![
        op(
            Trigger::None,
            vec![net.ccw(0, 512), Action::WaitForModule { module: 0 }],
        ),
        op(Trigger::None, vec![allow(0)]),
        op(
            Trigger::OutputDone { stream: 5 },
            vec![Action::DisableLcu { cluster: 0, lcu: 0 }],
        ),
    ];
    let second = vec![
        op(Trigger::None, vec![net.ccw(0, 520), lcu(1, 0, 1, 3)]),
        op(Trigger::None, vec![allow(1)]),
        op(Trigger::OutputDone { stream: 4 }, vec![]),
    ];
    net.contexts = vec![
        (
            first,
            vec![
                input(layer("input", 0, (32, 32, 8), (256, 32))),
                from_device(between(1, 1), layer("between0", 5, (16, 16, 24), (384, 16))),
            ],
        ),
        (
            second,
            vec![
                to_device(between(0, 5), layer("between1", 1, (16, 16, 24), (384, 16))),
                output(layer("output", 4, (1, 1, 1000), (1000, 1))),
            ],
        ),
    ];
    net.hef()
}

/// The worked example of the specification: one input, one output, one context.
pub(crate) fn worked_example() -> Hef {
    one_input_one_output(((32, 32, 8), (256, 32)), ((1, 1, 1000), (1000, 1)))
}

/// Shape of a stream, and its bytes and buffers at the core.
pub(crate) type Stream = ((u32, u32, u32), (u16, u16));

/// One input, one output, one context.
pub(crate) fn one_input_one_output(from: Stream, to: Stream) -> Hef {
    let mut net = Network::new();
    net.preliminary = vec![op(
        Trigger::None,
        vec![
            net.ccw(0, 1200),
            net.ccw(0, 72),
            Action::WaitForModule { module: 0 },
            lcu(0, 0, 1, 2),
            lcu(0, 1, 1, 2),
            lcu(1, 0, 1, 2),
        ],
    )];
    net.contexts = vec![(
        vec![op(Trigger::None, vec![allow(0)])],
        vec![
            input(layer("input", 0, from.0, from.1)),
            output(layer("output", 4, to.0, to.1)),
        ],
    )];
    net.hef()
}

/// DDR ring inside the first of two contexts, whose rows are 1024 bytes.
pub(crate) fn with_ddr() -> Network {
    let mut net = Network::new();
    net.extensions = vec![3, 12, 20, 26];
    let ddr = |stream| Connection::Ddr {
        peer: peer(0, stream),
        rows: 6,
    };
    net.preliminary = vec![
        op(Trigger::None, vec![net.ccw(0, 64), lcu(0, 1, 7, 9)]),
        op(Trigger::None, vec![allow(0)]),
    ];
    net.contexts = vec![
        (
            vec![
                op(Trigger::None, vec![net.ccw(0, 8), allow(0)]),
                op(Trigger::OutputDone { stream: 7 }, vec![]),
            ],
            vec![
                to_device(ddr(3), layer("ddr_in", 9, (16, 16, 64), (1024, 16))),
                input(layer("input", 0, (4, 4, 8), (32, 4))),
                from_device(between(1, 2), layer("between0", 7, (4, 4, 16), (64, 4))),
                from_device(ddr(9), layer("ddr_out", 3, (16, 16, 64), (1024, 16))),
            ],
        ),
        (
            vec![
                op(Trigger::None, vec![allow(2)]),
                op(Trigger::DmaIdle { stream: 4 }, vec![Action::None]),
            ],
            vec![
                to_device(between(0, 7), layer("between1", 2, (4, 4, 16), (64, 4))),
                output(layer("output", 4, (1, 1, 24), (24, 1))),
            ],
        ),
    ];
    net
}

/// Two contexts that set each other up (extension 34): markers P and D, run asap.
pub(crate) fn split() -> Network {
    let mut net = Network::new();
    net.extensions = vec![12, 20, 26, 34];
    net.preliminary = vec![
        op(
            Trigger::None,
            vec![net.ccw(0, 16), Action::AllowConfigChannels],
        ),
        op(Trigger::None, vec![allow(0)]),
    ];
    net.contexts = vec![
        (
            vec![
                op(Trigger::None, vec![allow(0)]),
                op(
                    Trigger::OutputDone { stream: 5 },
                    vec![
                        Action::DisableDataChannels,
                        net.ccw(0, 16),
                        Action::AllowConfigChannels,
                        Action::DisableLcu { cluster: 0, lcu: 3 },
                    ],
                ),
            ],
            vec![
                input(layer("input", 0, (4, 4, 8), (32, 4))),
                from_device(between(1, 1), layer("between0", 5, (4, 4, 16), (64, 4))),
            ],
        ),
        (
            vec![
                op(Trigger::None, vec![allow(1)]),
                op(
                    Trigger::OutputDone { stream: 4 },
                    vec![Action::DisableDataChannels, Action::AllowConfigChannels],
                ),
            ],
            vec![
                to_device(between(0, 5), layer("between1", 1, (4, 4, 16), (64, 4))),
                output(layer("output", 4, (1, 1, 24), (24, 1))),
            ],
        ),
    ];
    net
}

/// One context with extension 34, which is its own next one; every kind of action that a file can have.
pub(crate) fn one_of_each() -> Network {
    let mut net = Network::new();
    net.extensions = vec![26, 28, 34];
    net.optional = vec![8];
    net.networks = vec!["a".to_owned(), "b".to_owned()];
    let write = |value, network_index| {
        Action::WriteRegister(Box::new(RegisterWrite {
            address: 0x18f0_0104,
            value,
            mask: 0xff00,
            shift: 8,
            network_index,
        }))
    };
    net.preliminary = vec![op(
        Trigger::Lcu {
            cluster: 7,
            lcu: 15,
        },
        vec![
            lcu(1, 2, 1, 2),
            lcu(1, 3, 1, 2),
            lcu(1, 4, 1, 3),
            Action::None,
            lcu(1, 5, 1, 4),
            Action::SwitchLcuBatch {
                cluster: 2,
                lcu: 1,
                network_index: 1,
            },
            Action::EnableNms {
                unit: 1,
                network_index: 1,
                classes: 80,
                burst: 4,
                division_factor: 2,
            },
            write(RegisterValue::BatchSize, 1),
            write(RegisterValue::Constant(0x1234), 0),
            Action::WaitForModule { module: 3 },
            Action::Sleep { microseconds: 1500 },
        ],
    )];
    let mut second = layer("b_input", 2, (2, 8, 8), (64, 2));
    second.network_index = 1;
    let mut b_output = layer("b_output", 3, (1, 1, 40), (40, 1));
    b_output.network_index = 1;
    net.contexts = vec![(
        vec![
            op(Trigger::None, vec![Action::AllowConfigChannels]),
            op(Trigger::None, vec![allow(0), allow(2)]),
            op(
                Trigger::NmsIdle(Box::new(NmsIdle {
                    aggregator: 1,
                    pred_buffer: 2,
                    pred_cluster: 3,
                    pred_interface: 4,
                    succ_buffer: 5,
                    succ_interface: 6,
                })),
                vec![
                    Action::WaitForSequencer { cluster: 1 },
                    Action::EnableSequencer(Box::new(Sequencer {
                        cluster: 1,
                        l3_cut: 2,
                        l3_offset: 3,
                        apus: 4,
                        input_aligners: 5,
                        subclusters: 6,
                        l2_memories: 7,
                        l2_offsets: [8, 9],
                    })),
                    Action::DisableDataChannels,
                    Action::Halt,
                ],
            ),
            op(Trigger::OutputDone { stream: 3 }, vec![]),
        ],
        vec![
            input(layer("a_input", 0, (4, 4, 8), (32, 4))),
            output(layer("a_output", 1, (1, 1, 24), (24, 1))),
            input(second),
            output(b_output),
        ],
    )];
    net
}

/// One context that hands rows to itself through a ring in memory.
pub(crate) fn ring() -> Hef {
    let mut net = Network::new();
    net.extensions.push(3);
    net.preliminary = vec![op(Trigger::None, vec![net.ccw(0, 256), lcu(0, 0, 1, 2)])];
    let ring = |stream| Connection::Ddr {
        peer: peer(0, stream),
        rows: 8,
    };
    net.contexts = vec![(
        vec![op(Trigger::None, vec![allow(0)])],
        vec![
            input(layer("input", 0, (32, 32, 8), (256, 32))),
            from_device(ring(2), layer("ring0", 5, (16, 1, 512), (512, 16))),
            to_device(ring(5), layer("ring1", 2, (16, 1, 512), (512, 16))),
            output(layer("output", 4, (1, 1, 1000), (1000, 1))),
        ],
    )];
    net.hef()
}

/// Two contexts, of which the second reads four entries of a cache and writes two.
pub(crate) fn caches() -> Hef {
    let mut net = Network::new();
    net.preliminary = vec![op(Trigger::None, vec![net.ccw(0, 256), lcu(0, 0, 1, 2)])];
    let first = vec![
        op(Trigger::None, vec![net.ccw(0, 512)]),
        op(Trigger::None, vec![allow(0)]),
        op(Trigger::OutputDone { stream: 5 }, vec![]),
    ];
    let second = vec![
        op(Trigger::None, vec![net.ccw(0, 520)]),
        op(Trigger::None, vec![allow(1), allow(2)]),
        op(Trigger::OutputDone { stream: 6 }, vec![]),
        op(Trigger::OutputDone { stream: 4 }, vec![]),
    ];
    let cache = Connection::Cache { id: 3 };
    net.contexts = vec![
        (
            first,
            vec![
                input(layer("input", 0, (32, 32, 8), (256, 32))),
                from_device(between(1, 1), layer("between0", 5, (16, 16, 24), (384, 16))),
            ],
        ),
        (
            second,
            vec![
                to_device(between(0, 5), layer("between1", 1, (16, 16, 24), (384, 16))),
                to_device(cache, layer("old", 2, (4, 1, 64), (64, 4))),
                from_device(cache, layer("new", 6, (2, 1, 64), (64, 2))),
                output(layer("output", 4, (1, 1, 1000), (1000, 1))),
            ],
        ),
    ];
    net.hef()
}
