//! Plans of networks, and action lists read back: any description is planned or refused, any bytes are walked.
//!
//! The input is a byte of parameters, the length of the config section in units of 256 bytes, and the description, as in
//! `hef_parse`. What is planned must encode, and read back.

#![no_main]

use hailo_vfio::addr::Iova;
use hailo_vfio::hef::Hef;
use hailo_vfio::nnc::plan::{Parameters, Plan};
use hailo_vfio::spec::nnc::context::{ApplicationHeader, Walk};
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|input: &[u8]| {
    walk(input);
    let [parameters, config, proto @ ..] = input else {
        return;
    };
    let parameters = Parameters {
        batch: u16::from(parameters >> 4) + 1,
        max_page: 64 << (parameters & 7).min(6),
        extended_checks: parameters & 8 != 0,
        kv_cache: parameters & 8 == 0,
        ..Parameters::default()
    };
    let Ok(hef) = Hef::from_bytes(file(usize::from(*config) * 256, proto)) else {
        return;
    };
    for group in hef.groups() {
        for core in &group.variants {
            if let Ok(plan) = Plan::new(&hef, group, core, &parameters) {
                check(&plan);
            }
        }
    }
});

/// What can be read writes back as it was.
fn walk(bytes: &[u8]) {
    let mut out = Vec::new();
    for step in Walk::new(bytes) {
        let Ok(step) = step else {
            break;
        };
        out.clear();
        step.action.encode_parameters(&mut out);
        let start = step.offset + if step.repeated.is_some() { 0 } else { 5 };
        assert_eq!(&bytes[start..start + out.len()], out);
    }
    drop(ApplicationHeader::decode(bytes));
}

fn check(plan: &Plan) {
    let upload = plan
        .encode(&vec![Iova(0); plan.lists.len()])
        .expect("as many addresses as lists");
    for (chunks, context) in upload.contexts.iter().zip(&plan.contexts) {
        let data: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.clone()).collect();
        let framed = Walk::new(&data)
            .map(|step| step.expect("what is sent reads back"))
            .filter(|step| step.repeated.is_none());
        assert_eq!(framed.count(), context.units.len());
    }
    for list in &plan.lists {
        for slot in list.programmed().take(100_000) {
            assert!(slot.index < list.descriptors);
            assert!(slot.offset + u64::from(slot.bytes) <= plan.buffers[slot.buffer.0].bytes);
        }
    }
}

/// A container of version 2 with a checksum that agrees.
fn file(config: usize, proto: &[u8]) -> Vec<u8> {
    let length = u32::try_from(proto.len()).expect("inputs are small");
    let body = [proto, &vec![0; config]].concat();
    let config = u64::try_from(config).expect("small");
    let mut out = b"\x01HEF\0\0\0\x02".to_vec();
    out.extend(length.to_be_bytes());
    out.extend(xxh3_64(&body).to_be_bytes());
    out.extend(config.to_be_bytes());
    out.extend([0; 16]);
    out.extend(body);
    out
}
