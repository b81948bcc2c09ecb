//! Plans of networks against what is known of them without the planner.
//!
//! - `golden/nnc/plans`: what the vendor's library 5.2.0 uploads for the sample files, recorded; see `SOURCE.md` there.
//!   Headers, list sizes, transfers, config words and action lists are compared byte for byte.
//! - `cs_two_contexts`, `cs_context_*`: the vectors of the specification, from files made with the test writer.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/hef/mod.rs"]
mod support;
#[path = "support/vectors.rs"]
mod vectors;

#[path = "support/nnc.rs"]
mod nnc;

use std::collections::BTreeMap;
use std::fs;

use hailo_vfio::addr::Iova;
use hailo_vfio::hef::{DeviceArch, Hef};
use hailo_vfio::nnc::plan::{BufferUse, ListId, ListUse, Parameters, Plan, slots, variant};
use hailo_vfio::spec::nnc::context::{Step, Walk};
use md5::Digest as _;
use nnc::hex;
use serde_json::Value;
use vectors::{bytes, golden, vector};

/// Addresses of a plan's lists, learned from the bytes it must give.
#[derive(Default)]
struct Book(BTreeMap<ListId, Iova>);

impl Book {
    /// Reads the addresses off a list of actions, by the place of each action.
    fn learn(&mut self, plan: &Plan, context: usize, data: &[u8]) {
        let steps: Vec<Step> = Walk::new(data).collect::<Result<_, _>>().unwrap();
        let actions = plan.contexts[context].actions();
        let known = steps
            .iter()
            .filter(|step| step.action.kind().number() != 24);
        for (planned, step) in actions.zip(known) {
            if let (Some(list), Some(buffer)) = (planned.list, step.action.buffer()) {
                let address = Iova(buffer.address);
                let before = self.0.insert(list, address);
                assert!(
                    before.is_none_or(|before| before == address),
                    "{list:?} has one address"
                );
            }
        }
    }

    fn addresses(&self, plan: &Plan) -> Vec<Iova> {
        let any = |list: usize| Iova(0xdead_0000_0000 + u64::try_from(list).unwrap() * 0x10000);
        (0..plan.lists.len())
            .map(|list| {
                self.0
                    .get(&ListId(list))
                    .copied()
                    .unwrap_or_else(|| any(list))
            })
            .collect()
    }
}

/// Compares a plan with contexts of a vector, and returns the address of each list.
fn check_contexts(
    name: &str,
    plan: &Plan,
    header: &[u8],
    contexts: &[(Vec<u8>, Vec<usize>)],
) -> Book {
    assert_eq!(hex(&plan.header.encode()), hex(header), "{name}: header");
    assert_eq!(plan.contexts.len(), contexts.len(), "{name}: contexts");
    let mut book = Book::default();
    for (number, (data, _)) in contexts.iter().enumerate() {
        book.learn(plan, number, data);
    }
    let upload = plan.encode(&book.addresses(plan)).unwrap();
    assert_eq!(upload.header, *header);
    for ((chunks, (data, lengths)), context) in
        upload.contexts.iter().zip(contexts).zip(&plan.contexts)
    {
        let found: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.clone()).collect();
        let text = |data: &[u8]| {
            let steps = Walk::new(data)
                .map(|step| step.map_or_else(|e| e.to_string(), |step| step.action.to_string()));
            steps.collect::<Vec<_>>()
        };
        assert_eq!(text(&found), text(data), "{name}: {}", context.name());
        assert_eq!(hex(&found), hex(data), "{name}: {}", context.name());
        let found: Vec<usize> = chunks.iter().map(|chunk| chunk.data.len()).collect();
        assert_eq!(found, *lengths, "{name}: chunks of {}", context.name());
        assert!(chunks.iter().all(|chunk| chunk.kind == context.kind));
        assert!(chunks[0].first && chunks[chunks.len() - 1].last);
    }
    book
}

