//! Subjects as clients write them, through the public interface: every writing of one thing gives
//! one normal form, and nothing malformed gives any.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::LazyLock;

use canhbao::domain::banks::{BankDirectory, Bin};
use canhbao::domain::directory::Directory;
use canhbao::domain::identifiers::{AccountNumber, PersonalId, TaxCode};
use canhbao::domain::phone::PhoneNumber;
use canhbao::domain::subject::{Fault, Subject, SubjectError};
use canhbao::domain::subject_input::SubjectInput;
use canhbao::domain::vietqr;
use canhbao::domain::wallets::WalletId;
use proptest::prelude::*;

static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| Directory::built_in().unwrap());

fn parse(json: &str) -> Result<Subject, SubjectError> {
    let input: SubjectInput<'_> = serde_json::from_str(json).unwrap();
    Subject::parse(&input, &DIRECTORY)
}

fn canonical(json: &str) -> String {
    parse(json).unwrap().canonical()
}

fn qr(payload: &str) -> String {
    serde_json::json!({"kind": "qr", "payload": payload}).to_string()
}

fn encoded(bin: &str, number: &str) -> String {
    let number = AccountNumber::parse(number).unwrap();
    vietqr::encode(Bin::parse(bin).unwrap(), &number)
}

#[test]
fn every_writing_of_an_account_is_one_subject() {
    for json in [
        r#"{"kind":"account","bank":"970436","number":"0011001932418"}"#,
        r#"{"kind":"account","bank":"VCB","number":"0011-0019-32418"}"#,
        r#"{"number":"0011 001.932 418","bank":"vietcombank","kind":"account"}"#,
        r#"{"kind":"account","bank":"BFTVVNVX","number":"0011001932418"}"#,
        &qr(&encoded("970436", "0011001932418")),
    ] {
        assert_eq!(canonical(json), "account:970436:0011001932418");
    }
}

#[test]
fn an_account_that_leads_to_a_wallet_is_that_wallet() {
    for (one, other, expected) in [
        (
            r#"{"kind":"account","bank":"MOMO","number":"psp24011"}"#,
            r#"{"kind":"wallet","provider":"MoMo","id":"PSP-24011"}"#,
            "wallet:momo:PSP24011",
        ),
        (
            r#"{"kind":"account","bank":"971025","number":"01621234567"}"#,
            r#"{"kind":"wallet","provider":"momo","id":"+84 32 123 4567"}"#,
            "wallet:momo:0321234567",
        ),
        (
            &qr(&encoded("970454", "99MM24011M34875080")),
            r#"{"kind":"account","bank":"BVB","number":"99mm 24011m34875080"}"#,
            "wallet:momo:99MM24011M34875080",
        ),
        (
            &qr(&encoded("970454", "99ZP24011M34875080")),
            r#"{"kind":"wallet","provider":"zalopay","id":"99ZP24011M34875080"}"#,
            "wallet:zalopay:99ZP24011M34875080",
        ),
    ] {
        assert_eq!(canonical(one), expected);
        assert_eq!(parse(one), parse(other));
    }
}

