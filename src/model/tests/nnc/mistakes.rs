//! What a host of context switching can do wrong: each is refused or ends the run, and the reason is in the firmware's
//! log.

use super::context::Memory;
use super::net::{Net, Upload};

/// A list that reads at a wrong page is refused where it is uploaded.
#[test]
fn a_refusal_has_its_reason_in_the_log() {
    let mut net = Net::new("", "none");
    let _memory = Memory::example(&net);
    net.bench.read_log(0x3000);
    let mut upload = Upload::example();
    // Page of the output list in the activation context.
    upload.contexts[0].1[20] = 1;
    let refused = upload.send(&mut net).unwrap_err();
    assert_eq!(refused.code(), 0x402d_0014);
    let log = net.core_log();
    assert!(log.contains("activation context, action 1"), "{log}");
    assert!(
        net.complaints()[0].contains("page of 513 bytes"),
        "{:?}",
        net.complaints()
    );
}