fn number(value: &Value) -> u64 {
    match value.as_str() {
        Some(text) => u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap(),
        None => value.as_u64().unwrap(),
    }
}

/// Parameters of a recorded variant.
fn parameters(vector: &Value) -> Parameters {
    let device: DeviceArch = vector["device"].as_str().unwrap().parse().unwrap();
    let mut parameters = Parameters {
        device,
        ..Parameters::default()
    };
    match vector["variant"].as_str().unwrap() {
        "batch4" => parameters.batch = 4,
        "page128" => parameters.max_page = 128,
        "page256" => parameters.max_page = 256,
        "extended" => parameters.extended_checks = true,
        _ => {}
    }
    parameters
}

/// Length, page and shape of each list, and what is written into it.
fn check_lists(name: &str, hef: &Hef, plan: &Plan, book: &Book, vector: &Value) {
    let lists: BTreeMap<u64, &Value> = vector["lists"]
        .as_array()
        .unwrap()
        .iter()
        .map(|list| (number(&list[0]), list))
        .collect();
    for (id, address) in &book.0 {
        let (list, expected) = (&plan.lists[id.0], lists[&address.0]);
        let found = (
            u64::from(list.descriptors),
            u64::from(list.page),
            u64::from(list.circular),
        );
        let expected = (
            number(&expected[1]),
            number(&expected[2]),
            number(&expected[3]),
        );
        assert_eq!(found, expected, "{name}: {:?}", list.serves);
        if matches!(list.serves, ListUse::Boundary { .. }) {
            // Written for each frame.
            continue;
        }
        let mut runs = list.runs.clone();
        for cache in &plan.caches {
            let [read, write] = cache.runs(0);
            if cache.read_list == *id {
                runs = read;
            } else if cache.write_list == *id {
                runs = write;
            }
        }
        let mut at = 0;
        let programs = vector["programs"].as_array().unwrap();
        let written = slots(list.page, &runs)
            .map(|slot| u64::from(slot.bytes))
            .collect::<Vec<_>>();
        // Lists of caches are written twice; the second time is what stays.
        let program = programs
            .iter()
            .rfind(|program| number(&program[0]) == address.0);
        if let Some(program) = program {
            assert_eq!(number(&program[3]), 0, "{name}: first descriptor");
            let (size, count) = (number(&program[1]), number(&program[2]));
            for _ in 0..count {
                let page = u64::from(list.page);
                for i in 0..size.div_ceil(page) {
                    let bytes = (size - i * page).min(page);
                    assert_eq!(
                        written.get(at),
                        Some(&bytes),
                        "{name}: {:?} descriptor {at}",
                        list.serves
                    );
                    at += 1;
                }
            }
            assert_eq!(at, written.len(), "{name}: {:?}", list.serves);
            if let (Some(md5), Some(run)) = (program[4].as_str(), list.runs.first()) {
                let buffer = &plan.buffers[run.buffer.0];
                if matches!(buffer.holds, BufferUse::Config { .. }) {
                    let mut memory = vec![0xee; usize::try_from(buffer.bytes).unwrap()];
                    plan.fill_config(hef, run.buffer, &mut memory).unwrap();
                    assert_eq!(
                        hex(&md5::Md5::digest(&memory)),
                        md5,
                        "{name}: {:?}",
                        buffer.holds
                    );
                }
            }
        }
    }
}

#[test]
fn plans_of_the_sample_files_are_what_the_vendor_s_library_uploads() {
    let mut files: Vec<_> = fs::read_dir(golden("nnc/plans"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    assert_eq!(files.len(), 30);
    files.sort();
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let vector: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let hef = Hef::open(golden("hef").join(vector["file"].as_str().unwrap())).unwrap();
        let parameters = parameters(&vector);
        let group = hef.group(vector["group"].as_str().unwrap()).unwrap();
        let core = variant(&hef, group, parameters.device, None).unwrap();
        let plan =
            Plan::new(&hef, group, core, &parameters).unwrap_or_else(|e| panic!("{name}: {e}"));
        let contexts: Vec<_> = vector["contexts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|context| {
                let lengths = context["chunks"].as_array().unwrap().iter();
                (
                    bytes(&context["data"]),
                    lengths
                        .map(|l| usize::try_from(number(l)).unwrap())
                        .collect(),
                )
            })
            .collect();
        let book = check_contexts(&name, &plan, &bytes(&vector["header"]), &contexts);
        check_lists(&name, &hef, &plan, &book, &vector);
    }
}