#[test]
fn the_json_of_a_subject_is_its_normal_form() {
    for (json, normal) in [
        (
            r#"{"kind":"account","bank":"VCB","number":"0011 0019"}"#,
            r#"{"kind":"account","bank":"970436","number":"00110019"}"#,
        ),
        (
            r#"{"kind":"wallet","provider":"MoMo","id":"+84901234567"}"#,
            r#"{"kind":"wallet","provider":"momo","id":"0901234567"}"#,
        ),
        (r#"{"kind":"person","id_number":"001 099 012 345"}"#, r#"{"kind":"person","id_number":"001099012345"}"#),
        (
            r#"{"kind":"organisation","tax_code":"0314409058002"}"#,
            r#"{"kind":"organisation","tax_code":"0314409058-002"}"#,
        ),
        (r#"{"kind":"phone","number":"0901234567"}"#, r#"{"kind":"phone","number":"+84901234567"}"#),
    ] {
        let subject = parse(json).unwrap();
        assert_eq!(serde_json::to_string(&subject).unwrap(), normal);
        assert_eq!(parse(normal), Ok(subject));
    }
}

#[test]
fn missing_and_foreign_fields_are_faults_of_shape() {
    for (json, pointer) in [
        (r#"{"kind":"account","bank":"VCB"}"#, "/number"),
        (r#"{"kind":"account","number":"12345"}"#, "/bank"),
        (r#"{"kind":"wallet","provider":"momo"}"#, "/id"),
        (r#"{"kind":"person"}"#, "/id_number"),
        (r#"{"kind":"organisation"}"#, "/tax_code"),
        (r#"{"kind":"phone"}"#, "/number"),
        (r#"{"kind":"qr"}"#, "/payload"),
        (r#"{"kind":"phone","number":"0901234567","bank":"VCB"}"#, "/bank"),
        (r#"{"kind":"wallet","provider":"momo","id":"1234","number":""}"#, "/number"),
        (r#"{"kind":"qr","payload":"","id":"1234"}"#, "/id"),
    ] {
        let error = parse(json).unwrap_err();
        assert_eq!((error.fault, error.violation.pointer.as_str()), (Fault::Shape, pointer));
    }
}

#[test]
fn a_typo_is_a_fault_of_value_at_its_field() {
    for (json, pointer) in [
        (r#"{"kind":"account","bank":"970499","number":"12345"}"#, "/bank"),
        (r#"{"kind":"account","bank":"","number":"12345"}"#, "/bank"),
        (r#"{"kind":"account","bank":"VCB","number":"123"}"#, "/number"),
        (r#"{"kind":"account","bank":"VCB","number":"1234\u00a05"}"#, "/number"),
        (r#"{"kind":"wallet","provider":"paypal","id":"0901234567"}"#, "/provider"),
        (r#"{"kind":"wallet","provider":"momo","id":"a@b.vn"}"#, "/id"),
        (r#"{"kind":"person","id_number":"097099012345"}"#, "/id_number"),
        (r#"{"kind":"organisation","tax_code":"0100233480"}"#, "/tax_code"),
        (r#"{"kind":"phone","number":"+12025550100"}"#, "/number"),
        (r#"{"kind":"qr","payload":""}"#, "/payload"),
        (&qr(&encoded("970499", "12345")), "/payload"),
    ] {
        let error = parse(json).unwrap_err();
        assert_eq!((error.fault, error.violation.pointer.as_str()), (Fault::Value, pointer));
    }
}

#[test]
fn the_banks_of_an_operator_take_the_place_of_the_built_in_ones() {
    let csv = "bin,code,short_name,name_vi,swift,vietqr_transfer,former,aliases,valid_from,valid_to\n\
               970499,NEW,New Bank,Ngân hàng Mới,,1,0,,2027-01-01,\n";
    let directory = Directory::with_banks(BankDirectory::parse(csv).unwrap()).unwrap();
    let known = r#"{"kind":"account","bank":"NEW","number":"12345"}"#;
    let input: SubjectInput<'_> = serde_json::from_str(known).unwrap();
    let subject = Subject::parse(&input, &directory).unwrap();
    assert_eq!(subject.canonical(), "account:970499:12345");
    let gone = r#"{"kind":"account","bank":"VCB","number":"12345"}"#;
    let input: SubjectInput<'_> = serde_json::from_str(gone).unwrap();
    assert!(Subject::parse(&input, &directory).is_err());
}

#[test]
fn an_institution_is_shown_with_all_its_names() {
    let banks = BankDirectory::built_in().unwrap();
    let ctg = banks.institutions().find(|bank| bank.code() == "CTG").unwrap();
    let json = serde_json::to_value(ctg).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "bin": "970415", "code": "CTG", "short_name": "VietinBank",
            "name_vi": "Ngân hàng TMCP Công thương Việt Nam", "swift": "ICBVVNVX",
            "vietqr_transfer": true, "aliases": ["ICB"],
        })
    );
}

/// Texts near to valid ones: digits, letters and the characters that are dropped or refused.
fn near_valid() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9 .()+-]{0,24}",
        "(\\+84|84|0084|0)?[1-9][0-9 .-]{7,13}",
        "[0-9]{12,14}",
        "(99MM|99ZP|PSP|99mm)?[0-9A-Za-z .-]{0,40}",
        any::<String>(),
    ]
}

fn bank() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["970436", "971025", "970454", "VCB", "MoMo"])
}

/// Fields of the top level of a payload, the VietQR template with its own fields in any order.
fn shuffled_payload() -> impl Strategy<Value = String> {
    let beneficiary = Just(vec!["0006970416", "0109257678859"]).prop_shuffle();
    let service = "0208QRIBFTTA".to_owned();
    let template = beneficiary.prop_flat_map(move |fields| {
        let fields =
            ["0010A000000727".to_owned(), format!("0123{}", fields.concat()), service.clone(), "0704Đống".to_owned()];
        Just(fields.to_vec()).prop_shuffle()
    });
    let root = template.prop_flat_map(|fields| {
        let template = fields.concat();
        let root = [
            "000201".to_owned(),
            "010211".to_owned(),
            format!("38{:02}{template}", template.chars().count()),
            "5303704".to_owned(),
            "5908Trần Văn".to_owned(),
            "62080104ABCD".to_owned(),
        ];
        Just(root.to_vec()).prop_shuffle()
    });
    root.prop_map(|fields| {
        let covered = format!("{}6304", fields.concat());
        format!("{covered}{:04x}", vietqr::crc16(covered.as_bytes()))
    })
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic_and_normal_forms_are_fixed_points(text in near_valid()) {
        if let Ok(number) = AccountNumber::parse(&text) {
            prop_assert_eq!(AccountNumber::parse(number.as_str()), Ok(number));
        }
        if let Ok(id) = PersonalId::parse(&text) {
            prop_assert_eq!(PersonalId::parse(id.as_str()), Ok(id));
        }
        if let Ok(code) = TaxCode::parse(&text) {
            prop_assert_eq!(TaxCode::parse(code.as_str()), Ok(code));
        }
        if let Ok(phone) = PhoneNumber::parse(&text) {
            prop_assert_eq!(PhoneNumber::parse(phone.as_str()), Ok(phone));
        }
        if let Ok(id) = WalletId::parse(&text) {
            prop_assert_eq!(WalletId::parse(id.as_str()), Ok(id));
        }
        let _ = vietqr::parse(&text);
        let _ = BankDirectory::parse(&text);
        let _ = Subject::from_canonical(&text);
        let _ = DIRECTORY.banks().bin_of(&text);
    }

    #[test]
    fn a_subject_survives_its_canonical_text_and_its_json(bank in bank(), text in near_valid()) {
        for json in [
            serde_json::json!({"kind": "account", "bank": bank, "number": text}),
            serde_json::json!({"kind": "wallet", "provider": "momo", "id": text}),
            serde_json::json!({"kind": "person", "id_number": text}),
            serde_json::json!({"kind": "organisation", "tax_code": text}),
            serde_json::json!({"kind": "phone", "number": text}),
        ] {
            let Ok(subject) = parse(&json.to_string()) else { continue };
            let read_back = Subject::from_canonical(&subject.canonical());
            prop_assert_eq!(read_back.as_ref(), Some(&subject));
            let normal = serde_json::to_string(&subject).unwrap();
            prop_assert_eq!(parse(&normal), Ok(subject));
        }
    }

    #[test]
    fn a_phone_number_has_one_form_in_every_writing(number in "[35789][0-9]{8}", cut in 0_usize..9) {
        let (head, tail) = number.split_at(cut);
        let expected = PhoneNumber::parse(&format!("0{number}")).unwrap();
        for prefix in ["0", "84", "+84", "0084", "+84 (0)", "(+84)"] {
            for separator in ["", " ", ".", "-", ") "] {
                let text = format!("{prefix}{head}{separator}{tail}");
                prop_assert_eq!(PhoneNumber::parse(&text), Ok(expected.clone()));
            }
        }
    }

    #[test]
    fn the_order_of_fields_does_not_matter(payload in shuffled_payload()) {
        let target = vietqr::parse(&payload).unwrap();
        prop_assert_eq!(target.bin().to_string(), "970416");
        prop_assert_eq!(target.number().as_str(), "257678859");
    }

    #[test]
    fn what_is_encoded_is_read_back(bin in "[0-9]{6}", number in "[0-9A-Z]{4,36}") {
        let target = vietqr::parse(&encoded(&bin, &number)).unwrap();
        prop_assert_eq!(target.bin().to_string(), bin);
        prop_assert_eq!(target.number().as_str(), number);
    }

    /// The CRC finds any change of up to 16 bits in a row, so of any one ASCII character.
    #[test]
    fn a_payload_with_one_other_character_is_refused(
        number in "[0-9A-Z]{4,36}",
        at in any::<prop::sample::Index>(),
        other in prop::char::range(' ', '~'),
    ) {
        let payload = encoded("970436", &number);
        let mut characters: Vec<char> = payload.chars().collect();
        let at = at.index(characters.len());
        prop_assume!(!characters[at].eq_ignore_ascii_case(&other));
        characters[at] = other;
        let changed: String = characters.into_iter().collect();
        prop_assert!(vietqr::parse(&changed).is_err());
    }
}
