//! Inference: networks that are taken and refused, frames, and what becomes of both.

use std::path::Path;

use prost::Message;

use super::files::noise;
use super::rpc::{Client, Reply, hex};
use crate::hef::{Direction, Hef};
use crate::model::soc::output::{fill_output, frame_seed, network_key};
use crate::spec::rpc::types::{
    BufferInfo, ConfigureReply, ConfigureRequest, CreateInferModelRequest, Handle, HandleReply,
    RunAsyncRequest, StreamParams,
};

const LOADED: &str = "default,loaded=5.2.0";

pub(super) fn sample(name: &str) -> Vec<u8> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hef");
    std::fs::read(golden.join(name)).unwrap()
}

/// A stream with the format that a client asks for.
pub(super) fn params(name: &str, order: u32, kind: u32) -> StreamParams {
    StreamParams {
        name: name.to_owned(),
        format_order: order,
        format_type: kind,
        nms_score_threshold: -1.0,
        nms_iou_threshold: -1.0,
        nms_max_proposals_per_class: u32::MAX,
        nms_max_accumulated_mask_size: u32::MAX,
        nms_max_proposals_total: u32::MAX,
    }
}

/// A network as its client knows it.
pub(super) struct Network {
    pub(super) file: Vec<u8>,
    group: String,
    /// Names, frame sizes, whether of floating-point numbers.
    pub(super) inputs: Vec<(String, usize, bool)>,
    pub(super) outputs: Vec<(String, usize, bool)>,
    frames: u64,
}

impl Network {
    pub(super) fn new(name: &str) -> Self {
        let file = sample(name);
        let hef = Hef::from_bytes(file.clone()).unwrap();
        let group = hef.group("").unwrap();
        let of = |direction| {
            let streams = group.virtual_streams_of(direction);
            let one = |stream: &crate::hef::VirtualStream| {
                let bytes = usize::try_from(stream.frame_bytes).unwrap();
                (stream.name.clone(), bytes, stream.data_type.bytes() == 4)
            };
            streams.map(one).collect()
        };
        Self {
            group: group.name.clone(),
            inputs: of(Direction::HostToDevice),
            outputs: of(Direction::DeviceToHost),
            file,
            frames: 0,
        }
    }

    fn infos(sizes: impl Iterator<Item = usize>) -> Vec<BufferInfo> {
        let info = |size| BufferInfo {
            size: u32::try_from(size).unwrap(),
            kind: 1,
        };
        sizes.map(info).collect()
    }

    pub(super) fn sizes(&self) -> Vec<BufferInfo> {
        Self::infos(self.inputs.iter().chain(&self.outputs).map(|port| port.1))
    }

    /// What the next frame must come to.
    pub(super) fn expected(&mut self, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let key = network_key(&self.file, &self.group);
        let seed = frame_seed(key, self.frames, inputs.iter().map(Vec::as_slice));
        self.frames += 1;
        let outputs = (0..).zip(&self.outputs).map(|(index, port)| {
            let mut output = vec![0; port.1];
            fill_output(seed, index, port.2, &mut output);
            output
        });
        outputs.collect()
    }
}

impl Client {
    /// A virtual device with or without the scheduler.
    pub(super) fn vdevice(&mut self, scheduled: bool) {
        self.get(
            0,
            if scheduled {
                "0A 04 08 01 12 00"
            } else {
                "0A 00"
            },
        );
    }

    pub(super) fn ask_with(
        &mut self,
        action: u32,
        body: &impl Message,
        buffers: &[Vec<u8>],
    ) -> Reply {
        self.request(action, &body.encode_to_vec());
        for buffer in buffers {
            self.send(buffer);
        }
        self.reply()
    }

    pub(super) fn create(&mut self, file: &[u8], name: &str) -> Result<u32, u32> {
        let body = CreateInferModelRequest {
            vdevice: Some(Handle { id: 0 }),
            hef_size: u64::try_from(file.len()).unwrap(),
            name: name.to_owned(),
        };
        let Reply(_, _, status, body) = self.ask_with(2, &body, &[file.to_vec()]);
        if status != 0 {
            return Err(status);
        }
        Ok(HandleReply::decode(&*body).unwrap().handle.unwrap().id)
    }