#[test]
fn a_plan_of_two_contexts_is_the_vector_byte_for_byte() {
    let hef = nnc::two_contexts();
    let parameters = Parameters {
        batch: 2,
        ..Parameters::default()
    };
    let group = &hef.groups()[0];
    let plan = Plan::new(&hef, group, group.core_op(), &parameters).unwrap();
    let vector = vector("cs_two_contexts");
    let contexts: Vec<_> = vector["contexts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|context| {
            let data = bytes(&context["data_hex"]);
            let length = data.len();
            (data, vec![length])
        })
        .collect();
    let book = check_contexts(
        "cs_two_contexts",
        &plan,
        &bytes(&vector["header_hex"]),
        &contexts,
    );
    assert_eq!(
        book.0.len(),
        plan.lists.len(),
        "every list is in the vector"
    );
    let network = &vector["decoded"]["network"];
    for (list, address) in plan.lists.iter().zip(book.addresses(&plan)) {
        let expected = match address.0 {
            0x10_0002_0000 => &network["input"]["list"],
            0x10_0003_0000 => &network["output"]["list"],
            0x10_0004_0000 => &network["inter_context"]["list"],
            0x10_0001_0000 => &network["config"]["preliminary"]["list"],
            0x10_0005_0000 => &network["config"]["dynamic 0"]["list"],
            _ => &network["config"]["dynamic 1"]["list"],
        };
        let found = (
            address.0,
            u64::from(list.descriptors),
            u64::from(list.pattern),
        );
        assert_eq!(
            found,
            (
                number(&expected[0]),
                number(&expected[1]),
                number(&expected[2])
            )
        );
        for slot in list.programmed() {
            assert!(slot.index < list.descriptors && u64::from(slot.bytes) <= u64::from(list.page));
            assert!(slot.offset + u64::from(slot.bytes) <= plan.buffers[slot.buffer.0].bytes);
        }
    }
    let between = plan
        .buffers
        .iter()
        .find(|buffer| matches!(buffer.holds, BufferUse::InterContext { .. }));
    assert_eq!(between.unwrap().bytes, 12_800);
    let padding: Vec<u64> = plan
        .buffers
        .iter()
        .filter_map(|buffer| match buffer.holds {
            BufferUse::Config { padding, .. } => Some(padding),
            _ => None,
        })
        .collect();
    assert_eq!(padding, [264, 0, 504]);
}

#[test]
fn the_worked_example_is_what_its_controls_carry() {
    let hef = nnc::worked_example();
    let group = &hef.groups()[0];
    let plan = Plan::new(&hef, group, group.core_op(), &Parameters::default()).unwrap();
    let data = |name: &str| bytes(&vector(name)["decoded"]["request_header"]["parameters"][3]);
    let contexts: Vec<_> = ["activation", "batch_switching", "preliminary", "dynamic0"]
        .iter()
        .map(|name| {
            let data = data(&format!("cs_context_{name}"));
            let length = data.len();
            (data, vec![length])
        })
        .collect();
    let header =
        bytes(&vector("cs_set_network_group_header")["decoded"]["request_header"]["parameters"][0]);
    check_contexts("worked example", &plan, &header, &contexts);
}

