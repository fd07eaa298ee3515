//! Any text as a VietQR payload. The text is also tried with the checksum it would need, as a
//! fuzzer does not find one by itself; what is accepted must survive being written again.
#![no_main]

use canhbao::domain::vietqr;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let covered = format!("{text}6304");
    let sealed = format!("{covered}{:04X}", vietqr::crc16(covered.as_bytes()));
    for payload in [text, &sealed] {
        if let Ok(target) = vietqr::parse(payload) {
            let again = vietqr::encode(target.bin(), target.number());
            assert!(vietqr::parse(&again) == Ok(target));
        }
    }
});