    pub(super) fn configure(
        &mut self,
        model: u32,
        change: impl FnOnce(&mut ConfigureRequest),
    ) -> Result<u32, u32> {
        let mut body = ConfigureRequest {
            infer_model: Some(Handle { id: model }),
            vdevice: Some(Handle { id: 0 }),
            ..ConfigureRequest::default()
        };
        change(&mut body);
        let Reply(_, _, status, body) = self.ask_with(4, &body, &[]);
        if status != 0 {
            return Err(status);
        }
        let reply = ConfigureReply::decode(&*body).unwrap();
        assert!(reply.async_queue_size > 0);
        Ok(reply.handle.unwrap().id)
    }

    /// A frame; the outputs, or the status.
    pub(super) fn run(
        &mut self,
        handles: [u32; 2],
        infos: Vec<BufferInfo>,
        inputs: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, u32> {
        let outputs: Vec<usize> = infos[inputs.len()..]
            .iter()
            .map(|info| usize::try_from(info.size).unwrap())
            .collect();
        let body = RunAsyncRequest {
            configured: Some(Handle { id: handles[0] }),
            infer_model: Some(Handle { id: handles[1] }),
            buffers: infos,
        };
        let Reply(_, action, status, _) = self.ask_with(18, &body, inputs);
        assert_eq!(action, 18);
        if status != 0 {
            return Err(status);
        }
        Ok(outputs.into_iter().map(|len| self.receive(len)).collect())
    }
}

pub(super) fn inputs_of(network: &Network, seed: u32) -> Vec<Vec<u8>> {
    let ports = (seed..).zip(&network.inputs);
    ports.map(|(seed, port)| noise(port.1, seed)).collect()
}

#[test]
fn every_valid_file_runs_and_its_outputs_are_the_documented_ones() {
    let mut client = Client::new(LOADED, "none");
    client.vdevice(true);
    for name in [
        "v0_single.hef",
        "v1_formats.hef",
        "v2_minimal.hef",
        "v2_two_groups.hef",
        "v3_external_resources.hef",
        "v3_flow_argmax.hef",
        "v3_flow_yolov5seg.hef",
        "v3_flow_yolov8.hef",
        "v3_multi_context.hef",
        "v3_multi_network.hef",
        "v3_mux.hef",
        "v3_nms_burst.hef",
        "v3_planes_nv12.hef",
        "v3_quant_per_feature.hef",
        "v3_single_protohash.hef",
    ] {
        let mut network = Network::new(name);
        if network.outputs.iter().any(|port| port.1 > 1 << 20) {
            continue; // More than this host gives room to.
        }
        let model = client.create(&network.file.clone(), "").unwrap();
        let configured = client.configure(model, |_| {}).unwrap();
        for seed in 0..3 {
            let inputs = inputs_of(&network, seed);
            let outputs = client.run([configured, model], network.sizes(), &inputs);
            assert!(outputs == Ok(network.expected(&inputs)), "{name} {seed}");
        }
        let handle = hex(&format!("0A 02 08 {configured:02X}"));
        client.request(5, &handle);
        assert_eq!(client.reply().2, 0, "{name}");
    }
    client.done();
}

#[test]
fn files_that_are_no_good_are_refused_by_what_is_wrong_with_them() {
    let mut client = Client::new(LOADED, "none");
    client.vdevice(true);
    for (name, status) in [
        ("bad_magic.hef", 92),
        ("bad_version_4.hef", 92),
        ("bad_truncated_body.hef", 91),
        ("bad_v1_crc.hef", 91),
        ("bad_v3_protohash.hef", 91),
        ("bad_no_contexts.hef", 26),
        ("wrong_arch_hailo8.hef", 93),
    ] {
        assert_eq!(client.create(&sample(name), ""), Err(status), "{name}");
    }
    let good = sample("v3_single.hef");
    assert_eq!(client.create(&good, "nothing"), Err(61));
    let body = CreateInferModelRequest {
        vdevice: Some(Handle { id: 9 }),
        hef_size: u64::try_from(good.len()).unwrap(),
        name: String::new(),
    };
    assert_eq!(client.ask_with(2, &body, &[good]).2, 61);
    client.done();
}

#[test]
fn formats_decide_the_sizes_of_frames() {
    let mut client = Client::new(LOADED, "none");
    client.vdevice(true);
    let mut network = Network::new("v3_single.hef");
    let model = client.create(&network.file.clone(), "").unwrap();
    for port in &mut network.outputs {
        *port = (port.0.clone(), 4 * port.1, true);
    }
    let outputs = network
        .outputs
        .iter()
        .map(|port| params(&port.0, 0, 3))
        .collect();
    let configured = client
        .configure(model, |body| body.outputs = outputs)
        .unwrap();
    let inputs = inputs_of(&network, 1);
    let outputs = client.run([configured, model], network.sizes(), &inputs);
    assert!(outputs == Ok(network.expected(&inputs)));
    let stranger = vec![params("stranger", 0, 0)];
    assert_eq!(
        client.configure(model, |body| body.inputs = stranger),
        Err(61)
    );
    let nonsense = vec![params(&network.inputs[0].0, 0, 4)];
    assert_eq!(
        client.configure(model, |body| body.inputs = nonsense),
        Err(2)
    );
    assert_eq!(client.configure(7, |_| {}), Err(61));
    client.done();
}

#[test]
fn wrong_sizes_are_refused_and_the_stream_stays_in_step() {
    let mut client = Client::new(LOADED, "none");
    client.vdevice(true);
    let mut network = Network::new("v3_single.hef");
    let model = client.create(&network.file.clone(), "").unwrap();
    let configured = client.configure(model, |_| {}).unwrap();
    let handles = [configured, model];
    let inputs = inputs_of(&network, 1);
    let mut longer = inputs.clone();
    longer[0].push(0);
    let sizes = |inputs: &[Vec<u8>]| {
        let outputs = network.outputs.iter().map(|port| port.1);
        Network::infos(inputs.iter().map(Vec::len).chain(outputs))
    };
    assert_eq!(client.run(handles, sizes(&longer), &longer), Err(8));
    let shorter = vec![inputs[0][1..].to_vec()];
    assert_eq!(client.run(handles, sizes(&shorter), &shorter), Err(2));
    let mut wrong_output = network.sizes();
    wrong_output.last_mut().unwrap().size += 1;
    assert_eq!(client.run(handles, wrong_output, &inputs), Err(2));
    assert_eq!(
        client.run([configured, 5], network.sizes(), &inputs),
        Err(61)
    );
    // An input may come in pieces; what was refused was no frame.
    let (first, second) = inputs[0].split_at(100);
    let pieces = [first.to_vec(), second.to_vec()];
    let infos = sizes(&pieces);
    let outputs = client.run(handles, infos, &pieces);
    assert!(outputs == Ok(network.expected(&inputs)));
    let complaints = client.bench.chip.complaints();
    assert_eq!(complaints.len(), 4, "{complaints:?}");
    assert!(
        complaints[0].contains("configured model 0 was run with inputs of"),
        "{complaints:?}"
    );
    assert!(
        complaints[3].contains("infer model 5, which is not known"),
        "{complaints:?}"
    );
}

#[test]
fn a_shutdown_answers_everything_that_is_out_and_nothing_runs_after_it() {
    let mut client = Client::new("default,loaded=5.2.0,timing=on", "none");
    client.vdevice(true);
    let network = Network::new("v3_minimal.hef");
    let model = client.create(&network.file, "").unwrap();
    let configured = client.configure(model, |_| {}).unwrap();
    let body = RunAsyncRequest {
        configured: Some(Handle { id: configured }),
        infer_model: Some(Handle { id: model }),
        buffers: network.sizes(),
    };
    let inputs = inputs_of(&network, 1);
    for _ in 0..4 {
        client.request(18, &body.encode_to_vec());
        for input in &inputs {
            client.send(input);
        }
    }
    client.request(12, &hex("0A 00"));
    let mut runs = 0;
    loop {
        let Reply(_, action, status, _) = client.reply();
        if action == 12 {
            assert_eq!(status, 0);
            break;
        }
        runs += 1;
        match status {
            0 => {
                for port in &network.outputs {
                    client.receive(port.1);
                }
            }
            other => assert_eq!(other, 63),
        }
    }
    assert_eq!(runs, 4);
    assert_eq!(
        client.run([configured, model], network.sizes(), &inputs),
        Err(63)
    );
    client.done();
}

#[test]
fn without_the_scheduler_one_model_is_active() {
    let mut client = Client::new(LOADED, "none");
    client.vdevice(false);
    let mut network = Network::new("v3_minimal.hef");
    let model = client.create(&network.file.clone(), "").unwrap();
    let first = client.configure(model, |_| {}).unwrap();
    let second = client.configure(model, |_| {}).unwrap();
    assert_eq!([first, second], [0, 1]);
    let inputs = inputs_of(&network, 1);
    assert_eq!(
        client.run([first, model], network.sizes(), &inputs),
        Err(72)
    );
    assert_eq!(client.ask(6, "0A 00 10 01").0, 6);
    client.get(10, "0A 00");
    assert_eq!(client.ask(10, "0A 02 08 01").0, 6);
    let outputs = client.run([first, model], network.sizes(), &inputs);
    assert!(outputs == Ok(network.expected(&inputs)));
    client.get(11, "0A 00");
    assert_eq!(
        client.run([first, model], network.sizes(), &inputs),
        Err(72)
    );
    // The other one's turn, until it is shut down.
    client.get(10, "0A 02 08 01");
    assert_eq!(client.ask(10, "0A 00").0, 6);
    client.get(12, "0A 02 08 01");
    client.get(10, "0A 00");
    client.done();
}

#[test]
fn settings_are_checked_and_latency_is_measured_where_it_was_asked_for() {
    let mut client = Client::new(LOADED, "none");
    client.vdevice(true);
    let network = Network::new("v3_minimal.hef");
    let model = client.create(&network.file, "").unwrap();
    let plain = client.configure(model, |_| {}).unwrap();
    let measured = client
        .configure(model, |body| body.latency_flag = 1)
        .unwrap();
    client.get(6, "0A 00 10 0A");
    client.get(7, "0A 00 10 02");
    client.get(8, "0A 00 10 1F");
    assert_eq!(client.ask(8, "0A 00 10 20").0, 2);
    assert_eq!(client.ask(10, "0A 00").0, 6);
    for action in [13, 14] {
        assert_eq!(client.ask(action, "0A 00").0, 6, "no caches");
    }
    assert_eq!(client.get(16, "0A 00"), hex(""));
    assert_eq!(client.ask(9, "0A 00").0, 65);
    assert_eq!(client.ask(9, "0A 02 08 01").0, 65);
    let inputs = inputs_of(&network, 1);
    client
        .run([plain, model], network.sizes(), &inputs)
        .unwrap();
    client
        .run([measured, model], network.sizes(), &inputs)
        .unwrap();
    assert_eq!(client.ask(9, "0A 00").0, 65);
    assert_eq!(client.get(9, "0A 02 08 01")[0], 8);
    client.done();
}

#[test]
fn caches_have_a_position_within_their_length() {
    let mut client = Client::new(LOADED, "none");
    client.vdevice(true);
    let model = client.create(&sample("v3_multi_context.hef"), "").unwrap();
    client.configure(model, |_| {}).unwrap();
    client.get(14, "0A 00");
    client.get(13, "0A 00 10 FF FF FF FF FF FF FF FF FF 01");
    assert_eq!(client.ask(14, "0A 00 10 FF FF 7F").0, 2);
    client.get(15, "0A 00");
    assert_eq!(client.ask(16, "0A 00").0, 79);
    client.done();
}

#[test]
fn loopback_gives_inputs_back_where_they_fit() {
    let mut client = Client::new("default,loaded=5.2.0,loopback=on", "none");
    client.vdevice(true);
    let network = Network::new("v3_minimal.hef");
    let model = client.create(&network.file, "").unwrap();
    let configured = client.configure(model, |_| {}).unwrap();
    let inputs = inputs_of(&network, 2);
    let outputs = client
        .run([configured, model], network.sizes(), &inputs)
        .unwrap();
    assert_eq!(
        outputs[0] == inputs[0],
        network.outputs[0].1 == network.inputs[0].1
    );
    client.done();
}

#[test]
fn a_close_in_the_middle_of_a_file_is_a_close() {
    let mut client = Client::new(LOADED, "rpc-close-in-input@2");
    client.vdevice(true);
    let body = CreateInferModelRequest {
        vdevice: Some(Handle { id: 0 }),
        hef_size: 100_000,
        name: String::new(),
    };
    client.request(2, &body.encode_to_vec());
    client.closed();
    client.done();
}