#[test]
fn numbers_of_an_event_become_words() {
    let hef = nnc::two_contexts();
    let group = &hef.groups()[0];
    let plan = Plan::new(&hef, group, group.core_op(), &Parameters::default()).unwrap();
    let text = |context, action| plan.locate(context, action).map(|found| found.to_string());
    assert_eq!(
        text(3, 9).unwrap(),
        "dynamic 0, action 9: wait for output transfer: channel 17, stream 5, network 0, is inter context 1, buffer type descriptors (operation 2) (`net/between0`)"
    );
    assert_eq!(
        text(2, 3).unwrap(),
        "preliminary, action 3: 2 x enable lcu (default) (operation 0)"
    );
    assert_eq!(
        text(0, 0).unwrap(),
        "activation, action 0: reset burst credits"
    );
    assert_eq!(text(5, 0), None);
    assert_eq!(text(0, 3), None);
}

/// The file is not part of the project; without it the test says so.
#[test]
fn a_compiled_face_detector_becomes_its_documented_plan() {
    let path = golden("../../../shared/spec/samples/hef-real/lightface_slim.hef");
    if !path.exists() {
        eprintln!(
            "SKIPPED: no real HEF beside the checkout ({})",
            path.display()
        );
        return;
    }
    let hef = Hef::open(&path).unwrap();
    let group = &hef.groups()[0];
    let plan = Plan::new(&hef, group, group.core_op(), &Parameters::default()).unwrap();
    let vector = vector("cs_real_lightface");
    assert_eq!(
        hex(&plan.header.encode()),
        vector["header_hex"].as_str().unwrap()
    );
    let mut addresses = vec![Iova(0); plan.lists.len()];
    // The preliminary context is number 2; nothing else has config words.
    for expected in vector["decoded"]["config"].as_array().unwrap() {
        let stream = number(&expected["config_stream"]);
        let found = plan.lists.iter().position(|list| {
            matches!(list.serves, ListUse::Config { context: 2, stream: s } if u64::from(s) == stream)
        });
        let list = &plan.lists[found.unwrap()];
        addresses[found.unwrap()] = Iova(number(&expected["list_address"]));
        assert_eq!(expected["descriptors"], list.descriptors);
        assert_eq!(expected["pattern"], list.pattern);
        let buffer = list.runs[0].buffer;
        let mut memory = vec![0; usize::try_from(plan.buffers[buffer.0].bytes).unwrap()];
        plan.fill_config(&hef, buffer, &mut memory).unwrap();
        let digest = hex(&md5::Md5::digest(&memory));
        assert_eq!(digest, expected["buffer_md5_hex"].as_str().unwrap());
    }
    let layers = vector["decoded"]["layers"].as_array().unwrap();
    assert_eq!(plan.boundary.len(), layers.len());
    for expected in layers {
        let name = expected["name"].as_str().unwrap();
        let stream = plan.boundary.iter().find(|stream| stream.name == name);
        let stream = stream.unwrap();
        let list = &plan.lists[stream.list.0];
        addresses[stream.list.0] = Iova(number(&expected["list_address"]));
        let registers = &stream.registers;
        for (key, found) in [
            ("stream", u32::from(stream.stream)),
            ("channel", stream.channel.raw().into()),
            ("transfer", stream.transfer_bytes),
            ("queue", stream.queue.into()),
            ("page", list.page),
            ("descriptors", list.descriptors),
        ] {
            assert_eq!(expected[key], found, "{name}: {key}");
        }
        assert_eq!(
            expected["core"],
            serde_json::json!([registers.core_bytes, registers.core_buffers])
        );
        assert_eq!(
            expected["periph"],
            serde_json::json!([registers.periph_bytes, registers.periph_buffers])
        );
    }
    let upload = plan.encode(&addresses).unwrap();
    let contexts = vector["contexts"].as_array().unwrap();
    for (chunks, expected) in upload.contexts.iter().zip(contexts) {
        let [chunk] = chunks.as_slice() else {
            panic!("{} chunks", chunks.len())
        };
        assert_eq!(expected["length"], chunk.data.len());
        let digest = hex(&md5::Md5::digest(&chunk.data));
        assert_eq!(digest, expected["data_md5_hex"].as_str().unwrap());
    }
}
