//! HEF descriptions: any bytes are refused, or give a model of which every question can be asked.
//!
//! The input is the container version, the length of the config section in units of 256 bytes, and the description. The
//! container around it, with checksums that agree, is made here.

#![no_main]

use hailo_vfio::hef::{
    DeviceArch, Direction, Hef, RegisterInputs, report, report::Describe, stream_registers,
};
use libfuzzer_sys::fuzz_target;
use md5::Digest as _;
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|input: &[u8]| {
    let [version, config, proto @ ..] = input else {
        return;
    };
    let config = usize::from(*config) * 256;
    if let Ok(hef) = Hef::from_bytes(file(version % 4, config, proto)) {
        ask(&hef);
    }
});

/// A container of this version; 1 has a checksum of a further crate and parses as 2 does.
fn file(version: u8, config: usize, proto: &[u8]) -> Vec<u8> {
    let length = u32::try_from(proto.len())
        .expect("inputs are small")
        .to_be_bytes();
    let body = [proto, &vec![0; config]].concat();
    let config = u64::try_from(config).expect("small").to_be_bytes();
    let digest = xxh3_64(&body).to_be_bytes();
    let mut out = b"\x01HEF\0\0\0".to_vec();
    out.push(if version == 1 { 2 } else { version });
    out.extend(length);
    match version {
        0 => {
            out.extend([0; 4]);
            out.extend(md5::Md5::digest(proto));
            out.extend(proto);
            return out;
        }
        3 => {
            out.extend(digest);
            out.extend(config);
            out.extend([0; 4 + 8]);
            out.extend(xxh3_64(proto).to_be_bytes());
            out.extend([0; 8]);
        }
        _ => {
            out.extend(digest);
            out.extend(config);
            out.extend([0; 16]);
        }
    }
    out.extend(body);
    out
}

fn ask(hef: &Hef) {
    let mut text = String::new();
    report::describe(
        hef,
        Describe {
            streams: true,
            virtual_streams: true,
        },
        &mut text,
    )
    .expect("a string");
    report::dot(hef, &mut text).expect("a string");
    for device in DeviceArch::ALL {
        drop(hef.check_device(device, Some((5, 2))));
    }
    drop((hef.kind(), hef.pieces(&[]), hef.notes(), hef.checks()));
    let inputs = RegisterInputs {
        page: 512,
        default_fifo: 4096,
        outbound: None,
        architecture: hef.architecture(),
        hw_padding: hef.features().offers(11),
    };
    for group in hef.groups() {
        for variant in &group.variants {
            drop(hef.memory(variant, 63));
            for edge in variant.contexts.iter().flat_map(|context| &context.layers) {
                let ddr = !edge.is_boundary();
                for layer in edge.streams() {
                    drop(stream_registers(layer, edge.direction, ddr, inputs));
                }
            }
        }
        for stream in group.virtual_streams_of(Direction::DeviceToHost) {
            assert!(
                !group
                    .physical_names(&stream.name)
                    .expect("it is there")
                    .is_empty()
            );
            drop(group.original_names(&stream.name));
        }
    }
}
